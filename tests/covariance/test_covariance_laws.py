"""Declared vectors that are not normal in kernels of networks: dropout masks, signs, uniform factors, biases."""

import numpy as np
import pytest

import tensorprog

NETWORK = """
width n
size P, d
size L = 2
param p = 0.8
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
vector s{family} : [n] ~ {law}
for a in range(P):
    x[a, 0] = {first}
    for l in range(L):
        x[a, l+1] = {layer}
    f[a] = dot(v, x[a, L]) / sqrt(n)
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
        theta[a, c] = ntk(f[a], f[c]; U, W, v)
output nngp, theta
"""
SHARED = {"first": "s[0] * relu(U @ X[a]) / p", "layer": "s[l+1] * relu(W[l] @ x[a, l] / sqrt(n)) / p"}
OWN = {"first": "s[a, 0] * relu(U @ X[a]) / p", "layer": "s[a, l+1] * relu(W[l] @ x[a, l] / sqrt(n)) / p"}
DATA = np.random.default_rng(5).standard_normal((3, 2))
OFF = ~np.eye(3, dtype=bool)


def run(**texts):
    program = tensorprog.compile(NETWORK.format(**texts))
    found = program.run({"X": DATA})
    assert set(found.method.values()) == {"covariance"}
    return program, found


def relu_means(k):
    """E relu(u) relu(v) and E step(u) step(v)."""
    r = np.sqrt(np.outer(np.diag(k), np.diag(k)))
    c = np.clip(k / r, -1, 1)
    np.fill_diagonal(c, 1)
    angle = np.pi - np.arccos(c)
    return r * (np.sqrt(1 - c**2) + angle * c) / (2 * np.pi), angle / (2 * np.pi)


def masked(factor, data=DATA):
    """Both kernels where a layer's products of two rows have the means `factor` [P, P] besides."""
    k = data @ data.T
    theta = k
    for _ in range(3):
        mean, slope = relu_means(k)
        k, theta = factor * mean, factor * mean + factor * slope * theta
    return k, theta


@pytest.mark.quick("bernoulli(p)-[L+1]-places0-factor0")
@pytest.mark.parametrize("law, family, places, factor", [
    ("bernoulli(p)", "[L+1]", SHARED, np.full((3, 3), 1.25)),
    ("bernoulli(p)", "[P, L+1]", OWN, np.where(OFF, 1, 1.25)),
    ("rademacher()", "[P, L+1]", OWN, np.where(OFF, 0, 1 / 0.64)),
    ("uniform(0, 2)", "[P, L+1]", OWN, np.where(OFF, 1, 4 / 3) / 0.64),
])
def test_factors_of_hidden_layers(law, family, places, factor):
    program, found = run(law=law, family=family, **places)
    nngp, theta = masked(factor)
    assert found["nngp"] == pytest.approx(nngp, rel=1e-12, abs=1e-14)
    assert found["theta"] == pytest.approx(theta, rel=1e-12, abs=1e-14)
    if places is OWN and law == "bernoulli(p)":  # rows of two data sets have masks of their own
        two = program.kernels(DATA[:2], DATA[1:])["theta"]
        all_rows = masked(1 + 0.25 * np.eye(4), DATA[[0, 1, 1, 2]])[1]
        assert two == pytest.approx(all_rows[:2, 2:], rel=1e-12)


def test_one_mask_for_all_layers():
    """The mask of all layers, before the nonlinearity: where it is 0, everything is."""
    _, found = run(law="bernoulli(p)", family="", first="U @ X[a]", layer="W[l] @ relu(s * x[a, l]) / sqrt(n)")
    k = DATA @ DATA.T
    for _ in range(2):
        k = 0.8 * relu_means(k)[0]
    assert found["nngp"] == pytest.approx(k, rel=1e-12)


@pytest.mark.slow
def test_biases_of_two_values():
    """relu(h + s), s = 1 or -1: the mean over both, by Gauss-Hermite quadrature of the part that is not smooth."""
    _, found = run(law="rademacher()", family="[L]", first="erf(U @ X[a])",
                   layer="erf(W[l] @ x[a, l] / sqrt(n) + s[l])")
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    erf = np.vectorize(__import__("math").erf)
    k = DATA @ DATA.T
    k = 2 / np.pi * np.arcsin(2 * k / np.sqrt(np.outer(1 + 2 * np.diag(k), 1 + 2 * np.diag(k))))
    for _ in range(2):
        new = np.empty((3, 3))
        for a in range(3):
            for c in range(3):
                one, two = np.sqrt(k[a, a]), k[a, c] / np.sqrt(k[a, a])
                rest = np.sqrt(max(k[c, c] - two**2, 0))
                u, v = one * x[:, None], two * x[:, None] + rest * x[None, :]
                new[a, c] = sum(w @ (erf(u + s) * erf(v + s)) @ w for s in (1, -1)) / 2
        k = new
    assert found["nngp"] == pytest.approx(k, rel=1e-9)


@pytest.mark.parametrize("bound", ["n**(-1/2)", "1*n**(-1/2)", "c/sqrt(n)", "(c + 1)/(2*n**0.5)"])
def test_a_readout_of_a_symmetric_law_in_every_spelling(bound):
    """v uniform with variance 1/(3n): E f f = E u u / 3."""
    text = """width n
param c = 1.0
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ uniform(-{0}, {0})
f = dot(v, u)
output cov(f, f) as k
"""
    assert tensorprog.compile(text.format(bound)).run()["k"] == pytest.approx(1 / 3, rel=1e-12)
