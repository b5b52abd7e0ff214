"""Laws of matrices besides the normal one: symmetric matrices, iid entries of another law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import dblquad

import tensorprog
from tensorprog.diagnostics import ProgramError

POWERS = """
width n
matrix A : [n, n] ~ {law}
vector v : [n] ~ normal(0, 1)
x[0] = v
for k in range(9):
    x[k+1] = A @ x[k]
for k in range(10):
    m[k] = moment(v * x[k])
output m
"""


@pytest.mark.parametrize("variance", [1e-3, 1.0, 1e3])
def test_moments_of_a_symmetric_matrix_are_catalan_numbers(variance):
    found = tensorprog.compile(POWERS.format(law=f"symmetric_normal(0, {variance}/n)")).run()
    expected = [c * variance**(k / 2) for k, c in enumerate([1, 0, 1, 0, 2, 0, 5, 0, 14, 0])]
    assert found.method["m"] == "span"
    np.testing.assert_allclose(found["m"], expected, rtol=1e-12, atol=1e-12)


def test_a_symmetric_matrix_has_the_variance_that_it_says():
    program = tensorprog.compile("""
width n
matrix A[2] : [n, n] ~ symmetric_normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
x = A[1] @ v
output moment(x*x) as q, moment((A[1].T @ v - x)**2) as difference, moment(x * (A[0] @ v)) as other
""")
    found = program.run()
    assert [float(found[k]) for k in ("q", "difference", "other")] == pytest.approx([1, 0, 0], abs=1e-12)
    network = program.simulate(width=500, seeds=8)
    assert float(network["q"]) == pytest.approx(1, abs=0.1) and float(network["difference"]) == pytest.approx(0, abs=1e-20)


def test_the_memory_term_of_message_passing_cancels_the_response():
    """AMP with a symmetric matrix: Cov(x[2], x[2]) = E f(x[1])^2 for f = tanh (theory of the Onsager term)."""
    found = tensorprog.compile("""
width n
matrix A : [n, n] ~ symmetric_normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
x1 = A @ v
x2 = A @ tanh(x1) - moment(tanh'(x1)) * v
output moment(x2*x2) as q, moment(x1*x2) as cross
""").run()
    assert found.method == {"q": "covariance", "cross": "covariance"}
    assert float(found["q"]) == pytest.approx(0.394294490397841, abs=1e-12)  # E tanh(Z)^2
    assert float(found["cross"]) == pytest.approx(0, abs=1e-12)              # E v tanh(x1)


def test_training_a_symmetric_matrix_agrees_with_networks():
    program = tensorprog.compile("""
width n
size P, d
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix A : [n, n] ~ symmetric_normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
for t in range(4):
    for a in range(P):
        f[t, a] = moment(v * tanh(A @ tanh(A @ tanh(U @ X[a]))))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    A -= grad(loss[t], A)
    U -= n * grad(loss[t], U)
    v -= n * grad(loss[t], v)
output loss
""")
    data = {"X": np.random.default_rng(0).standard_normal((4, 3)), "y": np.array([1.0, -1.0, 1.0, -1.0])}
    limit = program.run(data, samples=1024, replicates=4)
    network = program.simulate(data, width=1024, seeds=4)
    assert np.all(np.abs(limit["loss"] - network["loss"]) < 4 * np.hypot(limit.error["loss"], network.error["loss"]) + 4e-3)


LAWS = {"uniform(-2/sqrt(n), 2/sqrt(n))": 4 / 3, "sparse_normal(0.1, 5/n)": 0.5, "normal(0, 1/n)": 1.0}


@pytest.mark.parametrize("law", LAWS)
def test_entries_of_another_law_have_the_limit_of_normal_ones(law):
    program = tensorprog.compile(f"""
width n
matrix W : [n, n] ~ {law}
vector v : [n] ~ normal(0, 1)
x = W.T @ (W @ v)
y = tanh(W @ v)
output moment(v*x) as first, moment(y*y) as second
""")
    found, s = program.run(), LAWS[law]
    second = dblquad(lambda r, _: np.tanh(np.sqrt(s) * r)**2 * np.exp(-r * r / 2) / np.sqrt(2 * np.pi), 0, 1, -12, 12)[0]
    assert float(found["first"]) == pytest.approx(s, rel=1e-12)
    assert float(found["second"]) == pytest.approx(second, abs=1e-8)
    network = program.simulate(width=1000, seeds=4)
    assert float(network["first"]) == pytest.approx(s, abs=0.15 * s)


def test_networks_draw_the_declared_law():
    from tensorprog.finite.initials import draw_initial

    program = tensorprog.compile(POWERS.format(law="rademacher()")[:-1].replace("A @ x[k]", "A @ x[k] / sqrt(n)")).program
    drawn = dict(draw_initial(program, program.initials[0], {}, 50, 0))[()]
    assert set(np.unique(drawn)) == {-1.0, 1.0}


def test_entries_with_a_mean_are_refused():
    program = tensorprog.compile(POWERS.format(law="uniform(0, 1/sqrt(n))"))
    with pytest.raises(ProgramError, match="TP633.*mean 0"):
        program.run()


ORTHOGONAL = """
width n
width m = {ratio}*n
matrix O : [m, n] ~ orthogonal(1)
vector v : [n] ~ normal(0, 1)
x1 = O @ v
x2 = O.T @ tanh(x1)
x3 = O @ relu(x2)
x4 = O.T @ tanh(x3 + x1)
output moment(x2*x2) as a, moment(x3*x3) as b, moment(x4*x4) as c, moment(x4*v) as d
output {ratio}*moment(x3*tanh(x1)) - moment(relu(x2)*x2) as adjoint
"""


@pytest.mark.parametrize("ratio", [1, 3, 0.4])
def test_covariances_and_particles_agree_on_orthogonal_matrices(ratio):
    program = tensorprog.compile(ORTHOGONAL.format(ratio=ratio))
    exact = program.run(method="covariance")
    sampled = program.run(method="particles", samples=1024, replicates=4)
    for name in exact:
        assert abs(float(exact[name] - sampled[name])) < 4 * float(sampled.error[name]) + 1e-3
    assert float(exact["adjoint"]) == pytest.approx(0, abs=1e-9)


def test_moments_of_an_orthogonal_matrix_and_its_transpose_are_those_of_the_arcsine_law():
    found = tensorprog.compile(POWERS.format(law="orthogonal(1)").replace("A @ x[k]", "A @ x[k] + A.T @ x[k]")).run()
    assert found.method["m"] == "span"
    np.testing.assert_allclose(found["m"], [1, 0, 2, 0, 6, 0, 20, 0, 70, 0], rtol=1e-12, atol=1e-12)
