"""Values under a change of sign that leaves a limit's law as it is: what an expression's parity is by its parts.

A program's law stays the same when a declared vector with a symmetric law, or all Gaussian parts of a matrix, change
their sign. The expectation of what is odd under such a change is zero; gradient independence (TP II, Condition 1) is of
this kind. Formulas and equations have leaves of their own, and rules for what is composed in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import sympy
from sympy import Expr

from tensorprog.ir.parities import ZERO, of_function, of_product, of_sum


class Parities(ABC):
    """The parities of a limit's expressions under one change of sign, by what is known of its leaves so far."""

    @abstractmethod
    def leaf(self, expr: Expr) -> str | None:
        """The parity of what has no parts to go by, or rules of its own; None for all else."""

    @abstractmethod
    def of_kind(self, expr: Expr) -> str:
        """'odd', 'even' or 'none': what an expression is as a function of its single argument."""

    def parity(self, expr: Expr) -> str:
        """ZERO, EVEN, ODD or NEITHER."""
        found = self.leaf(expr)
        if found is not None:
            return found
        match expr:
            case sympy.Add():
                return of_sum(map(self.parity, expr.args))
            case sympy.Mul():
                return of_product(map(self.parity, expr.args))
            case sympy.Pow() if expr.exp.is_Integer:
                return self.power(expr.base, int(expr.exp))
        # 0 changes its sign with everything, and keeps its value.
        # Without parts, as a number or a parameter, an expression is even.
        inner = [self.parity(a) for a in expr.args if isinstance(a, Expr)]
        return ZERO if expr == 0 else of_function(inner, self.of_kind(expr))

    def power(self, base: Expr, exponent: int) -> str:
        """The parity of an integer power; 1/x has that of x."""
        # As a product of one or two: Python's remainder is 1 for odd exponents below zero as well.
        return of_product([self.parity(base)] * (2 - exponent % 2))
