"""Which Gaussian parts a limit variable depends on, as ranges of iterations.

A variable `q[t, a]` may depend on the Gaussian part of a site in iterations (s, b): the answer is a set of boxes, one
interval a loop of the site, with ends in the indices of `q`; None is an open end. `{s <= t-1, any b}` and
`{s = t, b = a}` are two boxes. The equations are iterated until nothing changes; ends that keep moving are opened. The
boxes may be too large, never too small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import sympy
from sympy import Expr

from tensorprog.derive.binders import Binder
from tensorprog.derive.symbols import OPAQUE, Atom, Dot, GaussianPart, Prod, Rest
from tensorprog.derive.system import HatSite, LimitSystem

Interval = tuple[Expr | None, Expr | None]
Box = tuple[Interval, ...]
Reach = dict[int, tuple[Box, ...]]

# A solution is reached long before: the examples change something for at most 7 rounds, and the largest set has 8
# boxes.
ROUNDS = 40
MOST_BOXES = 20
# Rounds until ends that keep moving are opened; after twice as many, all ends are.
PATIENCE = 4


@dataclass(slots=True)
class VariableUse:
    """A variable in an expression, under the sums around it."""

    atom: Atom
    binders: tuple[Binder, ...]


def uses(expr: Expr, binders: tuple[Binder, ...] = ()) -> Iterator[VariableUse]:
    """The variables of an expression outside of expectations."""
    if isinstance(expr, Atom):
        yield VariableUse(expr, binders)
    elif isinstance(expr, sympy.Sum):
        inner = tuple(Binder(s, low, high) for s, low, high in expr.limits)
        yield from uses(expr.function, (*binders, *reversed(inner)))
    # An expectation is a number: no variable is read through it.
    elif not isinstance(expr, OPAQUE):
        for arg in expr.args:
            yield from uses(arg, binders)


@dataclass(slots=True)
class Dependence:
    """The reach of every equation's left side and of every site, in terms of their own loops' symbols. `dropped` are
    pairs of a site and a site of the transposed product whose response was shown to vanish."""

    system: LimitSystem
    dropped: frozenset[tuple[int, int]] = frozenset()
    of_equation: list[Reach] = field(default_factory=list)
    of_dot: list[Reach] = field(default_factory=list)

    def solve(self) -> Dependence:
        # The least solution, from below. Larger ones are true as well, but have responses that are zero.
        self.of_equation = [{} for _ in self.system.equations]
        self.of_dot = [{} for _ in self.system.hats]
        seen: list[object] = [None] * len(self.system.hats)
        for rounds in range(ROUNDS):
            changed = False
            for number, equation in enumerate(self.system.equations):
                found = self.of_expression(equation.right, equation.loops)
                changed |= self._grow(rounds, self.of_equation[number], found, equation.loops, number)
            for number, site in enumerate(self.system.hats):
                inputs = self._inputs(number, site)
                # A response is made from these: if they are as before, so is it.
                if inputs == seen[number]:
                    continue
                seen[number] = inputs
                changed |= self._grow(rounds, self.of_dot[number], self._through_response(number, site), site.loops,
                                      site.position)
            if not changed:
                return self
        raise AssertionError("the dependence of limit variables does not settle")

    def of_expression(self, expr: Expr, loops: tuple[Binder, ...]) -> Reach:
        """The reach of an expression in the symbols of some loops."""
        total: Reach = {}
        fixed = {b.symbol for b in loops}
        for use in uses(expr):
            for reach in self.of_atom(use.atom):
                self._collect(total, {site: tuple(_eliminated(box, use.binders, fixed) for box in boxes)
                              for site, boxes in reach.items()})
        return total

    def of_atom(self, atom: Atom) -> Iterator[Reach]:
        """The reaches that a variable has by its definitions, in its own indices."""
        if isinstance(atom, GaussianPart | Dot | Rest):
            found = self.system.site_of(atom)
            if found is not None:
                site, mapping = found
                number = self.system.hats.index(site)
                if isinstance(atom, GaussianPart):
                    # Of one site's Gaussian parts each is a variable of its own, however correlated they are:
                    # derivatives are partial ones (TP IV, Definition 7.3 and Remark F.1).
                    yield {number: (tuple((mapping.get(s, s), mapping.get(s, s)) for s in site.symbols),)}
                elif isinstance(atom, Dot):
                    yield _mapped(self.of_dot[number], mapping)
                else:  # It takes away only what the vector depends on already.
                    yield _mapped(self.of_expression(site.arg, site.loops), mapping)
            return
        definitions = self.system.numbered_definitions(atom)
        for number, mapping, _ in definitions:
            yield _mapped(self.of_equation[number], mapping)
        if isinstance(atom, Prod) and not definitions:  # Not written out: it may depend on anything.
            yield {k: (tuple((None, None) for _ in site.symbols),) for k, site in enumerate(self.system.hats)}

    def _collect(self, reach: Reach, more: Reach) -> None:
        """Add boxes, exactly."""
        for site, boxes in more.items():
            for box in boxes:
                reach[site] = _union(reach.get(site, ()), box)

    def _grow(self, rounds: int, reach: Reach, more: Reach, loops: tuple[Binder, ...], position: int) -> bool:
        """Add boxes, widened but never beyond what ran before; True if that says anything new."""
        changed = False
        for site, boxes in more.items():
            have = reach.get(site, ())
            for wanted in boxes:
                box = clipped(wanted, self.system.hats[site], loops, position)
                if box is not None and not any(_contains(old, box) for old in have):
                    # Ends that keep moving are opened, and then all ends: boxes may be too large, and the rounds come
                    # to an end.
                    if rounds > 2 * PATIENCE:
                        box = clipped(tuple((None, None) for _ in box), self.system.hats[site], loops, position)
                    elif rounds > PATIENCE:
                        box = clipped(_opened(have, box), self.system.hats[site], loops, position)
                    assert box is not None, "a larger box is not empty"
                    have = _widened(have, box, self.system.hats[site].loops)
            changed |= set(have) != set(reach.get(site, ()))
            reach[site] = have
        return changed

    def responses(self, number: int) -> Iterator[tuple[int, Box]]:
        """The uses of the transposed product that the argument of a site depends on."""
        site = self.system.hats[number]
        for other, boxes in sorted(self.of_expression(site.arg, site.loops).items()):
            target = self.system.hats[other]
            # Zdot of W x is made of uses of W.T alone, and that of W.T y of uses of W.
            if target.matrix == site.matrix and target.transposed != site.transposed \
                    and (number, other) not in self.dropped:
                for box in boxes:
                    run = clipped(box, target, site.loops, site.position)
                    narrowed = None if run is None else same_member(site, target, run)
                    if narrowed is not None:
                        yield other, narrowed

    def _inputs(self, number: int, site: HatSite) -> tuple:
        """What the reach of a response is made from."""
        opposite = [s for s in self.system.hats if s.matrix == site.matrix and s.transposed != site.transposed]
        return tuple(self.of_expression(s.arg, s.loops) for s in (site, *opposite))

    def _through_response(self, number: int, site: HatSite) -> Reach:
        """A response is a sum of the transposed product's arguments."""
        total: Reach = {}
        fixed = {b.symbol for b in site.loops}
        for other, box in self.responses(number):
            target = self.system.hats[other]
            binders = tuple(Binder(loop.symbol, loop.low if low is None else low, loop.high if high is None else high)
                            for loop, (low, high) in zip(target.loops, box, strict=True))
            # Dummies: the loops of the use that is summed over may have the names of the site's own.
            renamed = {b.symbol: sympy.Dummy(integer=True) for b in binders}
            inner = self.of_expression(target.arg.xreplace(renamed),
                                       tuple(Binder(renamed[b.symbol], b.low, b.high) for b in binders))
            for source, boxes in inner.items():
                bounds = tuple(Binder(renamed[b.symbol], b.low, b.high) for b in binders)
                self._collect(total, {source: tuple(_eliminated(b, bounds, fixed) for b in boxes)})
        return total


def same_member(site: HatSite, other: HatSite, box: Box) -> Box | None:
    """The part of a box in which the other site uses the same member of a family of matrices."""
    if not isinstance(site.label, sympy.Indexed):
        return box
    intervals = list(box)
    for mine, theirs in zip(site.label.indices, other.label.indices, strict=True):
        for position, symbol in enumerate(other.symbols):
            shift = theirs - symbol
            if not shift.has(symbol):
                wanted = sympy.expand(mine - shift)
                low, high = intervals[position]
                if (low is not None and _less(wanted, low)) or (high is not None and _less(high, wanted)):
                    return None
                intervals[position] = (wanted, wanted)
                break
        else:
            # Indices that differ by a number are other members of the family. Of those that may be equal, all of the
            # box is kept.
            if sympy.expand(mine - theirs).is_Integer and mine != theirs:
                return None
    return tuple(intervals)


# --- boxes ---------------------------------------------------------------------------------------------------


@cache
def _less(left: Expr, right: Expr) -> bool:
    difference = sympy.expand(right - left)
    return bool(difference.is_Integer and difference > 0)


def _mapped(reach: Reach, mapping: Mapping[Expr, Expr]) -> Reach:
    return {site: tuple(tuple((_at(low, mapping), _at(high, mapping)) for low, high in box) for box in boxes)
            for site, boxes in reach.items()}


def _at(end: Expr | None, mapping: Mapping[Expr, Expr]) -> Expr | None:
    return None if end is None else end.xreplace(mapping)


def _eliminated(box: Box, binders: tuple[Binder, ...], fixed: set[Expr]) -> Box:
    """The box with every index that is not of the fixed loops replaced by its extreme values."""
    return tuple(_interval(low, high, binders, fixed) for low, high in box)


def _interval(low: Expr | None, high: Expr | None, binders: tuple[Binder, ...], fixed: set[Expr]) -> Interval:
    constant = low is not None and low == high
    low = _extreme(low, binders, fixed, False)
    high = _extreme(high, binders, fixed, True)
    if constant and low is not None and low == high:
        return low, high
    # Ends without an index of the equation's own, as 0 or T - 1, mostly are the bounds of the site's loop, for which an
    # open end stands.
    return (low if low is not None and low.free_symbols & fixed else None,
            high if high is not None and high.free_symbols & fixed else None)


def _extreme(end: Expr | None, binders: tuple[Binder, ...], fixed: set[Expr], largest: bool) -> Expr | None:
    if end is None:
        return None
    # Inner indices first, whose ends may hold outer ones.
    for binder in reversed(binders):
        if end.has(binder.symbol):
            rest = sympy.expand(end - binder.symbol)
            if rest.has(binder.symbol):
                # As of 2*t: which end is the extreme one, hangs on a sign.
                return None
            end = sympy.expand((binder.high if largest else binder.low) + rest)
    loose = {s for s in end.free_symbols - fixed if isinstance(s, sympy.Dummy) or "#" in s.name}
    return None if loose else end


def _union(boxes: tuple[Box, ...], box: Box) -> tuple[Box, ...]:
    if any(_contains(old, box) for old in boxes):
        return boxes
    return (*(old for old in boxes if not _contains(box, old)), box)


def clipped(box: Box, site: HatSite, loops: tuple[Binder, ...], position: int) -> Box | None:
    """The part of a box that has run, judged by the outermost common loop."""
    # Iterations are ordered by a common outermost loop; without one, all of the box may have run.
    if not loops or not site.loops or loops[0].symbol != site.loops[0].symbol:
        return box
    time, forward = loops[0].symbol, loops[0].forward
    # In a common inner loop as well, the statement further down has run in this iteration of the outer one: at earlier
    # inner iterations.
    nested = len(loops) > 1 and len(site.loops) > 1 and loops[1].symbol == site.loops[1].symbol
    # A statement further down the loop's body has run in earlier iterations alone.
    if site.position > position and not nested:
        time = time - 1 if forward else time + 1
    low, high = box[0]
    if forward:
        if low is not None and _less(time, low):
            return None
        return ((low, time if high is None or _less(time, high) else high), *box[1:])
    if high is not None and _less(high, time):
        return None
    return ((time if low is None or _less(low, time) else low, high), *box[1:])


def _opened(have: tuple[Box, ...], box: Box) -> Box:
    """The box without the ends that keep moving, as far as they differ from the most similar box."""
    def distance(old: Box) -> int:
        return sum(a != b for a, b in zip(old, box, strict=True))

    if not have:
        return box
    near = min(have, key=distance)
    return tuple(new if new == old else (new[0] if new[0] == old[0] else None, new[1] if new[1] == old[1] else None)
                 for old, new in zip(near, box, strict=True))


def _contains(outer: Box, inner: Box) -> bool:
    return all((a is None or (c is not None and _at_most(a, c))) and (b is None or (d is not None and _at_most(d, b)))
               for (a, b), (c, d) in zip(outer, inner, strict=True))


def _at_most(left: Expr, right: Expr) -> bool:
    return left == right or _less(left, right)


def _widened(have: tuple[Box, ...], box: Box, loops: tuple[Binder, ...]) -> tuple[Box, ...]:
    """The boxes with one more. Of two single iterations of a loop, the earlier one comes to stand for all before it."""
    # So many boxes say little more than that everything can be reached, and each costs a comparison with all others.
    if len(have) >= MOST_BOXES:
        return (tuple((None, None) for _ in box),)
    for old in have:
        differing = [i for i, (a, b) in enumerate(zip(old, box, strict=True)) if a != b]
        if len(differing) != 1:
            continue
        position = differing[0]
        (low, high), (other, top) = old[position], box[position]
        if low is None or low != high or other is None or other != top or not sympy.expand(low - other).is_Integer:
            continue
        forward = loops[position].forward
        earlier, later = (box, old) if _less(other, low) == forward else (old, box)
        end = earlier[position][0]
        opened = (*earlier[:position], (None, end) if forward else (end, None), *earlier[position + 1:])
        rest = tuple(b for b in have if b is not old)
        return _union(_union(rest, later), opened)
    return _union(have, box)
