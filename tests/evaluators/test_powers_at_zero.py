"""Gradients of powers whose exponents are parameters or indices that are zero, of vectors with zeros: the derivative of
v**0 is 0 there, and not 0 * 0**(-1)."""

from __future__ import annotations

import math

import pytest

import tensorprog

PROGRAM = """width n
param k = 0
vector v : [n] ~ normal(0, 1)
vector z : [n] ~ bernoulli(0.5)
y = z*v
s = moment(sum(y**t for t in range(3)) + y**k)
g = grad(s, v)
output moment(g*v)*n as first
output moment(grad(n*moment(g*v), v)*v)*n as second
"""


@pytest.fixture(scope="module")
def program():
    return tensorprog.compile(PROGRAM)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_limits(program, k):
    """E y = 0 and E y**2 = 1/2: d/dv of y**j times v is j y**j, twice j**2 y**j."""
    found = program.run(k=k, method="particles", samples=1024, replicates=4)
    for name, expected in (("first", 1 + (k == 2)), ("second", 2 + 2*(k == 2))):
        assert float(found[name]) == pytest.approx(expected, abs=5*float(found.error[name]) + 1e-12), name


def test_covariances():
    text = PROGRAM.replace("sum(y**t for t in range(3)) + y**k", "y**2 + y**k").rsplit("output", 1)[0]
    found = tensorprog.compile(text).run()
    assert found.method["first"] == "covariance"
    assert float(found["first"]) == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("k", [0, 1])
def test_networks(program, k):
    found = program.simulate(width=400, seeds=16, k=k)
    for name, expected in (("first", 1), ("second", 2)):
        assert math.isfinite(float(found[name]))
        assert float(found[name]) == pytest.approx(expected, abs=5*float(found.error[name]))


def test_exponents_zero():
    """v**0 in a program has no derivative at all."""
    found = tensorprog.compile("width n\nvector v : [n] ~ bernoulli(0.5)\ns = moment(v**0 + v)\n"
                               "output moment(grad(s, v))*n as g\n").run()
    assert float(found["g"]) == pytest.approx(1, abs=1e-12)
