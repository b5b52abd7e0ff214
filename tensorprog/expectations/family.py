"""Jointly Gaussian zero-mean variables with symbolic covariances, and conditioning."""

from __future__ import annotations

from dataclasses import dataclass, field

from sympy import Expr, S, Symbol

from tensorprog.expectations.affine import Affine, Covariance, covariance_of, lowest_terms
from tensorprog.expectations.guarded import ratio, root, sine

Linear = dict[Symbol, Expr]


@dataclass(eq=False)
class Family:
    """Variables y_0, y_1, ... with covariances `cov[i][j]` and standard deviations `sd[i]`.

    `linear[i]` is y_i as a linear form, up to multiples of what is conditioned on: linear dependence is known from the
    forms, because it is lost in rounded covariances. Then `same[i] = (j, c)` says that y_i = c y_j, c of known sign.
    """

    cov: list[list[Expr]]
    sd: list[Expr]
    linear: list[Linear]
    same: dict[int, tuple[int, Expr]] = field(default_factory=dict)
    _conditioned: dict[int, Family] = field(default_factory=dict)

    @staticmethod
    def of(forms: list[Affine], covariance: Covariance) -> Family:
        size = len(forms)
        cov = _zeros(size)
        for i in range(size):
            for j in range(i + 1):
                cov[i][j] = cov[j][i] = covariance_of(forms[i], forms[j], covariance)
        return Family(cov, [root(cov[i][i]) for i in range(size)], [dict(form.linear) for form in forms])

    def loading(self, i: int, k: int) -> Expr:
        """Cov(y_i, y_k) / sd(y_k): by what y_i moves with a standard deviation of y_k."""
        return self.sd[k] if i == k else ratio(self.cov[i][k], self.sd[k])

    def given(self, k: int) -> Family:
        """The family conditioned on y_k, without the shifts of the means."""
        if k not in self._conditioned:
            self._conditioned[k] = self._condition(k)
        return self._conditioned[k]

    def _condition(self, k: int) -> Family:
        size = len(self.sd)
        linear = [_eliminated(form, self.linear[k]) for form in self.linear]
        moves = [self.loading(i, k) for i in range(size)]
        cov, sd = _zeros(size), [S.Zero] * size
        for i in range(size):
            # Var(y_i | y_k) = Var y_i - Cov(y_i, y_k)**2 / Var y_k, and the covariances likewise; means are `FamilyMeans.given`'s.
            # Nothing is left of the form, so that the variable is known exactly; its variance by rounded numbers need
            # not be 0.
            if not linear[i]:
                continue
            # sd * sqrt(1 - c**2): the difference of variances would lose its digits for c near 1.
            sd[i] = self.sd[i] * sine(self.cov[i][k], self.cov[i][i], self.cov[k][k])
            cov[i][i] = sd[i]**2
            for j in range(i):
                if linear[j]:
                    cov[i][j] = cov[j][i] = self.cov[i][j] - moves[i] * moves[j]
        return Family(cov, sd, linear, _multiples(linear))


def _zeros(size: int) -> list[list[Expr]]:
    return [[S.Zero] * size for _ in range(size)]


def _eliminated(form: Linear, other: Linear) -> Linear:
    """The form less the multiple of `other` that takes the first variable of `other` out."""
    if not other:
        return form
    # Only what is left besides a multiple of `other` matters: a conditioned variable is known up to numbers and this multiple.
    pivot, scale = next(iter(other.items()))
    if pivot not in form:
        return form
    factor = form[pivot] / scale
    rest = {g: lowest_terms(form.get(g, S.Zero) - factor * other.get(g, S.Zero)) for g in {**form, **other} if g != pivot}
    return {g: c for g, c in rest.items() if c != 0}


def _multiples(linear: list[Linear]) -> dict[int, tuple[int, Expr]]:
    """For each form that is a multiple of an earlier one, that and the factor."""
    found: dict[int, tuple[int, Expr]] = {}
    for i, form in enumerate(linear):
        for j in range(i):
            # The first of several multiples stands for all.
            factor = _factor(form, linear[j]) if j not in found else None
            if factor is not None:
                found[i] = j, factor
                break
    return found


def _factor(form: Linear, other: Linear) -> Expr | None:
    if not form or form.keys() != other.keys():
        return None
    pivot = next(iter(form))
    factor = lowest_terms(form[pivot] / other[pivot])
    # sign(c y) = sign(c) sign(y) takes the sign of c, and a parameter may have either.
    if not (factor.is_positive or factor.is_negative):
        return None
    return factor if all(lowest_terms(form[g] - factor * c) == 0 for g, c in other.items()) else None
