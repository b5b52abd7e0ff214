"""Zdot: for each product `W x` the uses of the transposed matrix that x depends on, with their coefficients.

    Zdot^{W x} = s * sum over uses W.T y of Z^y * E[d Z^x / d Zhat^{W.T y}]         (TP IV, Definition 7.3)

Of an orthogonal matrix the *rest* R^{W.T y} stands in the place of Z^y (`covariance/gaussian.py`):

    R^{W x} = Z^x - k * sum over uses W.T y of Zhat^{W.T y} * E[d Z^x / d Zhat^{W.T y}]

A use is a box of iterations (`dependence`). Where the box is a single iteration and Z^x is an explicit function of
that Gaussian part the derivative is carried out; elsewhere, and at jumps, it stays a partial derivative, to be read
by Stein's lemma.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import sympy
from sympy import Expr, S

from tensorprog.derive.arrays import where
from tensorprog.derive.binders import Binder, sum_over
from tensorprog.derive.dependence import Box, Dependence, clipped, same_member, uses
from tensorprog.derive.symbols import (
    OPAQUE,
    Atom,
    Cases,
    Dot,
    E,
    GaussianPart,
    NonlinearityBase,
    Response,
    Rest,
    expectation,
    is_random,
)
from tensorprog.derive.system import HatSite, LimitSystem, match_all
from tensorprog.ir.primitives import kink

# Definitions that a derivative is followed through, one inside of another. The examples need at most 5; beyond it the
# derivative stays unevaluated, which is true as well.
DEPTH = 12


@dataclass(frozen=True, slots=True)
class ResponsePiece:
    """`sum over binders of factor * slope * y`, with the slope an expectation; `rough` if it needs Stein's lemma."""

    other: int
    y: Expr
    hat: Expr
    binders: tuple[Binder, ...]
    factor: Expr
    slope: Expr
    rough: bool = False
    condition: sympy.Basic = S.true

    @property
    def coefficient(self) -> Expr:
        return self.factor * self.slope

    @property
    def total(self) -> Expr:
        return self._summed(self.coefficient * self.y)

    def told(self, share: Expr) -> Expr:
        """What the uses have told of the vector that depends on them."""
        return self._summed(share * self.slope * self.hat)

    def _summed(self, term: Expr) -> Expr:
        value = where(term, self.condition)
        for binder in reversed(self.binders):
            value = sum_over(value, binder)
        return value


class ResponsePieces:
    """The pieces of every site's response."""

    def __init__(self, system: LimitSystem, dependence: Dependence):
        self.system, self.dependence = system, dependence
        self.pieces: list[tuple[ResponsePiece, ...]] = [() for _ in system.hats]
        self._known = 0
        # In program order: the response of a site may hold Gaussian parts of earlier ones, never its own.
        for number in range(len(system.hats)):
            self.pieces[number] = tuple(self._of_site(number))
            self._known = number + 1
        # Only now it is known of which arguments nothing was told.
        self.pieces = [tuple(replace(p, y=self._whole(p.y)) for p in pieces) for pieces in self.pieces]

    def total(self, number: int) -> Expr:
        return sympy.Add(*(p.total for p in self.pieces[number]))

    def rest(self, site: HatSite, mapping: dict[Expr, Expr]) -> Expr:
        """What stands for the argument of a site in responses and covariances: the argument itself if entries are
        independent, or if nothing has told of it."""
        if not self.system.scales[site.matrix].orthogonal:
            return site.arg.xreplace(mapping)
        return self._whole(site.rest.xreplace(mapping))

    def written_rest(self, number: int) -> Expr:
        """The rest of a site as its argument and Gaussian parts."""
        site = self.system.hats[number]
        share = self.system.scales[site.matrix].share(site.transposed)
        return sympy.Add(site.arg, *(-p.told(share) for p in self.pieces[number]))

    def without_rests(self, expr: Expr) -> Expr | None:
        """The expression with its rests written out; None where one is a sum over iterations."""
        written: dict[Expr, Expr] = {}
        for rest in expr.atoms(Rest):
            found = self.system.site_of(rest)
            if found is None:
                return None
            number = self.system.hats.index(found[0])
            if any(p.binders for p in self.pieces[number]):
                return None
            written[rest] = self.written_rest(number).xreplace(found[1])
        return expr.xreplace(written)

    def _whole(self, vector: Expr) -> Expr:
        """The argument in the place of a rest of which nothing was told."""
        if not isinstance(vector, Rest):
            return vector
        found = self.system.site_of(vector)
        return vector.args[2] if found and not self.pieces[self.system.hats.index(found[0])] else vector

    def _of_site(self, number: int) -> Iterator[ResponsePiece]:
        site = self.system.hats[number]
        boxes: dict[int, tuple[Box, ...]] = {}
        for other, box in self.dependence.responses(number):
            boxes[other] = (*boxes.get(other, ()), box)
        for other, found in boxes.items():
            target = self.system.hats[other]
            for whole in merged(found, set(site.symbols)):
                part = same_member(site, target, clipped(whole, target, site.loops, site.position) or whole)
                piece = None if part is None else self._piece(site, other, part)
                if piece is not None:
                    yield piece

    def _piece(self, site: HatSite, other: int, box: Box) -> ResponsePiece | None:
        target = self.system.hats[other]
        mapping, binders = self._instance(target, box)
        if any(_is_empty(b) for b in binders):
            return None
        hat = target.hat.xreplace(mapping)
        factor = self.system.scales[site.matrix].factor(site.transposed)
        derivative = None
        if not binders:
            derivative = self.derivative(site.arg, other, tuple(mapping.get(s, s) for s in target.symbols), DEPTH)
        rough = derivative is not None and _is_rough(derivative)
        if derivative is None or rough:
            # Not carried out: sums of iterations have no single Gaussian part to differentiate by, and derivatives of
            # jumps are Dirac deltas (TP III, Remark 2.12).
            slope = E(Response(site.arg, hat))
        elif derivative == 0:
            return None
        else:
            slope = expectation(derivative)
        condition = self._condition(target, mapping, target.arg.xreplace(mapping))
        y = (target.rest if self.system.scales[site.matrix].orthogonal else target.arg).xreplace(mapping)
        return ResponsePiece(other, y, hat, binders, factor, slope, rough, condition)

    def _condition(self, target: HatSite, mapping: dict[Expr, Expr], y: Expr) -> sympy.Basic:
        """When a single iteration is one that ran, unless y is zero in those that did not."""
        conditions = []
        scope = self.system.scope
        for loop in target.loops:
            # As t - 1 at t = 0: that use did not run, and there is no such term.
            value = mapping[loop.symbol]
            low = loop.low.xreplace(mapping)
            if value != loop.symbol and scope.inside(value, low, loop.high.xreplace(mapping)) is None:
                symbols = [s for s in value.free_symbols if s in scope.ranges]
                least = scope.bounds(value)[0]
                missing = sympy.expand(low - least)
                if len(symbols) == 1 and missing.is_Integer and missing > 0:
                    first = scope.ranges[symbols[0]][0]
                    if not all(self._is_zero(y.xreplace({symbols[0]: first + k})) for k in range(int(missing))):
                        conditions.append(sympy.Gt(symbols[0], first + missing - 1))
        return sympy.And(*conditions)

    def _is_zero(self, atom: Expr) -> bool:
        found = [equation for equation, _, certain in self.system.definitions(atom) if certain]
        return len(found) == 1 and found[0].right == 0

    def _instance(self, target: HatSite, box: Box) -> tuple[dict[Expr, Expr], tuple[Binder, ...]]:
        """The iterations of a box: fixed values, and binders over the rest."""
        mapping: dict[Expr, Expr] = {}
        binders: list[Binder] = []
        for loop, (low, high) in zip(target.loops, box, strict=True):
            if low is not None and low == high:
                mapping[loop.symbol] = low
                continue
            low = loop.low.xreplace(mapping) if low is None else low
            high = loop.high.xreplace(mapping) if high is None else high
            symbol = self.system.scope.fresh(loop.symbol, low, high)
            mapping[loop.symbol] = symbol
            binders.append(Binder(symbol, low, high, loop.forward))
        return mapping, tuple(binders)

    # --- the derivative ---------------------------------------------------------------------------------------

    def derivative(self, expr: Expr, target: int, values: tuple[Expr, ...], depth: int) -> Expr | None:
        """d expr / d hat of a site in one iteration; None where that is not explicit."""
        leaves: dict[Expr, sympy.Dummy] = {}
        # Variables and random sums become symbols, by which SymPy differentiates; what these depend on is the leaf's
        # matter.
        outer = _with_leaves(expr, leaves)
        total: Expr = S.Zero
        back = {dummy: leaf for leaf, dummy in leaves.items()}
        for leaf, dummy in leaves.items():
            inner = self._leaf(leaf, target, values, depth)
            if inner is None:
                return None
            # The chain rule: a partial derivative by each variable in the expression, times that variable's own.
            if inner != 0:
                total += outer.diff(dummy).xreplace(back) * inner
        return total

    def _leaf(self, leaf: Expr, target: int, values: tuple[Expr, ...], depth: int) -> Expr | None:
        site = self.system.hats[target]
        if isinstance(leaf, GaussianPart):
            return self._between_hats(leaf, site, values)
        if not self._may_reach(leaf, target, values):
            return S.Zero
        if depth == 0 or not isinstance(leaf, Atom):
            return None
        if isinstance(leaf, Dot | Rest):
            return self._of_part(leaf, target, values, depth)
        found = [(self.derivative(equation.right.xreplace(mapping), target, values, depth - 1),
                  # Of a start and a step, `v[0] = v` and `v[t + 1] = ...`, which one defines the variable hangs on its
                  # index.
                  S.true if certain else same_indices(equation.left, leaf))
                 for equation, mapping, certain in self.system.definitions(leaf)
                 if certain or not self._excludes(equation.left, leaf, site, values)]
        return by_cases(found)

    def _between_hats(self, leaf: Expr, site: HatSite, values: tuple[Expr, ...]) -> Expr | None:
        if leaf == site.hat.xreplace(dict(zip(site.symbols, values, strict=True))):
            return S.One
        found = match_all(site.hat, leaf, set(site.symbols))
        if found is None:
            return S.Zero
        # The same site at other indices: it is another Gaussian for sure only if some index differs by a number.
        apart = any(sympy.expand(found[0].get(s, s) - v).is_Integer and sympy.expand(found[0].get(s, s) - v) != 0
                    for s, v in zip(site.symbols, values, strict=True))
        return S.Zero if apart else None

    def _of_part(self, leaf: Dot | Rest, target: int, values: tuple[Expr, ...], depth: int) -> Expr | None:
        found = self.system.site_of(leaf)
        if found is None:
            return None
        number = self.system.hats.index(found[0])
        pieces = self.pieces[number]
        # A site without pieces may still get some.
        if any(p.binders for p in pieces) or not pieces and (isinstance(leaf, Dot) or number >= self._known):
            return None
        total = self.total(number) if isinstance(leaf, Dot) else self.written_rest(number)
        return self.derivative(total.xreplace(found[1]), target, values, depth - 1)

    def _may_reach(self, leaf: Expr, target: int, values: tuple[Expr, ...]) -> bool:
        for use in uses(leaf):
            for reach in self.dependence.of_atom(use.atom):
                for box in reach.get(target, ()):
                    if not any(_misses(interval, value, use.binders) for interval, value in zip(box, values,
                    strict=True)):
                        return True
        return False

    def _excludes(self, left: Expr, leaf: Expr, site: HatSite, values: tuple[Expr, ...]) -> bool:
        """Whether an equation for a fixed index speaks of an iteration in which the site did not run yet."""
        for fixed, asked in zip(left.args, leaf.args, strict=True):
            if fixed.is_Integer and len(asked.free_symbols) == 1:
                symbol = next(iter(asked.free_symbols))
                at = {symbol: fixed - (asked - symbol)}
                for loop, value in zip(site.loops, values, strict=True):
                    if self.system.scope.inside(value.xreplace(at), loop.low, loop.high) is False:
                        return True
        return False


def same_indices(left: Expr, leaf: Expr) -> sympy.Basic:
    """The condition that a variable is the one that an equation for fixed indices is about."""
    return sympy.And(*(sympy.Eq(asked, fixed) for fixed, asked in zip(left.args, leaf.args, strict=True)
                       if fixed.is_Integer and fixed != asked))


def by_cases(found: list[tuple[Expr | None, sympy.Basic]]) -> Expr | None:
    """One value for all indices but those of the special cases, which have values of their own."""
    known = [(value, condition) for value, condition in found if value is not None]
    general = [value for value, condition in known if condition == S.true]
    # With two definitions for all indices it is not known which one applies.
    if not found or len(known) < len(found) or len(general) > 1:
        return None
    if all(value == known[0][0] for value, _ in known):
        return known[0][0]
    if not general:
        return None
    return general[0] + sympy.Add(*(where(value - general[0], condition) for value, condition in known
                                    if condition != S.true))


def _with_leaves(expr: Expr, leaves: dict[Expr, sympy.Dummy]) -> Expr:
    """The expression with its variables and random sums replaced by symbols."""
    if isinstance(expr, Atom) or (isinstance(expr, sympy.Sum | Cases) and is_random(expr)):
        return leaves.setdefault(expr, sympy.Dummy())
    if isinstance(expr, OPAQUE) or not expr.args:
        return expr
    return expr.func(*(_with_leaves(a, leaves) for a in expr.args))


def _misses(interval: tuple[Expr | None, Expr | None], value: Expr, binders: tuple[Binder, ...]) -> bool:
    low, high = (_extreme_end(end, binders, largest) for end, largest in zip(interval, (False, True), strict=True))
    return (low is not None and _positive(low - value)) or (high is not None and _positive(value - high))


def _extreme_end(end: Expr | None, binders: tuple[Binder, ...], largest: bool) -> Expr | None:
    for binder in reversed(binders):
        if end is not None and end.has(binder.symbol):
            end = sympy.expand(end.xreplace({binder.symbol: binder.high if largest else binder.low}))
    return end


def _positive(expr: Expr) -> bool:
    expr = sympy.expand(expr)
    return bool(expr.is_Integer and expr > 0)


def _is_empty(binder: Binder) -> bool:
    return _positive(binder.low - binder.high)


def _is_rough(expr: Expr) -> bool:
    # As step'(h) in a derivative of relu'(h): a Dirac delta.
    return any(kink(f.fn) == "jump" and f.order > 0 for f in expr.atoms(NonlinearityBase))


def merged(boxes: tuple[Box, ...], own: set[Expr]) -> tuple[Box, ...]:
    """Disjoint boxes: single iterations are joined to the ranges that they border on, but for the current iteration,
    and boxes that may overlap to the smallest box around both."""
    for first in boxes:
        for second in boxes:
            if first is not second:
                joined = _joined(first, second, own)
                # Boxes that overlap would count a use twice; where the hull is too large, derivatives vanish.
                if joined is None and not _disjoint(first, second):
                    joined = _hull(first, second)
                if joined is not None:
                    return merged((*(b for b in boxes if b is not first and b is not second), joined), own)
    return boxes


def _disjoint(first: Box, second: Box) -> bool:
    return any((b is not None and c is not None and _positive(c - b)) or (a is not None and d is not None
                                                                         and _positive(a - d))
               for (a, b), (c, d) in zip(first, second, strict=True))


def _hull(first: Box, second: Box) -> Box:
    return tuple((_outermost(a, c, -1), _outermost(b, d, 1)) for (a, b), (c, d) in zip(first, second, strict=True))


def _outermost(one: Expr | None, other: Expr | None, sign: int) -> Expr | None:
    """The smaller (sign -1) or larger (sign 1) of two ends; None where they cannot be compared."""
    if one is None or other is None or one == other:
        return None if one is None or other is None else one
    difference = sympy.expand(sign * (one - other))
    return (one if difference > 0 else other) if difference.is_Integer else None


def _joined(first: Box, second: Box, own: set[Expr]) -> Box | None:
    differing = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    if not differing:
        return first
    if len(differing) > 1:
        return None
    position = differing[0]
    (low, high), (other, top) = first[position], second[position]
    # The current iteration keeps its own term, whose derivative can be carried out: the term r = t of the response of
    # W.T, which the statement of Theorem 6.4 in TP IV leaves out, though Definition 7.3 has it.
    if low is None or low != high or low in own:
        return None
    if other is None and top is not None and sympy.expand(low - top) in (0, 1):
        return (*first[:position], (None, low), *first[position + 1:])
    if top is None and other is not None and sympy.expand(other - low) in (0, 1):
        return (*first[:position], (low, None), *first[position + 1:])
    return None
