"""Which indices are rows: those that equations only hand on, so that all their values go through the same steps.

Of an output K[a, c], the values K(0, 1) and K(5, 7) need the same equations in the same order, with other rows of the
inputs. That holds if every index which a row is handed to is handed rows only, and if no condition, no bound of a sum
and no argument of another kind depends on a row, but for conditions that are the same for all rows, such as a < P, and
for the equality of two rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sympy import Expr, Symbol

from tensorprog.covariance.nodes import AtLeastZero, Call, Entry, Expectation, IsZero, Total, flat
from tensorprog.covariance.system import Equation, System
from tensorprog.ir.program import Cell

Positions = dict[int, frozenset[int]]


@dataclass(frozen=True)
class RowArguments:
    """Equation -> the positions of its arguments that are rows, and output -> the two of its indices that are."""

    positions: Positions
    outputs: Mapping[Cell, tuple[int, int]] = field(default_factory=dict)

    def symbols(self, equation: Equation) -> frozenset[Symbol]:
        """The parameters that are rows."""
        return frozenset(equation.params[k] for k in self.positions.get(equation.number, ()))


class _NotRows(Exception):
    """Some step depends on a row."""


@lru_cache(maxsize=8)
def find_rows(system: System) -> RowArguments:
    """The outputs with two indices that are rows, as many as there are of which no two disagree."""
    rows = RowArguments({})
    for cell, number in system.outputs.items():
        count = len(system.equations[number].params)
        for pair in itertools.combinations(range(count), 2):
            try:
                positions = _spread(system, rows.positions, number, frozenset(pair))
            except _NotRows:
                continue
            rows = RowArguments(positions, {**rows.outputs, cell: pair})
            break
    return rows


def _spread(system: System, known: Positions, number: int, rows: frozenset[int]) -> Positions:
    """The positions that rows reach from an equation's, with those that are known."""
    if known.get(number, rows) != rows:
        raise _NotRows
    found = {**known, number: rows}
    pending = [number]
    reached: set[int] = set()
    while pending:
        equation = system.equations[pending.pop()]
        symbols = RowArguments(found).symbols(equation)
        for call in equation.calls():
            target = int(call.args[0])
            handed = frozenset(k for k, a in enumerate(call.args[1:]) if a in symbols)
            if not handed <= found.get(target, frozenset()):
                found[target] = found.get(target, frozenset()) | handed
                # It hands on more rows than when it was reached first, and is walked again.
                reached.discard(target)
            if target not in reached:
                reached.add(target)
                pending.append(target)
    for k in {number, *reached}:
        _check(system.equations[k], found)
    return found


def _check(equation: Equation, positions: Positions) -> None:
    """Raises _NotRows, if a step depends on a row, or another index goes where rows go."""
    symbols = RowArguments(positions).symbols(equation)
    for guards, expr in equation.cases:
        for guard in guards:
            _check_condition(guard, symbols)
            _check_expression(guard, symbols, positions)
        _check_expression(expr, symbols, positions)


def _check_condition(guard: Expr, rows: frozenset[Symbol]) -> None:
    """Raises _NotRows, if a condition depends on values, or on a row in other ways than as bounds and equalities."""
    if isinstance(guard, Call | Entry) or guard in rows:
        raise _NotRows
    if not isinstance(guard, AtLeastZero | IsZero):
        for argument in guard.args:
            _check_condition(argument, rows)


def _check_expression(expr: Expr, rows: frozenset[Symbol], positions: Positions) -> None:
    match expr:
        case AtLeastZero():
            split_bound(expr, rows)
        case IsZero():
            _check_equality(expr, rows)
        case Call():
            expected = positions.get(int(expr.args[0]), frozenset())
            for k, argument in enumerate(expr.args[1:]):
                # Rows are handed on as they are, to places of rows alone: K(a + 1, c) would need other keys in every
                # row.
                if (argument in rows) != (k in expected) or argument not in rows and argument.free_symbols & rows:
                    raise _NotRows
        case Total():
            if any(bound.free_symbols & rows for bound in expr.args[2:]):
                raise _NotRows
            _check_expression(expr.args[0], rows, positions)
        case Entry():
            return
        case _:
            for argument in expr.args[1:] if isinstance(expr, Expectation) else expr.args:
                _check_expression(argument, rows, positions)


def split_bound(guard: AtLeastZero, rows: frozenset[Symbol]) -> tuple[Symbol | None, int, Expr]:
    """(s, k, rest) with guard = AtLeastZero(k s + rest), for a row s and k = 1 or -1; (None, 0, rest) without a row."""
    e = flat(guard.args[0])
    found = e.free_symbols & rows
    if not found:
        return None, 0, e
    s = min(found, key=str)
    slope = e.coeff(s, 1)
    rest = flat(e - slope * s)
    # Monotone in a row, with slope 1: the same for all rows if it is for the first and the last (`tape_keys.bound`).
    if len(found) > 1 or slope not in (1, -1) or rest.free_symbols & rows:
        raise _NotRows
    return s, int(slope), rest


def _check_equality(guard: IsZero, rows: frozenset[Symbol]) -> None:
    """Raises _NotRows, if rows occur otherwise than as the difference of two."""
    e = flat(guard.args[0])
    found = sorted(e.free_symbols & rows, key=str)
    # a - c or c - a: true for pairs of one row with itself, false for all others.
    if found and (len(found) != 2 or flat(e - found[0] + found[1]) != 0 and flat(e + found[0] - found[1]) != 0):
        raise _NotRows
