"""The nodes in which a recursion over pairs of rows is written between its derivation and its pair program.

    At(k), At(k, level)      the value of definition k for the pair (a, b), of a definition with levels at one of them
    Own(side, node)          the value of an At or Inner for the pair (a, a) (side 0) or (b, b) (side 1)
    Inner(i, j)              sum_k X_i[a, k] X_j[b, k] of two inputs
    Item(i, side, index...)  an entry of the row of an input that belongs to that side
    Two(r, kaa, kab, kbb)    E[phi(u) psi(v)], with (phi, psi) number r and three At's for the covariances
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Dummy, Expr, Symbol

from tensorprog.covariance.nodes import Node, index_symbol


class NotPairs(Exception):
    """An output is not a recursion over pairs of rows; the message says why."""


class Undecided(Exception):
    """Which case of an equation applies depends on more than the known facts: on a guard."""

    def __init__(self, guard: Expr):
        super().__init__(str(guard))
        self.guard = guard


class At(Node):
    pass


class Own(Node):
    pass


class Inner(Node):
    pass


class Item(Node):
    pass


class Two(Node):
    pass


#: The level that a step of a recursion computes.
LEVEL = index_symbol("_level")


@dataclass(frozen=True, slots=True)
class Key:
    """What a definition is of: an equation at arguments, or an expression (`number` None), in rows and LEVEL.

    `extend`: it has rows of side 0 alone, and its definition is for pairs whatever it is at equal rows.
    """

    number: int | None
    args: tuple[Expr, ...]
    extend: bool
    leveled: bool


@dataclass(slots=True)
class Definition:
    """`expr` is the value or, with levels, the step, valid from level `start` on to `end` before the last one."""

    key: Key
    expr: Expr
    start: int = 0
    end: int = 0


class RowSymbols:
    """Symbols for rows of data sets: one for each side and number of rows. `names` are of further indices."""

    def __init__(self) -> None:
        self._symbols: dict[tuple[int, Expr], Symbol] = {}
        self._known: dict[Symbol, tuple[int, Expr]] = {}
        self.names: set[str] = set()

    def symbol(self, side: int, size: Expr) -> Symbol:
        if (side, size) not in self._symbols:
            # Dummies: no name of the program's can be mistaken for a row.
            made = self._symbols[side, size] = Dummy(f"{'ab'[side]}_{size}", integer=True, nonnegative=True)
            self._known[made] = side, size
        return self._symbols[side, size]

    def __contains__(self, expr: Expr) -> bool:
        return expr in self._known

    def moved(self, row: Symbol, side: int) -> Symbol:
        return self.symbol(side, self._known[row][1])

    def on_side(self, expr: Expr, side: int) -> Expr:
        """The expression with every row on one side."""
        return expr.xreplace({r: self.moved(r, side) for r in expr.free_symbols if r in self._known})

    def sides(self, expr: Expr) -> set[int]:
        return {self._known[s][0] for s in expr.free_symbols if s in self._known}

    def side(self, row: Symbol) -> int:
        return self._known[row][0]

    def facts(self) -> tuple[Expr, ...]:
        """Linear expressions that are >= 0."""
        return tuple(f for row, (_, size) in self._known.items() for f in (row, size - 1 - row))
