"""Vectors that vanish as differences of others, and then meet a jump: there is no limit, whatever the spelling and the scale.

Reference: in a network, u - moment(u*u)*u is delta*u with delta of order n**-1/2 and either sign, and so on.
"""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.modules import load_module
from tensorprog.passes.jumps import find_jumps

HEAD = "width n\nparam c = 1\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector u : [n] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\n"

WITHOUT_LIMIT = {
    "in one expression": "output moment(sign(c*u - c*moment(u*u)*u)*sign(u)) as q",
    "by an update": "x = c*u\nx -= moment(u*u)*c*u\noutput moment(sign(x)*sign(u)) as q",
    "by products with a matrix": "m = moment(v*v)\nh = W @ (c*u)\nh2 = W @ (c*m*u)\noutput moment(step(h - h2)*step(h)) as q",
    "through a matrix": "m = moment(u*u)\nh = tanh(W @ u)\nx = c*(h - m*h)\noutput moment(sign(W @ x)*sign(W @ h)) as q",
    "normalized": "x = c*(u - moment(u*u)*u)\ny = x / sqrt(moment(x*x))\noutput moment(y*u) as q",
    "in a function": "def centred(x) = x - moment(u*u)*x\noutput moment(step(centred(c*v))*v) as q"}

WITH_LIMIT = {
    "relu": ("x = c*(u - moment(u*u)*u)\noutput moment(relu(x)) as q", 0.0),
    "even": ("output moment(sign(c*u - c*moment(u*u)*u)**2) as q", 1.0),
    "not quite": ("output moment(sign(c*u - 0.9*c*moment(u*u)*u)*sign(u)) as q", 1.0),
    "independent": ("output moment(sign(c*u - c*moment(v*v)*v)*sign(u)) as q", 0.5)}


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("name", WITHOUT_LIMIT)
def test_no_value(name, scale):
    found = tensorprog.compile(HEAD + WITHOUT_LIMIT[name] + "\n").run(c=scale)
    assert found.unresolved["q"] and np.isnan(found["q"]) and np.isnan(found.error["q"])
    assert "TP513" in [w.code for w in found.warnings]


@pytest.mark.parametrize("method", ["covariance", "particles"])
def test_every_evaluator(method):
    found = tensorprog.compile(HEAD + WITHOUT_LIMIT["in one expression"] + "\n").run(method=method)
    assert found.unresolved["q"] and [w.code for w in found.warnings] == ["TP513"]


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("name", WITH_LIMIT)
def test_a_limit_all_the_same(name, scale):
    text, expected = WITH_LIMIT[name]
    found = tensorprog.compile(HEAD + text + "\n").run(c=scale)
    assert not found.unresolved and "TP513" not in [w.code for w in found.warnings]
    assert abs(float(found["q"]) - expected) <= 4 * float(found.error["q"]) + 1e-10


def test_iterations_that_vanish():
    """x[1] is delta*u; x[2] is delta**2 u, which has the sign of u."""
    found = tensorprog.compile(HEAD + "x[0] = c*u\nfor t in range(2):\n    x[t+1] = x[t] - moment(u*u)*x[t]\n"
                               "for t in range(3):\n    q[t] = moment(step(x[t])*sign(u))\noutput q\n").run()
    assert found.unresolved["q"].tolist() == [False, True, False]
    assert np.abs(found["q"][[0, 2]] - 0.5).max() <= 4 * found.error["q"][[0, 2]].max() + 1e-12


def test_networks_scatter():
    program = tensorprog.compile(HEAD + WITHOUT_LIMIT["in one expression"] + "\n")
    networks = program.simulate(width=500, seeds=20)
    assert set(np.unique(networks.samples["q"])) == {-1.0, 1.0}
    assert program.verify(seeds=8, widths=(32, 64, 128, 256)).findings["q"].verdict == "no limit"


@pytest.mark.parametrize("body", [
    "h = W @ relu(v)\nh2 = h + relu(W @ h)\noutput moment(relu(h2 + c*u))",
    "for t in range(3):\n    f = moment(v*relu(W @ u + c))\n    l = (f - 1)**2\n    v -= n*grad(l, v)\n    u -= n*grad(l, u)\n"
    "    W -= grad(l, W)\noutput f",
    "x[0] = 0*u\nfor t in range(3):\n    r = x[t] + W @ v\n    s = moment(r*r)\n    x[t+1] = relu(r - s) - relu(-r - s)\n"
    "output moment(x[3]*x[3])"])
def test_layers_training_and_message_passing_have_no_probes_of_vectors(body):
    compiled = tensorprog.compile(HEAD + body + "\n").compiled
    assert all(v.type.width is None for _, found in find_jumps(compiled.limit, compiled.env) for v in found)


def test_a_written_module_warns():
    with pytest.warns(RuntimeWarning, match="tends to 0 here, where it jumps: q may have no limit"):
        load_module(tensorprog.compile(HEAD + WITHOUT_LIMIT["in one expression"] + "\n").emit("kernel")).run({})
