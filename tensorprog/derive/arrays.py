"""What a cell holds, as a function of its indices: a base and the writes since then.

`lookup(array, items)` finds the writes that reach an element. Loops are not unrolled: a write inside a finished loop
carries the loop as a binder, and is matched by solving for the loop's variable. Sums over what stays unsolved are
SymPy sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import sympy
from sympy import Expr, KroneckerDelta, S, Sum

from tensorprog.derive.matrices import MatrixSum
from tensorprog.derive.symbols import Cases, index, recognized
from tensorprog.limit.solve import solve_indices

Value: TypeAlias = Expr | MatrixSum
Items: TypeAlias = tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Binder:
    """`symbol` runs from `low` to `high`, both included; upwards if `forward`."""

    symbol: sympy.Symbol
    low: Expr
    high: Expr
    forward: bool = True

    def subs(self, mapping: Mapping[Expr, Expr]) -> Binder:
        return Binder(mapping.get(self.symbol, self.symbol), self.low.xreplace(mapping), self.high.xreplace(mapping),
                      self.forward)


@dataclass(slots=True)
class IndexScope:
    """Fresh symbols, and the ranges of all symbols."""

    ranges: dict[sympy.Symbol, tuple[Expr, Expr]] = field(default_factory=dict)
    count: int = 0

    def fresh(self, like: sympy.Symbol, low: Expr, high: Expr) -> sympy.Symbol:
        """A new symbol with the stem of another one."""
        self.count += 1
        # No name of a program has a "#": by it, copies are told from indices that the user wrote. The four digits keep
        # them in the order of their making wherever SymPy sorts by name.
        made = index(f"{like.name.split('#')[0]}#{self.count:04d}")
        self.ranges[made] = (low, high)
        return made

    def renamed(self, binder: Binder) -> tuple[Binder, dict[Expr, Expr]]:
        """A binder over a fresh symbol, and the replacement that goes with it."""
        symbol = self.fresh(binder.symbol, binder.low, binder.high)
        return Binder(symbol, binder.low, binder.high, binder.forward), {binder.symbol: symbol}

    def bounds(self, expr: Expr) -> tuple[Expr, Expr]:
        """The range of `symbol + constant`, if it is known, else the expression itself as both ends."""
        symbols = [s for s in expr.free_symbols if s in self.ranges]
        if len(symbols) == 1 and not (expr - symbols[0]).has(symbols[0]):
            low, high = self.ranges[symbols[0]]
            shift = expr - symbols[0]
            return low + shift, high + shift
        # Of anything else, as `2*t` or an entry of an input, only the expression itself can be compared.
        return expr, expr

    def inside(self, expr: Expr, low: Expr, high: Expr) -> bool | None:
        """Whether an index lies in a range; None if that is not known."""
        least, most = self.bounds(expr)
        # Ends that differ by a symbol, as 0 and T - 1, are not compared: T may be 0.
        if _negative(most - low) or _negative(high - least):
            return False
        return True if _nonnegative(least - low) and _nonnegative(high - most) else None


def _negative(expr: Expr) -> bool:
    return bool(expr.is_Integer and expr < 0)


def _nonnegative(expr: Expr) -> bool:
    return bool(expr.is_Integer and expr >= 0)


@dataclass(frozen=True, slots=True)
class ArrayWrite:
    items: Items
    value: Value
    accumulates: bool = False
    binders: tuple[Binder, ...] = ()
    condition: sympy.Basic = S.true

    def under(self, condition: sympy.Basic) -> ArrayWrite:
        """The write, if a further condition holds."""
        return replace(self, condition=sympy.And(self.condition, condition))


@dataclass(frozen=True, slots=True)
class Array:
    """`base(items)` is what an element was before the writes."""

    base: Callable[[Items], Value]
    writes: tuple[ArrayWrite, ...] = ()

    def write(self, *writes: ArrayWrite) -> Array:
        return replace(self, writes=(*self.writes, *writes))


def lookup(scope: IndexScope, array: Array, items: Items) -> Value:
    """The value of one element."""
    added: list[Value] = []
    value: Value | None = None
    # The last write first: a store that certainly reaches the element hides all before it, additions are collected.
    for position in range(len(array.writes) - 1, -1, -1):
        write = array.writes[position]
        match = solve(scope, write, items)
        if match is None:
            continue
        found = _instance(scope, write, match)
        if write.accumulates:
            added.append(found)
        elif match.condition == S.true:
            value = found
            break
        else:
            # A store that may reach it: both values by the condition, the other one being what earlier writes left.
            value = either(match.condition, found, lookup(scope, replace(array, writes=array.writes[:position]), items))
            break
    if value is None:
        value = array.base(items)
    for term in added:
        value = value + term
    return value if isinstance(value, MatrixSum) else recognized(value)


@dataclass(frozen=True, slots=True)
class Match:
    mapping: dict[Expr, Expr]
    open: tuple[Binder, ...]
    condition: sympy.Basic


def solve(scope: IndexScope, write: ArrayWrite, items: Items) -> Match | None:
    """The iterations of a write that reach an element; None if none does. An index that may lie outside of a finished
    loop's range is taken to lie inside: programs read nothing that was not written."""
    found = solve_indices([b.symbol for b in write.binders], write.items, items)
    # Loops whose variable the element does not determine: an addition is summed over them.
    mapping, still = found.values, [b for b in write.binders if b.symbol not in found.values]
    conditions = [sympy.Eq(sympy.Mod(multiple, slope), 0) for multiple, slope in found.divisible]
    for pattern, query in found.equal:
        # `pattern` is what the write's own loops left unsolved, as ids[t] in `u[ids[t]] += g`: read at i, the sum over
        # t keeps the factor [i = ids[t]].
        if (difference := sympy.expand(pattern - query)) != 0:
            unknown = any(pattern.has(b.symbol) for b in still)
            # A difference that is a number never vanishes; ranges that are apart do not meet, but those of an open
            # variable may.
            if difference.is_Integer or (not unknown and _apart(scope, pattern, query)):
                return None
            conditions.append(sympy.Eq(query, pattern))
    for binder in write.binders:
        if binder.symbol in mapping:
            bounds = binder.subs(mapping)
            if scope.inside(mapping[binder.symbol], bounds.low, bounds.high) is False:
                return None
    condition = sympy.And(write.condition.xreplace(mapping), *conditions)
    return None if condition == S.false else Match(mapping, tuple(still), condition)


def _apart(scope: IndexScope, left: Expr, right: Expr) -> bool:
    low, high = scope.bounds(left)
    return scope.inside(right, low, high) is False


def _instance(scope: IndexScope, write: ArrayWrite, match: Match) -> Value:
    value = substitute(write.value, match.mapping)
    condition = match.condition
    if write.accumulates and condition != S.true:
        value = where(value, condition)
    # Inner sums first: their ranges may depend on the variables of outer ones.
    for binder in reversed(match.open):
        value = summed(scope, value, binder.subs(match.mapping))
    return value


def substitute(value: Value, mapping: Mapping[Expr, Expr]) -> Value:
    return value.xreplace(mapping) if mapping else value


def where(value: Value, condition: sympy.Basic) -> Value:
    """The value where a condition holds, and zero elsewhere."""
    if condition == S.true:
        return value
    if isinstance(condition, sympy.Eq):
        return indicator(condition) * value
    # The condition as a factor of its own: it is no random variable, so that `expectation` takes it out.
    return Cases(S.One, condition, S.Zero) * value


def indicator(condition: sympy.Eq) -> Expr:
    """1 where two integers are equal."""
    return KroneckerDelta(condition.lhs, condition.rhs)


def either(condition: sympy.Basic, then: Value, otherwise: Value) -> Value:
    """One of two values."""
    if condition == S.true or then == otherwise:
        return then
    if condition == S.false:
        return otherwise
    if isinstance(then, MatrixSum):
        return where(then, condition) + where(otherwise, sympy.Not(condition))
    return Cases(then, condition, otherwise)


def summed(scope: IndexScope, value: Value, binder: Binder) -> Value:
    """The sum over a binder, over a fresh symbol, with constant factors outside."""
    renamed, mapping = scope.renamed(binder)
    value = substitute(value, mapping)
    if isinstance(value, MatrixSum):
        return value.bound(renamed)
    return sum_over(value, renamed, scope)


def sum_over(value: Expr, binder: Binder, scope: IndexScope | None = None) -> Expr:
    """Sum of `value` over a binder; a Kronecker delta that picks one term in the range does so."""
    if value == 0:
        return S.Zero
    for delta in value.atoms(KroneckerDelta) if scope is not None else ():
        other = next((b for a, b in (delta.args, delta.args[::-1]) if a == binder.symbol), None)
        # Only where the index is in the range for sure, else the delta may pick nothing.
        if other is not None and not other.has(binder.symbol) and delta in sympy.Mul.make_args(value) \
                and scope is not None and scope.inside(other, binder.low, binder.high):
            return (value / delta).xreplace({binder.symbol: other})
    inner: list[Expr] = []
    outer: list[Expr] = []
    for factor in sympy.Mul.make_args(value):
        (inner if factor.has(binder.symbol) else outer).append(factor)
    if not inner:
        # As many terms as the range has integers, all of them alike.
        return value * (binder.high - binder.low + 1)
    return sympy.Mul(*outer) * Sum(sympy.Mul(*inner), (binder.symbol, binder.low, binder.high))
