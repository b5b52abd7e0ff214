"""Affine forms over Gaussian variables: `constant + sum coefficient * variable`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sympy import Add, Expr, Mul, S, Symbol, cancel, expand

Covariance = Callable[[Symbol, Symbol], Expr]


@dataclass(frozen=True)
class Affine:
    """`linear` holds (variable, coefficient) with no zero coefficients, ordered by the variables' names."""

    linear: tuple[tuple[Symbol, Expr], ...]
    constant: Expr = S.Zero

    @staticmethod
    def of(coefficients: dict[Symbol, Expr], constant: Expr = S.Zero) -> Affine:
        # Forms are keys, of integrals and of variables: equal ones have to have their variables in the same order.
        kept = [(g, c) for g, c in coefficients.items() if c != 0]
        return Affine(tuple(sorted(kept, key=lambda item: item[0].sort_key())), constant)

    def scaled(self, factor: Expr) -> Affine:
        return Affine(tuple((g, factor * c) for g, c in self.linear), factor * self.constant)

    def plus(self, other: Affine) -> Affine:
        coefficients = dict(self.linear)
        for g, c in other.linear:
            coefficients[g] = coefficients.get(g, S.Zero) + c
        return Affine.of(coefficients, self.constant + other.constant)

    @property
    def expr(self) -> Expr:
        return Add(self.constant, *(c * g for g, c in self.linear))


def affine(expr: Expr, gaussians: frozenset[Symbol]) -> Affine | None:
    """`expr` as an affine form, or None if it is not one."""
    if expr in gaussians:
        return Affine(((expr, S.One),))
    if not expr.free_symbols & gaussians:
        return Affine((), expr)
    if isinstance(expr, Add):
        total = Affine(())
        for arg in expr.args:
            part = affine(arg, gaussians)
            if part is None:
                return None
            total = total.plus(part)
        return total
    if isinstance(expr, Mul):
        inner = [arg for arg in expr.args if arg.free_symbols & gaussians]
        # A product of two Gaussians is not affine, and neither is a function of one.
        if len(inner) == 1:
            part = affine(inner[0], gaussians)
            return part and part.scaled(Mul(*(arg for arg in expr.args if arg is not inner[0])))
    return None


def lowest_terms(value: Expr) -> Expr:
    """A coefficient in the form in which 0 is seen to be 0, though it hold symbols."""
    return value if value.is_number else cancel(value)


def covariance_of(a: Affine, b: Affine, covariance: Covariance) -> Expr:
    """Cov(a, b), as an expanded sum."""
    # Expanded, so that a covariance that vanishes is 0: independence is told by that.
    products = (ca * cb * covariance(g, h) for g, ca in a.linear for h, cb in b.linear)
    return _sum(products)


def _sum(terms: Iterable[Expr]) -> Expr:
    total = Add(*terms)
    return expand(total) if isinstance(total, (Add, Mul)) else total
