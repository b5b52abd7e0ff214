"""Training in the kernel regime, whose limit is equations between numbers: averages first, by an evaluator of their own, then
the numbers that training moves (`series.split`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorprog.evaluators import particles
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Choice, Evaluated, zero
from tensorprog.evaluators.table import methods as methods_in_order
from tensorprog.ir.program import Output

#: How many times what errors of averages change in one trial is the error of what follows from them.
# Signs are drawn once: the change is about normal, and below a third of its deviation in a quarter of cases.
MOVED = 3.0


def choice(output: Output, analysis: Analysis, averages: tuple[Choice, ...]) -> Choice:
    """What is said of an output that it evaluates; `averages`: how its averages are."""
    if output.name in analysis.vanishing:
        return zero(output)
    inexact = [c for c in averages if c.evaluator != "span"]
    return Choice(output, "covariance", "training is equations between numbers (kernel gradient descent), whose kernels are exact",
                  inexact[0].accuracy if inexact else "exact",
                  f"{len(averages)} families of averages; a step moves numbers alone")


def run(analysis: Analysis, env: Mapping[str, Any], averages: Evaluated, options: Mapping[str, Any]) -> Evaluated:
    """All outputs, from the averages. Errors of these are carried over by moving all of them at once, up or down by chance:
    `MOVED` times what that changes."""
    assert analysis.numbers is not None
    parts, _, numbers = analysis.numbers
    values, errors, methods = averages
    # There are no vectors left to sample: as few as the runtime takes.
    options = {**options, "samples": 2, "replicates": 1}

    def rest(known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return particles.run(numbers, {**env, **known}, None, options)[0]

    known = {name: values[name] for name in parts.inputs}
    found = rest(known)
    error = {name: np.zeros_like(value) for name, value in found.items()}
    if any(np.any(errors[name]) for name in known):
        # The same draw in every run: an error is a function of the run's data.
        rng = np.random.default_rng(0)
        moved = rest({name: v + errors[name] * rng.choice([-1.0, 1.0], v.shape) for name, v in known.items()})
        error = {name: MOVED * np.abs(moved[name] - value) for name, value in found.items()}
    order = methods_in_order()
    # What follows from averages is no more exact than the least exact of them.
    by = max((methods[n] for n in parts.inputs), key=order.index, default="covariance")
    for name, own in parts.direct.items():
        found[own], error[own] = values[name], errors[name]
    named = {own: methods[name] for name, own in parts.direct.items()}
    names = [o.name for o in analysis.limit.outputs]
    for name in set(names) & analysis.vanishing:
        # Not zeros: elements without a value stay NaN.
        found[name] = 0.0 * found[name]
    return {n: found[n] for n in names}, {n: error[n] for n in names}, {n: named.get(n, by) for n in names}
