"""The limit of values that are known at a few sizes L, with an error.

A value is taken for `v + c1 x + c2 x**2 + ...` with `x = L0/L` or `x = sqrt(L0/L)`, where the coefficients are independent normal
variables of one unknown scale: then `v` has a posterior distribution in closed form, since the covariance of the series at two
sizes is geometric, `sum_j (x y)**j = x y / (1 - x y)`. The scale, `L0` and the kind of series are not known either, and count by their
evidence, the probability that they give to the values. So does the alternative that there is no limit: values that grow, come
near it too slowly to say, or go up and down. (Oates et al., Probabilistic Richardson extrapolation, arXiv 2401.07562.)

Of values without errors of their own this is close to Richardson extrapolation, of others it is a fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import mpmath

# With fewer values there is nothing left to judge a fit by.
FEWEST = 3

# L0 in units of the smallest size; the sum of the series is regular beyond it.
RADII = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)

# Scales of the coefficients in units of the values' range: with several terms of either sign they may be large.
SCALES = 2.0 ** np.arange(-3, 25)

# What is less than this, relative to the largest value, is rounding.
ROUNDING = 1e-14

# A kind of series with this share of the evidence is possible.
POSSIBLE = 0.05

# From these odds on, there is no limit.
REFUSED = 20.0

# Elements that are worked on together, and the digits of the covariances, which are nearly singular.
BLOCK = 4096
DIGITS = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """How values may depend on a size: a series in `L**-power` (None: independent values), with a term
    `leading(L, first, last)` in front of it."""

    power: float | None
    leading: Callable | None = None

    def covariance(self, radius: float, sizes: Sequence[int]) -> mpmath.matrix:
        """The covariances at some sizes but for the scale, as an `mpmath` matrix [k, k]."""
        import mpmath

        exact = [mpmath.mpf(size) for size in sizes]
        lead = [self.leading(size, exact[0], exact[-1]) if self.leading else 0 for size in exact]
        found = mpmath.eye(len(sizes))
        if self.power is not None:
            for i, a in enumerate(exact):
                for j, b in enumerate(exact):
                    # (L0/a)**power (L0/b)**power; the sum over j >= 1 of its powers follows.
                    x = ((radius * exact[0]) ** 2 / (a * b)) ** self.power
                    found[i, j] = x / (1 - x) + lead[i] * lead[j]
        return found


def _logarithm(size: mpmath.mpf, first: mpmath.mpf, last: mpmath.mpf) -> mpmath.mpf:
    from mpmath import log

    return log(size / first) / log(last / first)


SERIES = (Kind(1.0), Kind(0.5))
WITHOUT_LIMIT = (
    # Growth as log L, sqrt(L) and L, an approach as L**(-1/4), which is too slow to be told from none, and no
    # dependence at all.
    Kind(1.0, _logarithm),
    Kind(0.5, _logarithm),
    Kind(0.5, lambda size, first, last: (size / last) ** 0.5),
    Kind(1.0, lambda size, first, last: size / last),
    Kind(0.5, lambda size, first, last: (first / size) ** 0.25),
    Kind(None),
)


class Extrapolated(NamedTuple):
    """Limits, their errors, and which values have none, arrays of one shape."""

    value: np.ndarray
    error: np.ndarray
    refused: np.ndarray


class _Posterior(NamedTuple):
    """By one kind of dependence: the logarithm of the evidence, mean and variance of the limit, [elements]."""

    evidence: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def extrapolate(sizes: Sequence[int], values: np.ndarray, errors: np.ndarray) -> Extrapolated:
    """The limits of values for large sizes.

    Args:
        sizes: k >= `FEWEST` different positive integers, ascending.
        values, errors: [k, ...]; the errors are standard deviations of independent errors.

    Returns:
        limits with standard errors: the mean by the most probable kind of series, and the standard deviation from it by the
        kind that leaves the most room, of those that are possible. Not finite, where a value is not.
    """
    flat = values.reshape(len(sizes), -1).T
    noise = np.nan_to_num(errors.reshape(len(sizes), -1).T, nan=0.0)
    finite = np.isfinite(flat).all(axis=1)
    found = np.full((2, len(flat)), np.nan)
    refused = np.zeros(len(flat), dtype=bool)
    for start in range(0, len(flat), BLOCK):
        block = np.flatnonzero(finite[start:start + BLOCK]) + start
        found[:, block], refused[block] = _limits(tuple(sizes), flat[block], noise[block])
    shape = values.shape[1:]
    return Extrapolated(found[0].reshape(shape), found[1].reshape(shape), refused.reshape(shape))


def _limits(sizes: tuple[int, ...], values: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits and errors [2, elements], and which elements have none, of values [elements, k]."""
    rounding = np.maximum(ROUNDING * np.abs(values).max(axis=1, keepdims=True), np.finfo(float).tiny ** 0.25)
    noise = np.hypot(errors, rounding)
    last = values[:, -1]
    # The limit has a flat prior: only differences between values count.
    moved = values - last[:, None]
    scales = np.maximum(np.abs(moved).max(axis=1), rounding[:, 0])[:, None] * SCALES
    series = [_posterior(kind, sizes, moved, noise, scales) for kind in SERIES]
    evidence = np.stack([p.evidence for p in series])
    share = np.exp(evidence - np.logaddexp.reduce(evidence, axis=0))
    possible = share >= POSSIBLE
    means = np.stack([p.mean for p in series])
    best = np.take_along_axis(means, evidence.argmax(axis=0)[None], axis=0)[0]
    variance = np.stack([p.variance for p in series]) + (means - best) ** 2
    uncertain = np.any(noise > rounding, axis=1) | np.any(moved, axis=1)
    error = np.where(uncertain, np.sqrt(np.where(possible, variance, 0.0).max(axis=0)), 0.0)
    against = np.max([_posterior(kind, sizes, moved, noise, scales).evidence for kind in WITHOUT_LIMIT], axis=0)
    # Values that do not move at all tend to what they are, whatever explains them best.
    refused = (against - evidence.max(axis=0) > np.log(REFUSED)) & np.any(np.abs(moved) > 8 * rounding, axis=1)
    return np.stack([last + best, error]), refused


def _posterior(kind: Kind, sizes: tuple[int, ...], values: np.ndarray, noise: np.ndarray,
               scales: np.ndarray) -> _Posterior:
    """A kind's evidence and limits, all `RADII` and scales [elements, scales] taken together.

    With the covariance C C.T of the series, `inv(C) @ values` has the covariance `scale**2 + inv(C) @ noise**2 @ inv(C).T`,
    which is diagonal in a basis that all scales share.
    """
    parts = []
    # Independent values have no radius.
    for radius in RADII[:1] if kind.power is None else RADII:
        whiten, determinant = _whitening(kind, radius, sizes)
        white = whiten * noise[:, None, :]
        spread, basis = np.linalg.eigh(white @ white.transpose(0, 2, 1))
        data = np.einsum("eji,ej->ei", basis, values @ whiten.T)[:, None, :]
        ones = np.einsum("eji,j->ei", basis, whiten.sum(axis=1))[:, None, :]
        weight = 1.0 / (scales[:, :, None] ** 2 + np.maximum(spread, 0.0)[:, None, :])
        precision = (weight * ones**2).sum(axis=2)
        mean = (weight * ones * data).sum(axis=2) / precision
        residual = (weight * (data - mean[:, :, None] * ones) ** 2).sum(axis=2)
        # The probability of the values by a normal law, with the limit integrated out under its flat prior.
        evidence = 0.5 * (np.log(weight).sum(axis=2) - np.log(precision) - residual) - determinant
        parts.append((evidence, mean, 1.0 / precision))
    evidence, mean, variance = (np.concatenate(part, axis=1) for part in zip(*parts))
    total = np.logaddexp.reduce(evidence, axis=1)
    share = np.exp(evidence - total[:, None])
    centre = (share * mean).sum(axis=1)
    # All radii and scales are equally probable before: the evidence is their average.
    return _Posterior(total - np.log(evidence.shape[1]), centre,
                      (share * (variance + (mean - centre[:, None]) ** 2)).sum(axis=1))


@lru_cache(maxsize=1024)
def _whitening(kind: Kind, radius: float, sizes: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """inv(C) of a covariance C C.T, and log det C."""
    import mpmath

    with mpmath.workdps(DIGITS):
        factor = mpmath.cholesky(kind.covariance(mpmath.mpf(radius), sizes))
        determinant = mpmath.fsum(mpmath.log(factor[i, i]) for i in range(len(sizes)))
        return np.array((factor**-1).tolist(), dtype=float), float(determinant)
