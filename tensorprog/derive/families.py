"""Expectations that differ in the values of their indices only, as one family."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Expr, S

from tensorprog.derive.instances import canonical, index_parts, values_of
from tensorprog.derive.rules import Index
from tensorprog.derive.spans import Ranges, boxed, joined
from tensorprog.derive.symbols import Atom


@dataclass(frozen=True, slots=True)
class ExpectationPlace:
    """An expectation in the right side of a rule: its number among all places, the number of the rule, and the ranges
    of all indices around it."""

    number: int
    rule: int
    expr: Expr
    ranges: Ranges
    condition: sympy.Basic


@dataclass(slots=True)
class ExpectationFamily:
    """An expectation with free indices, and the places where it is used, with the values that the indices have there.

    Attributes:
        is_wider: whether the ranges of the indices are larger than at the place that the family was made for.
    """

    expr: Expr
    indices: Ranges
    condition: sympy.Basic = S.false
    uses: dict[ExpectationPlace, dict[Expr, Expr]] = field(default_factory=dict)
    is_wider: bool = False
    _pattern: Expr = S.Zero
    _variables: tuple[Expr, ...] = ()

    def __post_init__(self) -> None:
        own = {s: sympy.Dummy(s.name, integer=True) for s in self.symbols}
        # Dummies, as the places may use the same index letters.
        self._pattern, self._variables = canonical(self.expr).xreplace(own), tuple(own.values())

    @property
    def symbols(self) -> tuple[Expr, ...]:
        return tuple(each.symbol for each in self.indices)

    @property
    def dependent(self) -> set[Expr]:
        """The indices whose range depends on another one."""
        own = set(self.symbols)
        return {each.symbol for each in self.indices if (each.low.free_symbols | each.high.free_symbols) & own}

    @property
    def first(self) -> ExpectationPlace:
        """The first use."""
        return min(self.uses, key=lambda place: place.number)

    def takes(self, place: ExpectationPlace) -> bool:
        """Add a place if it can belong to the family; that may widen the ranges of the indices."""
        found = values_of(self._pattern, canonical(place.expr), self._variables)
        if found is None:
            return False
        values = {s: found[v] for s, v in zip(self.symbols, self._variables, strict=True)}
        condition = _condition(place, values)
        together = [a.free_symbols & set(self.symbols) for a in self.expr.atoms(Atom, sympy.Indexed)]
        indices = joined(self.indices, values, place.ranges, together)
        if indices is None or condition is None:
            return False
        self.is_wider |= indices != self.indices
        self.indices, self.condition = indices, sympy.Or(self.condition, condition)
        self.uses[place] = values
        return True


def family_of(place: ExpectationPlace) -> ExpectationFamily | None:
    """The family of one place, not yet with a use. None where an index's range, or whether the place is reached,
    hangs on an index that the expectation does not have."""
    own = tuple(each for each in place.ranges if each.symbol in place.expr.free_symbols)
    ranges = boxed(own, tuple(each for each in place.ranges if each not in own))
    if ranges is None or _condition(place, {each.symbol: each.symbol for each in own}) is None:
        return None
    # In terms of the largest index: E[f(h[t]) g(h[t+1])] is the member t + 1 of a family in h[t-1] and h[t].
    shifts = {each.symbol: _shift(place.expr, each.symbol) for each in ranges}
    back = {symbol: symbol - shift for symbol, shift in shifts.items()}
    return ExpectationFamily(place.expr.xreplace(back), tuple(
        Index(each.symbol, *(end.xreplace(back) + shifts[each.symbol] for end in (each.low, each.high)))
        for each in ranges))


def _shift(expr: Expr, symbol: sympy.Symbol) -> Expr:
    """The largest number that is added to an index."""
    shifts = [part - symbol for part in index_parts(expr) if part.has(symbol)]
    return max(shifts) if shifts and all(s.is_Integer for s in shifts) else S.Zero


def _condition(place: ExpectationPlace, values: dict[Expr, Expr]) -> sympy.Basic | None:
    """The condition of a place in terms of a family's indices; None if it cannot be told."""
    back = {value: symbol for symbol, value in values.items()}
    free = place.condition.free_symbols & {each.symbol for each in place.ranges}
    return place.condition.xreplace(back) if free <= set(back) else None
