"""The evaluator of each output: the most exact one that applies, and why (docs/architecture.md, Evaluators)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorprog.driver import Compiled
from tensorprog.ir.program import Output

if TYPE_CHECKING:
    from tensorprog.covariance.system import System
    from tensorprog.passes.linear import Linear


@dataclass(frozen=True, slots=True)
class Choice:
    """The evaluator of an output. `reason` says why, `accuracy` what error to expect, `cost` of what it is made."""

    output: Output
    evaluator: str
    reason: str
    accuracy: str
    cost: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The choice for every output; `linear` holds the program of those that `span` evaluates, `system` the equations of
    those that `covariance` does."""

    choices: tuple[Choice, ...]
    linear: Linear
    system: System | None

    def names(self, evaluator: str) -> list[str]:
        """The outputs of one evaluator."""
        return [c.output.name for c in self.choices if c.evaluator == evaluator]


def make_plan(compiled: Compiled) -> Plan:
    """Choose an evaluator for every output of the limit program."""
    from tensorprog.covariance.build import covered

    linear = _without_kernels(compiled)
    rest = list(linear.reasons)
    found = compiled.covered if linear.program is None else covered(compiled, rest)
    choices = []
    for output in compiled.limit.outputs:
        if output.name in compiled.vanishing:
            choices.append(Choice(output, "zero", "its power of n is below 0", "exact", "none"))
        elif output.cell not in linear.reasons:
            choices.append(_span(output))
        elif found.system is not None and output.cell in found.system.outputs:
            choices.append(_covariance(output, compiled, found.system))
        else:
            choices.append(_particles(output, found.reasons.get(output.cell, "")))
    return Plan(tuple(choices), linear, found.system)


def _without_kernels(compiled: Compiled) -> Linear:
    """The outputs that are linear; none if all of those are kernels over pairs of rows, which tiles compute without a
    direction for every row and layer."""
    from tensorprog.covariance.pairs import pairs_of_rows
    from tensorprog.kernel_api import pair_lowerings
    from tensorprog.passes.linear import Linear

    linear = compiled.linear
    outputs = [o for o in compiled.limit.outputs if o.cell not in linear.reasons]
    if not outputs or not all(pairs_of_rows(compiled.limit, o.cell) for o in outputs):
        return linear
    system = compiled.covered.system
    lowered = {} if system is None else pair_lowerings(compiled, system)
    if any(isinstance(lowered.get(o.name, ""), str) for o in outputs):
        return linear
    return Linear(None, linear.reasons | dict.fromkeys((o.cell for o in outputs), "it is a kernel over pairs of rows"))


def _span(output: Output) -> Choice:
    return Choice(output, "span", "all vectors stay in the linear span of the initial ones", "rounding",
                  "directions x vectors kept; directions x rank for each matrix product")


def _covariance(output: Output, compiled: Compiled, system: System) -> Choice:
    from tensorprog.covariance.rows import find_rows
    from tensorprog.kernel_api import pair_lowerings

    needed = system.needed(output.cell)
    quadratures = [r for r in needed.recipes if r.kind == "quadrature"]
    if not quadratures:
        accuracy, reason = "rounding", "every expectation has a closed form"
    else:
        dimension = max(r.dimension for r in quadratures)
        accuracy = "reported; 1e-12 aimed at"
        reason = f"every expectation is of few Gaussians, at most {dimension} in a quadrature"
    pairs = not isinstance(pair_lowerings(compiled, system)[output.name], str)
    kept = "one number kept for each index met"
    if pairs:
        kept = "tiles of pairs of rows, nothing kept but the output"
    elif output.cell in find_rows(system).outputs:
        kept = "a tape for pairs of rows, one number kept for each step and row"
    cost = f"{len(needed.equations)} equations, {len(quadratures)} quadratures; {kept}"
    return Choice(output, "covariance", reason, accuracy, cost)


def _particles(output: Output, reason: str) -> Choice:
    return Choice(output, "particles", reason or "the general evaluator", "error bars, about 1/sqrt(samples) or less",
                  "samples x vectors kept; samples x rank for each matrix product")


def plan_table(plan: Plan) -> str:
    """The choices as lines of text."""
    lines = []
    for c in plan.choices:
        lines += [f"output {c.output.name}: {c.evaluator}", f"    reason:   {c.reason}", f"    accuracy: {c.accuracy}",
                  f"    cost:     {c.cost}"]
    return "\n".join(lines) + "\n"
