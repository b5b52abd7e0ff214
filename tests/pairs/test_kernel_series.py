"""How many series the kernels of a network need, and that they are computed for one half of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.evaluators.tiles import tiles_of

NETWORK = """width n
size P, d
size L = 4
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1)
vector b[L] : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def phi(x) = {phi}

def net(x):
    h[0] = 1.5*(U @ x) / sqrt(d) + 0.1*b[0]
    for l in range(1, L):
        h[l] = 1.5*(W[l] @ phi(h[l-1])) / sqrt(n) + 0.1*b[l]
    return dot(v, phi(h[L-1])) / sqrt(n)
for a in range(P):
    f[a] = net(X[a])
for a in range(P):
    for c in range(P):
        K[a, c] = cov(f[a], f[c])
        T[a, c] = ntk(f[a], f[c]; U, W, b, v)
output K, T
"""


@pytest.mark.parametrize("phi", [
    "tanh(x)", "x*sigmoid(1.702*x)", "sqrt(2)*tanh(x) + 3*sin(x)", "max(x, 0) + exp(min(x, 0)) - 1",
    pytest.param("0.5*x*(1 + tanh(0.8*(x + 0.04*x**3)))", marks=pytest.mark.slow)])
def test_one_series_a_layer_for_one_half_of_the_pairs(phi):
    """In the first layer, in the loop, and after it; a sum with a constant is one function."""
    compiled = tensorprog.compile(NETWORK.format(phi=phi)).compiled
    text = tiles_of(compiled, compiled.covered.system).text()
    assert text.count("rt.sum_series(") == 3
    assert "symmetric=True" in text


def expectation(f, k):
    """E f(u) f(v) for covariances k [2, 2], by Gauss-Hermite quadrature."""
    z, w = np.polynomial.hermite_e.hermegauss(120)
    root = np.linalg.cholesky(k)
    u, v = root[0, 0] * z[:, None], root[1, 0] * z[:, None] + root[1, 1] * z
    return w @ (f(u) * f(v)) @ w / (2 * np.pi)


def reference(phi, slope, x, y, layers=4):
    """Both kernels of a pair of rows, layer by layer (Lee et al. 2018, Jacot et al. 2018)."""
    rows = np.stack([x, y])
    gram = rows @ rows.T / rows.shape[1]
    k, theta = 2.25 * gram + 0.01, gram[0, 1]
    for _ in range(layers):
        average, dot = expectation(phi, k), expectation(slope, k)
        diagonal = [expectation(phi, q * np.array([[1, 1], [1, 1 + 1e-14]])) for q in np.diag(k)]
        theta = average + dot * (2.25 * theta + 0.01)
        k = 2.25 * np.array([[diagonal[0], average], [average, diagonal[1]]]) + 0.01
    return average, theta


@pytest.mark.parametrize("text, phi, slope", [
    ("0.3*x + 0.3*tanh(x)", lambda x: 0.3 * (x + np.tanh(x)), lambda x: 0.3 * (2 - np.tanh(x)**2)),
    pytest.param("sigmoid(x) + 0.1*x - 0.5", lambda x: 1 / (1 + np.exp(-x)) + 0.1 * x - 0.5,
                 lambda x: np.exp(-x) / (1 + np.exp(-x))**2 + 0.1, marks=pytest.mark.slow)])
def test_a_linear_part_is_no_hindrance(text, phi, slope):
    """E[u g(v)] does not depend on the variance of u, but E[(u + g(u)) (v + g(v))] does."""
    program = tensorprog.compile(NETWORK.format(phi=text))
    rows = 0.5 * np.random.default_rng(0).standard_normal((3, 2))
    found = program.kernels(rows)
    assert "rt.sum_series(" in tiles_of(program.compiled, program.compiled.covered.system).text()
    for a, b in ((0, 1), (1, 2)):
        expected = reference(phi, slope, rows[a], rows[b])
        assert (found["K"][a, b], found["T"][a, b]) == pytest.approx(expected, rel=1e-8)
