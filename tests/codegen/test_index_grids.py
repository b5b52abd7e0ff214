"""Indices of all iterations of a parallel loop, which blocks within it use and what follows them as well."""

import numpy as np
import pytest

import tensorprog

PROGRAM = """
width n
size P
param T : int
param K : int
input y : [P]
input ids : [P] int
vector v : [n] ~ normal(0, 1)
for a in range(P):
    g = 0
    if K > 0:
        g = y[ids[a]]
    c[a] = moment(v*v) * g
    for t in range(T):
        g = g + y[ids[a]]
    f[a] = moment(v*v) * (g + y[ids[a]])
output c, f
"""
Y, IDS = np.array([1.0, 2.0, 5.0]), np.array([2, 0, 1])


@pytest.mark.parametrize("method", ["span", "particles"])
@pytest.mark.parametrize("taken, steps", [(1, 2), (0, 2), (1, 0), (0, 0)])
def test_blocks_that_do_not_run(method, taken, steps):
    options = {"samples": 64, "replicates": 2} if method == "particles" else {}
    found = tensorprog.compile(PROGRAM).run({"y": Y, "ids": IDS}, method=method, T=steps, K=taken, **options)
    for name, times in (("c", taken), ("f", taken + steps + 1)):
        # Moments of 64 particles are as far from 1 as their law says.
        np.testing.assert_allclose(found[name], times * Y[IDS], rtol=1e-9 if method == "span" else 0.5)
