"""From terms of the basis to products over one family, with some affine forms held fixed."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Add, Expr, S, Symbol

from tensorprog.expectations.affine import Affine
from tensorprog.expectations.basis import GaussianBasis, NotClosed, Term
from tensorprog.expectations.closed import FactorProduct, FamilyMeans, Shifted
from tensorprog.expectations.family import Family


@dataclass
class Forms:
    """Numbers linear forms; those that are multiples of each other become one variable."""

    variables: list[Affine] = field(default_factory=list)
    _numbers: dict[tuple, int] = field(default_factory=dict)

    def exact(self, form: Affine) -> Shifted:
        """(i, m) with form = y_i + m."""
        if form.linear not in self._numbers:
            # The constant is no part of a variable: L and L + 1 are one, at two means.
            self._numbers[form.linear] = len(self.variables)
            self.variables.append(Affine(form.linear))
        return self._numbers[form.linear], form.constant

    def scaled(self, form: Affine) -> tuple[Expr, Shifted]:
        """c and (i, m) with form = c (y_i + m), where c is of known sign."""
        scale = form.linear[0][1]
        # sign(c y) and delta(c y) need the sign of c; where it is not known, c stays in the variable.
        if not (scale.is_positive or scale.is_negative):
            scale = S.One
        return scale, self.exact(form.scaled(1 / scale))


@dataclass(frozen=True)
class Conditional:
    """E[ . | fixed forms], where the fixed forms are sd * xi, in turn, with independent standard normal `xi`.

    Attributes:
        basis: the writer of expressions as terms.
        log: collects the names of the rules that are used.
        fixed: linear forms, without constants; none for a plain expectation.
        xi: as many symbols.
    """

    basis: GaussianBasis
    log: set[str]
    fixed: tuple[Affine, ...] = ()
    xi: tuple[Symbol, ...] = ()

    def expectation(self, expr: Expr) -> Expr:
        """E[expr | fixed]. Raises NotClosed."""
        forms = Forms()
        for form in self.fixed:
            # First, so that the numbers of the fixed forms are 0, 1, ..., by which `_given` conditions on them.
            forms.exact(form)
        products = [_numbered(term, forms) for term in self.basis.terms(expr) if term.coefficient != 0]
        start = FamilyMeans(Family.of(forms.variables, self.basis.covariance), self.log)
        return Add(*(coefficient * self._given(start, product) for coefficient, product in products))

    def values(self) -> list[Expr]:
        """The fixed forms as functions of `xi`: the Cholesky factor of their covariance times xi."""
        family, values = Family.of(list(self.fixed), self.basis.covariance), [S.Zero] * len(self.fixed)
        for k, xi in enumerate(self.xi):
            # Column k of the factor: what is left of each form after the ones before, by its loading on the k-th.
            values = [value + xi * family.loading(i, k) for i, value in enumerate(values)]
            family = family.given(k)
        return values

    def covariance(self) -> tuple[tuple[Expr, ...], ...]:
        """That of the fixed forms, by rows."""
        return tuple(map(tuple, Family.of(list(self.fixed), self.basis.covariance).cov))

    def _given(self, evaluator: FamilyMeans, product: FactorProduct) -> Expr:
        total = S.One
        for k, xi in enumerate(self.xi):
            evaluator, factor, product = evaluator.given(k, xi, product)
            total *= factor
        return total * evaluator.value(product)


def _numbered(term: Term, forms: Forms) -> tuple[Expr, FactorProduct]:
    # exp(L + m) = exp(m) exp(L). Exponents and waves keep their scales: they are no homogeneous functions.
    coefficient = term.coefficient * sympy.exp(term.exponent.constant)
    powers, signs, deltas = [], [], []
    for form in term.powers:
        scale, entry = forms.scaled(form)
        coefficient *= scale
        powers.append(entry)
    for form in term.signs:
        scale, entry = forms.scaled(_random(form))
        coefficient *= sympy.sign(scale)
        signs.append(entry)
    for form in term.deltas:
        scale, entry = forms.scaled(_random(form))
        # delta(c y) = delta(y) / |c|.
        coefficient /= abs(scale)
        deltas.append(entry)
    exponent = forms.exact(Affine(term.exponent.linear)) if term.exponent.linear else None
    wave = None if term.wave is None else (term.wave[0], *forms.exact(term.wave[1]))
    return coefficient, FactorProduct(tuple(powers), tuple(signs), tuple(deltas), exponent, wave)


def _random(form: Affine) -> Affine:
    if not form.linear:
        raise NotClosed("a jump of a constant")
    return form
