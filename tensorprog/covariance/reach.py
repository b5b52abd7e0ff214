"""What a random value is made of, from the program's structure alone.

A value depends on the Zhats and declared vectors in its expression and, through
Zdot^{W x} = sum Z^y E[dZ^x / dZhat^{W.T y}], on what every y depends on whose product x depends on (TP IV,
Definition 7.3). The derivative by anything else is zero: in a network at its initialization, nothing of the forward
pass depends on a product with a transposed matrix. Values that have no source in common are independent.
"""

from __future__ import annotations

import sympy
from sympy import Expr

from tensorprog.covariance.nodes import Call, Entry, Hat, Init, Mean, Product
from tensorprog.covariance.unwound import Unwound
from tensorprog.ir.program import Cell

#: Sites of matrix products, by number, and cells of declared vectors.
Sources = frozenset[int | Cell]
NONE: Sources = frozenset()


class Reach:
    """What the random expressions of a program may depend on: the least solution, from below.

    Args:
        responses: whether products have responses; without, they are taken to be their Zhat.
    """

    def __init__(self, program: Unwound, responses: bool):
        self.program, self.responses = program, responses
        self._functions: dict[int, Sources] = {}
        self._sites: dict[int, Sources] = {}

    def of(self, expr: Expr) -> Sources:
        """The sites whose Zhat, and the declared vectors, that an expression may depend on."""
        found = self._look(expr)
        while self._improved():
            found = self._look(expr)
        return found

    def reaches(self, expr: Expr, site: int) -> bool:
        """Whether an expression may depend on the Zhat of a site."""
        return site in self.of(expr)

    def independent(self, one: Expr, two: Expr) -> bool:
        """Whether two random expressions have nothing in common: no declared vector, no matrix on the same side."""
        return not self._families(one) & self._families(two)

    def vanishes(self, term: Expr) -> bool:
        """Whether the mean of a product is zero because a factor is centred and independent of the others."""
        factors = sympy.Mul.make_args(term)
        return any(self._is_centred(f) and self.independent(f, sympy.Mul(*factors[:k], *factors[k + 1:]))
                   for k, f in enumerate(factors))

    def _is_centred(self, factor: Expr) -> bool:
        if isinstance(factor, Init):
            return self.program.is_symmetric(int(factor.args[0]))
        # Zhats have mean zero (ZHat); a product with a response need not.
        return isinstance(factor, Hat)

    def _families(self, expr: Expr) -> frozenset:
        sites = self.program.sites
        # Zhats of one matrix and side are one Gaussian family, whichever site they are of. W and W.T have different
        # ones (TP IV, Definition 7.3).
        return frozenset((sites[s].matrix, sites[s].transposed) if isinstance(s, int) else s for s in self.of(expr))

    def _improved(self) -> bool:
        """One round over all functions and products that were met; whether something was added."""
        before = self._size()
        for number in list(self._functions):
            for _, case in self.program.cases(number):
                self._functions[number] |= self._look(case)
        for number in list(self._sites) if self.responses else ():
            self._sites[number] |= self._response(number)
        return self._size() > before

    def _size(self) -> int:
        # With one for the entry itself: a function that was met for the first time counts, though nothing is known to
        # be in it.
        return sum(len(found) + 1 for table in (self._functions, self._sites) for found in table.values())

    def _response(self, number: int) -> Sources:
        """What Zdot of a product depends on."""
        site = self.program.sites[number]
        depends = self._look(site.argument)
        return NONE.union(*(self._look(self.program.sites[k].argument)
                            for k in self.program.answering(site) if k in depends))

    def _look(self, expr: Expr) -> Sources:
        """What an expression depends on by what is known so far; what it holds is noted."""
        match expr:
            case Hat():
                return frozenset({int(expr.args[0])})
            case Init():
                return frozenset({self.program.cells[int(expr.args[0])]})
            case Product():
                number = int(expr.args[0])
                return self._sites.setdefault(number, frozenset({number}))
            case Call() if self.program.is_random(expr):
                return self._functions.setdefault(int(expr.args[0]), NONE)
            case Call() | Mean() | Entry():
                return NONE
        return NONE.union(*map(self._look, expr.args))
