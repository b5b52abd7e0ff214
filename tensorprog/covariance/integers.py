"""Integers in equations: linear expressions, and conditions as factors of 0 or 1."""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.nodes import AtLeastZero, Entry, IsZero, flat, index_symbol
from tensorprog.limit.notation import Notation


def size_symbol(name: str) -> Symbol:
    """The symbol of a size or integer parameter."""
    return Symbol(name, integer=True, nonnegative=True)


class Factors(Notation):
    """The notation of equations: a condition is 1 where it holds, else 0.

    Args:
        inputs: the inputs of integers, of which entries are numbered.
    """

    def __init__(self, inputs: Sequence[str] = ()):
        self.inputs = inputs

    def expanded(self, expr: Expr) -> Expr:
        return flat(expr)

    def variable(self, name: str) -> Symbol:
        return index_symbol(name)

    def size(self, name: str) -> Symbol:
        return size_symbol(name)

    def parameter(self, name: str) -> Symbol:
        return Symbol(name, real=True)

    def entry(self, name: str, items: tuple[Expr, ...]) -> Expr:
        """An entry of an input.

        Raises:
            Unsupported: of an input that has no number, which a declared constant would depend on.
        """
        if name not in self.inputs:
            raise Unsupported("a declared constant depends on data")
        return Entry(Integer(self.inputs.index(name)), *items)

    def remainder(self, a: Expr, b: Expr) -> Expr:
        return sympy.Mod(a, b)

    def choice(self, condition: Expr, then: Expr, orelse: Expr) -> Expr:
        return flat(condition * then + (1 - condition) * orelse)

    def comparison(self, op: str, a: Expr, b: Expr) -> Expr:
        match op:
            case "==":
                return IsZero(flat(a - b))
            case "!=":
                return 1 - IsZero(flat(a - b))
            case "<":
                return AtLeastZero(flat(b - a - 1))
            case "<=":
                return AtLeastZero(flat(b - a))
            case ">":
                return AtLeastZero(flat(a - b - 1))
            case _:
                return AtLeastZero(flat(a - b))

    def negation(self, operand: Expr) -> Expr:
        return flat(1 - operand)

    def conjunction(self, *operands: Expr) -> Expr:
        return flat(sympy.Mul(*operands))


#: The notation of declared constants, which know of no data.
CONSTANTS = Factors()
