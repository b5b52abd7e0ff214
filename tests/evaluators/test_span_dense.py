"""The span evaluator beside an independent dense evaluation, over hundreds of gradient steps.

For a square Gaussian matrix W between two spaces, the vectors that W and its transpose make of independent initial
vectors stay, for each of these, in a copy of L2 of W's limiting singular values, the quarter circle law, on which W
multiplies by the singular value (Voiculescu, Dykema and Nica, Free random variables, 1992, ch. 4). Gauss quadrature
with M nodes keeps polynomials of degree 4M - 1 exactly, which makes W a diagonal matrix with updates of low rank.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import tensorprog

TRAINED = """
width n
size P, d, e
param c
param kappa
param lam
param eta_u
param eta_v
param eta_w
param T : int = 300
input B : [P, d]
input Y : [P, e]
input S : [P, P]
input R : [e, e]
matrix U : [n, d] ~ normal(0, 0.3)
matrix W : [n, n] ~ normal(0, 1/n)
matrix V : [n, e] ~ normal(0, 1)
for t in range(T):
    for i in range(P):
        x[i] = sum(B[i, j]*U[:, j] for j in range(d))
        z[i] = W @ x[i]
    for k in range(e):
        w[k] = W.T @ V[:, k]
    f[t] = c*sum((moment(z[i]*V[:, k]) - Y[i, k])**2 for i in range(P) for k in range(e))/2
    g[t] = kappa*sum((moment(z[i]*z[j]) - S[i, j])**2 for i in range(P) for j in range(P))/2
    h[t] = lam*sum((moment(w[k]*w[l]) - R[k, l])**2 for k in range(e) for l in range(e))/2
    loss[t] = f[t] + g[t] + h[t]
    U -= eta_u * n * grad(loss[t], U)
    V -= eta_v * n * grad(loss[t], V)
    W -= eta_w * grad(loss[t], W)
output f, g, h
"""


def dense(data, *, c, kappa, lam, eta_u, eta_v, eta_w, steps, nodes=40):
    """The three parts of the loss at every step, [3, steps]."""
    B, Y, S, R = (data[name] for name in "BYSR")
    angles = np.arange(1, nodes + 1) * np.pi / (2 * nodes + 1)
    singular, start = 2 * np.cos(angles), np.sin(angles) * 2 / np.sqrt(2 * nodes + 1)
    d, e = B.shape[1], Y.shape[1]
    W = np.diag(np.tile(singular, d + e))
    initial = np.kron(np.eye(d + e), start[:, None])
    U, V = np.sqrt(.3) * initial[:, :d], initial[:, d:]
    losses = []
    for _ in range(steps):
        X = U @ B.T
        Z, A = W @ X, W.T @ V
        E, F, G = Z.T @ V - Y, Z.T @ Z - S, A.T @ A - R
        losses.append([c * np.sum(E**2) / 2, kappa * np.sum(F**2) / 2, lam * np.sum(G**2) / 2])
        dZ, dA = c * V @ E.T + 2 * kappa * Z @ F, 2 * lam * A @ G
        dU, dV, dW = W.T @ dZ @ B, c * Z @ E + W @ dA, dZ @ X.T + V @ dA.T
        U, V, W = U - eta_u * dU, V - eta_v * dV, W - eta_w * dW
    return np.array(losses).T


@pytest.fixture(scope="module")
def trained():
    return tensorprog.compile(TRAINED)


def symmetric(a):
    return (a + a.T) / 2


def drawn(seed, speed):
    """Random data, weights of the loss and learning rates, about half of them 0."""
    rng = np.random.default_rng(seed)
    P, d, e = (int(k) for k in rng.integers(1, 4, 3))
    data = {"B": rng.standard_normal((P, d)), "Y": rng.standard_normal((P, e)),
            "S": symmetric(rng.standard_normal((P, P))) / 2, "R": symmetric(rng.standard_normal((e, e))) / 2}
    weights = dict(zip(("c", "kappa", "lam"), rng.uniform(.2, 1, 3) * (rng.random(3) < .7)))
    rates = speed * rng.uniform(.005, .03, 3) * [rng.random() < .7, rng.random() < .7, 1]
    return data, {**weights, **dict(zip(("eta_u", "eta_v", "eta_w"), rates))}


@pytest.mark.parametrize("seed", range(6))
def test_trained_square_matrices(trained, seed):
    data, settings = drawn(seed, 1)
    found, expected = trained.run(data, method="span", **settings), dense(data, steps=300, **settings)
    for name, right in zip("fgh", expected):
        assert found[name] == pytest.approx(right, rel=1e-12, abs=1e-13)
        assert np.max(found.error[name]) < 1e-12


def test_rounding_that_grows_is_an_error(trained):
    """The zero of W.T @ V in one direction becomes unstable after 200 steps: what is left of it there is rounding, in
    the dense evaluation as well."""
    data, settings = drawn(1034, 5)
    found, expected = trained.run(data, method="span", **settings), dense(data, steps=300, **settings)
    inside = np.isfinite(found["h"])
    after = inside & (np.arange(300) > 255)
    assert np.all(found.error["h"][:200] == 0) and np.all(found.error["h"][after] > 1e-4) and after.any()
    assert np.all(np.abs(found["h"] - expected[2])[inside] <= 1e-12 + 2 * found.error["h"][inside])


CONTRASTIVE = """
width n
size P, d
param eta = 0.005
param T : int = 40
input X : [P, d]
input Z : [P, d]
matrix U : [n, d] ~ normal(0, 0.1)
matrix W : [n, n] ~ normal(0, 1/n)
for t in range(T):
    for i in range(P):
        z[i] = W @ (U @ X[i])
        w[i] = W @ (U @ Z[i])
    loss[t] = (-2*mean(moment(z[i]*w[i]) for i in range(P))
               + mean(moment(z[i]*w[j])**2 for i in range(P) for j in range(P)))
    U -= eta * n * grad(loss[t], U)
    W -= eta * grad(loss[t], W)
output loss
"""


def contrastive(X, Z, *, eta, steps, nodes=60):
    """The loss at every step, by the dense evaluation."""
    angles = np.arange(1, nodes + 1) * np.pi / (2 * nodes + 1)
    W = np.diag(np.tile(2 * np.cos(angles), X.shape[1]))
    U = np.sqrt(.1) * np.kron(np.eye(X.shape[1]), (np.sin(angles) * 2 / np.sqrt(2 * nodes + 1))[:, None])
    losses = []
    for _ in range(steps):
        x, y = U @ X.T, U @ Z.T
        z, w = W @ x, W @ y
        P, gram = len(X), z.T @ w
        losses.append(-2 * np.trace(gram) / P + np.sum(gram**2) / P**2)
        dz, dw = (-2 * w / P + 2 * w @ gram.T / P**2), (-2 * z / P + 2 * z @ gram / P**2)
        U, W = U - eta * W.T @ (dz @ X + dw @ Z), W - eta * (dz @ x.T + dw @ y.T)
    return np.array(losses)


@pytest.mark.parametrize("seed", [0, 2])
def test_views_that_are_nearly_the_same(seed):
    """Blocks of nearly dependent vectors: what pivoting leaves of them must stay orthogonal to what was known."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((4, 3))
    Z = X + .3 * rng.standard_normal((4, 3))
    found = tensorprog.compile(CONTRASTIVE).run({"X": X, "Z": Z}, method="span", T=60)
    assert found["loss"] == pytest.approx(contrastive(X, Z, eta=.005, steps=60), rel=1e-12)
    assert np.max(found.error["loss"]) < 1e-12


CHAOTIC = """
width n
param T : int = 100
vector a : [n] ~ normal(0, 0.3)
s[0] = moment(a*a)
for t in range(T):
    s[t + 1] = 4*s[t]*(1 - s[t])
output s
"""


def test_chaos_is_told():
    """The logistic map doubles rounding at every step: after 50 nothing is known but that it is between 0 and 1."""
    found = tensorprog.compile(CHAOTIC).run(method="span")
    exact = [Fraction(3, 10)]
    for _ in range(15):
        exact.append(4 * exact[-1] * (1 - exact[-1]))
    assert found["s"][:16] == pytest.approx([float(e) for e in exact], rel=1e-9)
    assert np.all(found.error["s"][:3] == 0) and np.median(found.error["s"][60:]) > .1
