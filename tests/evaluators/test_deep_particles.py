"""Residual networks of many layers by particles: all share a space, and take more directions than it has room for."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
import tensorprog.runtime as rt
from tensorprog.runtime.directions import Directions
from tensorprog.runtime.matrices import gaussian_matrix

SAMPLES, LAYERS = 256, 512
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


def space(seed, mirrored=False):
    return rt.Space(SAMPLES, np.random.SeedSequence(seed), mirrored=mirrored)


@pytest.mark.parametrize("function, tolerance", [(lambda x: x, 5e-3), (np.tanh, 0.05)])
@pytest.mark.parametrize("seed", range(3))
def test_the_stream_has_its_size_at_four_times_the_layers_that_there_is_room_for(function, tolerance, seed):
    """x_{l+1} = x_l + W_l phi(x_l) / sqrt(L): a Gaussian of variance q_{l+1} = q_l + E phi(sqrt(q_l) g)^2 / L."""
    s = space(seed)
    x, size = s.normal(1), 1.0
    for _ in range(LAYERS):
        W = gaussian_matrix(s, s, 1.0, (1.0, 1.0), None)
        x = x + W.apply(function(x)) / LAYERS**0.5
        size += WEIGHTS @ function(size**0.5 * NODES)**2 / WEIGHTS.sum() / LAYERS
    assert abs(np.mean(x**2) - size) < tolerance


def test_fresh_normals_stay_orthogonal_to_what_is_met_again_and_again():
    s = space(0)
    met = np.sin(s.normal(3))
    for _ in range(200):
        s.remember(met, met)
        rows = s.normal(4)
        inside = rows @ np.linalg.qr(met.T)[0] / SAMPLES**0.5
        assert np.max(np.abs(inside)) < 0.01  # of independent vectors: about 0.2


def test_mirrored_spaces_keep_their_symmetry_without_room():
    s = space(0, mirrored=True)
    for _ in range(100):
        s.normal(2)
        flipped = s.normal(1, mirror=True)[0]
    assert np.allclose(flipped[: SAMPLES // 2], -flipped[SAMPLES // 2:])


def test_what_is_kept_are_the_principal_axes_of_what_was_met():
    known = Directions(SAMPLES, np.dtype(float))
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((SAMPLES, 20)))[0].T * SAMPLES**0.5
    axes -= axes.mean(axis=1, keepdims=True)
    known.append_span(axes)
    weights = 0.5 ** np.arange(20)
    known.meet(axes * weights[:, None])  # sizes do not matter
    known.meet(np.repeat(axes[5:8], 3, axis=0))
    known.shrink(4)
    assert known.count == 4
    assert np.allclose(known.array @ known.array.T / SAMPLES, np.eye(4), atol=1e-12)
    assert np.max(np.abs(known.outside(axes[5:8]))) < 0.2
    assert np.mean(known.outside(axes[8:])**2) > 0.9


LINEAR = """
width n
size P, d
param T : int = 3
size L = 64
param eta = 0.1
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W[L] : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    for a in range(P):
        x = U @ X[a]
        for l in range(L):
            x += (W[l] @ x) / sqrt(L)
        f[t, a] = moment(v * x)
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= eta * n * grad(loss[t], U)
    v -= eta * n * grad(loss[t], v)
    for l in range(L):
        W[l] -= eta * grad(loss[t], W[l])
output f
"""


def test_a_trained_linear_network_of_64_layers_agrees_with_the_exact_limit():
    data = {"X": [[1.0, 0.5, -1.0], [0.3, -1.2, 0.4], [-0.7, 0.2, 1.1]], "y": [1.0, -0.5, 0.2]}
    program = tensorprog.compile(LINEAR)
    exact = program.run(data)
    assert exact.method["f"] == "span"
    found = program.run(data, method="particles", samples=512, replicates=4)
    difference = np.abs(found["f"] - exact["f"])
    assert np.all(difference <= 3 * found.error["f"] + 1e-12)
    assert difference.max() < 5e-3 and found.error["f"].max() < 0.02
