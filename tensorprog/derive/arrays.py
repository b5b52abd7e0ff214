"""What a cell holds, as a function of its indices: a base and the writes since then.

`lookup(array, items)` finds the writes that reach an element. Loops are not unrolled: a write inside a finished loop
carries the loop as a binder, and is matched by solving for the loop's variable. Sums over what stays unsolved are
SymPy sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import sympy
from sympy import Expr, KroneckerDelta, S

from tensorprog.derive.binders import Binder, IndexScope, sum_over
from tensorprog.derive.matrices import MatrixSum
from tensorprog.derive.symbols import Cases, recognized
from tensorprog.limit.solve import solve_indices

Value: TypeAlias = Expr | MatrixSum
Items: TypeAlias = tuple[Expr, ...]


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
