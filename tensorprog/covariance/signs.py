"""Zeros by symmetry: which values change their sign with a declared vector or a whole random matrix (`limit/parity.py`).

Z of a product is odd where one of its factors is, and the derivative of an odd value by an even one is odd. This is the
gradient independence of TP II (its Condition 1): gradients are odd in the readout, and what they are multiplied with is
even.
"""

from __future__ import annotations

from sympy import Expr

from tensorprog.covariance.nodes import Call, Entry, Hat, Init, Mean, Product, Total, Whole
from tensorprog.covariance.unwound import Unwound
from tensorprog.expectations.functions import parity_of
from tensorprog.ir.parities import EVEN, ODD, ZERO, of_product, of_sum
from tensorprog.ir.program import Cell
from tensorprog.limit.parity import Parities


class Signs(Parities):
    """Values of a program under one change of sign, from below: of the declared vectors and matrices `flipped`."""

    def __init__(self, program: Unwound, flipped: frozenset[Cell]):
        self.program, self.flipped = program, flipped
        self._functions: dict[int, str] = {}
        self._sites: dict[int, str] = {}

    def of(self, expr: Expr) -> str:
        """ZERO, EVEN, ODD or NEITHER."""
        found = self.parity(expr)
        while self._improved():
            found = self.parity(expr)
        return found

    def _improved(self) -> bool:
        before = dict(self._functions), dict(self._sites)
        for number in list(self._functions):
            cases = self.program.cases(number)
            self._functions[number] = of_sum(self.parity(case) for _, case in cases)
        for number in list(self._sites):
            site = self.program.sites[number]
            # Z^{W x} = Zhat + Zdot changes its sign with W if x does not: W @ x does.
            own = ODD if site.matrix in self.flipped else EVEN
            self._sites[number] = of_product((own, self.parity(site.argument)))
        return before != (self._functions, self._sites)

    def leaf(self, expr: Expr) -> str | None:
        """What is known so far of functions, products and declared vectors; those that are new are noted."""
        match expr:
            case Hat() | Product():
                # From below: what is not known yet is zero, which is even and odd.
                return self._sites.setdefault(int(expr.args[0]), ZERO)
            case Init():
                return ODD if self.program.cells[int(expr.args[0])] in self.flipped else EVEN
            case Call() if self.program.is_random(expr):
                return self._functions.setdefault(int(expr.args[0]), ZERO)
            case Call() if self._is_of_program(int(expr.args[0])):
                found = self._functions.setdefault(int(expr.args[0]), ZERO)
                # A number that changes its sign equals its own negative, because the law is the same: it is zero.
                return ZERO if found in (ZERO, ODD) else EVEN
            case Mean():
                mean = self.program.means[int(expr.args[0])][1]
                return ZERO if self.parity(mean) in (ZERO, ODD) else EVEN
            case Call() | Entry():
                return EVEN
            case Total():
                return self.parity(expr.args[0])
            case Whole() if expr.args[1].is_Integer:
                return self.power(expr.args[0], int(expr.args[1]))
        return None

    def of_kind(self, expr: Expr) -> str:
        """'odd', 'even' or 'none': of a function of one argument."""
        return parity_of(expr.func)

    def _is_of_program(self, number: int) -> bool:
        function = self.program.functions[number]
        return function.family or function.named


class Symmetries:
    """The changes of sign that leave a program's law as it is: of a vector, of a matrix, of several at once."""

    def __init__(self, program: Unwound):
        self.program = program
        matrices = dict.fromkeys(site.matrix for site in program.sites)
        vectors = [cell for number, cell in enumerate(program.cells) if program.is_symmetric(number)]
        self._single = [Signs(program, frozenset({cell})) for cell in dict.fromkeys((*vectors, *matrices))]
        self._joint: dict[frozenset[Cell], Signs] = {}

    def derivative_is_odd(self, expr: Expr, hat: Expr) -> bool:
        """Whether the derivative of an expression by a Zhat is odd in something, so that its mean is zero."""
        # The derivative of an even value by an odd Zhat is odd, and that of an odd value by an even one.
        return any({signs.of(expr), signs.of(hat)} == {EVEN, ODD}
                   for signs in (*self._single, self._all_but(hat), self._all_but(expr)))

    def _all_but(self, expr: Expr) -> Signs:
        """The change of everything that an expression is even in: for a layer, of all readouts together."""
        flipped = frozenset().union(*(signs.flipped for signs in self._single if signs.of(expr) == EVEN))
        return self._joint.setdefault(flipped, Signs(self.program, flipped))
