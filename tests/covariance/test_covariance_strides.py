"""Loops with steps and indices with multiples and remainders, by covariances: one kernel in many spellings."""

import numpy as np
import pytest

import tensorprog
from tensorprog.check import front
from tensorprog.diagnostics import Reporter, Source
from tensorprog.finite import simulate
from tensorprog.passes.unit_steps import unit_steps

CONVOLUTION = """
width n
size P, S, d
input X : [P, S, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[3] : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    for s in range(S):
        h[a, s] = U @ X[a, s]
    for s in {steps}:
        q[a, {place}] = sum(W[k] @ relu(h[a, ({place} + k) % S]) for k in range(3)) * sqrt(2/(3*n))
    f[a] = dot(v, sum(relu(q[a, s]) for s in {read})) / sqrt(n)
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
        theta[a, c] = ntk(f[a], f[c]; U, W, v)
output nngp, theta
"""
SPELLINGS = [("range(S - 2, -1, -2)", "s", "range(0, S, 2)"), ("range(S//2)", "2*s", "range(S - 2, -1, -2)"),
             ("range(3, S + 3, 2)", "s - 3", "range(0, S, 2)")]
DATA = np.random.default_rng(3).standard_normal((2, 4, 3))


def relu_means(k, one, two):
    """E relu(u) relu(v) and E step(u) step(v), at covariances and variances."""
    c = np.clip(k / np.sqrt(one * two), -1, 1)
    angle = np.pi - np.arccos(c)
    return np.sqrt(one * two) * (np.sqrt(1 - c**2) + angle * c) / (2 * np.pi), angle / (2 * np.pi)


def reference(data):
    """Both kernels by the recursion written out."""
    rows, places, _ = data.shape
    gram = np.einsum("asj,ctj->asct", data, data)
    variance = np.einsum("asas->as", gram)
    mean, slope = relu_means(gram, variance[:, :, None, None], variance)
    even, shift = np.arange(0, places, 2), range(3)
    at = [np.ix_(range(rows), (even + k) % places, range(rows), (even + k) % places) for k in shift]
    q = sum(mean[i] for i in at) * 2 / 3
    theta_q = q + sum(slope[i] * gram[i] for i in at) * 2 / 3
    variance = np.einsum("asas->as", q)
    mean, slope = relu_means(q, variance[:, :, None, None], variance)
    return mean.sum((1, 3)), (mean + slope * theta_q).sum((1, 3))


@pytest.mark.quick("range(S//2)-2*s-range(S - 2, -1, -2)")
@pytest.mark.parametrize("steps, place, read", SPELLINGS)
def test_strided_convolution(steps, place, read):
    program = tensorprog.compile(CONVOLUTION.format(steps=steps, place=place, read=read))
    found = program.run({"X": DATA})
    nngp, theta = reference(DATA)
    assert set(found.method.values()) == {"covariance"}
    assert found["nngp"] == pytest.approx(nngp, rel=1e-12)
    assert found["theta"] == pytest.approx(theta, rel=1e-12)


RECURRENT = """
width n
size S, d
input X : [S, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
x = erf(U @ X[0])
for s in {steps}:
    x = erf(W @ x + U @ X[s])
    m[s] = moment(x**2)
output m[{last}] as m
"""


@pytest.mark.parametrize("steps, places", [("range(1, S, 3)", [1, 4, 7]), ("range(S - 1, 0, -3)", [7, 4, 1])])
def test_a_loop_with_a_step_carries_values(steps, places):
    data = np.random.default_rng(4).standard_normal((8, 3))
    found = tensorprog.compile(RECURRENT.format(steps=steps, last=places[-1])).run({"X": data})
    variance = data[0] @ data[0]
    for s in places:
        second = 2 / np.pi * np.arcsin(2 * variance / (1 + 2 * variance))
        variance = second + data[s] @ data[s]
    assert found.method["m"] == "covariance"
    assert found["m"] == pytest.approx(2 / np.pi * np.arcsin(2 * variance / (1 + 2 * variance)), rel=1e-12)


def test_loops_in_steps_of_one_are_the_same_program():
    text = "width n\nvector v : [n] ~ normal(0, 1)\nx = v\nfor i in range(7, 0, -3):\n    x = x + i*v*x\n" \
           "    for j in range(1, i, 2):\n        x += j*v\noutput moment(x) as m\n"
    program = front(Source("x.tp", text), Reporter(Source("x.tp", text)))
    one, other = (simulate(p, {}, width=64, seeds=1) for p in (program, unit_steps(program)))
    assert one["m"] == pytest.approx(other["m"], rel=1e-12)
