"""Random arrays without a width (`matrix A : [K, d]`, `vector b : [K]`): limits that are functions of their draws."""

import numpy as np
import pytest

import tensorprog

LAWS = {"normal(1, 4)": (1, 4), "uniform(0, 3)": (1.5, 0.75), "rademacher()": (0, 1), "bernoulli(0.25)": (0.25, 0.1875),
        "sparse_normal(0.5, 2)": (0, 1), "constant(2)": (2, 0)}


def gauss(count=80):
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


@pytest.mark.parametrize("law", LAWS)
def test_sums_of_entries_have_their_mean_and_variance_exactly(law):
    text = f"width n\nmatrix A[2] : [3, 4] ~ {law}\nvector v : [n] ~ normal(0, 1)\n" \
           "output sum(A[0, 1]) - 2*A[1, 2, 3] as s\noutput A[0, 0, 0]**2 as q"
    mean, variance = LAWS[law]
    result = tensorprog.compile(text).run(draws=4000)
    assert result["s"] == pytest.approx(2 * mean, abs=1e-12)
    assert result.spread["s"].variance == pytest.approx(8 * variance, abs=1e-12)
    assert result.spread["s"].gaussian == (law[:6] == "normal" or variance == 0)
    assert abs(result["q"] - mean**2 - variance) <= 4 * result.error["q"] + 1e-12
    assert result.draws["s"].std() == pytest.approx(np.sqrt(8 * variance), rel=0.06, abs=1e-12)


def test_an_average_is_a_function_of_the_draw():
    text = "width n\nvector a : [1] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\noutput moment(tanh(a[0]*v)**2) as m"
    nodes, weights = gauss()
    given = (np.tanh(np.outer(nodes, nodes)) ** 2) @ weights
    mean, variance = given @ weights, given**2 @ weights - (given @ weights) ** 2
    result = tensorprog.compile(text).run(draws=20000)
    spread = result.spread["m"]
    assert abs(result["m"] - mean) < 4 * result.error["m"]
    assert abs(spread.variance - variance) < 4 * spread.variance_error
    assert spread.variance_error < 0.05 * variance


def test_a_gaussian_number_whose_covariance_depends_on_the_draw():
    text = "width n\nvector a : [1] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\nvector w : [n] ~ normal(0, 1)\n" \
           "output dot(v, tanh(a[0]*w)) / sqrt(n) as f"
    nodes, weights = gauss()
    given = (np.tanh(np.outer(nodes, nodes)) ** 2) @ weights
    result = tensorprog.compile(text).run(draws=20000)
    spread = result.spread["f"]
    assert not spread.gaussian
    assert abs(spread.variance - given @ weights) < 4 * spread.variance_error
    fourth = 3 * given**2 @ weights
    draws = result.draws["f"]
    assert abs((draws**4).mean() - fourth) < 5 * (draws**4).std() / np.sqrt(len(draws))


def test_cov_of_a_readout_without_a_width_is_exact():
    """A readout of K averages: its covariance is their inner product over K, whatever is drawn."""
    text = "width n\nsize P\ninput X : [P]\nmatrix W : [2, n] ~ normal(0, 1)\nmatrix R : [1, 2] ~ uniform(-1, 1)\n" \
           "vector ones : [n] ~ constant(1)\n" \
           "for a in range(P):\n    f[a] = sum(R[0, k] * moment(ones * X[a] * (k + 1)) for k in range(2))\n" \
           "for a in range(P):\n    for b in range(P):\n        c[a, b] = cov(f[a], f[b])\noutput c"
    result = tensorprog.compile(text).run({"X": [1.0, -2.0]})
    assert np.allclose(result["c"], np.outer([1, -2], [1, -2]) * 5 / 3, atol=1e-13)
    assert not result.spread


def test_entries_that_vanish_with_the_width():
    text = "width n\nvector b : [2] ~ uniform(-1/sqrt(n), 1/sqrt(n))\nvector c : [1] ~ normal(3, 1/n)\n" \
           "vector v : [n] ~ normal(0, 1)\noutput b[0] + 0*c[0] as f, c[0] + 0*b[0] as g"
    result = tensorprog.compile(text).run()
    assert result["g"] == 3 and not result.spread["g"].variance.any()
    assert result["f"] == 0


TRAINED = """width n
size K = 2
param eta = 0.5
param T : int = 3
input X : [2, K]
matrix A : [K, K] ~ normal(0, 1/K)
vector b : [K] = 0
matrix U : [n, K] ~ normal(0, 1/K)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    for a in range(2):
        g = tanh(A @ X[a] + b)
        f[t, a] = moment(v * tanh(U @ g)) + sum(g)
    loss[t] = mean((f[t, a] - 1)**2 for a in range(2)) / 2
    A -= eta * grad(loss[t], A)
    b -= eta * grad(loss[t], b)
    U -= eta * n * grad(loss[t], U)
    v -= eta * n * grad(loss[t], v)
output f, loss"""


def test_training_agrees_with_wide_networks():
    """Means and covariances over draws: the same at a width where what is left of finite width is small."""
    program, X = tensorprog.compile(TRAINED), {"X": np.array([[1.0, -0.5], [0.3, 0.8]])}
    limit = program.run(X, samples=256, replicates=2)
    networks = program.simulate(X, width=400, seeds=600)
    for name in ("f", "loss"):
        errors = np.hypot(limit.error[name], networks.error[name])
        assert (np.abs(limit[name] - networks[name]) < 4.5 * errors + 0.01).all()
        spread = limit.spread[name]
        ours = networks.samples[name].var(axis=0)
        assert (np.abs(spread.variance - ours) < 4.5 * np.hypot(spread.variance_error, ours * np.sqrt(6 / 600)) + 0.01).all()


def test_without_updates_the_draw_is_the_network_itself():
    """No width is met: a finite network and a draw have the same law, by the moments of the same function."""
    text = "width n\nmatrix A : [2, 2] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\noutput tanh(A @ A[0]) as f"
    program = tensorprog.compile(text)
    limit, networks = program.run(draws=4000), program.simulate(width=4, seeds=4000)
    assert (np.abs(limit["f"] - networks["f"]) < 4.5 * np.hypot(limit.error["f"], networks.error["f"])).all()


def test_formulas_name_the_draws():
    text = tensorprog.compile(TRAINED).limit.text()
    assert "A[0,i,j] ~ normal(0, 1/K)" in text
    assert "Z^{A" not in text and "~ zero()" not in text
    nested = "width n\nvector a : [1] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\n" \
             "vector w : [n] ~ normal(0, 1)\noutput dot(v, tanh(a[0]*w)) / sqrt(n) as f\noutput a[0] as g"
    assert "g[draw] = a_drawn[draw,0]" in tensorprog.compile(nested).limit.text()


def test_kernels_of_all_pairs_say_that_the_limit_is_random():
    text = "width n\nsize P\ninput X : [P]\nvector a : [1] ~ normal(0, 1)\nvector u : [n] ~ normal(0, 1)\n" \
           "vector v : [n] ~ normal(0, 1/n)\n" \
           "for i in range(P):\n    f[i] = dot(v, tanh(u * a[0] * X[i]))\n" \
           "for i in range(P):\n    for j in range(P):\n        k[i, j] = cov(f[i], f[j])\noutput k"
    with pytest.raises(tensorprog.ProgramError, match="its limit is random"):
        tensorprog.compile(text).kernels([1.0, 2.0])
