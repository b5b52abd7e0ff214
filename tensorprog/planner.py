"""The evaluator of each output: the most exact one that applies, and why (docs/architecture.md, Evaluators)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tensorprog.driver import Compiled
from tensorprog.ir.program import Output
from tensorprog.progress import announce

if TYPE_CHECKING:
    from tensorprog.covariance.build import Covered
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


@dataclass(frozen=True)
class Plan:
    """The choice for every output; `linear` holds the program of those that `span` evaluates, `covered` are the
    others that have equations, `tiled` says whether some of them are kernels over pairs of rows that tiles compute."""

    choices: tuple[Choice, ...]
    linear: Linear
    covered: tuple[str, ...]
    tiled: bool
    found: Callable[[], Covered]

    @cached_property
    def system(self) -> System | None:
        """The equations of the outputs that `covariance` evaluates. A run of a program that was planned before asks for
        them only if it needs more than the emitted module."""
        return self.found().system

    def names(self, evaluator: str) -> list[str]:
        """The outputs of one evaluator."""
        return [c.output.name for c in self.choices if c.evaluator == evaluator]


def kept_plan(compiled: Compiled) -> Plan:
    """The plan of a program, from the disk if it was planned before."""
    kept = compiled.shelf.recall("plan") if compiled.shelf is not None else None
    if kept is not None:
        choices, linear, names, tiled = kept
        return Plan(choices, linear, names, tiled, lambda: _covered(compiled, linear))
    plan = make_plan(compiled)
    if compiled.shelf is not None:
        compiled.shelf.keep("plan", (plan.choices, plan.linear, plan.covered, plan.tiled))
    return plan


def _covered(compiled: Compiled, linear: Linear) -> Covered:
    """What `covariance` covers of the outputs that are not linear."""
    if linear.program is None:
        return compiled.covered
    return compiled.kept("equations of the rest", lambda: _covered_rest(compiled, linear))


def _covered_rest(compiled: Compiled, linear: Linear) -> Covered:
    from tensorprog.covariance.build import covered

    announce("planning: looking for equations")
    return covered(compiled, list(linear.reasons))


def make_plan(compiled: Compiled) -> Plan:
    """Choose an evaluator for every output of the limit program."""
    if compiled.numbers is not None and not compiled.numbers[1].plan.names("particles"):
        return _by_numbers(compiled)
    linear = _without_kernels(compiled)
    found = _covered(compiled, linear)
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
    cells = found.system.outputs if found.system is not None else {}
    names = tuple(o.name for o in compiled.limit.outputs if o.cell in cells)
    return Plan(tuple(choices), linear, names, _tiled(compiled, found), lambda: found)


def _by_numbers(compiled: Compiled) -> Plan:
    """The plan where training is equations between numbers, and their averages are exact."""
    from tensorprog.covariance.build import Covered
    from tensorprog.passes.linear import Linear

    _, averages, _ = compiled.numbers
    inexact = [c for c in averages.plan.choices if c.evaluator != "span"]
    accuracy = inexact[0].accuracy if inexact else "exact"
    linear = Linear(None, {o.cell: "it is trained in the kernel regime" for o in compiled.limit.outputs})
    choices = tuple(
        Choice(o, "zero", "its power of n is below 0", "exact", "none") if o.name in compiled.vanishing else
        Choice(o, "covariance", "training is equations between numbers (kernel gradient descent), whose kernels are exact",
               accuracy, f"{len(averages.limit.outputs)} families of averages; a step moves numbers alone")
        for o in compiled.limit.outputs)
    return Plan(choices, linear, (), False, lambda: Covered(None, {}))


def _tiled(compiled: Compiled, found: Covered) -> bool:
    from tensorprog.kernel_api import pair_lowerings

    lowered = pair_lowerings(compiled, found.system) if found.system is not None else {}
    return any(not isinstance(value, str) for value in lowered.values())


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
