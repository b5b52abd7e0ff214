"""The evaluator of each output: the most exact one that applies, and why (docs/architecture.md, Evaluators)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorprog.evaluators import covariance, numbers, particles
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Choice, zero
from tensorprog.evaluators.evaluator import Evaluator, Share
from tensorprog.evaluators.table import EVALUATORS, in_order

if TYPE_CHECKING:
    from tensorprog.covariance.system import System


@dataclass(frozen=True)
class Plan:
    """The choice for every output.

    Attributes:
        choices: one for each output, in order.
        shares: what every evaluator covers of the outputs that those before it leave, by name.
        analysis: the program.
    """

    choices: tuple[Choice, ...]
    shares: Mapping[str, Share]
    analysis: Analysis

    @property
    def system(self) -> System | None:
        """The equations of the outputs that `covariance` evaluates."""
        own = self.shares.get(covariance.NAME)
        return covariance.system_of(self.analysis, own) if own is not None else None

    def names(self, evaluator: str) -> list[str]:
        """The outputs of one evaluator."""
        return [c.output.name for c in self.choices if c.evaluator == evaluator]

    def whole(self) -> Evaluator:
        """The first evaluator that covers all outputs and always has values, whose module is that of the program; particles, if
        there are no outputs, but draws alone."""
        names = {o.name for o in self.analysis.limit.outputs}
        covering = (e for e in in_order() if e.total and e.name in self.shares and names <= set(self.shares[e.name].names))
        # Particles cover every output: there is always one.
        return next(covering) if names else EVALUATORS[particles.NAME]


def plan_of(analysis: Analysis) -> Plan:
    """The plan of a program; made once, and from the disk if it was planned before."""
    if analysis.made.plan is None:
        analysis.made.plan = _kept(analysis)
    return analysis.made.plan


def _kept(analysis: Analysis) -> Plan:
    # Without the analysis, which holds the program.
    kept: Any = analysis.shelf.recall("plan") if analysis.shelf is not None else None
    if kept is not None:
        choices, shares = kept
        return Plan(choices, shares, analysis)
    plan = _made(analysis)
    if analysis.shelf is not None:
        analysis.shelf.keep("plan", (plan.choices, plan.shares))
    return plan


def averages_of(analysis: Analysis) -> Plan | None:
    """Where training is equations between numbers, the plan of their averages, if that needs no particles."""
    if analysis.numbers is None:
        return None
    plan = plan_of(analysis.numbers[1])
    return None if plan.names(particles.NAME) else plan


def _made(analysis: Analysis) -> Plan:
    """Choose an evaluator for every output of the limit program."""
    outputs = analysis.limit.outputs
    # Equations between numbers are exact as far as averages are; by particles, averages would be worse than the vectors themselves.
    if (averages := averages_of(analysis)) is not None:
        choices = tuple(numbers.choice(o, analysis, averages.choices) for o in outputs)
        return Plan(choices, {particles.NAME: particles.share(analysis, outputs, False)}, analysis)
    shares: dict[str, Share] = {}
    found: dict[str, Choice] = {o.name: zero(o) for o in outputs if o.name in analysis.vanishing}
    left = list(outputs)
    for evaluator in in_order():
        # The last resort covers what others leave, and what these turn out to have no values of.
        offered = left if evaluator.exact else outputs
        shares[evaluator.name] = evaluator.share(analysis, offered, False)
        own = set(shares[evaluator.name].names)
        for output in left:
            if output.name in own and output.name not in found:
                found[output.name] = evaluator.choice(analysis, output, shares)
        left = [o for o in left if o.name not in own]
    return Plan(tuple(found[o.name] for o in outputs), shares, analysis)


def plan_table(plan: Plan) -> str:
    """The choices as lines of text."""
    lines = []
    for c in plan.choices:
        lines += [f"output {c.output.name}: {c.evaluator}", f"    reason:   {c.reason}", f"    accuracy: {c.accuracy}",
                  f"    cost:     {c.cost}"]
    return "\n".join(lines) + "\n"
