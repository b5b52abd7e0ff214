"""Sums of expectations whose terms cancel: what rounding has left of them is in the errors."""

import numpy as np
import pytest

import tensorprog

PROGRAM = """
width n
param s = 1
vector u : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
v = W @ (sqrt(s) * u)
{lines}
output a
"""

#: The mean of (tanh(v) - v)**2, in three spellings.
SPELLINGS = ["a = moment((tanh(v) - v)**2)",
             "d = tanh(v) - v\na = moment(d * d)",
             "a = moment(tanh(v)**2) - 2*moment(tanh(v)*v) + moment(v**2)"]
#: The same by quadrature with 60 digits (mpmath), by the variance of v.
RIGHT = {1e-16: 1.66666666666667e-48, 1e-6: 1.66665733338413e-18, 1.0: 0.182883471193524, 1e16: 9.99999984042309e15}


def found(lines, **settings):
    result = tensorprog.compile(PROGRAM.format(lines=lines)).run(method="covariance", **settings)
    return float(result["a"]), float(result.error["a"])


@pytest.mark.parametrize("lines", SPELLINGS)
def test_the_error_covers_a_square_that_is_expanded(lines):
    program = tensorprog.compile(PROGRAM.format(lines=lines))
    for s, right in RIGHT.items():
        result = program.run(method="covariance", s=s)
        # The reference has 15 digits.
        assert abs(result["a"] - right) <= result.error["a"] + 1e-14 * right
        # And no more than what the quadratures of its terms, of the size s, leave.
        assert result.error["a"] <= 1e-12 * s


@pytest.mark.parametrize("lines, right", [
    ("a = moment(exp(v)) - 1", lambda s: np.expm1(s / 2)),
    ("a = moment(exp(2*v)) - moment(exp(v))**2", lambda s: np.exp(s) * np.expm1(s)),
    ("b = exp(v) - moment(exp(v))\na = moment(b*b)", lambda s: np.exp(s) * np.expm1(s)),
    ("b = exp(v)\nc = moment(b)\nd = moment(b*b)\na = d - c*c", lambda s: np.exp(s) * np.expm1(s)),
])
def test_closed_forms_that_cancel_have_errors(lines, right):
    for s in (1e-16, 1e-10, 1.0):
        value, error = found(lines, s=s)
        assert abs(value - right(s)) <= error + 1e-14 * right(s)
        assert error <= 1e-13 * np.exp(2 * s)


def test_sums_that_do_not_cancel_have_no_error():
    assert found("a = moment(exp(v)) + moment(v**2) - 1/8", s=1.0)[1] == 0


def test_a_difference_is_followed_into_what_is_made_of_it():
    value, error = found("b = moment(exp(v)) - 1\na = 3e8*b", s=1e-16)
    assert abs(value - 1.5e-8) <= error <= 1e-5
