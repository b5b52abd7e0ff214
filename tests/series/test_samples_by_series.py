"""Joint draws of limit variables in the kernel regime, whose outputs are not leading terms."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.diagnostics import ProgramError

X = np.array([[1, 0, 1.0], [0, 1, 1], [1, 1, 0]])
Y = np.array([1, -1, 0.5])

SOURCE = """width n
size P, d
param T : int = 3
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    for a in range(P):
        h[a] = W @ tanh(U @ X[a]) / sqrt(n)
        f[t, a] = dot(v, tanh(h[a])) / sqrt(n)
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= grad(loss, U)
    W -= grad(loss, W)
    v -= grad(loss, v)
output f
output sample({sampled}) as neurons
"""


def test_draws_have_the_law_at_initialization_and_outputs_are_those_without_them():
    found = tensorprog.compile(SOURCE.format(sampled="h[0], h[1], v")).run({"X": X, "y": Y}, samples=2048)
    plain = tensorprog.compile(SOURCE.format(sampled="").replace("output sample() as neurons\n", "")).run({"X": X, "y": Y})
    assert np.allclose(found["f"], plain["f"], atol=1e-9) and found.method["f"] == "covariance"
    assert not any(d.code == "TP509" for d in found.warnings)
    cov = np.cov(found["neurons"].T)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    u, w = np.meshgrid(nodes, nodes)
    weight = np.outer(weights, weights) / weights.sum()**2
    one, both = X[0] @ X[0] / 3, X[0] @ X[1] / 3
    first, second = np.sqrt(one) * u, both / np.sqrt(one) * u + np.sqrt(one - both**2 / one) * w
    expected = [[(weight * np.tanh(first)**2).sum(), (weight * np.tanh(first) * np.tanh(second)).sum(), 0],
                [0, (weight * np.tanh(second)**2).sum(), 0], [0, 0, 1]]
    assert np.allclose(np.triu(cov), expected, atol=0.02)


def test_draws_that_depend_on_random_outputs_are_refused():
    with pytest.raises(ProgramError, match="TP521"):
        tensorprog.compile(SOURCE.format(sampled="h[0]*f[0, 0], v")).run({"X": X, "y": Y}, samples=64)
