"""What emitted expectations call, compiled by Numba: the functions of `functions.py` and `guarded.py`, rules.

What is not positive counts as zero, but a NaN stays a NaN.
"""

from __future__ import annotations

import math

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.runtime.accurate import minor, product_error
from tensorprog.runtime.bivariate import upper_orthant
from tensorprog.runtime.compiling import njit
from tensorprog.runtime.functions import function
from tensorprog.runtime.nodes import kink_points, refinement_error, trapezoid_points

__all__ = ["arc0", "arc1", "arc2", "arc_mixed", "arc_mixed2", "arcsine", "cosine", "decay", "density", "determinant",
           "exact_sum", "gelu", "growth", "growth_less_one", "kink_points", "log_erfc", "noisy_arcsine", "noisy_determinant",
           "nonzero", "over_erfc", "ratio", "refinement_error", "relu", "root", "sigmoid", "sigmoid_slope", "sign", "sign_mean",
           "sign_of_sum", "sign_pair", "silu", "sine", "sine_pair", "softplus", "step", "tanh_slope",
           "trapezoid_points"]

_TWO_PI = 2 * math.pi

#: Of a sum of two means that is zero, relative to them: covariances that recursions computed differ by more than the last
#: digit, and correlations may be above 1. Larger than that, so that both of a pair of signs are taken to be 0, or neither.
ROUNDING = 1e-12


def _of_record(name):
    """The scalar form of a nonlinearity, compiled."""
    scope = {**vars(math)}
    exec(compile(f"def {name}(x):\n    return {NONLINEARITIES[name].scalar.format(x='x')}\n", __file__, "exec"), scope)
    return njit(cache=name in _BUILT_IN)(scope[name])


_BUILT_IN = ("relu", "step", "sign", "sigmoid", "gelu", "silu", "softplus")
relu, step, sign, sigmoid, gelu, silu, softplus = map(_of_record, _BUILT_IN)


def __getattr__(name):
    """Functions that were registered from outside of tensorprog, by their names."""
    function(name)  # or say that there is none
    globals()[name] = _of_record(name)
    return globals()[name]


@njit(cache=True)
def tanh_slope(x):
    # No overflow, and no difference of numbers that are nearly equal.
    e = math.exp(-2.0 * abs(x))
    return 4.0 * e / (1.0 + e)**2


@njit(cache=True)
def sigmoid_slope(x):
    e = math.exp(-abs(x))
    return e / (1.0 + e)**2


@njit(cache=True)
def root(k):
    return 0.0 if k <= 0.0 else math.sqrt(k)


@njit(cache=True)
def ratio(k, s):
    return 0.0 if s <= 0.0 else k / s


@njit(cache=True)
def _two_sum(a, b):
    """a + b and what rounding it loses (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@njit(cache=True)
def exact_sum(*terms):
    """The sum with twice the digits (Ogita, Rump and Oishi 2005), rounded."""
    total, lost = 0.0, 0.0
    for term in terms:
        total, rest = _two_sum(total, term)
        lost += rest
    return total + lost


@njit(cache=True)
def noisy_determinant(k12, e1, k11, e2, k22):
    """(e1 + k11) (e2 + k22) - k12**2 with twice the digits."""
    (a, rest_a), (b, rest_b) = _two_sum(e1, k11), _two_sum(e2, k22)
    first, second = a * b, k12 * k12
    rest = product_error(a, b, first) - product_error(k12, k12, second) + a * rest_b + b * rest_a
    return max((first - second) + rest, 0.0)


@njit(cache=True)
def noisy_arcsine(k12, e1, k11, e2, k22):
    return math.atan2(k12, math.sqrt(noisy_determinant(k12, e1, k11, e2, k22)))


@njit(cache=True)
def decay(k):
    return math.exp(-0.5 * k)


@njit(cache=True)
def growth(k):
    return math.exp(0.5 * k)


@njit(cache=True)
def growth_less_one(k):
    return math.expm1(k)


#: From here on erfc is a series in 1/x**2, whose terms fall below the last digit before they grow.
_TAIL, _TERMS = 8.0, 20


@njit(cache=True)
def log_erfc(x):
    """log(erfc(x)), also where erfc(x) is no floating point number (Abramowitz and Stegun, 7.1.23)."""
    if x < _TAIL:
        return math.log(math.erfc(x))
    series, term = 1.0, 1.0
    for m in range(1, _TERMS):
        term *= -(2 * m - 1) / (2.0 * x * x)
        series += term
    return math.log(series / (x * math.sqrt(math.pi))) - x * x


@njit(cache=True)
def over_erfc(u, x, k):
    """exp(u) / erfc(x)**k."""
    return math.exp(u) / math.erfc(x)**k if x < _TAIL else math.exp(u - k * log_erfc(x))


@njit(cache=True)
def sine_pair(k12, difference, total):
    """(exp(-difference/2) - exp(-total/2)) / 2, with total - difference = 4 k12; nothing overflows or cancels."""
    # total - difference = 4 k12 takes the difference of the two exponentials apart without cancellation.
    size = -0.5 * math.exp(-0.5 * min(difference, total)) * math.expm1(-2.0 * abs(k12))
    return size if k12 >= 0.0 else -size


@njit(cache=True)
def determinant(k12, k11, k22):
    """k11 k22 - k12**2 without cancellation, at least 0; variances within the square root of the largest number."""
    return max(minor(k11, k22, k12, k12), 0.0)


@njit(cache=True)
def cosine(k12, k11, k22):
    if k11 <= 0.0 or k22 <= 0.0:
        return 0.0
    # Equal variances: rows that are the same have the correlation 1 exactly.
    c = k12 / k11 if k11 == k22 else k12 / math.sqrt(k11) / math.sqrt(k22)
    return min(max(c, -1.0), 1.0)


@njit(cache=True)
def sine(k12, k11, k22):
    if k11 <= 0.0 or k22 <= 0.0:
        return 1.0
    return min(1.0, math.sqrt(determinant(k12, k11, k22)) / (math.sqrt(k11) * math.sqrt(k22)))


@njit(cache=True)
def arcsine(k12, k11, k22):
    if k11 <= 0.0 or k22 <= 0.0:
        return 0.0
    # arcsin(c) loses half of its digits near 1; the determinant keeps them.
    return math.atan2(k12, math.sqrt(determinant(k12, k11, k22)))


@njit(cache=True)
def _angle(k11, k12, k22):
    """By how much the angle between u and -v differs from a straight one, and its tangent where that is below 1/8."""
    across = math.sqrt(determinant(k12, k11, k22))
    return math.atan2(across, -k12), across / -k12 if k12 < 0.0 and across < -0.125 * k12 else 0.0


@njit(cache=True)
def _odd_series(t, degree):
    """sum_k (-1)**k t**(2 k + 1) a_k, the small difference of two parts of an arc-cosine kernel near correlation -1, for
    a tangent below 1/8: t - atan(t) for degree 1, (3 + t**2) atan(t) - 3 t for 2, atan(t) - t / (1 + t**2) for 3."""
    total, power = 0.0, t
    for k in range(1, 11):
        power *= -t * t
        slope = -1.0 if degree == 1 else (4.0 * k - 4.0) / (2.0 * k - 1.0) if degree == 2 else -2.0 * k
        total += power * slope / (2.0 * k + 1.0)
    return total


@njit(cache=True)
def arc0(k11, k12, k22):
    if k11 <= 0.0 or k22 <= 0.0:
        return 0.0
    return _angle(k11, k12, k22)[0] / _TWO_PI


@njit(cache=True)
def arc1(k11, k12, k22):
    if k11 <= 0.0 or k22 <= 0.0:
        return 0.0
    rest, tangent = _angle(k11, k12, k22)
    if tangent > 0.0:
        return -k12 * _odd_series(tangent, 1) / _TWO_PI
    return (math.sqrt(determinant(k12, k11, k22)) + rest * k12) / _TWO_PI


@njit(cache=True)
def arc2(k11, k12, k22):
    if k11 <= 0.0 or k22 <= 0.0:
        return 0.0
    rest, tangent = _angle(k11, k12, k22)
    if tangent > 0.0:
        return k12 * k12 * _odd_series(tangent, 2) / _TWO_PI
    return (3.0 * k12 * math.sqrt(determinant(k12, k11, k22)) + rest * (k11 * k22 + 2.0 * k12 * k12)) / _TWO_PI


@njit(cache=True)
def arc_mixed(k11, k12, k22):
    if not (k11 > 0.0 and k22 > 0.0):
        return 0.0
    cosine_, sine_ = cosine(k12, k11, k22), sine(k12, k11, k22)
    # 1 + c = s**2 / (1 - c), without cancellation for c near -1.
    whole = 1.0 + cosine_ if cosine_ >= 0.0 else sine_ * sine_ / (1.0 - cosine_)
    return math.sqrt(k11) * whole / (2.0 * math.sqrt(_TWO_PI))


@njit(cache=True)
def arc_mixed2(k11, k12, k22):
    if not (k11 > 0.0 and k22 > 0.0):
        return 0.0
    rest, tangent = _angle(k11, k12, k22)
    if tangent > 0.0:
        return k11 * _odd_series(tangent, 3) / _TWO_PI
    return k11 * (rest + cosine(k12, k11, k22) * sine(k12, k11, k22)) / _TWO_PI


@njit(cache=True)
def nonzero(m, k):
    return 1.0 if k > 0.0 or m != 0.0 else 0.0


@njit(cache=True)
def density(m, s):
    if s <= 0.0:
        return 1.0 if m == 0.0 else 0.0
    return math.exp(-0.5 * (m / s)**2)


@njit(cache=True)
def sign_mean(m, s):
    return sign(m) if s <= 0.0 else math.erf(m / (math.sqrt(2.0) * s))


@njit(cache=True)
def sign_of_sum(a, b, s):
    total = a + b
    # A sum that is no more than rounding has no sign.
    return 0.0 if abs(total) <= ROUNDING * (abs(a) + abs(b)) and s <= 1e-8 * abs(a) else sign_mean(total, s)


@njit(cache=True)
def sign_pair(m1, k11, m2, k22, k12):
    s1, s2 = root(k11), root(k22)
    if s1 <= 0.0 or s2 <= 0.0:
        return sign_mean(m1, s1) * sign_mean(m2, s2)
    both = upper_orthant(-m1 / s1, -m2 / s2, cosine(k12, k11, k22), sine(k12, k11, k22))
    # E sign sign' = 4 P(both positive) - 1 - E sign - E sign'.
    return 4.0 * both - 1.0 - sign_mean(m1, s1) - sign_mean(m2, s2)
