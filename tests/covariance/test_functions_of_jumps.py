"""Responses of functions of signs: E d g(sign(h), w) / dh is the mean height of the jump times the density of h at 0."""

from __future__ import annotations

import math

import pytest

import tensorprog

HEAD = "width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector x : [n] ~ normal(0, 1)\nh = W @ x\n"
SPELLINGS = {
    "a name": "y = sign(h)\ng = {g}\nq = moment(x*(W.T @ g))",
    "a family": "for t in range(3):\n    y[t] = sign((1 + t)*h)\n    z[t] = {g}\n    q = moment(x*(W.T @ z[t]))",
    "a step": "y = 2*step(h) - 1\ng = {g}\nq = moment(x*(W.T @ g))",
    "a function": "def f(u):\n    y = sign(u)\n    return {g}\nq = moment(x*(W.T @ f(h)))"}
HEIGHTS = {
    "y**3": 2.0, "(1 + y)**3": 8.0, "(1 + y)*(1 + y)*(1 + y)": 8.0, "1/(2 + y)": 1/3 - 1, "exp(y)": 2 * math.sinh(1),
    "tanh(y)": 2 * math.tanh(1), "y*abs(y + 2)": 4.0, "step(y)**2*(1 + y)": 2.0}


@pytest.mark.parametrize("g", HEIGHTS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_heights(spelling, g):
    body = SPELLINGS[spelling].format(g=g.replace("y", "y[t]") if spelling == "a family" else g)
    found = tensorprog.compile(f"{HEAD}{body}\noutput q\n").run()
    error = float(found.error["q"]) if found.method["q"] == "particles" else 0.0
    assert float(found["q"]) == pytest.approx(HEIGHTS[g] / math.sqrt(2 * math.pi), abs=4 * error + 1e-12)
    assert found.method["q"] == "covariance" or spelling == "a family"


def test_networks():
    program = tensorprog.compile(HEAD + "y = sign(h)\noutput moment(x*(W.T @ (1 + y)**3)) as q\n")
    networks = program.simulate(width=2000, seeds=8)
    assert float(program.run()["q"]) == pytest.approx(float(networks["q"]), abs=5 * float(networks.error["q"]))


@pytest.mark.parametrize("c", [0.3, -0.7, 1e-6, 3.3e-6, 1e6, 0.0])
def test_signs_and_kinks_of_multiples(c):
    """Of one vector: correlations of 1 up to the last digit would cost half of the digits."""
    found = tensorprog.compile(
        "width n\nparam c = 1\nvector u : [n] ~ normal(0, 1)\noutput moment(sign(c*u)*sign(u)) as signs\n"
        "output moment(step(c*u)*step(u)) as steps\n"
        "output moment(relu(c*u)*step(u)) as mixed, moment(abs(c*u)*relu(u)) as kinks\n").run(c=c)
    assert found["signs"] == (c > 0) - (c < 0) and found["steps"] == (0.5 if c > 0 else 0.0)
    assert found["mixed"] == pytest.approx(max(c, 0.0) / math.sqrt(2 * math.pi), rel=1e-15)
    assert found["kinks"] == pytest.approx(abs(c) / 2, rel=1e-15)
