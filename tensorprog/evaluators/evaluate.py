"""A limit's outputs, each by the evaluator that was planned or asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorprog.diagnostics import Diagnostic, ProgramError, Source
from tensorprog.evaluators import covariance, diagonal, numbers, particles, span
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Evaluated, require
from tensorprog.evaluators.plan import plan_of
from tensorprog.passes.diagonals import Diagonal


def evaluate(analysis: Analysis, env: Mapping[str, Any], method: str, source: Source,
             **options: Any) -> Evaluated:
    """Values, errors and the evaluator's name, by output.

    Args:
        method: 'auto' for the plan's choice, or the evaluator for all outputs.
        options: samples, replicates, seed, tolerance, of the particles; checkpoint, watch, of coefficients; dtype,
            threads, progress.

    Raises:
        ProgramError: TP712, if `covariance` is asked for and does not cover an output.
    """
    if method == particles.NAME:
        return particles.run(analysis, env, None, options)
    if method != span.NAME and _is_by_numbers(analysis, method):
        assert analysis.numbers is not None
        return numbers.run(analysis, env, evaluate(analysis.numbers[1], env, method, source, **options), options)
    threads = options.get("threads")
    if method == span.NAME:
        require(analysis, method, span.refused(analysis), source)
        return span.run(analysis, env, options)
    if method == diagonal.NAME:
        require(analysis, method, diagonal.refused(analysis), source)
        return _on_nodes(analysis, env, source, options)
    if method == covariance.NAME:
        require(analysis, method, covariance.refused(analysis), source)
        names = [o.name for o in analysis.limit.outputs]
        return covariance.run(analysis, env, names, lambda: analysis.covered.system, True, method, source, threads)
    return _planned(analysis, env, source, options)


def _is_by_numbers(analysis: Analysis, method: str) -> bool:
    if analysis.numbers is None:
        return False
    return method == covariance.NAME or not plan_of(analysis.numbers[1]).names(particles.NAME)


def _planned(analysis: Analysis, env: Mapping[str, Any], source: Source, options: Mapping[str, Any]) -> Evaluated:
    """Every output by the evaluator that it has in the plan."""
    plan = plan_of(analysis)
    linear: Evaluated = span.run(analysis, env, options) if plan.linear.program is not None else ({}, {}, {})
    exact = covariance.run(analysis, env, list(plan.covered), lambda: plan.system, plan.tiled, "auto", source, options.get("threads"))
    names = [o.name for o in analysis.limit.outputs]
    functions = _where_resolved(analysis, env, plan.diagonal, options)
    remaining = [name for name in names if not any(name in part[0] for part in (linear, exact, functions))]
    rest: Evaluated = particles.run(analysis, env, remaining, options) if remaining else ({}, {}, {})
    values: dict[str, np.ndarray] = {}
    errors: dict[str, np.ndarray] = {}
    methods: dict[str, str] = {}
    for part in (linear, exact, functions, rest):
        values, errors, methods = values | part[0], errors | part[1], methods | part[2]
    return {n: values[n] for n in names}, {n: errors[n] for n in names}, {n: methods[n] for n in names}


def _on_nodes(analysis: Analysis, env: Mapping[str, Any], source: Source, options: Mapping[str, Any]) -> Evaluated:
    """All outputs by `diagonal`, which was asked for.

    Raises:
        ProgramError: TP713, if it has no values.
    """
    try:
        return diagonal.run(analysis, env, analysis.diagonal, options)
    except diagonal.NotResolved:
        raise ProgramError([Diagnostic("TP713", "the functions of the vectors that multiply others take too many nodes", help=(
            "use the method 'particles'"))], source) from None


def _where_resolved(analysis: Analysis, env: Mapping[str, Any], found: Diagonal, options: Mapping[str, Any]) -> Evaluated:
    """The outputs that the plan gives to `diagonal`, unless it has no values."""
    if found.program is None:
        return {}, {}, {}
    try:
        return diagonal.run(analysis, env, found, options)
    except diagonal.NotResolved:
        return {}, {}, {}
