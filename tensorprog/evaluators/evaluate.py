"""A limit's outputs, each by the evaluator that was planned or asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorprog.diagnostics import Source
from tensorprog.evaluators import covariance, numbers, particles, span
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Evaluated, require
from tensorprog.evaluators.plan import plan_of


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
    remaining = [name for name in names if name not in linear[0] and name not in exact[0]]
    rest: Evaluated = particles.run(analysis, env, remaining, options) if remaining else ({}, {}, {})
    values, errors, methods = linear[0] | exact[0] | rest[0], linear[1] | exact[1] | rest[1], linear[2] | exact[2] | rest[2]
    return {n: values[n] for n in names}, {n: errors[n] for n in names}, {n: methods[n] for n in names}
