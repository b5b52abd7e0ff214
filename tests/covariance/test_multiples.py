"""Gaussians that are multiples of each other, whatever the program shows of it: functions of one vector, to the last digit."""

from __future__ import annotations

import math

import pytest

import tensorprog

PROGRAM = """width n
param c = 0.3
param d = 0.7
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
matrix A : [n, n] ~ orthogonal(1)
matrix V[2] : [n, n] ~ normal(0, 1/n)
x = W @ (c*u - c*v)
y = W @ (d*u - d*v)
z = c*u - .999*c*moment(u*u)*u
h = A @ (c*tanh(u))
output moment(sign(V[0] @ x)*sign(V[0] @ y)) as nested
output moment(step(x)*step(-y)) as apart
output moment(max(x, y)) as largest
output moment(sign(z)*sign(u)) as difference
output moment(step(h)*sign(A @ (d*tanh(u)) - A @ tanh(u))) as orthogonal_products
"""


@pytest.fixture(scope="module")
def program():
    return tensorprog.compile(PROGRAM)


@pytest.mark.parametrize("c, d", [(-0.3, 0.7), (0.1, -1e7), (0.0, 0.7)])
def test_multiples(program, c, d):
    found = program.run(c=c, d=d)
    signs = math.copysign(c != 0, c)*math.copysign(1, d)
    # x = sqrt(2) c g and y = sqrt(2) d g with one g, E abs(g) = sqrt(2/pi).
    expected = {"nested": signs, "apart": 0.5*(signs < 0), "largest": abs(c - d)/math.sqrt(math.pi), "difference": math.copysign(c != 0, c),
                "orthogonal_products": 0.5*math.copysign(c != 0, c)*math.copysign(1, d - 1)}
    for name, value in expected.items():
        assert found.method[name] == "covariance"
        assert float(found[name]) == pytest.approx(value, rel=1e-14, abs=1e-300), name
        assert float(found.error[name]) <= 1e-13*abs(value), name


def test_networks(program):
    """Responses of products that are rewritten stay what they are: x depends on W.T through what it is applied to."""
    text = ("width n\nvector u : [n] ~ normal(0, 1)\nmatrix W : [n, n] ~ normal(0, 1/n)\nparam c = 0.5\n"
            "g = tanh(W.T @ u)\nx = W @ (c*g)\ny = W @ g\noutput moment(sign(x)*sign(y)*u*y) as q\n")
    found, networks = tensorprog.compile(text).run(), tensorprog.compile(text).simulate(width=1000, seeds=16)
    assert float(found["q"]) == pytest.approx(float(networks["q"]), abs=5*float(networks.error["q"]))


def test_products_in_loops_with_themselves():
    """A product applied to a multiple of the product of the iteration before."""
    text = ("width n\nparam c = 0.5\nvector u : [n] ~ normal(0, 1)\nmatrix W[3] : [n, n] ~ normal(0, 1/n)\nh[0] = u\ng[0] = u\n"
            "for l in range(3):\n    h[l+1] = c*(W[l] @ h[l])\n    g[l+1] = 2*c*(W[l] @ g[l])\n"
            "output moment(sign(h[3])*sign(g[3])) as q\n")
    found = tensorprog.compile(text).run()
    assert found.method["q"] == "covariance"
    assert float(found["q"]) == pytest.approx(1, abs=float(found.error["q"]) + 1e-14)
