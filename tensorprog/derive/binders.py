"""Variables that run over a range, the ranges of all of them, and sums over one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sympy
from sympy import Expr, KroneckerDelta, S, Sum

from tensorprog.derive.symbols import index


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
