"""Integers in formulas: conditions are relations, and entries of inputs indexed names."""

from __future__ import annotations

import sympy
from sympy import Expr

from tensorprog.derive.symbols import Cases, element, index
from tensorprog.limit.notation import Notation

_COMPARE = {"==": sympy.Eq, "!=": sympy.Ne, "<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge}


class Relations(Notation):
    """The notation of formulas; loop variables, sizes and integer parameters are integer symbols."""

    def variable(self, name: str) -> sympy.Symbol:
        return index(name)

    def size(self, name: str) -> sympy.Symbol:
        return index(name)

    def parameter(self, name: str) -> sympy.Symbol:
        return sympy.Symbol(name)

    def entry(self, name: str, items: tuple[Expr, ...]) -> Expr:
        return element(name, items)

    def remainder(self, a: Expr, b: Expr) -> Expr:
        return sympy.Mod(a, b, evaluate=False)

    def choice(self, condition: sympy.Basic, then: Expr, orelse: Expr) -> Expr:
        return Cases(then, condition, orelse)

    def comparison(self, op: str, a: Expr, b: Expr) -> sympy.Basic:
        return _COMPARE[op](a, b)

    def negation(self, operand: sympy.Basic) -> sympy.Basic:
        return sympy.Not(operand)

    def conjunction(self, *operands: sympy.Basic) -> sympy.Basic:
        return sympy.And(*operands)


RELATIONS = Relations()
to_integer, to_condition, number = RELATIONS.integer, RELATIONS.condition, RELATIONS.number
