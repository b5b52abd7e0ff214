"""Outputs at initialization are zero up to rounding, however the program is written."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog

HEAD = """
width n
size P, Q, d
input X : [P, d]
input X_test : [Q, d]
matrix W1 : [n, d] ~ normal(0, 1/d)
matrix W2 : [n, n] ~ normal(0, 2/n)
matrix V : [n, 2] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
vector c : [n] ~ rademacher()
def net(x) = moment(v * relu(W2 @ relu(W1 @ x)))
"""
TRAIN = """    for a in range(P):
        f[t, a] = {net}(X[a])
    loss[t] = mean((f[t, a] - 1)**2 for a in range(P))
"""
TEST = """    for b in range(Q):
        g[t, b] = {net}(X_test[b])
"""
STEP = """    W1 -= n * grad(loss[t], W1)
    W2 -= grad(loss[t], W2)
"""


def loop(*parts, net="net"):
    return "for t in range(2):\n" + "".join(parts).replace("{net}", net)


OTHER = "def other(x) = {}\n"
SPELLINGS = {
    "test outputs first": loop(TEST, TRAIN, STEP),
    "training first": loop(TRAIN, TEST, STEP),
    "gradient in a name": loop(TRAIN, "    delta = n * grad(loss[t], W1)\n    norm[t] = sum(moment(delta[:, j]**2) for j in "
                               "range(d))\n", TEST, "    W1 -= delta\n    W2 -= grad(loss[t], W2)\n"),
    "trained readout": loop(TRAIN, TEST, STEP, "    v = 0.9*v - 0.1 * n * grad(loss[t], v)\n"),
    "transposed": OTHER.format("moment(relu(W2.T @ relu(W1 @ x)) * v / 2)") + loop(TRAIN, TEST, STEP, net="other"),
    "two readouts and a bias": OTHER.format("moment(v * relu(W2 @ relu(W1 @ x)) + V[:, 1] * tanh(W1 @ x) - c)")
    + loop(TRAIN, TEST, STEP, net="other"),
    "a sum of columns": OTHER.format("sum(moment(V[:, j] * relu(W2 @ relu(W1 @ x))) for j in range(2))")
    + loop(TRAIN, TEST, STEP, net="other"),
    "terms in a family": loop(TRAIN.replace("f[t, a] = {net}(X[a])", "y[a] = 0.5 * v * relu(W2 @ relu(W1 @ X[a]))\n"
                                            "        f[t, a] = moment(y[a])"), TEST, STEP),
    "after training": "W1_0 = W1\nW2_0 = W2\n" + loop(TRAIN, STEP)
    + "for b in range(Q):\n    g[0, b] = moment(v * relu(W2_0 @ relu(W1_0 @ X_test[b])))\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_outputs_at_initialization(spelling):
    rng = np.random.default_rng(0)
    data = {"X": rng.standard_normal((3, 4)), "X_test": rng.standard_normal((4, 4))}
    program = tensorprog.compile(HEAD + SPELLINGS[spelling] + "output f, g\n")
    found = program.run(data, method="particles", samples=128, replicates=2)
    for name in "fg":
        assert np.all(np.abs(found[name][0]) < 1e-14) and np.all(found.error[name][0] < 1e-13)
    assert np.all(np.abs(found["f"][1]) > 1e-3)


def test_a_vector_that_is_squared_is_no_readout():
    text = HEAD + "h = relu(W1 @ X[0])\nf = moment(v*h)\ng = moment(c*v*v*h)\ny = v*h\nq = moment(y*y)\noutput f, g, q\n"
    assert {cell.name for cell in tensorprog.compile(text).compiled.mirrored} == {"c"}
