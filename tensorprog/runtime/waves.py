"""Expectations of polynomials times waves in closed form, where variances are so large that Hermite series are too long.

Of f(x) = sum x**p a exp(i w x) and g(x) = sum x**r b exp(i v x), by Girsanov's theorem

    E f(x) g(y) = sum a b exp(-Var(w x + v y)/2) E (x + i Cov(x, w x + v y))**p (y + i Cov(y, w x + v y))**r

where the exponent says which terms are left: a wave of a large frequency averages out, and so does a product of two unless
the variables are nearly equal. At small variances the terms cancel, and there the series is short.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

#: A variance times the square of the largest frequency beyond which series are too long.
FAST = 100.0
#: By how much terms may cancel, and the error of each.
MOST_CANCELLED, ROUNDING = 16.0, 8 * np.finfo(float).eps

Terms = tuple[tuple[int, float, float, float], ...]


def terms_of(f: Callable) -> Terms | None:
    """The terms (p, w, real and imaginary part of a) of a function of an emitted module, if they are known."""
    found: Terms | None = getattr(f, "waves", None)
    return found


@lru_cache(maxsize=4096)
def is_closed(f: Callable, low: float, high: float) -> bool:
    """Whether the closed form is better than a series for variances between two."""
    terms = terms_of(f)
    if terms is None or high * max(abs(w) for _, w, _, _ in terms)**2 < FAST:
        return False
    q = np.array([low, high])
    square, size = expectation(terms, terms, q, q, np.ones(2))
    with np.errstate(all="ignore"):
        return bool(np.all(size <= MOST_CANCELLED * square))


def expectation(f: Terms, g: Terms, qa: np.ndarray, qb: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E f(x) g(y) for variances qa and qb and correlations c, and the sum of the sizes of its terms; all [n]."""
    sa, sb, side = np.sqrt(qa), np.sqrt(qb), np.where(c < 0, -1.0, 1.0)
    gap = 1.0 - np.abs(c)
    covariance = c * sa * sb
    total, size = np.zeros(len(c)), np.zeros(len(c))
    for p, w, *first in f:
        for r, v, *second in g:
            # Cov(x, w x + v y) / sd(x), and the same of y, without cancellation where |c| is near 1.
            one = w * sa + v * side * sb - v * side * sb * gap
            two = v * sb + w * side * sa - w * side * sa * gap
            # (w sa + v side sb)**2 - 2 w v side sa sb (1 - |c|) is the variance of w x + v y.
            factor = np.exp(-0.5 * ((w * sa + v * side * sb)**2 - 2 * w * v * side * sa * sb * gap))
            coefficient = complex(*first) * complex(*second)
            moment = _moment(p, r, 1j * sa * one, 1j * sb * two, qa, covariance, qb)
            total += (coefficient * factor * moment).real
            size += abs(coefficient) * factor * _moment(p, r, sa * np.abs(one), sb * np.abs(two), qa, np.abs(covariance), qb)
    return total, size


def _moment(p: int, r: int, mx: np.ndarray, my: np.ndarray, qa: np.ndarray, k: np.ndarray, qb: np.ndarray) -> np.ndarray:
    """E (x + mx)**p (y + my)**r, by Stein's lemma."""
    if p == 0 and r == 0:
        return np.ones(len(mx))
    if p == 0:
        return _moment(r, 0, my, mx, qb, k, qa)
    found = mx * _moment(p - 1, r, mx, my, qa, k, qb)
    if p > 1:
        found = found + (p - 1) * qa * _moment(p - 2, r, mx, my, qa, k, qb)
    if r > 0:
        found = found + r * k * _moment(p - 1, r - 1, mx, my, qa, k, qb)
    return found


def mean(f: Terms, q: np.ndarray) -> np.ndarray:
    """E f(x) for variances q [n]."""
    return expectation(f, ((0, 0.0, 1.0, 0.0),), q, q, np.zeros(len(q)))[0]


def mean_square(f: Callable, q: float) -> float:
    """E f(x)**2 for a variance."""
    terms, q_ = terms_of(f) or (), np.array([q])
    return float(expectation(terms, terms, q_, q_, np.ones(1))[0][0])
