"""The bivariate normal distribution, for products of two jumps that are not at zero."""

from __future__ import annotations

import math

import numpy as np

from tensorprog.runtime.compiling import njit

_X, _W = np.polynomial.legendre.leggauss(24)


@njit(cache=True)
def _cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@njit(cache=True)
def upper_orthant(h, k, c, s):
    """P(x > h, y > k) for standard normal x, y of correlation c, with s = sqrt(1 - c**2); absolute error 1e-15.

    Source: A. Genz, Numerical computation of rectangular bivariate and trivariate normal and t probabilities,
    Statistics and Computing 14 (2004), section 2, after Drezner and Wesolowsky (1990).
    """
    # P(x > 40) is 0 in double precision.
    if abs(h) > 40.0 or abs(k) > 40.0:
        return _far(h, k)
    if abs(c) < 0.925:
        return _by_angle(h, k, c)
    if c > 0.0:
        return _cdf(-max(h, k)) - _near_one(h, k, s)
    return _near_one(h, -k, s) + (_cdf(-h) - _cdf(k) if -k > h else 0.0)


@njit(cache=True)
def _far(h, k):
    if h > 40.0 or k > 40.0:
        return 0.0
    return _cdf(-k) if h < -40.0 else _cdf(-h)


@njit(cache=True)
def _by_angle(h, k, c):
    half_angle = 0.5 * math.asin(c)
    mean_square = 0.5 * (h * h + k * k)
    total = 0.0
    for i in range(_X.size):
        # The probability rises with the correlation by the density at (h, k) (Plackett 1954); the correlation is sin t.
        sn = math.sin(half_angle * (1.0 + _X[i]))
        total += _W[i] * math.exp((sn * h * k - mean_square) / (1.0 - sn * sn))
    return total * half_angle / (2.0 * math.pi) + _cdf(-h) * _cdf(-k)


@njit(cache=True)
def _near_one(h, k, s):
    """P(x > max(h, k)) - P(x > h, y > k) at the correlation sqrt(1 - s**2)."""
    if s <= 0.0:
        return 0.0
    hk, gap2 = h * k, (h - k)**2
    c, d = (4.0 - hk) / 8.0, (12.0 - hk) / 16.0
    total = 0.0
    exponent = -0.5 * (gap2 / (s * s) + hk)
    if exponent > -100.0:
        total = s * math.exp(exponent) * (1.0 - c * (gap2 - s * s) * (1.0 - d * gap2 / 5.0) / 3.0 + c * d * s**4 / 5.0)
    if hk > -100.0:
        gap = math.sqrt(gap2)
        tail = math.sqrt(2.0 * math.pi) * _cdf(-gap / s)
        total -= math.exp(-0.5 * hk) * tail * gap * (1.0 - c * gap2 * (1.0 - d * gap2 / 5.0) / 3.0)
    for i in range(_X.size):
        x2 = (0.5 * s * (1.0 + _X[i]))**2
        rest = math.sqrt(1.0 - x2)
        exponent = -0.5 * (gap2 / x2 + hk)
        if exponent > -100.0:
            exact = math.exp(-hk * x2 / (2.0 * (1.0 + rest)**2)) / rest
            total += 0.5 * s * _W[i] * math.exp(exponent) * (exact - (1.0 + c * x2 * (1.0 + d * x2)))
    return total / (2.0 * math.pi)
