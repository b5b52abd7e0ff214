"""Networks whose kernels are exact: programs in parts, for tests of `cov`, `ntk` and of kernels over pairs of rows."""

from __future__ import annotations

import numpy as np

import tensorprog
from tensorprog.api import CompiledProgram

HEADER = """width n
size P, d, L
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W[L] : [n, n] ~ normal(0, 1)
matrix M[L] : [n, n] ~ normal(0, 1)
vector b[L] : [n] ~ normal(0, 1)
vector c : [n] ~ normal(0.3, 0.2)
vector v : [n] ~ normal(0, 1)
vector vs[L] : [n] ~ normal(0, 1)

def ln(h):
    m = moment(h)
    return (h - m) / sqrt(moment((h - m)**2) + 0.01)

def net(x):
"""
FOOTER = """
for a in range(P):
    f[a] = net(X[a])
for a in range(P):
    for e in range(P):
        K[a, e] = cov(f[a], f[e])
        T[a, e] = ntk(f[a], f[e]; {})
output K, T
"""

#: name -> (the body of `net`, what the tangent kernel differentiates by)
NETWORKS = {
    "residual": ("""
    h = U @ x
    for l in range(L):
        h += W[l] @ relu(h) / sqrt(n) / sqrt(L)
    return dot(v, h) / sqrt(n)
""", "U, W, v"),
    "residual_with_biases": ("""
    h = U @ x
    for l in range(L):
        h = h + W[l] @ erf(h) / sqrt(n) + 0.1*b[l]
    return dot(v, relu(h)) / sqrt(n)
""", "U, W, b, v"),
    "residual_of_two_layers": ("""
    h = U @ x
    for l in range(L):
        h += 0.5 * M[l] @ relu(W[l] @ h / sqrt(n)) / sqrt(n)
    return dot(v, h) / sqrt(n)
""", "U, W, M, v"),
    "residual_with_readouts": ("""
    h = U @ x
    f = 0.0
    for l in range(L):
        h += W[l] @ relu(h) / sqrt(n)
        f += dot(vs[l], relu(h)) / sqrt(n)
    return f
""", "U, W, vs"),
    "sums_of_layers": ("""
    h = U @ x
    s = h
    for l in range(L):
        h = W[l] @ relu(s) / sqrt(n)
        s += h
    return dot(v, s) / sqrt(n)
""", "U, W, v"),
    "linear": ("""
    h = U @ x
    for l in range(L):
        h = W[l] @ h / sqrt(n)
    return dot(v, h) / sqrt(n)
""", "U, W, v"),
    "linear_residual": ("""
    h = U @ x
    for l in range(L):
        h += W[l] @ h / sqrt(n)
    return dot(v, h) / sqrt(n)
""", "U, W, v"),
    "gelu": ("""
    h = gelu(U @ x)
    for l in range(L):
        h = gelu(W[l] @ h / sqrt(n) + 0.1*b[l])
    return dot(v, h) / sqrt(n)
""", "U, W, b, v"),
    "bias_with_a_mean": ("""
    h = relu(U @ x + c)
    for l in range(L):
        h = relu(W[l] @ h / sqrt(n))
    return dot(v, h) / sqrt(n)
""", "U, W, c, v"),
    "layer_normalization": ("""
    h = relu(U @ x)
    for l in range(L):
        h = relu(W[l] @ h / sqrt(n))
    return dot(v, ln(h)) / sqrt(n)
""", "U, v"),
    "input_in_every_layer": ("""
    h0 = U @ x
    h = h0
    for l in range(L):
        h = W[l] @ relu(h) / sqrt(n) + 0.5*h0
    return dot(v, relu(h)) / sqrt(n)
""", "U, W, v"),
}

CONVOLUTION = """width n
size P, S, R, d
input X : [P, S, R, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W[2, 2] : [n, n] ~ normal(0, 0.5)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    for s in range(S):
        for r in range(R):
            h[a, s, r] = relu(U @ X[a, s, r])
    for s in range(S-1):
        for r in range(R-1):
            g[a, s, r] = sum((W[i, j] / sqrt(n)) @ h[a, s+i, r+j] for i in range(2) for j in range(2))
    f[a] = dot(v, mean(relu(g[a, s, r]) for s in range(S-1) for r in range(R-1))) / sqrt(n)
for a in range(P):
    for e in range(P):
        K[a, e] = cov(f[a], f[e])
        T[a, e] = ntk(f[a], f[e]; U, W, v)
output K, T
"""


def network(name: str) -> CompiledProgram:
    body, variables = NETWORKS[name]
    return tensorprog.compile(HEADER + body + FOOTER.format(variables))


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Rows in three dimensions, one of another length, one that occurs twice."""
    X = np.random.default_rng(seed).standard_normal((count, 3))
    X[0] *= 0.7
    X[-1] = X[0]
    return X
