"""The span evaluator: limits of linear programs, exactly."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from hypothesis import given
from linear_algebra import deep_linear_muP
from linear_programs import linear_programs
from strategies import quick

import tensorprog
import tensorprog.runtime as rt
from tensorprog.diagnostics import ProgramError
from tensorprog.finite import simulate as interpret
from tensorprog.runtime import loops

MATRICES = """
width n
size P, d
param T : int = 6
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
matrix M : [n, n] = 0
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * (W @ (U @ X[a])))
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    G = grad(loss, W)
    R = outer(v, U @ X[0]) / n
    HR = grad(dot(G, R), W)
    curvature[t] = dot(HR, R)
    M = 0.5*M + G
    length[t] = norm(M)
    U -= 0.2 * n * grad(loss, U)
    v -= 0.2 * n * grad(loss, v)
    W -= 0.1 * STEP
output f, curvature, length
"""

DEEP = """
width n
size P, d
param eta = 0.3
param T : int = 10
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)

for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * (W @ (U @ X[a])))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= eta * n * grad(loss[t], U)
    v -= eta * n * grad(loss[t], v)
    W -= eta * grad(loss[t], W)

output f
"""


def span(text, data=None, **settings):
    """The result, after checking that the planner chose the evaluator by itself."""
    result = tensorprog.compile(text).run(data, **settings)
    assert set(result.method.values()) == {"span"}
    assert all(np.all(result.error[name] == 0) for name in result.method)
    return result


# --- known answers -------------------------------------------------------------------------------------------


@pytest.mark.quick("5")
@pytest.mark.parametrize("steps", [5, 25])
def test_deep_linear_training_is_direct_algebra(steps):
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((2, 2)), rng.standard_normal(2)
    found = span(DEEP, {"X": X, "y": y}, T=steps)
    assert found["f"] == pytest.approx(deep_linear_muP(X, y, steps, .3), abs=1e-10)


SHALLOW = """
width n
param eta = 0.3
param T : int = 6
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    f[t] = moment(u * v)
    loss = (f[t] - 1)**2 / 2
    du = n * grad(loss, u)
    v -= eta * n * grad(loss, v)
    u -= eta * du
output f
"""


@pytest.mark.parametrize("eta, expected", [
    (1, [0, 2, 0, 0]), (.5, [0, 1, 1]), (.3, [0, .6, .87024, .968855084059, .993594165099, .998738760394]),
    (.1, [0, .2, .36288, .497952486106, .609553567445, .700420492608])])
def test_one_hidden_layer(eta, expected):
    """K23: TP IV, Corollary 6.2."""
    assert span(SHALLOW, eta=eta, T=len(expected))["f"] == pytest.approx(expected, abs=2e-12)


def test_two_hidden_layers_after_one_step():
    """K26, and K31 for its small steps: f_1 = 3 eta."""
    for eta in (1.0, 1e-3):
        found = span(DEEP, {"X": [[1.0]], "y": [1.0]}, eta=eta, T=2)
        assert found["f"][1, 0] == pytest.approx(3 * eta, rel=1e-12)


DEEPER = """
width n
size L
param eta
vector u : [n] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
for t in range(2):
    h[t, 0] = u
    for l in range(L):
        h[t, l + 1] = W[l] @ h[t, l]
    f[t] = moment(v * h[t, L])
    loss = (f[t] - 1)**2 / 2
    du = n * grad(loss, u)
    dv = n * grad(loss, v)
    for l in range(L):
        W[l] -= eta * grad(loss, W[l])
    u -= eta * du
    v -= eta * dv
output f
"""


@pytest.mark.parametrize("layers", [1, 3, 7])
def test_tangent_kernel_of_a_deep_network(layers):
    """K31: with L matrices the first small step makes f = (L + 2) eta."""
    found = span(DEEPER, L=layers, eta=1e-4)
    assert found["f"][1] / 1e-4 == pytest.approx(layers + 2, rel=1e-3)


def test_small_steps_tend_to_gradient_flow():
    """K32: the two-layer linear network of Bordelon and Pehlevan, whose loss derivative at t = .25, .5, 1, 2 is known.
    The distance falls in proportion to the step."""
    expected = np.array([.597723, .338136, .093412, .005772])
    text = SHALLOW.replace("v : [n] ~ normal(0, 1)", "v : [n] ~ normal(0, 1)")
    far = []
    for eta in (1e-3, 5e-4):
        f = span(text, eta=eta, T=int(2 / eta) + 1)["f"]
        far.append(1 - f[[round(t / eta) for t in (.25, .5, 1, 2)]] - expected)
    extrapolated = 2 * far[1] - far[0]
    assert np.all(np.abs(extrapolated) < 2e-6)
    assert np.max(np.abs(far[1])) < 1e-3


# --- the language --------------------------------------------------------------------------------------------

LAWS = """
width n
vector a : [n] ~ uniform(1, 3)
vector b : [n] ~ bernoulli(0.25)
vector c : [n] ~ sparse_normal(0.5, 4)
vector d : [n] ~ normal(2, 0)
x = a - 3 * b + 0.5
y = x + c + d
output moment(x) as mean_x, moment(x**2) as square_x, moment(y * a) as mixed, moment(y + a * b) as sum_of_degrees
"""


def test_means_and_constants():
    found = span(LAWS)
    assert found["mean_x"] == pytest.approx(2 - .75 + .5)
    assert found["square_x"] == pytest.approx(1.75**2 + 1 / 3 + 9 * .1875)
    assert found["mixed"] == pytest.approx((1.75 + 2) * 2 + 1 / 3)
    assert found["sum_of_degrees"] == pytest.approx(3.75 + .5)


RECTANGULAR = """
width n
width m = 0.5*n
param K : int = 4
matrix A : [m, n] ~ normal(0, 1/m)
vector v : [m] ~ normal(0, 1)
x = v
for k in range(K + 1):
    moments[k] = moment(v * x)
    x = A @ (A.T @ x)
output moments
"""


def test_rectangular_and_tied_matrices():
    """K15 with entries of variance 1/m = 2/n, which multiplies the k-th moment by 2**k."""
    expected = [1, *np.array([1, 1.5, 2.75, 5.625]) * [2, 4, 8, 16]]
    assert span(RECTANGULAR)["moments"] == pytest.approx(expected, rel=1e-11)


def test_an_output_that_is_not_linear_goes_elsewhere_and_says_why():
    text = LAWS.replace("output", "output moment(tanh(y)) as bent,")
    program = tensorprog.compile(text)
    assert program.run().method == {"bent": "covariance"} | dict.fromkeys(
        ["mean_x", "square_x", "mixed", "sum_of_degrees"], "span") or program.run().method["bent"] == "particles"
    with pytest.raises(ProgramError) as error:
        program.run(method="span")
    assert error.value.diagnostics[0].code == "TP712"
    assert "tanh" in error.value.diagnostics[0].message


@quick(4)
@given(linear_programs())
def test_random_linear_programs(text):
    """Wide networks are near the limit."""
    program = tensorprog.compile(text)
    exact = program.run(method="span")
    near = program.simulate(width=1500, seeds=8)
    for name in exact.method:
        allowed = 6 * near.error[name] + .03 * (1 + abs(exact[name]))
        assert abs(exact[name] - near[name]) <= allowed, (text, name, exact[name], near[name])


@pytest.mark.parametrize("name", ["steps", "samples", "seed", "spaces", "rows", "zero", "initial", "low"])
def test_names_that_mean_something_in_the_module(name):
    text = f"width n\nsize {name} = 3\nvector w[{name}] : [n] ~ normal(0, 1)\n" \
           f"output moment(sum(w[i] for i in range({name}))**2) as total\n"
    assert span(text)["total"] == pytest.approx(3)


# --- directions and types ------------------------------------------------------------------------------------


def test_directions_that_stay_zero_are_not_stored():
    assert rt.dimension([("normal", 5, (0.0, 1.0)), ("normal", 7, (0.0, 0.0)), ("constant", 3, (0.0,))]) == 5
    assert rt.dimension([("normal", 5, (0.0, 1.0)), ("constant", 1, (2.0,)), ("uniform", 1, (-1.0, 1.0))]) == 7


def test_single_precision_on_request():
    rng = np.random.default_rng(0)
    data = {"X": rng.standard_normal((3, 2)), "y": rng.standard_normal(3)}
    program = tensorprog.compile(SHALLOW)
    assert program.run(dtype="float32")["f"] == pytest.approx(program.run()["f"], abs=1e-5)
    assert tensorprog.compile(DEEP).run(data, dtype="float32")["f"] == pytest.approx(span(DEEP, data)["f"], abs=1e-5)
    with pytest.raises(ProgramError, match="float16"):
        program.run(dtype="float16")


# --- compiled loops ------------------------------------------------------------------------------------------

EMBEDDING = """
width n
size words, T
param decay = 0.01
input order : [T, 3] int
input count : [T] int
vector u[words] : [n] ~ normal(0, 1)
vector v[words] : [n] ~ normal(0, 0.5)
total = 0
for t in range(T):
    h = mean(u[order[t, c]] for c in range(count[t]))
    before = v[order[t, 0]]
    f[t] = moment(h * before)
    if order[t, 1] > order[t, 2]:
        v[order[t, 0]] = (1 - decay) * before + 0.1 * sigmoid(-f[t]) * h
        after = moment(before * v[order[t, 0]])
    else:
        v[order[t, 0]] -= 0.1 * f[t] * h
        after = 0
    total += after + max(f[t], 0)
    for c in range(count[t]):
        u[order[t, c]] = (1 - decay) * u[order[t, c]] + 0.05 * before
for a in range(words):
    for b in range(words):
        gram[a, b] = moment(u[a] * v[b])
output f, gram, total
"""


def stream(steps, words=7):
    rng = np.random.default_rng(3)
    return {"order": rng.integers(0, words, (steps, 3)), "count": rng.integers(1, 4, steps)}


def both_ways(monkeypatch, run):
    """A result by the compiled loop and by single steps."""
    monkeypatch.setattr(loops, "FEW", 1)
    compiled = run()
    monkeypatch.setattr(loops, "FEW", 10**9)
    return compiled, run()


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-4)])
def test_a_compiled_loop_is_the_loop(monkeypatch, dtype, tolerance):
    program = tensorprog.compile(EMBEDDING)
    compiled, stepped = both_ways(monkeypatch, lambda: program.run(stream(60), words=7, dtype=dtype))
    for name in compiled.method:
        assert compiled[name] == pytest.approx(stepped[name], abs=tolerance), name


def test_threads_agree(monkeypatch):
    monkeypatch.setattr(loops, "FEW", 1)
    monkeypatch.setattr(loops, "SHARE", 4)
    program = tensorprog.compile(EMBEDDING)
    one, two = (program.run(stream(60, 40), words=40, threads=k) for k in (1, 2))
    again = program.run(stream(60, 40), words=40, threads=2)
    for name in one.method:
        assert one[name] == pytest.approx(two[name], abs=1e-12), name
        assert np.array_equal(two[name], again[name])


def test_finite_networks_by_the_compiled_loop(monkeypatch):
    monkeypatch.setattr(loops, "FEW", 1)
    program = tensorprog.compile(EMBEDDING)
    found = program.simulate(stream(60), words=7, width=33, seeds=2)
    env, *_ = program._prepare(stream(60), {"words": 7})
    from tensorprog.api import _seeds
    expected = interpret(program._simulator.program, env, width=33, seeds=_seeds(0, 2))
    for name in found.method:
        assert found.samples[name] == pytest.approx(expected[name], abs=1e-12), name


def test_wide_networks_tend_to_the_limit():
    program = tensorprog.compile(EMBEDDING)
    limit = program.run(stream(40), words=7)
    found = program.simulate(stream(40), words=7, width=20000, seeds=4)
    for name in limit.method:
        assert found[name] == pytest.approx(limit[name], abs=.02 * (1 + abs(limit["total"]))), name


# --- checkpoints ---------------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(loops, "CHUNK", 0)
    program, data, path = tensorprog.compile(EMBEDDING), stream(300), tmp_path / "state.npz"
    whole = program.run(data, words=7)
    seen = []

    def stop(outputs):
        seen.append(int(np.sum(np.isfinite(outputs["f"]))))
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        program.run(data, words=7, checkpoint=path, every=1e6, watch=stop)
    assert 0 < seen[-1] < 300
    steps = []
    again = program.run(data, words=7, checkpoint=path, every=1e6, progress=lambda done, _: steps.append(done))
    assert steps[0] > seen[-2]
    for name in whole.method:
        assert np.array_equal(again[name], whole[name]), name
    assert list(tmp_path.iterdir()) == [path]


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    program, path = tensorprog.compile(EMBEDDING), tmp_path / "state.npz"
    program.run(stream(300), words=7, checkpoint=path, every=0)
    kept = path.read_bytes()
    for data, settings in ((stream(301), {}), (stream(300), {"decay": .02}), (stream(300), {"dtype": "float32"})):
        with pytest.raises(ProgramError) as error:
            program.run(data, words=7, checkpoint=path, **settings)
        assert error.value.diagnostics[0].code == "TP714"
    path.write_bytes(kept[:1000])
    with pytest.raises(ProgramError, match="not a checkpoint"):
        program.run(stream(300), words=7, checkpoint=path)
    with pytest.raises(ProgramError) as error:
        program.run(stream(300), words=7, checkpoint=tmp_path / "nowhere" / "state.npz", every=0)
    assert error.value.diagnostics[0].code == "TP707"


# --- inner products, products and polar factors of matrices that are made by updates --------------------------


@pytest.mark.parametrize("step", ["polar(M)", "M / max(1, norm(M))", "(1.5*M - 0.5 * M @ M.T @ M)"])
def test_functions_of_outer_products_are_exact(step, monkeypatch):
    """Muon, clipping and Newton-Schulz on a linear network, with Hessian-vector products: against particles that leave
    nothing out, whose averages of linear vectors are exact as well, and against networks."""
    data = {"X": np.array([[1, 0.5], [-0.4, 1.2], [0.3, -0.8]]), "y": np.array([1.0, -1.0, 0.5])}
    program = tensorprog.compile(MATRICES.replace("STEP", step))
    found = program.run(data)
    assert set(found.method.values()) == {"span"}
    # The second derivative along outer(v, U x_0): moment(v v) E[(U x_0)(U x_a)] squared, averaged over a.
    inner = data["X"] @ data["X"][0]
    assert found["curvature"][0] == pytest.approx(np.mean(inner**2), rel=1e-12)
    network = program.simulate(data, width=300, seeds=12)
    for name in found:
        room = 4 * network.error[name] + 0.05 * np.abs(found[name]).max()
        assert np.all(np.abs(found[name] - network[name]) < room), name
    monkeypatch.setattr("tensorprog.runtime.matrices.effective_tolerance", lambda _, count, *__: np.full(np.shape(count), 1e-9))
    sampled = program.run(data, method="particles", samples=1024, replicates=2)
    for name in found:
        np.testing.assert_allclose(found[name], sampled[name], rtol=1e-8, atol=1e-10)


def test_columns_of_a_width_x_finite_matrix_are_vectors_as_others():
    """<e_0, W.T W e_0> / n = 1, and of another column 0."""
    found = tensorprog.compile("""
width n
size d = 3
matrix E : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
g = W.T @ (W @ E[:, 0])
output dot(E[:, 0], g) / n as q, dot(g, E[:, 1]) / n as r
""").run()
    assert float(found["q"]) == pytest.approx(1, abs=1e-12) and float(found["r"]) == pytest.approx(0, abs=1e-12)
