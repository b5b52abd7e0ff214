"""Covariances of two levels that are zero whenever one level is far enough behind the other, by induction.

A skip connection relates Cov(h_l, Zhat_m) to Cov(h_{l-1}, Zhat_m), and so on down to the first level: all of them are
zero for l <= m because every case is a multiple of another of the same kind. Equations end at their first levels, so
assuming the claim for what an equation calls is an induction on the depth of calls.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy
from sympy import Expr

from tensorprog.covariance.guards import known, simplify_guards
from tensorprog.covariance.nodes import Call, IsZero, flat
from tensorprog.covariance.system import System
from tensorprog.pairs.recognise.level_arguments import Levels

#: Claims that a proof assumes one inside of another: proofs that succeed for the tests' networks have 5 at most.
MOST_STEPS = 6

Claim = tuple[int, int, int]


class Vanishing:
    """Proofs that equations are zero where argument q is at least `gap` more than argument p."""

    def __init__(self, system: System, kinds: Levels):
        self.system = system
        self._places = {number: sorted(places) for number, places in _levels(system, kinds).items()}
        self._known: dict[tuple[Claim, int], bool] = {}

    def is_zero(self, number: int, args: tuple[Expr, ...]) -> bool:
        """Whether an equation is zero at arguments, of which two are levels."""
        return any(self._proved(claim, gap) for claim, gap in self._claims(number, args))

    def _claims(self, number: int, args: tuple[Expr, ...]) -> Iterator[tuple[Claim, int]]:
        places = self._places.get(number, [])
        if len(places) == 2:
            for p, q in (places, places[::-1]):
                gap = flat(args[q] - args[p])
                if gap.is_Integer:
                    yield (number, p, q), int(gap)

    def _proved(self, claim: Claim, gap: int) -> bool:
        if (claim, gap) not in self._known:
            self._known[claim, gap] = self._holds(claim, gap, {})
        return self._known[claim, gap]

    def _holds(self, claim: Claim, gap: int, assumed: dict[Claim, int]) -> bool:
        # The induction hypothesis, which is about all gaps that are at least as large.
        if claim in assumed and gap >= assumed[claim]:
            return True
        # The same claim with a smaller gap would have to be proved first, and so on.
        if len(assumed) >= MOST_STEPS or claim in assumed:
            return False
        number, p, q = claim
        equation = self.system.equations[number]
        ahead = equation.params[q] - equation.params[p]
        for guards, expr in equation.cases:
            decided = [simplify_guards(g, (ahead - gap,)) for g in guards]
            if any(g == 0 for g in decided):
                continue
            # What the guards of this case say may decide those inside of it.
            facts = (ahead - gap, *(f for g in guards for f in known(g)))
            rest = flat(simplify_guards(expr, facts))
            for term in sympy.Add.make_args(rest):
                if term != 0 and not any(self._factor_is_zero(f, ahead, gap, {**assumed, claim: gap})
                                         for f in sympy.Mul.make_args(term)):
                    return False
        return True

    def _factor_is_zero(self, factor: Expr, ahead: Expr, gap: int, assumed: dict[Claim, int]) -> bool:
        if not isinstance(factor, Call):
            return False
        number = int(factor.args[0])
        places = self._places.get(number, [])
        if len(places) != 2:
            return False
        for p, q in (places, places[::-1]):
            more = flat(factor.args[q + 1] - factor.args[p + 1] - ahead)
            if more.is_Integer and self._holds((number, p, q), gap + int(more), assumed):
                return True
        return False


def _levels(system: System, kinds: Levels) -> dict[int, set[int]]:
    """The arguments of recursions that are levels: those that move, and those that a case compares with one."""
    found: dict[int, set[int]] = {}
    for number, place in kinds.moving:
        found.setdefault(number, set()).add(place)
    for number, places in found.items():
        equation = system.equations[number]
        moving = {equation.params[p] for p in places}
        for _, expr in equation.cases:
            for guard in expr.atoms(IsZero):
                compared = guard.free_symbols if guard.free_symbols & moving else set()
                places |= {k for k, param in enumerate(equation.params) if param in compared}
    return found
