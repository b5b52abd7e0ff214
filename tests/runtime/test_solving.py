"""Equations by the interpreter, compiled, and begun by one and ended by the other."""

from __future__ import annotations

import numpy as np
import pytest
from known_answers import KNOWN
from places import EXAMPLES

import tensorprog
from tensorprog.runtime import solving
from tensorprog.runtime.compiling import njit
from tensorprog.runtime.solving import Solver, interpreted

RECURSION = """width n
size T = 6
matrix W : [n, n] ~ normal(0, 1)
vector u : [n] ~ normal(0, 1)
h[0] = u
for t in range(T):
    h[t+1] = W @ (tanh(h[t]) + relu(h[t])) / sqrt(n)
    q[t] = moment(h[t+1]**2)
output q
"""


def agree(program, data, monkeypatch, **settings):
    found = []
    for few in (solving.FEW, 0, 20):
        monkeypatch.setattr(solving, "FEW", few)
        found.append(program.run(data, method="covariance", **settings))
    for name in found[0]:
        for other in found[1:]:
            np.testing.assert_allclose(found[0][name], other[name], rtol=1e-13, atol=1e-15)
            np.testing.assert_allclose(found[0].error[name], other.error[name], rtol=1, atol=1e-12)


def test_all_ways_agree(monkeypatch):
    agree(tensorprog.compile(RECURSION), {}, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lasso_amp", "z2_amp", "marchenko_pastur"])
def test_all_ways_agree_in_examples(name, monkeypatch):
    agree(tensorprog.compile(EXAMPLES / f"{name}.tp"), {}, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in KNOWN if c.name in (
    "pooled_convolution", "user_derivative", "relu_ntk")], ids=lambda c: c.name)
def test_all_ways_agree_in_programs_with_known_answers(case, monkeypatch):
    agree(tensorprog.compile(case.path), case.data, monkeypatch, **case.settings)


def test_a_small_run_compiles_no_equations(monkeypatch):
    def compile_anything(self):
        raise AssertionError("compiled")

    monkeypatch.setattr(Solver, "_compile", compile_anything)
    tensorprog.compile(RECURSION).run(method="covariance")
    monkeypatch.setattr(solving, "FEW", 3)
    with pytest.raises(AssertionError, match="compiled"):
        tensorprog.compile(RECURSION).run(method="covariance")


@njit(error_model="numpy")
def _mean(x):
    return x / abs(x), 0.0


@njit(error_model="numpy")
def _with_quotient(key, memo, stack, worst, x):
    value, error = _mean(x)
    return value + 1.0 / error - x ** 0.5


@njit(error_model="numpy")
def _with_loop(key, memo, stack, worst, x):
    total = 0.0
    for k in range(3):  # noqa: B007
        total += x
    return total


@pytest.mark.parametrize("x", [2.0, 0.0, -3.0])
def test_divisions_by_zero_are_those_of_compiled_functions(x):
    function = interpreted(_with_quotient)
    with np.errstate(all="ignore"):
        found = function((0,), {}, [], np.zeros(3), np.float64(x))
    np.testing.assert_equal(float(found), _with_quotient((0,), 0, 0, np.zeros(3), x))


def test_what_has_a_loop_is_not_interpreted():
    assert interpreted(_with_loop) is None
