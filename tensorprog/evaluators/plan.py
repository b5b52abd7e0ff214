"""The evaluator of each output: the most exact one that applies, and why (docs/architecture.md, Evaluators)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tensorprog.evaluators import covariance, diagonal, numbers, particles, span
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Choice, zero
from tensorprog.evaluators.tiles import tiles_of
from tensorprog.ir.program import Output
from tensorprog.passes.diagonals import NONE, Diagonal, diagonal_outputs
from tensorprog.passes.linear import Linear
from tensorprog.progress import announce

if TYPE_CHECKING:
    from tensorprog.covariance.build import Covered
    from tensorprog.covariance.system import System


@dataclass(frozen=True)
class Plan:
    """The choice for every output; `linear` holds the program of those that `span` evaluates, `covered` are the
    others that have equations, `diagonal` holds the program of those of the rest that `diagonal` evaluates. `tiled` says whether
    some of `covered` are kernels over pairs of rows that tiles compute. `found` gives their equations; None: there are none."""

    choices: tuple[Choice, ...]
    linear: Linear
    covered: tuple[str, ...]
    diagonal: Diagonal
    tiled: bool
    found: Callable[[], Covered] | None

    @cached_property
    def system(self) -> System | None:
        """The equations of the outputs that `covariance` evaluates. A run of a program that was planned before asks for
        them only if it needs more than the emitted module."""
        return self.found().system if self.found is not None else None

    def names(self, evaluator: str) -> list[str]:
        """The outputs of one evaluator."""
        return [c.output.name for c in self.choices if c.evaluator == evaluator]


def plan_of(analysis: Analysis) -> Plan:
    """The plan of a program; made once, and from the disk if it was planned before."""
    if analysis.made.plan is None:
        analysis.made.plan = _kept(analysis)
    return analysis.made.plan


def _kept(analysis: Analysis) -> Plan:
    kept: Any = analysis.shelf.recall("plan") if analysis.shelf is not None else None
    if kept is not None:
        choices, linear, names, diagonals, tiled = kept
        return Plan(choices, linear, names, diagonals, tiled, lambda: _covered(analysis, linear))
    plan = _made(analysis)
    if analysis.shelf is not None:
        analysis.shelf.keep("plan", (plan.choices, plan.linear, plan.covered, plan.diagonal, plan.tiled))
    return plan


def _covered(analysis: Analysis, linear: Linear) -> Covered:
    """What `covariance` covers of the outputs that are not linear."""
    if linear.program is None:
        return analysis.covered
    return analysis.kept("equations of the rest", lambda: _covered_rest(analysis, linear))


def _covered_rest(analysis: Analysis, linear: Linear) -> Covered:
    announce("planning: looking for equations")
    return analysis.equations(list(linear.reasons))


def _made(analysis: Analysis) -> Plan:
    """Choose an evaluator for every output of the limit program."""
    if analysis.numbers is not None and not (averages := plan_of(analysis.numbers[1])).names(particles.NAME):
        return _by_numbers(analysis, averages)
    linear = _without_kernels(analysis)
    found = _covered(analysis, linear)
    covered = found.system.outputs if found.system is not None else {}
    rest = [o for o in analysis.limit.outputs
            if o.name not in analysis.vanishing and o.cell in linear.reasons and o.cell not in covered]
    diagonals = diagonal_outputs(analysis.limit, rest) if rest else NONE
    choices = []
    for output in analysis.limit.outputs:
        if output.name in analysis.vanishing:
            choices.append(zero(output))
        elif output.cell not in linear.reasons:
            choices.append(span.choice(output))
        elif found.system is not None and output.cell in covered:
            choices.append(covariance.choice(output, analysis, found.system))
        elif output.cell not in diagonals.reasons:
            choices.append(diagonal.choice(output, diagonals))
        else:
            choices.append(particles.choice(output, found.reasons.get(output.cell, "")))
    names = tuple(o.name for o in analysis.limit.outputs if o.cell in covered)
    return Plan(tuple(choices), linear, names, diagonals, _tiled(analysis, found), lambda: found)


def _by_numbers(analysis: Analysis, averages: Plan) -> Plan:
    """The plan where training is equations between numbers, and their averages are exact."""
    linear = Linear(None, {o.cell: "it is trained in the kernel regime" for o in analysis.limit.outputs})
    choices = tuple(numbers.choice(o, analysis, averages.choices) for o in analysis.limit.outputs)
    return Plan(choices, linear, (), NONE, False, None)


def _tiled(analysis: Analysis, found: Covered) -> bool:
    return found.system is not None and tiles_of(analysis, found.system).found


def _without_kernels(analysis: Analysis) -> Linear:
    """The outputs that are linear; none if all of those are kernels over pairs of rows, which tiles compute without a
    direction for every row and layer."""
    linear = analysis.linear
    outputs = [o for o in analysis.limit.outputs if o.cell not in linear.reasons]
    if not outputs or not _are_pairs_of_rows(analysis, outputs):
        return linear
    system = analysis.covered.system
    if system is None or not all(tiles_of(analysis, system).has(o.name) for o in outputs):
        return linear
    return Linear(None, {**linear.reasons} | dict.fromkeys((o.cell for o in outputs), "it is a kernel over pairs of rows"))


def _are_pairs_of_rows(analysis: Analysis, outputs: list[Output]) -> bool:
    from tensorprog.pairs.lower import pairs_of_rows  # a planned program does without SymPy

    return all(pairs_of_rows(analysis.limit, o.cell) for o in outputs)


def plan_table(plan: Plan) -> str:
    """The choices as lines of text."""
    lines = []
    for c in plan.choices:
        lines += [f"output {c.output.name}: {c.evaluator}", f"    reason:   {c.reason}", f"    accuracy: {c.accuracy}",
                  f"    cost:     {c.cost}"]
    return "\n".join(lines) + "\n"
