"""How particles are drawn and in what precision: what it changes of the errors, and that it changes no limit."""

from __future__ import annotations

import numpy as np
import pytest
from places import EXAMPLES

import tensorprog
import tensorprog.runtime as rt
from tensorprog.passes.initial_features import initial_features
from tensorprog.passes.input_axes import input_axes
from tensorprog.runtime.precision import close

HEAD = "width n\nsize P, d\ninput X : [P, d]\nmatrix U : [n, d] ~ normal(0, 1/d)\nmatrix W : [n, n] ~ normal(0, 1/n)\n"
NET = """for t in range(3):
    for a in range(P):
        f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = sum((f[t, a] - 1)**2 for a in range(P)) / P
    v -= n * grad(loss[t], v)
    W -= grad(loss[t], W)
output f
"""


def compiled(text):
    return tensorprog.compile(HEAD + "vector v : [n] ~ normal(0, 1)\n" + text).compiled


def axes_of(text):
    program = compiled(text).limit
    found = {cell.name: axes for cell, axes in input_axes(program).items()}
    return found.get("U")


@pytest.mark.parametrize("text, only", [
    ("for a in range(P):\n    f[a] = moment(tanh(U @ X[a]))\noutput f\n", True),
    ("for t in range(2):\n    for a in range(P):\n        f[t, a] = moment(v * tanh(U @ X[a]))\n"
     "    U = 0.9 * U - n * grad(f[t, 0], U)\noutput f\n", True),
    ("for a in range(P):\n    f[a] = moment(tanh(U @ X[a])) + moment(U[:, 0]**2)\noutput f\n", False)])
def test_blocks_that_meet_inputs(text, only):
    axes = axes_of(text)
    assert (axes.axis, axes.inputs, axes.only) == (0, (("X", 1),), only)


def test_principal_axes_change_no_law():
    """Three vectors of which inputs see one combination: all of them are as they were declared."""
    text = ("for a in range(P):\n    f[a] = moment((U @ X[a])**2)\nfor i in range(d):\n    for j in range(d):\n"
            "        g[i, j] = moment(U[:, i] * U[:, j])\n        h[i, j] = moment(tanh(U[:, i])**2 * U[:, j]**2)\noutput f, g, h\n")
    X = np.outer([1.0, -2.0], [1.0, 2.0, 2.0])
    program = tensorprog.compile(HEAD + "vector v : [n] ~ normal(0, 1)\n" + text)
    found = program.run({"X": X}, method="particles", samples=1024, replicates=4)
    assert np.allclose(found["f"], [3.0, 12.0], rtol=1e-5)
    assert np.allclose(found["g"], np.eye(3) / 3, atol=1e-5)
    off = found["h"][~np.eye(3, dtype=bool)]
    assert np.allclose(off, off.mean(), atol=4 * found.error["h"].max())


def test_directions_that_no_input_has_are_left_out():
    space = rt.Space(256, np.random.SeedSequence(0))
    X = np.random.default_rng(0).standard_normal((2, 5))
    U = space.draw_along("normal", 5, (0.0, 0.2), (5, 256), 0, ((X, 1),), True)
    assert np.linalg.matrix_rank(U) == 2
    assert np.allclose(X @ U @ U.T @ X.T / 256, 0.2 * X @ X.T)


def test_features_are_found_before_training_only():
    trained, plain = compiled(NET), compiled("for a in range(P):\n    f[a] = moment(v * tanh(U @ X[a]))\noutput f\n")
    assert initial_features(trained.limit, trained.mirrored) is not None
    assert initial_features(plain.limit, plain.mirrored) is None


@pytest.mark.parametrize("dtype, size", [("float64", 1e-14), ("float32", 3e-7)])
def test_outputs_at_initialization_in_both_precisions(dtype, size):
    X = np.random.default_rng(0).standard_normal((3, 4))
    program = tensorprog.compile(HEAD + "vector v : [n] ~ normal(0, 1)\n" + NET)
    found = program.run({"X": X}, samples=512, replicates=2, dtype=dtype)["f"]
    assert np.all(np.abs(found[0]) < size) and np.all(np.abs(found[1]) > 1e-2)


@pytest.mark.parametrize("name, data, settings", [
    ("mlp_mup", "batch", {"T": 5}), ("momentum", "batch", {"T": 4}), ("digits", "digits_0_1", {"T": 4}),
    ("convolution", "sequences", {}), ("word_embedding", "words", {}), ("mlp_mup_sgd", "minibatches", {})])
def test_precisions_agree_within_error_bars(name, data, settings):
    program = tensorprog.compile(EXAMPLES / f"{name}.tp")
    given = dict(np.load(EXAMPLES / "data" / f"{data}.npz"))
    single, double = (program.run(given, method="particles", samples=512, replicates=4, seed=3, dtype=dtype, **settings)
                      for dtype in ("float32", "float64"))
    for output in double.numbers():
        bar = 3 * np.hypot(single.error[output], double.error[output]) + 1e-5 * np.max(np.abs(double[output]))
        assert np.mean(np.abs(single[output] - double[output]) <= bar) > 0.97, output


@pytest.mark.parametrize("scale", [1e-15, 1e12])
def test_numbers_that_float32_does_not_hold(scale):
    """E (c v)**4 = 3 c**4, far below the smallest and above the largest number of float32."""
    program = tensorprog.compile("width n\nparam c\nvector v : [n] ~ normal(0, 1)\nh = c * v\nf = moment(h*h*h*h)\noutput f\n")
    found = program.run(method="particles", samples=1024, replicates=2, c=scale)
    assert found["f"] == pytest.approx(3 * scale**4, rel=0.05)


def test_when_precisions_agree():
    x = np.linspace(1, 2, 100)
    assert close(x, x + 1e-6, 1.1 * x) and close(x, 1.2 * x, 1.5 * x)
    assert not close(x, 1.2 * x, 1.21 * x) and not close(np.full(3, np.inf), np.ones(3), np.ones(3))
    assert not close(np.zeros(50), 1e-60 * x[:50], 1e-60 * x[:50])


@pytest.mark.parametrize("samples, told", [(64, True), (1024, False)])
def test_too_few_particles_for_a_matrix_are_told(samples, told):
    X = np.random.default_rng(0).standard_normal((60, 20))
    text = HEAD + "for a in range(P):\n    f[a] = moment(tanh(W @ relu(U @ X[a]))**4)\noutput f\n"
    found = tensorprog.compile(text).run({"X": X}, method="particles", samples=samples, replicates=2)
    assert ("TP646" in [d.code for d in found.warnings]) == told
