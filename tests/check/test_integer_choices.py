"""`a if c else b` of two integers is an integer: in loop bounds, indices, numbers, and inside of each other."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.diagnostics import ProgramError

CHOICES = """
width n
size P
input ids : [P] int
vector v[P] : [n] ~ normal(0, 1)
for i in range(P):
    first = 0 if i < 2 else 1
    h[i] = v[ids[i+1] if i < P-1 else ids[0]] * (1 if i % 2 == 0 else -1)
    q[i] = sum((1 if j == i else 3 if j > 1 else 2) * moment(v[j]*h[j]) for j in range(first, i + 1))
k = 2 if P > 3 else 0.5
output q, k*k as square
"""


def _reference(ids):
    count = len(ids)
    taken = [ids[i + 1] if i < count - 1 else ids[0] for i in range(count)]
    met = [float(taken[j] == j) * (1 if j % 2 == 0 else -1) for j in range(count)]
    return [sum((1 if j == i else 3 if j > 1 else 2) * met[j] for j in range(0 if i < 2 else 1, i + 1))
            for i in range(count)]


@pytest.mark.parametrize("method", ["auto", "covariance", "particles"])
def test_every_evaluator_chooses(method):
    ids = np.array([3, 0, 1, 2, 4])
    found = tensorprog.compile(CHOICES).run({"ids": ids}, method=method, samples=64, replicates=2)
    np.testing.assert_allclose(found["q"], _reference(list(ids)), atol=1e-9)
    assert found["square"] == 4


def test_networks_choose_and_real_values_stay_real():
    ids = np.array([0, 1, 2])
    found = tensorprog.compile(CHOICES).simulate({"ids": ids}, width=20_000, seeds=2)
    np.testing.assert_allclose(found["q"], _reference(list(ids)), atol=0.1)
    assert found["square"] == 0.25


def test_kernels_of_two_sequences_that_do_not_see_each_other():
    """A causal mask that begins anew, with the bound as a choice and as a maximum of products."""
    text = """
width n
size N, d
param n1 : int = 2
input X : [N, d]
matrix E : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
for i in range(N):
    k[i] = E @ X[i]
for i in range(N):
    first = {}
    h[i] = W @ sum(relu(k[j]) for j in range(first, i + 1))
for i in range(N):
    for j in range(N):
        K[i, j] = moment(h[i]*h[j])
output K
"""
    X = np.random.default_rng(1).standard_normal((4, 3))
    written = [tensorprog.compile(text.format(bound)).run({"X": X})
               for bound in ("0 if i < n1 else n1", "n1 * min(1, max(0, i - n1 + 1))")]
    assert written[0].method["K"] == "covariance"
    np.testing.assert_allclose(written[0]["K"], written[1]["K"], rtol=1e-14)


def test_only_the_chosen_integer_needs_a_value():
    text = "width n\nsize P\ninput ids : [P] int\nvector v[P] : [n] ~ normal(0, 1)\nfor i in range(P):\n" \
           "    f[i] = moment(v[{}]**2)\noutput f"
    tensorprog.compile(text.format("ids[i-1] if i > 0 else 0")).run({"ids": np.array([1, 0])})
    with pytest.raises(ProgramError, match=r"index -1 is out of range.*\(i = 0\)"):
        tensorprog.compile(text.format("ids[i-1] if i > 1 else ids[i-1]")).run({"ids": np.array([1, 0])})


def test_the_derivation_shows_the_cases():
    assert "(1 if i % 2 = 0 else -1)" in tensorprog.compile(CHOICES).limit.text()
