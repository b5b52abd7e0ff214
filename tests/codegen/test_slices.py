"""Slices in front of indices that move with a loop, as X[:, a]: what runs as a block gives what single entries give."""

import numpy as np
import pytest

import tensorprog

HEAD = """
width n
size P, d, e
input X : [P, d, e]
input y : [P]
vector v : [n] ~ normal(0, 1)
"""

ONE = "for a in range(d):\n    f[a] = moment(({}) * v * v)\noutput f\n"
TWO = "for a in range(d):\n    for b in range(e):\n        f[a, b] = moment(({}) * v * v)\noutput f\n"
ARRAY = "for a in range(d):\n    z = {}\n    f[a] = moment((z{}) * v * v)\noutput f\n"
FAMILY = """for p in range(P):
    for a in range(d):
        g[p, a] = X[p, a, 0] + X[p, a, 1]
""" + ONE
GRADIENT = """for a in range(d):
    f[a] = moment(({}) * v * v)
loss = sum(f[a]**2 for a in range(d))
G = grad(loss, X)
for p in range(P):
    for a in range(d):
        for b in range(e):
            slope[p, a, b] = G[p, a, b]
output slope
"""
GRADIENT_OF_FAMILY = """for p in range(P):
    for a in range(d):
        for b in range(e):
            g[p, a, b] = X[p, a, b] * y[p]
for a in range(d):
    f[a] = moment(({}) * v * v)
loss = sum(f[a]**2 for a in range(d))
for p in range(P):
    for a in range(d):
        slope[p, a] = grad(loss, g[p, a, 1])
output slope
"""

#: Programs with a place for an expression, the expression by slices, and by entries.
CASES = {
    "a slice and an axis": (ONE, "X[:, a, 1] @ y", "sum(X[p, a, 1] * y[p] for p in range(P))"),
    "an axis behind an index": (ONE, "X[:, 1, a] @ y", "sum(X[p, 1, a] * y[p] for p in range(P))"),
    "a part of an axis": (ONE, "X[0:2, a, 1] @ y[1:3]", "X[0, a, 1]*y[1] + X[1, a, 1]*y[2]"),
    "two axes behind": (TWO, "X[:, a, b] @ y", "sum(X[p, a, b] * y[p] for p in range(P))"),
    "two axes, turned": (TWO, "X[:, b, a] @ y", "sum(X[p, b, a] * y[p] for p in range(P))"),
    "an axis on each side": (TWO, "X[a, :, b] @ X[a, :, 0]", "sum(X[a, j, b] * X[a, j, 0] for j in range(d))"),
    "an index array on one side": (TWO, "X[(a + b) // 2, :, b] @ X[a, :, 0]",
                                   "sum(X[(a + b) // 2, j, b] * X[a, j, 0] for j in range(d))"),
    "an index that repeats": (TWO, "X[:, a, a] @ y * X[0, a, b]", "sum(X[p, a, a] * y[p] for p in range(P)) * X[0, a, b]"),
    "a family": (FAMILY, "g[:, a] @ y", "sum(g[p, a] * y[p] for p in range(P))"),
    "a part of an array": (ARRAY, ("X[:, :, a]", "[:, a] @ y"), ("X[:, a, a]", " @ y")),
    "a gradient": (GRADIENT, "X[:, a, 1] @ y", "sum(X[p, a, 1] * y[p] for p in range(P))"),
    "a gradient of an array": (GRADIENT, "X[:, :, a][:, a] @ y", "sum(X[p, a, a] * y[p] for p in range(P))"),
    "a gradient of a family": (GRADIENT_OF_FAMILY, "g[:, a, 1] @ y", "sum(g[p, a, 1] * y[p] for p in range(P))"),
}


def _values(text: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    data = {"X": rng.normal(size=(4, 3, 3)), "y": rng.normal(size=4)}
    found = tensorprog.compile(HEAD + text).run(data, method="particles", samples=64, replicates=1, dtype="float64")
    return {name: np.asarray(found[name]) for name in found}


@pytest.mark.parametrize("case", CASES)
def test_slices_are_sums_of_entries(case):
    program, slices, entries = CASES[case]
    texts = [program.format(*((part,) if isinstance(part, str) else part)) for part in (slices, entries)]
    one, other = map(_values, texts)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-10, err_msg=f"{case}: {name}")
