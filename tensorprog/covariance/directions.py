"""Products of a matrix with multiples of one vector, as multiples of one Gaussian.

Zhat^{W (a x)} = a Zhat^{W x}. Their correlation is 1 or -1, which rounded covariances do not say exactly, and where it
is 1 up to the last digit, the mean of two signs has half of its digits.
"""

from __future__ import annotations

from dataclasses import replace

import sympy
from sympy import Expr, Integer

from tensorprog.covariance.inlining import Inlining
from tensorprog.covariance.nodes import Call, Hat, Init, Product, flat, ordered
from tensorprog.covariance.unwound import Unwound
from tensorprog.covariance.writes import Site


class Directions:
    """The Zhats of an unwound program as numbers times Zhats of vectors that numbers were taken out of."""

    def __init__(self, unwound: Unwound, inlining: Inlining):
        self.unwound, self.inlining = unwound, inlining
        self._parts: dict[int, tuple[Expr, Expr]] = {}
        self._of_meaning: dict[tuple, int] = {}

    def aligned(self, expr: Expr) -> Expr:
        """An expression with Zhats, and sums of Gaussians, that are multiples of each other as multiples of one."""
        return self._sums_aligned(self._hats_aligned(expr))

    def _hats_aligned(self, expr: Expr) -> Expr:
        hats = ordered(expr.atoms(Hat))
        groups: dict[tuple, list[tuple[Expr, Expr]]] = {}
        for hat in hats if len(hats) > 1 else ():
            site, indices = self.unwound.sites[int(hat.args[0])], hat.args[1:]
            number, vector, *items = (site.at(e, indices) for e in (*self._factored(site.number), *site.items))
            groups.setdefault((site.matrix, site.transposed, vector, *items), []).append((hat, number))
        # Sites are made for those alone that need one: what looks at a matrix looks at all of its sites.
        return expr.xreplace({hat: number * self._of_rest(group[0][0]) for group in groups.values() if len(group) > 1
                              for hat, number in group})

    def _of_rest(self, hat: Expr) -> Expr:
        """The Zhat of the vector that the number was taken out of."""
        return Hat(Integer(self._site(int(hat.args[0]))[1]), *hat.args[1:])

    def _sums_aligned(self, expr: Expr) -> Expr:
        sums = [s for s in ordered(expr.atoms(sympy.Add)) if self._linear(s)]
        groups: dict[Expr, list[tuple[Expr, Expr]]] = {}
        for whole in sums if len(sums) > 1 else ():
            number, vector = self._split(whole)
            groups.setdefault(vector, []).append((whole, number))
        # Not multiplied out again, as a multiple of a sum by a number would be.
        return expr.xreplace({whole: sympy.Mul(number, vector, evaluate=False) for vector, group in groups.items()
                              if len(group) > 1 for whole, number in group if whole != vector})

    def _linear(self, expr: Expr) -> bool:
        """Whether a sum is one of multiples of Gaussians and of functions."""
        return all(len(random := [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]) == 1
                   and isinstance(random[0], Hat | Init | Call) for term in expr.args)

    def _factored(self, number: int) -> tuple[Expr, Expr]:
        """What a site applies its matrix to as a number times a vector."""
        if number not in self._parts:
            # A product in a loop may be applied to that of the iteration before, which stays as it is.
            argument = self.unwound.sites[number].argument
            self._parts[number] = Integer(1), argument
            self._parts[number] = self._split(self.inlining.inlined(argument))
        return self._parts[number]

    def _site(self, number: int) -> tuple[Expr, int]:
        """The number that was taken out of what a site applies its matrix to, and the site of the rest."""
        factor, vector = self._factored(number)
        return factor, self._place(replace(self.unwound.sites[number], argument=vector))

    def _place(self, site: Site) -> int:
        """The number of a site, a new one if there is none like it."""
        alike = self._of_meaning.setdefault(self._meaning(site), site.number)
        if self.unwound.sites[alike].argument != site.argument:
            alike = len(self.unwound.sites)
            self.unwound.sites.append(replace(site, number=alike))
            self._of_meaning[self._meaning(site)] = alike
        return alike

    def _meaning(self, site: Site) -> tuple:
        """What equal products have in common. What comes earlier matters where the transposed matrix is applied."""
        place = (site.order, site.guards) if self.unwound.answering(site) else ()
        return (site.matrix, site.items, site.transposed, site.argument, site.bindings, place)

    def _split(self, vector: Expr) -> tuple[Expr, Expr]:
        """A vector as a number times a vector that numbers were taken out of."""
        if isinstance(vector, Product):
            number, at = self._site(int(vector.args[0]))
            site = self.unwound.sites[int(vector.args[0])]
            return site.at(number, vector.args[1:]), Product(Integer(at), *vector.args[1:])
        if not isinstance(vector, sympy.Add | sympy.Mul):
            return Integer(1), vector
        multiples = multiples_of(flat(vector), self.unwound)
        total: dict[Expr, Expr] = {}
        for part, factor in multiples.items():
            inner, rest = self._split(part) if isinstance(part, Product) else (Integer(1), part)
            total[rest] = total.get(rest, Integer(0)) + factor * inner
        if len(total) == 1:
            ((part, factor),) = total.items()
            return factor, part
        whole = sympy.factor_terms(sympy.Add(*(factor * part for part, factor in total.items())))
        fixed = [f for f in sympy.Mul.make_args(whole) if not self.unwound.is_random_or_hat(f)]
        return sympy.Mul(*fixed), flat(whole / sympy.Mul(*fixed))


def multiples_of(expr: Expr, unwound: Unwound) -> dict[Expr, Expr]:
    """The random vectors (or products of such) that a flat sum is made of, each with its number."""
    found: dict[Expr, Expr] = {}
    for term in sympy.Add.make_args(expr):
        random = sympy.Mul(*(f for f in sympy.Mul.make_args(term) if unwound.is_random_or_hat(f)))
        found[random] = found.get(random, Integer(0)) + term / random
    return found
