"""Integers and conditions of the typed program as SymPy expressions.

Formulas for a person and equations for a machine read the same limit program and differ in their symbols alone: a
condition is a relation here and a factor of 0 or 1 there. What differs are the methods that a subclass defines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import assert_never

import sympy
from sympy import Expr

from tensorprog.ir.integers import BoolExpr, Comparison, IntBin, IntChoice, IntExpr, IntLit, IntLoad, IntSym, Logic

_OPERATIONS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "**": lambda a, b: a**b,
    "//": lambda a, b: sympy.floor(a / b), "min": sympy.Min, "max": sympy.Max}


class Notation(ABC):
    """How to write integers, conditions, parameters and entries of integer inputs."""

    def integer(self, expr: IntExpr) -> Expr:
        """An integer expression of loop variables, sizes, parameters and entries of inputs."""
        match expr:
            case IntLit(value):
                return sympy.Integer(value)
            case IntSym(name, kind):
                return self.variable(name) if kind == "loop" else self.size(name)
            case IntLoad(name, items):
                return self.entry(name, tuple(map(self.integer, items)))
            # Not among the operations: a subclass may know of the remainder whether it is 0, which is all that conditions ask.
            case IntBin("%", left, right):
                return self.remainder(self.integer(left), self.integer(right))
            case IntBin(op, left, right):
                return self.expanded(_OPERATIONS[op](self.integer(left), self.integer(right)))
            case IntChoice(condition, then, orelse):
                return self.choice(self.condition(condition), self.integer(then), self.integer(orelse))
            case _:
                assert_never(expr)

    def condition(self, expr: BoolExpr) -> sympy.Basic:
        """A condition on integers."""
        match expr:
            case Comparison(op, left, right):
                return self.comparison(op, self.integer(left), self.integer(right))
            case Logic("not", (operand,)):
                return self.negation(self.condition(operand))
            case Logic("and", operands):
                return self.conjunction(*map(self.condition, operands))
            case Logic(_, operands):
                # By De Morgan, so that a subclass defines conjunctions and negations alone.
                return self.negation(self.conjunction(*(self.negation(self.condition(o)) for o in operands)))
            case _:
                assert_never(expr)

    def number(self, value: object) -> Expr:
        """A number as it was written: decimals of few digits are rationals."""
        if isinstance(value, float):
            # A default or a literal like 1e999; `Rational` would raise.
            if value in (float("inf"), float("-inf")):
                return sympy.oo if value > 0 else -sympy.oo
            # `str` is the shortest decimal: 0.1 is 1/10, and not the dyadic fraction that a double holds.
            return sympy.Rational(str(value))
        return sympy.sympify(value)

    def expanded(self, expr: Expr) -> Expr:
        """The form in which integers are compared with each other."""
        return expr

    @abstractmethod
    def variable(self, name: str) -> Expr:
        """A loop variable."""

    @abstractmethod
    def size(self, name: str) -> Expr:
        """A size or an integer parameter."""

    @abstractmethod
    def parameter(self, name: str) -> Expr:
        """A real parameter."""

    @abstractmethod
    def entry(self, name: str, items: tuple[Expr, ...]) -> Expr:
        """An entry of an input of integers."""

    @abstractmethod
    def remainder(self, a: Expr, b: Expr) -> Expr:
        """What is left of a after division by b."""

    @abstractmethod
    def choice(self, condition: sympy.Basic, then: Expr, orelse: Expr) -> Expr:
        """One of two integers."""

    @abstractmethod
    def comparison(self, op: str, a: Expr, b: Expr) -> sympy.Basic:
        """`a op b`."""

    @abstractmethod
    def negation(self, operand: sympy.Basic) -> sympy.Basic:
        """Whether a condition does not hold."""

    @abstractmethod
    def conjunction(self, *operands: sympy.Basic) -> sympy.Basic:
        """Whether all conditions hold."""
