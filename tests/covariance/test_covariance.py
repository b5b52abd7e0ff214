"""The covariance evaluator: known answers to rounding, its choice by the planner, and agreement with particles."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from known_answers import KNOWN
from places import EXAMPLES, PROGRAMS

import tensorprog
from tensorprog import ProgramError
from tensorprog.covariance import system
from tensorprog.evaluators import covariance

GRAM = np.array([[1, 0.5, 0.2], [0.5, 1, 0.5], [0.2, 0.5, 1]])


def exact(name: str, data=None, **settings):
    """A program of `tests/programs` run by covariances alone."""
    result = tensorprog.compile(PROGRAMS / f"{name}.tp").run(data, method="covariance", **settings)
    assert set(result.method.values()) == {"covariance"}
    return result


def test_tied_recurrent_network_keeps_correlations_between_times():
    found = exact("k06_rnn_erf", {"X": np.linalg.cholesky(GRAM)})
    arcsines = np.array(GRAM)
    for i in range(3):
        for j in range(3):
            if i and j:
                c = arcsines
                arcsines[i, j] = GRAM[i, j] + 2 / math.pi * math.asin(
                    2 * c[i - 1, j - 1] / math.sqrt((1 + 2 * c[i - 1, i - 1]) * (1 + 2 * c[j - 1, j - 1])))
    assert found["H"] == pytest.approx(arcsines, abs=1e-12)


def test_untied_matrices_leave_only_the_inputs_correlations():
    found = exact("k06_rnn_erf_untied", {"X": np.linalg.cholesky(GRAM)})
    off = ~np.eye(3, dtype=bool)
    assert found["H"][off] == pytest.approx(GRAM[off], abs=1e-12)


def test_layernorm_kernel():
    found = tensorprog.compile(PROGRAMS / "k09_layernorm.tp")
    assert found.plan.names("particles") == []


def test_wishart_moments_are_the_catalan_numbers():
    found = exact("k13_wishart_moments", K=8)
    assert found["catalan"] == pytest.approx([math.comb(2 * k, k) / (k + 1) for k in range(9)], rel=1e-12)
    assert found["zz"] == pytest.approx(2, abs=1e-12)


def test_responses_of_smooth_and_discontinuous_functions():
    found = exact("k17_transpose_response")
    root = math.sqrt(2 * math.pi)
    expected = {"relu_vq": 0.5, "relu_qq": 0.75, "step_vq": 1 / root, "step_qq": 0.5 + 1 / root**2, "sign_vq": 2 / root,
                "sign_qq": 1 + 4 / root**2, "square_vq": 0, "square_qq": 3, "cube_vq": 3, "cube_qq": 24,
                "tanh_vq": 0.605705509602159, "tanh_qq": 0.761173654760252}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-11), name


def test_where_gradient_independence_fails():
    found = exact("k18_gradient_independence")
    expected = {"dx_mean": 2, "dx_second": 8, "dxv_mean": 0, "dxv_second": 4, "g_mean": 2, "g_second": 8, "gv_mean": 0,
                "gv_second": 4}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_onsager_term_cancels_the_response():
    found = exact("k22_onsager")
    assert found["dot"] == pytest.approx(0, abs=1e-10)
    assert found["plain_dot"] != pytest.approx(0, abs=1e-3)


def test_z2_synchronization_is_a_scalar_recursion():
    program = tensorprog.compile(EXAMPLES / "z2_amp.tp")
    assert program.plan.system.cancelling
    found = program.run()
    expected = [0.1, .2055163527, .3894012821, .6539770301, .9499329493, 1.2019651124, 1.3707558941, 1.4659019458]
    assert found["gamma"][:8] == pytest.approx(expected, abs=1e-9)
    assert set(found.method.values()) == {"covariance"}


@pytest.mark.slow
def test_lasso_amp_reaches_its_fixed_point():
    program = tensorprog.compile(EXAMPLES / "lasso_amp.tp")
    assert program.plan.system.cancelling
    found = program.run(T=30)
    assert found["tau2"][-1] == pytest.approx(.35021441747, abs=2e-9)
    assert found["mse"][-1] == pytest.approx(.09613722718, abs=2e-9)
    assert found["active_part"][-1] == pytest.approx(.19023661270, abs=2e-9)


def test_training_a_nonlinear_network_goes_to_particles_and_says_why():
    program = tensorprog.compile(PROGRAMS / "k28_tanh_two_hidden.tp")
    (choice, *_) = program.plan.choices
    assert choice.evaluator == "particles"
    assert "changes from one iteration" in choice.reason or "nonlinear" in choice.reason
    with pytest.raises(ProgramError) as error:
        program.run(method="covariance")
    assert error.value.diagnostics[0].code == "TP712"


DEPTH = """
width n
size P, d
param L : int = 3
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 2/n)

def net(xi):
    h = U @ xi
    for l in range(L):
        h = W[l] @ relu(h)
    return h

for a in range(P):
    h[a] = net(X[a])
for a in range(P):
    for b in range(P):
        K[a, b] = moment(h[a] * h[b])

output K
"""


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_depth_is_a_recursion(depth):
    """theory: K4 (arc-cosine kernel of degree 1, variance 2)."""
    data = {"X": np.array([[1, 0], [0.5, math.sqrt(0.75)]])}
    found = tensorprog.compile(DEPTH).run(data, L=depth, method="covariance")
    expected = {1: .608997781044, 3: .738128192301, 5: .810454201005}[depth]
    assert found["K"][0, 1] == pytest.approx(expected, abs=1e-11)
    assert np.diag(found["K"]) == pytest.approx([1, 1], abs=1e-14)


RESNET = """
width n
param L : int = 4
vector v : [n] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1/n)

x = v
for l in range(L):
    x = x + 1/sqrt(L) * (W[l] @ x)
output moment(x**2) as square
"""


@pytest.mark.parametrize("depth", [4, 16, 64])
def test_linear_resnet_grows_to_e(depth):
    found = tensorprog.compile(RESNET).run(L=depth, method="covariance")
    assert found["square"] == pytest.approx((1 + 1 / depth)**depth, rel=1e-12)


@pytest.mark.slow_cases("if_blocks-covariance", "lasso_amp-covariance", "word_embedding-covariance",
                        "word_embedding_grad-covariance", "momentum_vector-covariance", "backward_loop-covariance")
@pytest.mark.parametrize("method", ["span", "covariance"])
@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_known_answers(case, method):
    """What an exact evaluator covers is as exact as the answer is known."""
    program = tensorprog.compile(case.path)
    compiled = program.compiled
    refused = (compiled.linear if method == "span" else compiled.covered).reasons
    names = [o.name for o in compiled.limit.outputs if o.cell not in refused and o.name not in compiled.vanishing]
    if not names:
        pytest.skip(f"not covered by {method}")
    found = program.run(case.data, method="auto" if refused else method, **case.settings)
    for name in names:
        value, tolerance = case.expected[name]
        scale = 1 + np.abs(np.asarray(value, float))
        assert np.all(np.abs(found[name] - np.asarray(value)) <= tolerance + 2e-9 * scale), name


# --- the plan and its module ---------------------------------------------------------------------------------

EMIT = """
import sys, tensorprog
from tensorprog.evaluators import covariance
for path in sys.argv[1:]:
    compiled = tensorprog.compile(path).compiled
    print(covariance.emit(compiled, compiled.covered.system))
"""


def test_modules_have_the_same_text_in_every_process():
    """Compiled kernels are kept by it."""
    paths = [str(PROGRAMS / "k22_onsager.tp"), str(PROGRAMS / "k05_relu_ntk.tp")]
    texts = {subprocess.run([sys.executable, "-c", EMIT, *paths], env={**os.environ, "PYTHONHASHSEED": seed},
                            capture_output=True, text=True, check=True).stdout for seed in "12"}
    assert len(texts) == 1
    compiled = tensorprog.compile(paths[1]).compiled
    assert covariance.emit(compiled, compiled.covered.system) in texts.pop()


def test_a_module_is_written_once(monkeypatch):
    program = tensorprog.compile(EXAMPLES / "z2_amp.tp")
    first = program.run()
    monkeypatch.setattr("tensorprog.covariance.emit.emit_module", None)
    assert program.run()["gamma"] == pytest.approx(first["gamma"])


def test_outputs_that_are_too_many_for_one_system_are_left_out(monkeypatch):
    outputs = ", ".join(f"moment(tanh(W @ v)**{2 * k}) as m{k}" for k in range(1, 5))
    source = f"width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector v : [n] ~ normal(0, 1)\noutput {outputs}\n"
    alone = len(tensorprog.compile(source).compiled.covered.system.equations)
    monkeypatch.setattr(system, "MAX_EQUATIONS", alone - 2)
    compiled = tensorprog.compile(source).compiled
    kept = {o.name for o in compiled.limit.outputs if o.cell in compiled.covered.system.outputs}
    assert kept and kept < {"m1", "m2", "m3", "m4"}
    refused = {o.name: compiled.covered.reasons[o.cell] for o in compiled.limit.outputs if o.name not in kept}
    assert set(refused) == {"m1", "m2", "m3", "m4"} - kept
    assert all("too large" in reason for reason in refused.values())


EULER = """width n
matrix W : [n, n] ~ normal(0, 1/n)
matrix A : [n, n] ~ normal(0, 1/n)
vector x : [n] ~ normal(0, 1)
vector z : [n] ~ normal(0, 1)
r = W.T @ {phi}(W @ x)
f = moment(x * r * relu(A.T @ z))
dz = n*grad(f, z)
output f, moment(dz*z) as dzz, moment(dz*dz) as dd
"""
RESPONDING = """width n
matrix W : [n, n] ~ normal(0, 1/n)
matrix A : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ {law}
vector y : [n] ~ normal(0, 1)
q = W @ {phi}(W.T @ v)
r = A.T @ y
s = A @ ({inner})
output moment(s*y) as sy, moment(s*s) as ss
"""


@pytest.mark.parametrize("phi", ["tanh", "erf", "relu"])
def test_a_gradient_through_a_response_obeys_eulers_identity(phi):
    program = tensorprog.compile(EULER.format(phi=phi))
    found = program.run()
    assert set(found.method.values()) == {"covariance"}
    assert found["dzz"] == pytest.approx(found["f"], rel=1e-7) and found["f"] > 0.1
    sampled = program.run(method="particles")
    assert found["dd"] == pytest.approx(sampled["dd"], abs=5 * sampled.error["dd"] + 1e-3)


@pytest.mark.slow_cases("normal(0, 1)-tanh-q*v*r", "normal(0, 1)-erf-v*q*relu(r)")
@pytest.mark.parametrize("law, phi, inner", [
    ("normal(0, 1)", "", "q*v*r"), ("normal(0, 1)", "tanh", "q*v*r"), ("normal(0, 1)", "tanh", "v*relu(q+r)"),
    ("rademacher()", "tanh", "q*v*tanh(r)"), ("normal(0, 1)", "erf", "v*q*relu(r)"), ("normal(0.5, 1)", "", "q*v*r")])
def test_responses_of_declared_vectors_are_kept(law, phi, inner):
    program = tensorprog.compile(RESPONDING.format(law=law, phi=phi, inner=inner))
    found, sampled = program.run(), program.run(method="particles", samples=8192)
    for name in ("sy", "ss"):
        assert found[name] == pytest.approx(sampled[name], abs=5 * sampled.error[name] + 1e-3)
    assert abs(found["sy"]) > 0.1


SKIPPED_BACK = """width n
matrix W[2] : [n, n] ~ normal(0, 0.7/n)
vector u : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
h[0] = u
for l in range(2):
    h[l+1] = W[l] @ {forward}(h[l])
g[2] = {source}
for l in range(1, -1, -1):
    g[l] = W[l].T @ g[l+1] + 0.5*h[l]
output moment(g[0]*g[0]) as a, moment(g[0]*u) as b
"""
READ_BY_A_DERIVATIVE = """width n
matrix Q : [n, n] ~ normal(0, 0.7/n)
vector u : [n] ~ normal(0, 1)
h[0] = u
for l in range(2):
    h[l+1] = Q @ h[l]
f = moment(erf(h[2])*u)
d = n*grad(f, u)
z = Q.T @ relu(d)
output moment(z*h[1]) as zg
"""


@pytest.mark.quick("text0", "text3")
@pytest.mark.parametrize("text", [
    SKIPPED_BACK.format(forward="", source="erf(w)"), SKIPPED_BACK.format(forward="relu", source="erf(w)"),
    SKIPPED_BACK.format(forward="erf", source="relu(u)"), SKIPPED_BACK.format(forward="", source="w"),
    READ_BY_A_DERIVATIVE])
def test_the_hypothesis_is_checked_where_only_derivatives_read(text):
    program = tensorprog.compile(text)
    found, sampled = program.run(samples=2048), program.run(method="particles", samples=8192)
    for name in found.method:
        assert found[name] == pytest.approx(sampled[name], abs=6 * (sampled.error[name] + found.error[name]) + 1e-3)


@pytest.mark.parametrize("inner", ["step(tanh(h))", "sign(erf(h))", "step(2*h + u*u)"])
def test_a_jump_of_something_curved_goes_to_the_particles(inner):
    program = tensorprog.compile("width n\nmatrix W : [n, n] ~ normal(0, 0.7/n)\nvector u : [n] ~ normal(0, 1)\n"
                                 f"h = W @ u\nz = W.T @ {inner}\noutput moment(z*u) as a\n")
    assert program.run(samples=512).method["a"] == "particles"


@pytest.mark.parametrize("inner", ["relu(step(h)*u)", "relu(sign(h)*u)", "abs(step(h) + u)", "tanh(step(h)*u)"])
def test_functions_of_jumps_by_their_sides_near_the_particles(inner):
    program = tensorprog.compile("width n\nmatrix W : [n, n] ~ normal(0, 0.7/n)\nvector u : [n] ~ normal(0, 1)\n"
                                 f"h = W @ u\nz = W.T @ {inner}\noutput moment(z*u) as a\noutput moment(z*z) as b\n")
    found, sampled = program.run(), program.run(method="particles", samples=8192)
    assert set(found.method.values()) == {"covariance"}
    for name in found.method:
        assert found[name] == pytest.approx(sampled[name], abs=5 * sampled.error[name] + 1e-4)


@pytest.mark.parametrize("integrand", ["erf(u)*erf(u)", "gelu(u)**2", "erf(u)*erf(2*u)"])
def test_closed_forms_at_constants(integrand):
    program = tensorprog.compile(f"width n\nvector u : [n] ~ normal(0.3, 0.5)\noutput moment({integrand}) as o\n")
    found, sampled = program.run(), program.run(method="particles")
    assert found.method["o"] == "covariance"
    assert found["o"] == pytest.approx(sampled["o"], abs=5 * sampled.error["o"] + 1e-4)


def test_steep_functions_by_series_quadrature_and_written_modules(tmp_path):
    """tanh at standard deviations up to 30: E tanh(30 z)**2 = 0.9624216677."""
    program = tensorprog.compile(
        "width n\nsize P, d\ninput X : [P, d]\nmatrix U : [n, d] ~ normal(0, 1/d)\n"
        "for a in range(P):\n    x[a] = tanh(U @ X[a])\n"
        "for a in range(P):\n    for c in range(P):\n        K[a, c] = moment(x[a] * x[c])\noutput K\n")
    angle = np.array([0.0, 0.001, 1.0])
    X = 30 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = program.run({"X": X})
    assert found.error["K"].max() < 1e-9
    assert found["K"][0, :2] == pytest.approx([0.9624216677182, 0.9624160262], abs=1e-8)
    assert program.kernels({"X": X})["K"] == pytest.approx(found["K"], abs=1e-9)
    small = program.kernels({"X": 1e-9 * X})["K"]
    assert small == pytest.approx(1e-18 * X @ X.T / 2, rel=1e-9)


FAMILY = """width n
size C = 3
vector x : [n] ~ normal(0, 1)
vector v[C] : [n] ~ normal(0, 1)
for c in range(C):
    f[c] = moment((v[c] + 0.3*c*x)**2)/2 + moment(relu(v[c] - 0.2*c))
"""


def test_the_largest_of_a_family():
    """E relu(Z - b) = phi(b) - b Phi(-b); the loss of a family's largest element, and what its gradient changes."""
    f = np.array([(1 + (0.3 * c)**2) / 2 + math.exp(-(b := 0.2 * c)**2 / 2) / math.sqrt(2 * math.pi)
                  - b * math.erfc(b / math.sqrt(2)) / 2 for c in range(3)])
    text = FAMILY + "loss = max(f)\ng = n * grad(loss, x)\nspread = loss - min(f)\n"
    found = tensorprog.compile(text + "output loss, spread\noutput moment(g*g) as slope").run(method="covariance")
    assert found["loss"] == pytest.approx(f.max(), rel=1e-14)
    assert found["spread"] == pytest.approx(f.max() - f.min(), rel=1e-12)
    # d f[c] / d x = 0.3 c (v[c] + 0.3 c x)
    c = int(f.argmax())
    assert found["slope"] == pytest.approx((0.3 * c)**2 * (1 + (0.3 * c)**2), rel=1e-13)
    assert max(error.max() for error in found.error.values()) < 1e-12
