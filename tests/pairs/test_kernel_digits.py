"""Kernels of functions that users write, where digits are easily lost: small variances, nearly equal rows, unresolved waves.

The references are moments of the leading term at small variances, and integrals of one variable.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from pair_programs import ONE_LAYER

import tensorprog
from tensorprog.runtime.partition import Partition

NNGP = ONE_LAYER + "output nngp\n"


def nngp(phi, rows):
    found = tensorprog.compile(NNGP.format(phi=phi)).kernels({"X": np.array(rows)})
    return found["nngp"], found.error["nngp"]


@pytest.mark.parametrize("phi, half", [("log(1 + x**2)", 1.0), ("1 - cos(x)", 0.5), ("sqrt(1 + x**2) - 1", 0.5)])
@pytest.mark.parametrize("size", [1e-8, 1e-6, 1e-4])
def test_what_vanishes_as_a_square(phi, half, size):
    """E u**2 v**2 = q**2 + 2 k**2, up to terms of relative order q."""
    found, error = nngp(phi, [[size, 0], [0.6 * size, 0.8 * size]])
    expected = half**2 * size**4 * np.array([[3, 1 + 2 * 0.36], [1 + 2 * 0.36, 3]])
    assert found == pytest.approx(expected, rel=1e-11 + 30 * size**2, abs=0)
    assert (error <= 1e-10 * expected).all()


@pytest.mark.parametrize("size, most", [(1e-2, 1e-8), (1e-6, math.inf)])
def test_errors_say_where_a_difference_has_lost_its_digits(size, most):
    """E (u**3 / 6)**2 = 15 q**3 / 36, up to a relative q: x - sin(x) has the rounding errors of x."""
    found, error = nngp("x - sin(x)", [[size, 0], [0, size]])
    expected = 15 * size**6 / 36
    assert abs(found[0, 0] - expected) <= error[0, 0] + 4 * size**2 * expected
    assert error[0, 0] <= most * expected


@pytest.mark.parametrize("phi, f", [
    ("x**3 / (1 + x**2)", lambda x: x**3 / (1 + x**2)), ("x**2 * tanh(x)", lambda x: x**2 * np.tanh(x)),
    ("sin(x) * exp(-x**2/8)", lambda x: np.sin(x) * np.exp(-x * x / 8))])
def test_powers_and_waves_beside_functions(phi, f):
    """Powers of a sum over columns stay powers of one Gaussian."""
    z, w = np.polynomial.hermite_e.hermegauss(200)
    w = w / math.sqrt(2 * math.pi)
    found, _ = nngp(phi, [[0.5, 0, 0], [0.3, 0.4, 0]])
    expected = w @ (f(0.5 * z[:, None]) * f(0.3 * z[:, None] + 0.4 * z)) @ w
    assert found[0, 1] == pytest.approx(expected, rel=1e-9)
    assert found[0, 0] == pytest.approx(w @ f(0.5 * z)**2, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("gap", [1e-15, 1e-13])
def test_errors_of_nearly_equal_rows_hold(gap):
    """Two bells 1/(1 + x**2) on variables of deviation 1e8 whose difference is of order 1: 2 pi / (4 + d**2) is the convolution
    of two, so that the kernel is the density at 0 times its mean over the difference."""
    size, c = 1e8, 1 - gap
    rest = size * math.sqrt(1 - c * c)
    found, error = nngp("1 / (1 + x**2)", [[size, 0], [size * c, rest]])
    x = np.linspace(-60, 60, 1_200_001)
    mean = float(np.sum(np.exp(-x * x / 2) / (4 + (rest * x)**2))) * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    expected = mean * 2 * math.pi / (size * math.sqrt(2 * math.pi))
    assert abs(found[0, 1] - expected) <= error[0, 1]
    assert error[0, 1] <= 1000 * 2.0**-52 / gap * expected


def test_rows_whose_diagonal_is_not_resolved_have_no_finite_error():
    with pytest.warns(RuntimeWarning, match="up to inf"):
        _, error = nngp("x + sin(sin(300*x)*x)", [[1e4, 0], [0, 1e4]])
    assert np.isinf(error).all()


@pytest.mark.parametrize("f", [lambda x: 1 - np.cos(x), lambda x: np.sqrt(1 + x * x) - 1, lambda x: x - np.tanh(x)])
def test_rounding_errors_are_no_features_of_a_function(f):
    found = Partition(f, 64.0)
    assert found.resolved
    assert len(found.edges) < 500


def test_kinks_are_no_rounding_errors():
    found = Partition(lambda x: np.clip(x, -1.0, 1.0), 64.0)
    assert np.abs(found.edges - 1).min() < 1e-12
    assert found.noise(np.array([0.9, 1.1])).max() < 1e-15


@pytest.mark.parametrize("f, kinks", [
    (lambda x: (x < 1) * 1.0, [1]), (lambda x: np.clip(x, -1, 2), [-1, 2]), (lambda x: np.maximum(np.abs(x) - 0.75, 0), [-0.75, 0.75]),
    (lambda x: x + np.maximum(x - 1, 0)**2, [1]), (np.tanh, []), (lambda x: x / (1 + np.exp(-1.702 * x)), [])])
def test_kinks_at_binary_fractions_are_features(f, kinks):
    """Where bisection cuts anyway."""
    features = Partition(f, 64.0).features()
    assert sorted(features[features[:, 1] == 0, 0]) == kinks


@pytest.mark.parametrize("gap", [1e-4, 1e-6, 1e-8])
def test_jumps_of_the_derivative_at_one(gap):
    """E step(1 - u) step(1 - v) = integral up to 1 of the density times Phi((1 - c u)/sqrt(1 - c**2))."""
    import mpmath
    c = 1 - gap
    s = math.sqrt(1 - c * c)
    text = NNGP.format(phi="min(x, 1)").replace("cov(f[a], f[c])", "ntk(f[a], f[c]; U)")
    found = tensorprog.compile(text).kernels({"X": np.array([[1.0, 0], [c, s]])})
    with mpmath.workdps(25):
        expected = c * mpmath.quad(lambda u: mpmath.npdf(u) * mpmath.ncdf((1 - c * u) / mpmath.mpf(s)),
                                   [-12, -2, 0, 1 - 100 * s, 1 - 10 * s, 1 - s, 1])
    assert found["nngp"][0, 1] == pytest.approx(float(expected), rel=1e-11)
    assert found.error["nngp"][0, 1] < 1e-10
