"""Kernels over pairs of rows: recognised from the equations, equal to the table evaluator and to known recursions."""

import itertools
import math

import numpy as np
import pytest

import tensorprog
from tensorprog import ProgramError
from tensorprog.bind import bind
from tensorprog.covariance.emit import emit_module
from tensorprog.evaluators.plan import plan_of
from tensorprog.evaluators.tiles import tiles_of
from tensorprog.modules import load_module
from tensorprog.pairs.lower import PairLowering, pair_kernels

HEADER = """width n
size P, Q, d, L
param s = 1.3
input X : [P, d]
input Y : [Q, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W[L] : [n, n] ~ normal(0, s/n)
matrix V[L] : [n, n] ~ normal(0, 2/n)
vector b[L] : [n] ~ normal(0, 0.3)
"""
SQUARE = """
for a in range(P):
    for c in range(P):
        K[a, c] = moment(x[a] * x[c])
output K
"""

BODIES = {
    "family": """
for a in range(P):
    h[0, a] = U @ X[a]
    for l in range(L):
        h[l+1, a] = W[l] @ {0}(h[l, a]) + b[l]
    x[a] = {1}(h[L, a])
""" + SQUARE,
    "cell": """
for a in range(P):
    h = U @ X[a]
    for l in range(L):
        h = W[l] @ {0}(h)
        h = V[l] @ {1}(h) + b[l]
    x[a] = h
""" + SQUARE,
    "function": """
def net(z):
    h = U @ z
    for l in range(L):
        h = W[l] @ {0}(h)
    return {1}(h)
for a in range(P):
    x[a] = net(X[a])
""" + SQUARE,
    "written_out": """
for a in range(P):
    h = {0}(U @ X[a])
    x[a] = {1}(W[0] @ h) + 0.5*h
""" + SQUARE,
    "skips": """
for a in range(P):
    h[0, a] = U @ X[a]
    for l in range(L):
        h[l+1, a] = 0.5*h[l, a] + V[l] @ {0}(h[l, a])
    x[a] = {1}(h[L, a])
""" + SQUARE,
    "tied_with_inputs": """
for a in range(P):
    h = U @ X[a]
    for l in range(L):
        h = W[0] @ {0}(h) + U @ X[a] + b[0]
    x[a] = {1}(h)
""" + SQUARE,
    "two_data_sets": """
def net(z):
    h = U @ z
    for l in range(L):
        h = W[l] @ {0}(h) + b[l]
    return {1}(h)
for a in range(P):
    x[a] = net(X[a])
for c in range(Q):
    y[c] = net(Y[c])
for a in range(P):
    for c in range(Q):
        K[a, c] = moment(x[a] * y[c])
output K
""",
}


def data(d=4):
    rng = np.random.default_rng(5)
    return {"X": rng.standard_normal((5, d)), "Y": rng.standard_normal((3, d))}


def lowered(program):
    """The lowerings, or reasons, of a program's outputs."""
    compiled = program.compiled
    return pair_kernels(plan_of(compiled).system, compiled.limit, list(compiled.limit.outputs))


def by_table(program, values, **settings):
    """The outputs by the table evaluator."""
    compiled = program.compiled
    module = load_module(emit_module(compiled.limit, compiled.original, plan_of(compiled).system))
    return module.run(bind(program.program, values, settings))[0]


@pytest.mark.quick("family-functions0", "skips-functions5")
@pytest.mark.parametrize("body, functions", [
    ("family", ("relu", "erf")), ("cell", ("erf", "relu")), ("function", ("relu", "sin")),
    ("written_out", ("erf", "gelu")),
    ("two_data_sets", ("gelu", "relu")), ("skips", ("erf", "relu")),
    ("tied_with_inputs", ("erf", "relu"))])
def test_agrees_with_the_table(body, functions):
    program = tensorprog.compile(HEADER + BODIES[body].format(*functions))
    assert isinstance(lowered(program)["K"], PairLowering)
    for depth in (1, 2, 4):
        expected = by_table(program, data(), L=depth)["K"]
        assert program.kernels(data(), L=depth)["K"] == pytest.approx(expected, rel=1e-11, abs=1e-13)
        assert program.run(data(), L=depth)["K"] == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_series_agree_with_the_table():
    program = tensorprog.compile(HEADER + BODIES["cell"].format("tanh", "relu"))
    expected = by_table(program, data(), L=2)["K"]
    found = program.run(data(), L=2)
    assert found["K"] == pytest.approx(expected, abs=1e-11)
    assert found.error["K"].max() > 0


def test_the_depth_is_a_parameter_of_one_program():
    lowering = lowered(tensorprog.compile(HEADER + BODIES["family"].format("relu", "relu")))["K"]
    assert lowering.program.sizes == ("L",)
    assert lowering.program.symmetric and lowering.one_set
    assert len(lowering.program.grams) == 1


def test_two_data_sets_share_one_recursion():
    lowering = lowered(tensorprog.compile(HEADER + BODIES["two_data_sets"].format("relu", "erf")))["K"]
    assert lowering.right == {"X": "Y"} and not lowering.one_set
    assert len(lowering.program.grams) == 1


def test_rectangular_kernels_of_one_data_set():
    program = tensorprog.compile(HEADER + BODIES["family"].format("relu", "erf"))
    values = data()
    whole = program.kernels({"X": np.concatenate([values["X"], values["Y"]]), "Y": values["Y"]}, L=3)["K"]
    found = program.kernels(values, {"X": values["Y"], "Y": values["Y"]}, L=3)["K"]
    assert found == pytest.approx(whole[:5, 5:], rel=1e-12)
    out = {"K": np.empty((5, 5), np.float32)}
    single = program.kernels(values, L=3, out=out, dtype="float32", threads=2)["K"]
    assert single is out["K"]
    assert single == pytest.approx(whole[:5, :5], rel=1e-4)


def test_relu_kernels_of_every_depth():
    """K4 (Cho and Saul 2009): the cosine c becomes (sqrt(1 - c^2) + (pi - acos c) c) / pi from layer to layer."""
    program = tensorprog.compile(RELU)
    angles = np.array([0.3, 1.2, 2.9])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = program.run({"X": rows}, L=5, method="covariance")["Sigma"]
    for i, j in itertools.product(range(3), repeat=2):
        c = math.cos(angles[i] - angles[j])
        for level in range(5):
            c = min(max(c, -1.0), 1.0)
            c = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
            assert found[level, i, j] == pytest.approx(c, abs=1e-10)


RELU = """width n
size P, d, L
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 2/n)
matrix V : [1, n] ~ normal(0, 2/n)
for a in range(P):
    h = U @ X[a]
    for l in range(L):
        f[l, a] = V @ relu(h)
        h = W[l] @ relu(h)
for l in range(L):
    for a in range(P):
        for b in range(P):
            Sigma[l, a, b] = cov(f[l, a, 0], f[l, b, 0])
output Sigma
"""


LAYERS = """width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W1 : [n, n] ~ normal(0, 1)
matrix W2 : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    x = sqrt(2) * relu(U @ X[a])
    y = sqrt(2) * relu(W1 @ x / sqrt(n))
    z = sqrt(2) * relu(W2 @ y / sqrt(n))
    f[a] = dot(v, z) / sqrt(n)
for a in range(P):
    for c in range(P):
        Sigma[a, c] = cov(f[a], f[c])
        Theta[a, c] = ntk(f[a], f[c]; U, W1, W2, v)
output Sigma, Theta
"""


def test_tangent_kernel_of_layers_written_out():
    """K5 (Jacot et al. 2018): Theta becomes Theta (1 - acos(c) / pi) + Sigma from layer to layer."""
    program = tensorprog.compile(LAYERS)
    assert isinstance(lowered(program)["Theta"], PairLowering)
    angles = np.array([0.3, 1.2, 2.9])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = program.run({"X": rows}, method="covariance")
    c = np.cos(angles[:, None] - angles)
    theta = c
    for _ in range(3):
        turn = np.arccos(np.clip(c, -1, 1))
        c = (np.sin(turn) + (math.pi - turn) * c) / math.pi
        theta = theta * (1 - turn / math.pi) + c
    assert found["Sigma"] == pytest.approx(c, abs=1e-10)
    assert found["Theta"] == pytest.approx(theta, abs=1e-10)


LOOP = """width n
size P, d, L
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def net(x):
    h[0] = U @ x
    for l in range(L):
        h[l+1] = W[l] @ (sqrt(2) * relu(h[l])) / sqrt(n)
    return dot(v, sqrt(2) * relu(h[L])) / sqrt(n)
for a in range(P):
    f[a] = net(X[a])
for a in range(P):
    for c in range(P):
        Sigma[a, c] = cov(f[a], f[c])
        Theta[a, c] = ntk(f[a], f[c]; U, W, v)
output Sigma, Theta
"""


def arc_cosine(c, layers):
    """K4 and K5 (Jacot et al. 2018): Theta becomes Theta (1 - acos(c) / pi) + Sigma from layer to layer."""
    theta = c
    for _ in range(layers):
        turn = np.arccos(np.clip(c, -1, 1))
        c = (np.sin(turn) + (math.pi - turn) * c) / math.pi
        theta = theta * (1 - turn / math.pi) + c
    return c, theta


def test_tangent_kernel_of_a_loop_over_layers():
    program = tensorprog.compile(LOOP)
    lowering = lowered(program)["Theta"]
    assert isinstance(lowering, PairLowering) and lowering.program.symmetric and not lowering.program.arrays
    angles = np.array([0.3, 1.2, 2.9, 0.3])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for depth in (1, 2, 5, 20):
        sigma, theta = arc_cosine(np.cos(angles[:, None] - angles), depth + 1)
        for found in (program.kernels(rows, L=depth), program.run({"X": rows}, L=depth)):
            assert found["Sigma"] == pytest.approx(sigma, abs=1e-10)
            assert found["Theta"] == pytest.approx(theta, abs=1e-10)
        diagonal = np.diag(program.kernels(rows, L=depth)["Theta"])
        assert diagonal == pytest.approx(np.full(4, depth + 2.0), rel=1e-13)
        assert program.kernels(rows, L=depth, dtype="float32")["Theta"] == pytest.approx(theta, rel=2e-3)


def test_a_deep_network_at_its_smallest_depths():
    """Where the recursion has not begun, a kernel is made for the sizes at hand."""
    text = LOOP.replace("range(L)", "range(1, L)").replace("h[l+1] = W[l]", "h[l] = W[l]").replace(
        "relu(h[l])", "relu(h[l-1])").replace("relu(h[L])", "relu(h[L-1])")
    program = tensorprog.compile(text)
    angles = np.array([0.3, 1.2, 2.9])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert any(e.subs(dict.fromkeys(e.free_symbols, 1)) < 0 for e in lowered(program)["Theta"].required)
    for depth in (1, 2, 3):
        sigma, theta = arc_cosine(np.cos(angles[:, None] - angles), depth)
        found = program.kernels(rows, L=depth)
        assert found["Sigma"] == pytest.approx(sigma, abs=1e-10)
        assert found["Theta"] == pytest.approx(theta, abs=1e-10)


TANGENTS = {
    "biases": """
def net(x):
    h[0] = U @ x
    for l in range(L):
        h[l+1] = W[l] @ {0}(h[l]) + b[l]
    return dot(v, {1}(h[L])) / sqrt(n)
""",
    "two_activations": """
def net(x):
    h[0] = U @ x
    for l in range(L):
        z[l] = W[l] @ {0}(h[l])
        h[l+1] = V[l] @ {1}(z[l])
    return dot(v, {0}(h[L])) / sqrt(n)
""",
    "readout_of_every_layer": """
def net(x):
    h[0] = U @ x
    f = 0.0
    for l in range(L):
        h[l+1] = V[l] @ {1}(W[l] @ {0}(h[l]) + b[l])
        f += dot(w[l], {1}(h[l+1])) / sqrt(n)
    return f + dot(v, h[L]) / sqrt(n)
""",
}
ENDINGS = {
    "one": "K[a, c] = ntk(f[a], f[c]; {inputs}v) + ntk(f[a], f[c]; W)/n",
    "nonlinear": "K[a, c] = ntk(f[a], f[c]; W)/n * ntk(f[a], f[c]; U) + ntk(f[a], f[a]; W)/n",
}
DECLARED = HEADER + "vector v : [n] ~ normal(0, 1)\nvector w[L] : [n] ~ normal(0, 0.5)\n"


def tangent_program(body, functions, ending, rectangular=False):
    text = DECLARED + TANGENTS[body].format(*functions) + "for a in range(P):\n    f[a] = net(X[a])\n"
    ending = ENDINGS[ending].format(inputs="U, b, " if "b[l]" in TANGENTS[body] else "U, ")
    size = "P"
    if rectangular:
        text += "for c in range(Q):\n    g[c] = net(Y[c])\n"
        ending, size = ending.replace("f[c]", "g[c]"), "Q"
    return tensorprog.compile(f"{text}for a in range(P):\n    for c in range({size}):\n        {ending}\noutput K\n")


@pytest.mark.quick("biases-functions5-nonlinear-False")
@pytest.mark.parametrize("body, functions, ending, rectangular", [
    ("biases", ("relu", "erf"), "one", False), pytest.param("biases", ("gelu", "relu"), "one", True, marks=pytest.mark.xfail(
        reason="the derivative of gelu keeps a sum over the inputs, so that a tape computes it")),
    ("two_activations", ("erf", "relu"), "one", False), ("two_activations", ("relu", "sin"), "one", True),
    ("readout_of_every_layer", ("erf", "relu"), "one", False),
    ("biases", ("sin", "erf"), "nonlinear", False)])
def test_tangent_kernels_agree_with_the_table(body, functions, ending, rectangular):
    program = tangent_program(body, functions, ending, rectangular)
    assert isinstance(lowered(program)["K"], PairLowering)
    for depth in (1, 2, 4):
        expected = by_table(program, data(), L=depth)["K"]
        assert program.kernels(data(), L=depth)["K"] == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_a_derivative_that_equations_multiply_out_is_one_series():
    program = tangent_program("biases", ("tanh", "tanh"), "one")
    text = tiles_of(program.compiled, program.compiled.covered.system).text()
    assert text.count("rt.sum_series(") == text.count(", True)") > 0
    assert text.count("\ndef phi") == 2  # tanh and its slope, which equations also multiply out to 1 - tanh**2
    expected = by_table(program, data(), L=2)["K"]
    assert program.kernels(data(), L=2)["K"] == pytest.approx(expected, rel=1e-9)


def test_the_plan_says_that_nothing_is_kept():
    assert "tiles of pairs" in tensorprog.compile(LOOP).emit("plan")


def test_near_the_particles():
    program = tensorprog.compile(HEADER + BODIES["family"].format("erf", "relu"))
    sampled = program.run(data(), L=2, method="particles")
    found = program.run(data(), L=2)
    assert np.all(np.abs(found["K"] - sampled["K"]) < 6 * sampled.error["K"] + 0.02)


@pytest.mark.parametrize("ending, reason", [
    ("for a in range(P):\n    K[a] = moment(x[a] * x[a])\noutput K", "pairs of rows"),
    ("for a in range(P):\n    for c in range(a + 1):\n        K[a, c] = moment(x[a] * x[c])\noutput K", ""),
    ("for a in range(P):\n    for c in range(P):\n        K[a, c] = moment(x[a] * x[c] * relu(x[0]))\noutput K", ""),
])
def test_what_has_no_such_form_says_why(ending, reason):
    program = tensorprog.compile(HEADER + BODIES["written_out"].format("relu", "erf").replace(SQUARE, "\n" + ending))
    with pytest.raises(ProgramError, match="not a kernel over pairs") as caught:
        program.kernels(data(), L=1)
    assert caught.value.diagnostics[0].code == "TP712" and reason in str(caught.value)


REASSIGNED = """width n
size P, d
size L = 3
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1)
vector b[L+1] : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)

def net(x):
    h = 1.5 * (U @ x) / sqrt(d) + 0.1*b[0]
    for l in range(L):
        h = 1.5 * (W[l] @ relu(h)) / sqrt(n) + 0.1*b[l+1]
    return dot(v, relu(h)) / sqrt(n)
for a in range(P):
    f[a] = net(X[a])
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
        theta[a, c] = ntk(f[a], f[c]; U, W, b, v)
output nngp, theta
"""


def test_a_network_that_reassigns_its_layer_is_a_recursion_over_pairs():
    """The arc-cosine recursions (Cho and Saul 2009; Jacot et al. 2018), one symmetric kernel for both outputs."""
    program = tensorprog.compile(REASSIGNED)
    rows = np.random.default_rng(0).standard_normal((6, 10))
    rows[5] = rows[1]
    for depth in (1, 2, 5):
        found = program.kernels(rows, L=depth)
        kernel = 2.25 * rows @ rows.T / 10 + 0.01
        tangent = kernel.copy()
        for layer in range(depth + 1):
            scale = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
            angle = np.arccos(np.clip(kernel / scale, -1, 1))
            angle[5, 1] = angle[1, 5] = 0.0
            np.fill_diagonal(angle, 0.0)
            slope = (np.pi - angle) / (2 * np.pi)
            own = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
            kernel = 2.25 * own + 0.01
            tangent = 2.25 * tangent * slope + kernel if layer < depth else tangent * slope + own
        assert np.abs(found["nngp"] - own).max() < 1e-13
        assert np.abs(found["theta"] - tangent).max() < 1e-12
        assert found.error["theta"].shape == (6, 6) and found.error["theta"].max() < 1e-12
        assert all(np.array_equal(k, k.T) and k[5, 1] == k[1, 1] for k in found.values())


QUICK = """width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def phi(x) = x*sigmoid(1.702*x)
for a in range(P):
    f[a] = dot(v, phi(U @ X[a])) / sqrt(n)
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
output nngp
"""


def test_a_function_of_a_product_times_that_product():
    """x sigmoid(k x) tends to relu for large rows, by 1/r**2; symmetric, with errors; and what is not finite is said."""
    program = tensorprog.compile(QUICK)
    radius = 1e4
    kernel = program.kernels(radius * np.array([[1.0, 0.0], [0.6, 0.8]]))
    values = kernel["nngp"] / radius**2
    angle = np.arccos(0.6)
    assert values[0, 1] == values[1, 0]
    assert values[0, 1] == pytest.approx((np.sin(angle) + (np.pi - angle) * 0.6) / (2 * np.pi), rel=1e-8)
    assert kernel.error["nngp"].max() < 1e-11 * radius**2 and not kernel.warnings
    with pytest.warns(RuntimeWarning, match="not a finite number"):
        large = program.kernels(1e160 * np.array([[1.0, 0.0], [0.6, 0.8]]))
    assert large.warnings[0].code == "TP640" and np.isinf(large.error["nngp"]).any()


@pytest.mark.parametrize("spelling", ["max(x, 0) + exp(min(x, 0)) - 1", "exp(min(x, 0)) + (x + abs(x))/2 - 1"])
def test_small_rows_of_a_function_with_a_kink(spelling):
    """ELU: x on the right and exp(x) - 1 on the left, near 0 the identity but for its second derivative."""
    program = tensorprog.compile(QUICK.replace("x*sigmoid(1.702*x)", spelling))
    for radius in (1e-9, 1e-5):
        rows = radius * np.array([[1.0, 0.0], [0.6, 0.8]])
        found = program.kernels(rows)["nngp"] / radius**2
        assert found == pytest.approx(np.array([[1.0, 0.6], [0.6, 1.0]]), rel=2 * radius + 1e-12)


SCALED = """
width n
size P, d
param a = 1.5
param c = 0.7
input X : [P, d]
matrix U : [n, d] ~ normal(0, {first})
matrix W : [n, n] ~ normal(0, {second})
vector v : [n] ~ normal(0, 1)
for p in range(P):
    f[p] = dot(v, {phi}({layer})) / sqrt(n)
for p in range(P):
    for q in range(P):
        C[p, q] = cov(f[p], f[q])
        K[p, q] = ntk(f[p], f[q]; v)
output C, K
"""


@pytest.mark.parametrize("phi", ["tanh", "relu", "silu"])
@pytest.mark.parametrize("a, c", [(1.5, 0.7), (-2.0, 1e-3), (0.0, 1.0), (1e3, 3.0)])
def test_numbers_in_front_of_layers_are_as_those_in_variances(phi, a, c):
    rows = np.random.default_rng(3).standard_normal((6, 4))
    one = SCALED.format(first="1", second="1", phi=phi, layer=f"a * (W @ {phi}(c * (U @ X[p]) / sqrt(d))) / sqrt(n)")
    two = SCALED.format(first="c**2/d", second="a**2/n", phi=phi, layer=f"W @ {phi}(U @ X[p])")
    found, expected = (tensorprog.compile(text).run({"X": rows}, a=a, c=c) for text in (one, two))
    assert found.method == {"C": "covariance", "K": "covariance"}
    for name in ("C", "K"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-14)


def test_numbers_in_front_of_layers_leave_tiles():
    layer = "a * (W @ tanh(c * (U @ X[p]) / sqrt(d))) / sqrt(n)"
    program = tensorprog.compile(SCALED.format(first="1", second="1", phi="tanh", layer=layer))
    assert all("tiles" in choice.cost for choice in program.plan.choices)
