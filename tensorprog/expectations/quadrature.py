"""What has no closed form: quadrature over as few Gaussians as possible, the rest integrated out in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from sympy import DiracDelta, Dummy, Expr, Mul, S, Symbol, cancel

from tensorprog.expectations.affine import Affine, affine
from tensorprog.expectations.basis import Basis, NotClosed
from tensorprog.expectations.forms import Conditional
from tensorprog.expectations.products import forms_of, kinks, replaced, transitions

MOST_DIMENSIONS = 3
XI = tuple(Dummy(f"xi{k}", real=True) for k in range(MOST_DIMENSIONS))


@dataclass(frozen=True)
class Integral:
    """E[integrand(xi)] over independent standard normal xi.

    Attributes:
        fixed: the linear forms that xi stand for, through the Cholesky factor of their covariance.
        integrand: an expression in XI[:len(fixed)], covariances and parameters.
        deviations: by what each xi is multiplied; xi of deviation 0 have no influence.
    """

    fixed: tuple[Affine, ...]
    integrand: Expr
    deviations: tuple[Expr, ...]

    @property
    def dimension(self) -> int:
        return len(self.fixed)

    @property
    def kinks(self) -> list[Affine]:
        """The planes, as affine forms in xi, at which the integrand is not smooth."""
        return kinks(self.integrand, frozenset(XI))

    @property
    def transitions(self) -> list[Affine]:
        """Those planes, and the ones at which the integrand changes fast if covariances are large."""
        return transitions(self.integrand, frozenset(XI))


@dataclass
class Span:
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
        scale = form.linear[0][1] if form.linear[0][1].is_number else S.One
        combination = {k: -c * inverse for k, c in coefficients.items()}
        combination[len(self.basis)] = inverse * scale
        self._reduced.append((pivot, {g: c * inverse for g, c in rest.items()}, combination))
        self.basis.append(Affine(form.scaled(1 / scale).linear))

    def _reduce(self, form: Affine) -> tuple[dict[Symbol, Expr], dict[int, Expr]]:
        """What is left of a form after elimination, and the coefficients of what was taken away."""
        rest, coefficients = dict(form.linear), {}
        for pivot, row, combination in self._reduced:
            factor = rest.get(pivot, S.Zero)
            if factor == 0:
                continue
            for g, c in row.items():
                rest[g] = _reduced_sum(rest.get(g, S.Zero) - factor * c)
            for k, c in combination.items():
                coefficients[k] = _reduced_sum(coefficients.get(k, S.Zero) + factor * c)
        return {g: c for g, c in rest.items() if c != 0}, coefficients


def _reduced_sum(value: Expr) -> Expr:
    return value if value.is_number else cancel(value)


def integral_of(factors: tuple[Expr, ...], basis: Basis, log: set[str]) -> Integral | None:
    """The expectation of a product as an integral; None if it would need more than MOST_DIMENSIONS."""
    hard = [factor for factor in factors if not _has_terms(factor, basis)]
    easy = [factor for factor in factors if factor not in hard]
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


def _has_terms(factor: Expr, basis: Basis) -> bool:
    try:
        basis.terms(factor)
    except NotClosed:
        return False
    return True


def _conditioned(held: list[Expr], rest: list[Expr], basis: Basis, log: set[str]) -> Integral | None:
    span = Span()
    for factor in held:
        for form in forms_of(factor, basis.gaussians):
            span.add(form)
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
    values = conditional.values()

    def at(part: Expr) -> Expr:
        form = affine(part, basis.gaussians)
        return form.constant + sum(c * values[k] for k, c in span.coordinates(form).items())

    integrand = Mul(*(replaced(factor, basis.gaussians, at) for factor in (*held, *inside))) * smooth
    if integrand.has(DiracDelta):  # no sum of values finds it
        return None
    return Integral(tuple(span.basis), integrand, tuple(conditional.deviations()))
