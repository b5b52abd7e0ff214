"""Quotients by erfc beside mpmath, where both of their parts underflow."""

from __future__ import annotations

import mpmath
import pytest

from tensorprog.runtime.expectations import log_erfc, over_erfc


@pytest.mark.parametrize("x", [-30.0, -3.0, 0.0, 2.5, 7.999, 8.0, 8.001, 12.0, 26.0, 60.0, 1e4])
def test_the_logarithm_of_erfc(x):
    with mpmath.workdps(40):
        expected = mpmath.log(mpmath.erfc(x))
    assert log_erfc(x) == pytest.approx(float(expected), rel=2e-15, abs=1e-15)


@pytest.mark.parametrize("x", [-30.0, 0.0, 5.0, 8.5, 40.0])
@pytest.mark.parametrize("k", [1, 2])
def test_the_density_over_a_power_of_the_distribution_function(x, k):
    with mpmath.workdps(40):
        expected = mpmath.exp(-k * mpmath.mpf(x)**2) / mpmath.erfc(x)**k
    assert over_erfc(-k * x * x, x, k) == pytest.approx(float(expected), rel=1e-12)
