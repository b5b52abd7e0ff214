"""What has no closed form: quadrature over as few Gaussians as possible, the rest integrated out in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from sympy import Add, DiracDelta, Dummy, Expr, Mul, Pow, S, Symbol

from tensorprog.expectations.affine import Affine, affine, lowest_terms
from tensorprog.expectations.basis import GaussianBasis, NotClosed
from tensorprog.expectations.features import Feature, features
from tensorprog.expectations.forms import Conditional
from tensorprog.expectations.inside import is_distribution
from tensorprog.expectations.products import forms_of, kinks, replaced

# In four, a single panel of the rule of 21 nodes would take 190,000 values of the integrand.
MOST_DIMENSIONS = 3
XI = tuple(Dummy(f"xi{k}", real=True) for k in range(MOST_DIMENSIONS))
NATURAL = tuple(Dummy(f"u{k}", real=True) for k in range(MOST_DIMENSIONS))


@dataclass(frozen=True)
class Integral:
    """E[integrand] over jointly Gaussian variables.

    Attributes:
        fixed: the linear forms that the variables NATURAL stand for.
        integrand: an expression in NATURAL[:len(fixed)], covariances and parameters, and in XI: independent standard
            normal variables of which NATURAL are the products with the Cholesky factor of their covariance.
        covariance: of the variables, by rows.
        values: the variables as functions of XI.
        original: what the integral is the mean of, in the Gaussians themselves.
    """

    fixed: tuple[Affine, ...]
    integrand: Expr
    covariance: tuple[tuple[Expr, ...], ...]
    values: tuple[Expr, ...]
    original: Expr = S.Zero

    @property
    def dimension(self) -> int:
        return len(self.fixed)

    @property
    def free(self) -> bool:
        """Whether the variables may be integrated over in any order."""
        return not self.integrand.free_symbols & set(XI)

    @property
    def features(self) -> list[Feature]:
        """The planes, as affine forms in NATURAL and XI, where the integrand is not smooth or changes fast, and widths."""
        return features(self.integrand, frozenset((*XI, *NATURAL)))

    @property
    def standardized(self) -> Expr:
        """The integrand as a function of XI alone."""
        return self.integrand.xreplace(dict(zip(NATURAL, self.values)))

    @property
    def kinks(self) -> list[Affine]:
        """The planes, as affine forms in XI, at which the integrand is not smooth."""
        return kinks(self.standardized, frozenset(XI))

    @property
    def singular(self) -> bool:
        """Whether the integrand may be singular where a root or a denominator is zero, as norms are at the origin, which
        several variables meet in."""
        variables = {*XI, *NATURAL}
        return self.dimension > 1 and any(
            # In one dimension panels end at the singular point; in several they would have to surround it.
            not (p.exp.is_Integer and p.exp > 0) and p.base.free_symbols & variables and not p.base.is_positive
            and not is_distribution(p.base)
            for p in self.integrand.atoms(Pow))


@dataclass
class FormSpan:
    """The linear span of linear forms, with a basis chosen among them."""

    basis: list[Affine] = field(default_factory=list)
    _reduced: list[tuple[Symbol, dict, dict]] = field(default_factory=list)

    def coordinates(self, form: Affine) -> dict[int, Expr] | None:
        """The coefficients of the linear part of `form` in the basis, or None if it is not in the span."""
        rest, coefficients = self._reduce(form)
        return None if rest else coefficients

    def add(self, form: Affine) -> None:
        rest, coefficients = self._reduce(form)
        if not rest:
            return
        pivot = next(iter(rest))
        inverse = 1 / rest[pivot]
        # Of z and 2 z, the variable is z: integrals over the same variables are then found to be.
        scale = form.linear[0][1] if form.linear[0][1].is_number else S.One
        # Row = (form - what was taken away) / pivot, as a combination of the basis: what `_reduce` adds up.
        combination = {k: -c * inverse for k, c in coefficients.items()}
        combination[len(self.basis)] = inverse * scale
        self._reduced.append((pivot, {g: c * inverse for g, c in rest.items()}, combination))
        self.basis.append(Affine(form.scaled(1 / scale).linear))

    def _reduce(self, form: Affine) -> tuple[dict[Symbol, Expr], dict[int, Expr]]:
        """What is left of a form after elimination, and the coefficients of what was taken away."""
        rest: dict[Symbol, Expr] = dict(form.linear)
        coefficients: dict[int, Expr] = {}
        for pivot, row, combination in self._reduced:
            factor = rest.get(pivot, S.Zero)
            if factor == 0:
                continue
            for g, c in row.items():
                rest[g] = lowest_terms(rest.get(g, S.Zero) - factor * c)
            for k, c in combination.items():
                coefficients[k] = lowest_terms(coefficients.get(k, S.Zero) + factor * c)
        return {g: c for g, c in rest.items() if c != 0}, coefficients


def integral_of(factors: tuple[Expr, ...], basis: GaussianBasis, log: set[str]) -> Integral | None:
    """The expectation of a product as an integral; None if it would need more than MOST_DIMENSIONS."""
    hard = [factor for factor in factors if not _has_terms(factor, basis)]
    easy = [factor for factor in factors if factor not in hard]
    # What is held fixed is integrated over numerically, the rest in closed form given that. Of the factors with closed forms,
    # as few as possible are held: of tanh(z) erf(w), E[erf(w) | z] is in closed form, and the integral is over z alone.
    for extra in _subsets(len(easy)):
        held = [*hard, *(easy[i] for i in extra)]
        if held:
            integral = _conditioned(held, [f for i, f in enumerate(easy) if i not in extra], basis, log)
            if integral is not None:
                return integral
    return None


def _subsets(size: int) -> Iterator[tuple[int, ...]]:
    """The subsets of range(size), small ones first; factors may be equal, their positions are not."""
    for length in range(size + 1):
        yield from combinations(range(size), length)


def _has_terms(factor: Expr, basis: GaussianBasis) -> bool:
    try:
        basis.terms(factor)
    except NotClosed:
        return False
    return True


def _conditioned(held: list[Expr], rest: list[Expr], basis: GaussianBasis, log: set[str]) -> Integral | None:
    span = FormSpan()
    for factor in held:
        for form in forms_of(factor, basis.gaussians):
            span.add(form)
    # Functions of what is held fixed are numbers there; only the others need an expectation.
    whole = rest
    inside = [f for f in rest if all(span.coordinates(form) is not None for form in forms_of(f, basis.gaussians))]
    rest = [f for f in rest if f not in inside]
    dimension = len(span.basis)
    if dimension > MOST_DIMENSIONS:
        return None
    tried: set[str] = set()
    conditional = Conditional(basis, tried, tuple(span.basis), XI[:dimension])
    try:
        smooth = conditional.expectation(Mul(*rest)) if rest else S.One
    except NotClosed:
        return None
    log |= tried

    def at(part: Expr) -> Expr:
        form = affine(part, basis.gaussians)
        coordinates = None if form is None else span.coordinates(form)
        assert form is not None and coordinates is not None, "the span holds every form of what is inside"
        return form.constant + Add(*(c * NATURAL[k] for k, c in coordinates.items()))

    integrand = Mul(*(replaced(factor, basis.gaussians, at) for factor in (*held, *inside))) * smooth
    if integrand.has(DiracDelta):  # no sum of values finds it
        return None
    return Integral(tuple(span.basis), integrand, conditional.covariance(), tuple(conditional.values()), Mul(*held, *whole))
