"""A limit's outputs, each by the evaluator that was planned or asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from tensorprog.diagnostics import Source
from tensorprog.evaluators import covariance, numbers, particles, span
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Evaluated, require
from tensorprog.evaluators.evaluator import Task
from tensorprog.evaluators.options import RunOptions
from tensorprog.evaluators.plan import averages_of, plan_of
from tensorprog.evaluators.table import EVALUATORS, in_order


def evaluate(analysis: Analysis, env: Mapping[str, Any], method: str, source: Source,
             **options: Unpack[RunOptions]) -> Evaluated:
    """Values, errors and the evaluator's name, by output.

    Args:
        method: 'auto' for the plan's choice, or the evaluator for all outputs.
        options: samples, replicates, seed, tolerance, of the particles; checkpoint, watch, of coefficients; dtype,
            threads, progress.

    Raises:
        ProgramError: TP712, if an evaluator is asked for and does not cover an output.
    """
    # Whoever asks for particles or coefficients wants vectors: the limit program as it is.
    if method not in (particles.NAME, span.NAME) and _is_by_numbers(analysis, method):
        assert analysis.numbers is not None
        return numbers.run(analysis, env, evaluate(analysis.numbers[1], env, method, source, **options), options)
    task = Task(env, source, options, asked=method != "auto")
    if not task.asked:
        return _planned(analysis, task)
    # Asked for: all outputs or none.
    evaluator = EVALUATORS[method]
    share = evaluator.share(analysis, analysis.limit.outputs, True)
    require(analysis, method, share.reasons, source)
    return evaluator.run(analysis, share, task)


def _is_by_numbers(analysis: Analysis, method: str) -> bool:
    return analysis.numbers is not None and (method == covariance.NAME or averages_of(analysis) is not None)


def _planned(analysis: Analysis, task: Task) -> Evaluated:
    """Every output by the evaluator that it has in the plan, or by the next one that covers it, if that one has no value of it."""
    names = [o.name for o in analysis.limit.outputs]
    values: dict[str, np.ndarray] = {}
    errors: dict[str, np.ndarray] = {}
    methods: dict[str, str] = {}
    shares = plan_of(analysis).shares
    for evaluator in in_order():
        share = shares.get(evaluator.name)
        wanted = tuple(n for n in share.names if n not in values) if share is not None else ()
        if share is not None and wanted:
            found = evaluator.run(analysis, replace(share, names=wanted), task)
            # What more exact evaluators have found comes before what the later ones give.
            values, errors, methods = found[0] | values, found[1] | errors, found[2] | methods
    return {n: values[n] for n in names}, {n: errors[n] for n in names}, {n: methods[n] for n in names}
