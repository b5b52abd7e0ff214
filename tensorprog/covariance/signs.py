"""Zeros by symmetry: which values change their sign with a declared vector or a random matrix.

A program's law stays the same when a declared vector with a symmetric law, or a whole Gaussian matrix, changes its
sign. A value that does so too is odd, and its mean zero; Z of a product is odd where one of its factors is. The
derivative of an odd value by an even one is odd. This is the gradient independence of TP II (its Condition 1):
gradients are odd in the readout, and what they are multiplied with is even.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sympy
from sympy import Expr

from tensorprog.covariance.nodes import Call, Entry, Hat, Init, Mean, Product, Total, Whole
from tensorprog.covariance.scope import Scope
from tensorprog.ir.program import Cell

#: An expression that is not known to be anything but zero yet; even; odd; neither.
NOTHING, EVEN, ODD, NEITHER = "nothing", "even", "odd", "neither"

_ODD_FUNCTIONS = (sympy.tanh, sympy.erf, sympy.sin, sympy.sinh, sympy.sign, sympy.atan)
_EVEN_FUNCTIONS = (sympy.Abs, sympy.cos, sympy.cosh, sympy.DiracDelta)


class Signs:
    """Values of a program under one change of sign, from below: of the declared vector or of the matrix `flipped`."""

    def __init__(self, program: Scope, flipped: Cell):
        self.program, self.flipped = program, flipped
        self._functions: dict[int, str] = {}
        self._sites: dict[int, str] = {}

    def of(self, expr: Expr) -> str:
        """NOTHING, EVEN, ODD or NEITHER."""
        found = self._look(expr)
        while self._improved():
            found = self._look(expr)
        return found

    def _improved(self) -> bool:
        before = dict(self._functions), dict(self._sites)
        for number in list(self._functions):
            cases = self.program.cases(number)
            self._functions[number] = _sum(self._look(case) for _, case in cases)
        for number in list(self._sites):
            site = self.program.sites[number]
            own = ODD if site.matrix is self.flipped else EVEN
            self._sites[number] = _product((own, self._look(site.argument)))
        return before != (self._functions, self._sites)

    def _look(self, expr: Expr) -> str:
        """What is known so far; functions and sites that are new are noted."""
        match expr:
            case Hat() | Product():
                return self._sites.setdefault(int(expr.args[0]), NOTHING)
            case Init():
                return ODD if self.program.cells[int(expr.args[0])] is self.flipped else EVEN
            case Call() if self.program.is_random(expr):
                return self._functions.setdefault(int(expr.args[0]), NOTHING)
            case Call() if self._is_of_program(int(expr.args[0])):
                found = self._functions.setdefault(int(expr.args[0]), NOTHING)
                return NOTHING if found in (NOTHING, ODD) else EVEN
            case Mean():
                mean = self.program.means[int(expr.args[0])][1]
                return NOTHING if self._look(mean) in (NOTHING, ODD) else EVEN
            case Call() | Entry():
                return EVEN
            case Total():
                return self._look(expr.args[0])
            case sympy.Add():
                return _sum(map(self._look, expr.args))
            case sympy.Mul():
                return _product(map(self._look, expr.args))
            case sympy.Pow() | Whole() if expr.args[1].is_Integer:
                return _product([self._look(expr.args[0])] * abs(int(expr.args[1])))
        return self._function(expr)

    def _is_of_program(self, number: int) -> bool:
        function = self.program.functions[number]
        return function.family or function.named

    def _function(self, expr: Expr) -> str:
        inner = [self._look(a) for a in expr.args]
        if expr == 0 or isinstance(expr, _ODD_FUNCTIONS):
            return inner[0] if inner else NOTHING
        if all(p in (EVEN, NOTHING) for p in inner) or inner == [ODD] and isinstance(expr, _EVEN_FUNCTIONS):
            return EVEN
        return NEITHER


class Symmetries:
    """All changes of sign that leave a program's law as it is."""

    def __init__(self, program: Scope):
        matrices = dict.fromkeys(site.matrix for site in program.sites)
        vectors = [cell for number, cell in enumerate(program.cells) if program.is_symmetric(number)]
        self._signs = [Signs(program, cell) for cell in (*vectors, *matrices)]

    def derivative_is_odd(self, expr: Expr, hat: Expr) -> bool:
        """Whether the derivative of an expression by a Zhat is odd in something, so that its mean is zero."""
        return any({signs.of(expr), signs.of(hat)} == {EVEN, ODD} for signs in self._signs)


def _sum(parities: Iterator[str]) -> str:
    found = set(parities) - {NOTHING}
    return NOTHING if not found else found.pop() if len(found) == 1 else NEITHER


def _product(parities: Iterable[str]) -> str:
    parities = list(parities)
    if NOTHING in parities:
        return NOTHING
    if NEITHER in parities:
        return NEITHER
    return ODD if parities.count(ODD) % 2 else EVEN
