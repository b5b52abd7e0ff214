"""A result with numbers, families and draws, for tests."""

from __future__ import annotations

import numpy as np

import tensorprog
from tensorprog.results import Result

PROGRAM = """
width n
size P, d
param eta = 0.5
param T : int = 3
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(U @ X[a]))
    loss[t] = mean((f[t, b] - 1)**2 for b in range(P))
    U -= eta * n * grad(loss[t], U)
for a in range(P):
    h[a] = U @ X[a]
output f, loss, loss[T-1] + 0 as q, sample(v, h[0]) as joint
"""
X = np.array([[1.0, 0.5], [-0.3, 1.2]])


def example() -> Result:
    """The limit of the program, of few samples."""
    return tensorprog.compile(PROGRAM).run({"X": X}, samples=64, replicates=2)
