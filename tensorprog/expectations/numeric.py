"""What emitted expectations call, compiled by Numba: the functions of `functions.py` and `guarded.py`, quadrature."""

from __future__ import annotations

import math

from tensorprog.expectations.bivariate import upper_orthant
from tensorprog.expectations.nodes import kink_points, refinement_error, trapezoid_points
from tensorprog.runtime.compiling import njit

__all__ = ["arc0", "arc1", "arc2", "arcsine", "cosine", "density", "gelu", "kink_points", "nonzero", "ratio",
           "refinement_error", "relu", "root", "sigmoid", "sign", "sign_mean", "sign_of_sum", "sign_pair", "silu",
           "sine", "softplus", "step", "trapezoid_points"]

_SPLITTER = 134217729.0  # 2**27 + 1
_TWO_PI = 2 * math.pi


@njit(cache=True)
def relu(x):
    return 0.0 if x < 0.0 else x


@njit(cache=True)
def step(x):
    return 1.0 if x > 0.0 else 0.0


@njit(cache=True)
def sign(x):
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0)


@njit(cache=True)
def sigmoid(x):
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


@njit(cache=True)
def gelu(x):
    return 0.5 * x * math.erfc(-x / math.sqrt(2.0))


@njit(cache=True)
def silu(x):
    return x * sigmoid(x)


@njit(cache=True)
def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(cache=True)
def root(k):
    return math.sqrt(k) if k > 0.0 else 0.0


@njit(cache=True)
def ratio(k, s):
    return k / s if s > 0.0 else 0.0


@njit(cache=True)
def _product_error(a, b, product):
    """a*b - product to the last bit (Dekker 1971)."""
    a_high = _SPLITTER * a - (_SPLITTER * a - a)
    b_high = _SPLITTER * b - (_SPLITTER * b - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(cache=True)
def _determinant(k12, k11, k22):
    """k11 k22 - k12**2 without cancellation, at least 0; variances within the square root of the largest number."""
    first, second = k11 * k22, k12 * k12
    exact = (first - second) + (_product_error(k11, k22, first) - _product_error(k12, k12, second))
    return max(exact, 0.0)


@njit(cache=True)
def cosine(k12, k11, k22):
    if not (k11 > 0.0 and k22 > 0.0):
        return 0.0
    c = k12 / k11 if k11 == k22 else k12 / math.sqrt(k11) / math.sqrt(k22)
    return min(1.0, max(-1.0, c))


@njit(cache=True)
def sine(k12, k11, k22):
    if not (k11 > 0.0 and k22 > 0.0):
        return 1.0
    return min(1.0, math.sqrt(_determinant(k12, k11, k22)) / (math.sqrt(k11) * math.sqrt(k22)))


@njit(cache=True)
def arcsine(k12, k11, k22):
    if not (k11 > 0.0 and k22 > 0.0):
        return 0.0
    return math.atan2(k12, math.sqrt(_determinant(k12, k11, k22)))


@njit(cache=True)
def _angle(k11, k12, k22):
    return math.atan2(math.sqrt(_determinant(k12, k11, k22)), k12)


@njit(cache=True)
def arc0(k11, k12, k22):
    if not (k11 > 0.0 and k22 > 0.0):
        return 0.0
    return (math.pi - _angle(k11, k12, k22)) / _TWO_PI


@njit(cache=True)
def arc1(k11, k12, k22):
    if not (k11 > 0.0 and k22 > 0.0):
        return 0.0
    return (math.sqrt(_determinant(k12, k11, k22)) + (math.pi - _angle(k11, k12, k22)) * k12) / _TWO_PI


@njit(cache=True)
def arc2(k11, k12, k22):
    if not (k11 > 0.0 and k22 > 0.0):
        return 0.0
    rest = math.pi - _angle(k11, k12, k22)
    return (3.0 * k12 * math.sqrt(_determinant(k12, k11, k22)) + rest * (k11 * k22 + 2.0 * k12 * k12)) / _TWO_PI


@njit(cache=True)
def nonzero(m, k):
    return 1.0 if k > 0.0 or m != 0.0 else 0.0


@njit(cache=True)
def density(m, s):
    if not s > 0.0:
        return 1.0 if m == 0.0 else 0.0
    return math.exp(-0.5 * (m / s)**2)


@njit(cache=True)
def sign_mean(m, s):
    return math.erf(m / (math.sqrt(2.0) * s)) if s > 0.0 else sign(m)


@njit(cache=True)
def sign_of_sum(a, b, s):
    total = a + b
    return 0.0 if abs(total) <= 8e-16 * (abs(a) + abs(b)) and s <= 1e-8 * abs(a) else sign_mean(total, s)


@njit(cache=True)
def sign_pair(m1, k11, m2, k22, k12):
    s1, s2 = root(k11), root(k22)
    if not (s1 > 0.0 and s2 > 0.0):
        return sign_mean(m1, s1) * sign_mean(m2, s2)
    both = upper_orthant(-m1 / s1, -m2 / s2, cosine(k12, k11, k22), sine(k12, k11, k22))
    return 4.0 * both - 1.0 - sign_mean(m1, s1) - sign_mean(m2, s2)
