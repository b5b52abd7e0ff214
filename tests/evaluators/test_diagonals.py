"""Vectors multiplied by declared ones, as by diagonal matrices, between random matrices: exact, with functions of these as
coefficients."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

import tensorprog

PROJECTIONS = """
width n
param T : int = 40
matrix O : [n, n] ~ orthogonal(1)
vector p : [n] ~ bernoulli(0.5)
vector q : [n] ~ bernoulli(0.5)
vector v : [n] ~ normal(0, 1)
{loop}
output m
"""

ROLLED = """
x = v
for t in range(T):
    x = O.T @ (q * (O @ (p * x)))
    m[t] = moment(v * x)
"""

SPELLINGS = {
    "a vector": ROLLED,
    "a family": """
x[0] = v
for t in range(T):
    x[t+1] = O.T @ (O @ (x[t] * p) * q)
    m[t] = moment(x[t+1] * v)
""",
    "a function": """
def compress(x, by, other):
    return other * (O @ (by * x))
x = v
for t in range(T):
    y = compress(x, p, q)
    x = O.T @ y
    m[t] = moment(v * x)
""",
    "powers of the diagonals": ROLLED.replace("q *", "q**2 *").replace("p * x", "square(p) * p * x"),
    "a name for a function of one": ROLLED.replace("x = v\n", "x = v\np2 = 1 - p\n").replace("p * x", "x - p2 * x"),
}


@pytest.mark.parametrize("loop", SPELLINGS.values(), ids=SPELLINGS)
def test_the_product_of_two_free_projections(loop):
    """Of two free projections of trace 1/2, the product has moments C(2k, k) / 4**k / 2 (Voiculescu, Dykema and Nica, "Free
    random variables", 1992, example 3.6.7)."""
    found = tensorprog.compile(PROJECTIONS.format(loop=loop)).run()
    assert found.method["m"] == "diagonal"
    np.testing.assert_allclose(found["m"], [comb(2 * k, k) / 4.0**k / 2 for k in range(1, 41)], rtol=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_sum_of_two_free_signs_has_the_arcsine_law(size):
    found = tensorprog.compile(f"""
width n
matrix O : [n, n] ~ orthogonal({size})
vector d : [n] ~ rademacher()
vector v : [n] ~ normal(0, 1)
x = v
for t in range(8):
    x = d*x + O.T @ (d * (O @ x)) / {size}**2
    m[t] = moment(v * x)
output m
""").run(method="diagonal")
    np.testing.assert_allclose(found["m"], [0, 2, 0, 6, 0, 20, 0, 70], rtol=1e-12, atol=1e-12)


def free_moments(cumulants: list[float]) -> list[float]:
    """Moments from free cumulants, by M(z) = 1 + sum_k c_k (z M(z))**k."""
    count = len(cumulants)
    series = np.zeros(count + 1)
    series[0] = 1.0
    for _ in range(count):
        shifted = np.append(0.0, series[:-1])
        power, total = np.eye(count + 1)[0], np.eye(count + 1)[0]
        for c in cumulants:
            power = np.convolve(power, shifted)[:count + 1]
            total = total + c * power
        series = total
    return list(series[1:])


LAWS = {"uniform(0, 1)": lambda k: 1 / (k + 1), "normal(0, 1)": lambda k: 0.0 if k % 2 else float(np.prod(np.arange(1, k, 2))),
        "sparse_normal(0.5, 2)": lambda k: 0.0 if k % 2 else 0.5 * 2.0**(k / 2) * float(np.prod(np.arange(1, k, 2)))}


@pytest.mark.parametrize("law", LAWS)
def test_compound_wishart_matrices(law):
    """W.T D W has the moments of D as its free cumulants (Marchenko and Pastur, 1967), for a square W."""
    found = tensorprog.compile(f"""
width n
param T : int = 10
matrix W : [n, n] ~ normal(0, 1/n)
vector d : [n] ~ {law}
vector v : [n] ~ normal(0, 1)
x = v
for t in range(T):
    x = W.T @ (d * (W @ x))
    m[t] = moment(v * x)
output m
""").run()
    assert found.method["m"] == "diagonal"
    np.testing.assert_allclose(found["m"], free_moments([LAWS[law](k) for k in range(1, 11)]), rtol=1e-10, atol=1e-10)


def test_functions_of_a_diagonal():
    """tau(A exp(s D)) for A = O.T tanh(E) O, free of D, is the product of the traces."""
    found = tensorprog.compile("""
width n
param s = 0.7
matrix O : [n, n] ~ orthogonal(1)
vector d, e : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
x = v
for t in range(2):
    x = O.T @ (tanh(1 + e) * (O @ (exp(s*d) * x)))
    m[t] = moment(v * x)
output m
""".replace("vector d, e : [n] ~ normal(0, 1)", "vector d : [n] ~ normal(0, 1)\nvector e : [n] ~ normal(0, 1)")).run(method="diagonal")
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    a, b = [w @ np.tanh(1 + x)**k for k in (1, 2)], [w @ np.exp(0.7 * k * x) for k in (1, 2)]
    # tau(a b a b) = tau(a^2) tau(b)^2 + tau(a)^2 tau(b^2) - tau(a)^2 tau(b)^2
    expected = [a[0] * b[0], a[1] * b[0]**2 + a[0]**2 * b[1] - a[0]**2 * b[0]**2]
    np.testing.assert_allclose(found["m"], expected, rtol=1e-9)


GATED = """
width n
width m = 2*n
size P, k
param T : int = 8
input X : [P, k]
input y : [P]
matrix U : [n, k] ~ normal(0, 1/k)
matrix W : [m, n] ~ orthogonal(1.1)
vector g : [m] ~ bernoulli(0.5)
vector c : [n] ~ uniform(-1, 1)
vector v : [m] ~ normal(0, 1)
def net(x):
    return moment(v * g * (W @ ((1 + c) * (U @ x))))
for t in range(T):
    for a in range(P):
        f[t, a] = net(X[a])
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= 0.4 * n * grad(loss[t], U)
    v -= 0.4 * n * grad(loss[t], v)
    W -= 0.4 * grad(loss[t], W)
output loss, f
"""


def test_a_gated_linear_network_in_training():
    """Vectors that training moves are linear, though they are declared; gates are not."""
    program = tensorprog.compile(GATED)
    data = {"X": np.random.default_rng(0).standard_normal((4, 3)), "y": np.array([1.0, -1.0, 1.0, -1.0])}
    exact = program.run(data)
    assert set(exact.method.values()) == {"diagonal"} and float(np.max(exact.error["f"])) == 0
    sampled = program.run(data, method="particles", samples=1024)
    assert np.all(np.abs(exact["f"] - sampled["f"]) < 4 * sampled.error["f"] + 1e-3)
    network = program.simulate(data, width=300, seeds=6)
    assert np.all(np.abs(exact["f"] - network["f"]) < 5 * network.error["f"] + 5e-3)


def test_what_varies_too_fast_is_left_to_particles():
    source = """
width n
matrix W : [n, n] ~ normal(0, 1/n)
vector d : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
x = v
for t in range(3):
    x = W.T @ ({} * (W @ x))
    m[t] = moment(v * x)
output m
"""
    for gate in ("tanh(300*d)", "relu(d)"):
        program = tensorprog.compile(source.format(gate))
        assert program.run(samples=256, replicates=2).method["m"] == "particles"
    with pytest.raises(tensorprog.diagnostics.ProgramError, match="TP713"):
        tensorprog.compile(source.format("tanh(300*d)")).run(method="diagonal")


def test_written_modules_have_values_whatever_the_data_are():
    """Functions may vary too fast for nodes; so the module is by particles."""
    program = tensorprog.compile(PROJECTIONS.format(loop=ROLLED))
    scope: dict = {}
    exec(program.emit("kernel"), scope)
    values, errors = scope["run"]({}, samples=2048)
    assert np.all(np.abs(values["m"] - program.run()["m"]) < 5 * errors["m"] + 1e-9) and np.any(errors["m"] > 0)
