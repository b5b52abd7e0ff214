"""A limit's outputs, each by the evaluator that was planned or asked for."""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.diagnostics import Source
from tensorprog.evaluators import covariance, numbers, particles, span
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Evaluated, require
from tensorprog.evaluators.plan import plan_of


def evaluate(analysis: Analysis, env: Mapping[str, object], method: str, source: Source,
             **options: object) -> Evaluated:
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


def _planned(analysis: Analysis, env: Mapping[str, object], source: Source, options: Mapping) -> Evaluated:
    """Every output by the evaluator that it has in the plan."""
    plan = plan_of(analysis)
    linear: Evaluated = span.run(analysis, env, options) if plan.linear.program is not None else ({}, {}, {})
    exact = covariance.run(analysis, env, list(plan.covered), lambda: plan.system, plan.tiled, "auto", source, options.get("threads"))
    found = tuple(a | b for a, b in zip(linear, exact))
    names = [o.name for o in analysis.limit.outputs]
    remaining = [name for name in names if name not in found[0]]
    if remaining:
        found = tuple(a | b for a, b in zip(found, particles.run(analysis, env, remaining, options)))
    return tuple({n: part[n] for n in names} for part in found)
