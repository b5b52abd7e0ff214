"""Expectations of two Gaussians over 32 orders of magnitude of their variances, and at correlations near 1 and -1."""

from __future__ import annotations

import math
from functools import cache

import mpmath
import numpy as np
import pytest
import sympy
from sympy import Abs, Max, Min, cos, erf, exp, sin, symbols, tanh

import tensorprog
from tensorprog.evaluators import covariance
from tensorprog.expectations import from_primitive, plan_expectation
from tensorprog.expectations.functions import gelu, relu, sigmoid, step
from tensorprog.modules import load_module
from tensorprog.runtime.compiling import njit
from tensorprog.runtime.pointers import address_of
from tensorprog.runtime.quadrature import pair_expectation

u, v = symbols("u v", real=True)
k11, k12, k22 = symbols("k11 k12 k22")
SCALES = (1e-16, 1e-6, 1.0, 1e4, 1e10, 1e16)
CORRELATIONS = (0.0, 0.5, -0.5, 0.99, 1 - 1e-9, -1 + 1e-9, 1 - 1e-15, -1 + 1e-15)
FEATURE = np.array([[0.0, 1.0]])
KINK = np.zeros((1, 2))
NONE = np.zeros(0)


@njit(cache=True, nogil=True, error_model="numpy")
def bump(x, numbers):
    return math.exp(-x * x)


@njit(cache=True, nogil=True, error_model="numpy")
def error_function(x, numbers):
    return math.erf(x)


@njit(cache=True, nogil=True, error_model="numpy")
def positive_part(x, numbers):
    return max(x, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def scaled_slope(x, numbers):
    return numbers[0] / math.cosh(numbers[0] * x)**2 if abs(numbers[0] * x) < 300.0 else 0.0


@njit(cache=True, nogil=True)
def of_bumps(a, c, b):
    return pair_expectation(address_of(bump), address_of(bump), a, b, c, math.nan, FEATURE, FEATURE, NONE)


@njit(cache=True, nogil=True)
def of_error_functions(a, c, b):
    f = address_of(error_function)
    return pair_expectation(f, f, a, b, c, math.nan, FEATURE, FEATURE, NONE)


@njit(cache=True, nogil=True)
def of_positive_parts(a, c, b):
    return pair_expectation(address_of(positive_part), address_of(positive_part), a, b, c, math.nan, KINK, KINK, NONE)


@njit(cache=True, nogil=True)
def of_bump_and_positive_part(a, c, b):
    return pair_expectation(address_of(bump), address_of(positive_part), a, b, c, math.nan, FEATURE, KINK, NONE)


@njit(cache=True, nogil=True)
def of_slopes(a, c, b, numbers):
    narrow = FEATURE / numbers[0]
    return pair_expectation(address_of(scaled_slope), address_of(bump), a, b, c, math.nan, narrow, FEATURE, numbers)


def determinant(a, c, b, scale=1, noise=0):
    a, c, b = map(mpmath.mpf, (a, c, b))
    return (noise + scale * a) * (noise + scale * b) - (scale * c)**2


def exact_bumps(a, c, b):
    return 1 / mpmath.sqrt(determinant(a, c, b, 2, 1))


def exact_error_functions(a, c, b):
    return 2 / mpmath.pi * mpmath.atan2(2 * mpmath.mpf(c), mpmath.sqrt(determinant(a, c, b, 2, 1)))


def exact_positive_parts(a, c, b):
    root = mpmath.sqrt(max(determinant(a, c, b), mpmath.mpf(0)))
    return (root + mpmath.atan2(root, -mpmath.mpf(c)) * mpmath.mpf(c)) / (2 * mpmath.pi)


def exact_bump_and_positive_part(a, c, b):
    """Under the density times exp(-u**2), v has the variance b - 2 c**2 / (1 + 2 a)."""
    a, c, b = map(mpmath.mpf, (a, c, b))
    return mpmath.sqrt((b - 2 * c**2 / (1 + 2 * a)) / (2 * mpmath.pi * (1 + 2 * a)))


def covariances(scales=SCALES, ratios=(1.0, 1e6, 1e-10)):
    for a in scales:
        for ratio in ratios:
            b = a * ratio
            if 1e-16 <= b <= 1e16:
                for correlation in CORRELATIONS:
                    yield a, correlation * (a if ratio == 1 else math.sqrt(a) * math.sqrt(b)), b


def check(found, exact, covariance, slack=1e-10):
    (value, error), expected = found, exact(*covariance)
    allowed = slack * abs(expected) if expected != 0 else error
    assert abs(value - expected) <= allowed + 1e-300, covariance
    singular = determinant(*covariance) <= 0
    assert singular or abs(value - expected) <= error + 1e-15 * abs(expected), covariance
    assert error <= 1e-9 * abs(expected) + 1e-13 * math.sqrt(covariance[0] * covariance[2]) or abs(expected) < 1e-3


CASES = [(of_bumps, exact_bumps), (of_error_functions, exact_error_functions),
         (of_bump_and_positive_part, exact_bump_and_positive_part)]


@pytest.mark.parametrize(("found", "exact"), CASES, ids=["bump", "erf", "bump and relu"])
def test_pairs_of_all_variances(found, exact):
    with mpmath.workdps(60):
        for covariance in covariances(scales=(1e-16, 1.0, 1e8, 1e16), ratios=(1.0, 1e-10)):
            check(found(*covariance), exact, covariance)


def test_kinks_of_all_variances():
    """Nearly opposite variables share little but the rounding of their correlation."""
    with mpmath.workdps(60):
        for covariance in covariances():
            value, error = of_positive_parts(*covariance)
            assert abs(value - exact_positive_parts(*covariance)) <= error + 1e-14 * abs(covariance[1]), covariance


@pytest.mark.slow
@pytest.mark.parametrize(("found", "exact"), CASES, ids=["bump", "erf", "bump and relu"])
def test_pairs_on_a_grid(found, exact):
    with mpmath.workdps(60):
        for covariance in covariances(10.0**np.arange(-16, 17, 2), (1.0, 1e2, 1e-2, 1e8, 1e-16)):
            check(found(*covariance), exact, covariance)


def test_pairs_are_symmetric():
    for a, c, b in ((2.0, 1.3, 0.9), (1e8, 3.0, 1e-4), (5.0, 5.0, 5.0)):
        assert of_bumps(a, c, b) == of_bumps(b, c, a)


def test_numbers_reach_both_functions():
    """sech(w x)**2 w tends to 2 delta(x), whose product with a bump has a closed form."""
    value, _ = of_slopes(1.0, 0.5, 1.0, np.array([1e9]))
    assert value == pytest.approx(2 / math.sqrt(2 * math.pi) / math.sqrt(1 + 2 * 0.75), rel=1e-9)


# --- planned expectations ---


@cache
def compiled(integrand):
    recipe = plan_expectation(integrand, (u, v), {(u, u): k11, (u, v): k12, (v, v): k22})
    scope: dict = {}
    exec(recipe.emit("chosen"), scope)
    return [s.name for s in recipe.arguments], njit(scope["chosen"])


def planned(integrand, covariance):
    names, function = compiled(integrand)
    values = dict(zip(("k11", "k12", "k22"), map(float, covariance)))
    found = function(*(values[name] for name in names))
    return found if isinstance(found, tuple) else (found, 0.0)


def exact_gelu_slopes(a, c, b):
    """K2 of the known answers, with (1 - ab) / pp + 1 put over one denominator."""
    a, c, b = map(mpmath.mpf, (a, c, b))
    pp, square = (1 + a) * (1 + b), (1 + a) * (1 + b) - c * c
    root = mpmath.sqrt(square)
    return (1 / square + (2 + a + b) / pp) * c / (2 * mpmath.pi * root) + (
        mpmath.mpf(1) / 4 + mpmath.atan2(c, root) / (2 * mpmath.pi))


def exact_waves(sign_of_sum):
    def exact(a, c, b):
        a, c, b = map(mpmath.mpf, (a, c, b))
        return (mpmath.exp(-(a + b - 2 * c) / 2) + sign_of_sum * mpmath.exp(-(a + b + 2 * c) / 2)) / 2
    return exact


def exact_steps(a, c, b):
    return mpmath.atan2(mpmath.sqrt(max(determinant(a, c, b), mpmath.mpf(0))), -mpmath.mpf(c)) / (2 * mpmath.pi)


def exact_bump_slopes(a, c, b):
    """E 4 u v exp(-u**2 - v**2) = 4 c / D**3, by differentiating E exp(-u**2 - v**2) = 1 / D."""
    return 4 * mpmath.mpf(c) / determinant(a, c, b, 2, 1)**mpmath.mpf(1.5)


PLANNED = {
    "erf": (erf(u) * erf(v), exact_error_functions), "bump": (exp(-u**2) * exp(-v**2), exact_bumps),
    "gelu'": (from_primitive("gelu", 1, (u,)) * from_primitive("gelu", 1, (v,)), exact_gelu_slopes),
    "bump'": (4 * u * v * exp(-u**2) * exp(-v**2), exact_bump_slopes),
    "sin": (sin(u) * sin(v), exact_waves(-1)), "cos": (cos(u) * cos(v), exact_waves(1)),
    "relu": (relu(u) * relu(v), exact_positive_parts), "step": (step(u) * step(v), exact_steps),
}


@pytest.mark.parametrize("name", PLANNED)
def test_closed_forms_of_all_variances(name):
    integrand, exact = PLANNED[name]
    with mpmath.workdps(60):
        for covariance in covariances(scales=(1e-16, 1.0, 1e16), ratios=(1.0, 1e-10)):
            (value, error), expected = planned(integrand, covariance), exact(*covariance)
            assert abs(value - expected) <= error + 1e-10 * abs(expected) + 1e-300, covariance


def test_frequencies():
    """sin(30 u) at variances up to 1e6: the exponent is the variance of a difference, rounded once."""
    for a, gap in ((1.0, 0.0), (1e6, 1e-9), (1e6, 1e-12), (0.81, 1e-3)):
        covariance = a, a * (1 - gap), a
        with mpmath.workdps(40):
            difference = 2 * 900 * (mpmath.mpf(a) - mpmath.mpf(covariance[1]))
            expected = (mpmath.exp(-difference / 2) - mpmath.exp(-1800 * mpmath.mpf(a))) / 2
        assert planned(sin(30 * u) * sin(30 * v), covariance)[0] == pytest.approx(float(expected), rel=1e-11, abs=1e-300)


def test_cancelling_terms_are_integrated():
    """1 - exp(-x**2) and clipping are small differences of the terms that they are multiplied out to."""
    value, error = planned((1 - exp(-u**2)) * (1 - exp(-v**2)), (1e-8, 0.5e-8, 1e-8))
    assert value == pytest.approx(1e-16 * 1.5, rel=1e-7) and error < 1e-22
    clip = Max(Min(u, 1), -1) * Max(Min(v, 1), -1)
    value, error = planned(clip, (1e16, 0.5e16, 1e16))
    assert value == pytest.approx(1 / 3, abs=1e-7 + error) and error < 1e-9


# --- one gradient step of a relu network: kinks in products of a variable with a step ---

STEP = """
width n
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
v1 = v + relu(u)
u1 = u + v*step(u)
f = moment(v1 * relu(u1))
output f
"""

TWO_LAYERS = """
width n
vector u : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
h = W @ relu(u)
v1 = v + relu(h)
dh = v*step(h)
u1 = u + (W.T @ dh)*step(u)
x1 = relu(u1)
h1 = W @ x1 + moment(relu(u)*x1)*dh
f = moment(v1*relu(h1))
output f
"""


@pytest.mark.parametrize(("text", "expected"), [(STEP, 0.909154943092), (TWO_LAYERS, 0.613705908150)])
def test_gradient_steps_of_relu_networks(text, expected):
    """K24 and K27."""
    found = tensorprog.compile(text).run(method="covariance")
    assert found["f"] == pytest.approx(expected, abs=2e-12) and found.error["f"] < 1e-10


# --- kernels, by the table ---

KERNELS = """
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def phi(x) = {}
for a in range(P):
    f[a] = dot(v, phi(U @ X[a])) / sqrt(n)
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
        theta[a, c] = ntk(f[a], f[c]; U, v)
output nngp, theta
"""


@cache
def kernels(phi):
    compiled = tensorprog.compile(KERNELS.format(phi)).compiled
    return load_module(covariance.emit(compiled, compiled.covered.system))


def table(phi, x):
    values, errors = kernels(phi).run({"X": np.array(x, float)})
    assert all(np.array_equal(k, k.T) or np.allclose(k, k.T, rtol=1e-13, atol=0) for k in values.values())
    return values, errors


@pytest.mark.parametrize(("scale", "expected"), [
    (30.0, 15.1884015407814), (100.0, 50.6285632143929), (1e4, 5062.861667095)])
def test_quick_gelu(scale, expected):
    values, errors = table("x*sigmoid(1.702*x)", [[1, 0], [0.6 * scale, 0.8 * scale]])
    assert values["theta"][0, 1] == pytest.approx(expected, rel=1e-10)
    assert np.all(errors["theta"] <= 1e-10 * values["theta"])


def test_tanh_on_large_rows():
    values, _ = table("tanh(x)", [[100, 0], [99, 100 * math.sqrt(1 - 0.99**2)]])
    assert values["theta"][0, 1] == pytest.approx(5.358946, abs=1e-6)
    values, _ = table("tanh(x)", [[1e-4, 0], [1e8, 0]])
    assert values["theta"][1, 1] == pytest.approx(1e16 * 4 / 3 / math.sqrt(2 * math.pi) / 1e8 + 1, rel=1e-10)
    assert values["theta"][0, 1] == pytest.approx(4e-4 / math.sqrt(2 * math.pi), rel=1e-7)


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8])
def test_erf_on_large_rows(scale):
    a = scale**2
    values, _ = table("erf(x)", [[scale, 0], [0, scale]])
    expected = 2 / math.pi * math.asin(2 * a / (1 + 2 * a)) + 4 / math.pi * a / math.sqrt(1 + 4 * a)
    assert values["theta"][0, 0] == pytest.approx(expected, rel=1e-12)


def test_other_rows_do_not_matter():
    small = table("tanh(x)", [[1, 0], [0.6, 0.8]])[0]
    both = table("tanh(x)", [[1, 0], [0.6, 0.8], [1e8, 0]])[0]
    assert all(np.array_equal(small[name], both[name][:2, :2]) for name in small)


def test_sums_beside_functions_stay_whole():
    """x / (1 + x**2) of a sum over inputs is a function of one Gaussian, and the kernel of small rows is that of x."""
    values, errors = table("x/(1 + x*x)", [[1e-6, 0, 1e-6], [0, 1e-6, 1e-6]])
    assert np.allclose(values["nngp"], [[2e-12, 1e-12], [1e-12, 2e-12]], rtol=1e-10, atol=0)
    assert np.all(errors["theta"] <= 1e-10 * values["theta"])


def test_numbers_of_tanh_and_sigmoid_slopes():
    for name in ("tanh", "sigmoid"):
        x = sympy.Symbol("x", real=True)
        slope = from_primitive(name, 1, (x,))
        assert len(slope.args) == 1 and slope.args[0] == x
        value, _ = planned(slope.xreplace({x: u}), (1e16, 0, 1))
        rise = 2 if name == "tanh" else 1
        assert value == pytest.approx(rise / math.sqrt(2 * math.pi) / 1e8, rel=1e-12)
    assert planned(tanh(u) * Abs(u), (1.0, 0, 1.0))[0] == pytest.approx(0, abs=1e-15)
    assert planned(sigmoid(u) * gelu(v), (1.0, 0.3, 1.0))[1] < 1e-12


def test_rounding_of_sums_that_cancel_is_in_the_error():
    """tanh(x) - x is -x**3/3 + 2 x**5/15 for small x, of which its parts, as floating point numbers, keep little or nothing."""
    integrand = (tanh(u) - u)**2
    for variance, kept in ((1e-16, False), (1e-4, True)):
        value, error = planned(integrand, (variance, 0.0, 0.0))
        expected = 15 * variance**3 / 9 - 4 * 105 * variance**4 / 45 + 945 * variance**5 * (4 / 225 + 2 * 17 / 945)
        assert abs(value - expected) <= error + 300 * variance**6
        assert (error < 1e-8 * expected) == kept
