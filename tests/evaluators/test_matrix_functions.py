"""Functions of matrices that are made by updates: known answers, networks, and messages."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.runtime.sampling import Space
from tensorprog.runtime.updates import Updates, entrywise, matrix_dot, polar, product

N = 64


def made(seed: int, rank: int, ratios=(1.0, 1.0)) -> tuple[Updates, np.ndarray]:
    """A matrix of some rank, and its entries."""
    generator = np.random.default_rng(seed)
    left, right = generator.standard_normal((2, rank, N))
    spaces = [Space(N, np.random.SeedSequence(seed + k)) for k in range(2)]
    return Updates(*spaces, ratios).add_outer(1.0, left, right), left.T @ right


def test_polar_has_unit_singular_values_on_the_range():
    matrix, entries = made(0, 3)
    u, s, vh = np.linalg.svd(entries)
    assert np.allclose(polar(matrix).array() / N, u[:, :3] @ vh[:3], atol=1e-6)


def test_products_and_inner_products_are_averages_over_pairs():
    (one, a), (two, b) = made(1, 3, (1.0, 2.0)), made(2, 5, (2.0, 1.0))
    assert np.allclose(product(one, two).array(), 2.0 * a @ b / N, rtol=1e-4, atol=1e-5)
    dense = entrywise(np.tanh, two)
    assert np.allclose(product(one, dense).array(), 2.0 * a @ np.tanh(b) / N, rtol=1e-4, atol=1e-5)
    turned = one.turned()
    assert matrix_dot(turned, two) == pytest.approx(2.0 * np.mean(a.T * b), rel=1e-5)
    assert matrix_dot(dense, dense) == pytest.approx(2.0 * np.mean(np.tanh(b) ** 2), rel=1e-5)


@pytest.mark.parametrize("entries", [False, True])
def test_states_are_the_same_matrix_in_every_form(entries):
    (one, a), (two, b) = made(3, 30), made(4, 2)
    mixed = one.add(0.5, two, transposed=True).add(2.0, entrywise(np.square, two))
    x = np.random.default_rng(5).standard_normal((3, N))
    expected = a + 0.5 * b.T + 2.0 * b**2
    for matrix in (mixed, mixed.settled(entries), one.add(0.5, two.turned()).compressed().add(2.0, entrywise(np.square, two))):
        assert np.allclose(matrix.apply(x), x @ expected.T / N, atol=1e-4)
        assert np.allclose(matrix.apply(x, transposed=True), x @ expected / N, atol=1e-4)


NETWORK = """
width n
size P, d
param eta = 0.1
param eps = 0.1
param T : int = 5
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
matrix M : [n, n] = 0
matrix S : [n, n] = 0
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(NET))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    G = n * grad(loss[t], W)
    UPDATE
    U -= eta * n * grad(loss[t], U)
    v -= eta * n * grad(loss[t], v)
output f
"""
ADAM = """M = 0.9*M + 0.1*G
    S = 0.99*S + 0.01*G**2
    W *= 1 - 0.1*eta
    W -= eta/n * (M/(1 - 0.9**(t+1))) / sqrt(S/(1 - 0.99**(t+1)) + eps**2)"""
LION = "M = 0.9*M + 0.1*G\n    W -= eta/n * tanh(M/eps)"
MUON = "M = 0.9*M + 0.1*G\n    W -= 3*eta * polar(M)"
NEWTON = """M = 0.9*M + 0.1*G
    Z = M / norm(M)
    for k in range(3):
        A = Z @ Z.T
        Z = 3.4445*Z - 4.775*A @ Z + 2.0315*A @ A @ Z
    W -= 3*eta * Z"""
ONE = "W @ tanh(U @ X[a])"
TIED = "U @ X[a] + W.T @ tanh(W @ tanh(U @ X[a]))"


def data() -> dict[str, np.ndarray]:
    return {"X": np.random.default_rng(0).normal(size=(3, 2)), "y": np.array([1.0, -1.0, 0.5])}


@pytest.mark.parametrize(("net", "update"), [(ONE, ADAM), (TIED, LION), (ONE, MUON), (TIED, NEWTON)],
                         ids=["adam", "lion-tied", "muon", "newton-tied"])
def test_limit_agrees_with_networks(net, update):
    program = tensorprog.compile(NETWORK.replace("NET", net).replace("UPDATE", update))
    limit = program.run(data(), samples=512, replicates=4)
    networks = program.simulate(data(), width=256, seeds=24)
    error = np.hypot(limit.error["f"], networks.error["f"]) + 0.5 / 256
    assert np.all(np.abs(limit["f"] - networks["f"]) < 4 * error)


def test_sign_of_one_example_is_the_outer_product_of_signs():
    """Without eps and with one example, sign(outer(a, b)) = outer(sign(a), sign(b))."""
    text = NETWORK.replace("NET", ONE)
    whole, split = (tensorprog.compile(text.replace("UPDATE", update)) for update in (
        "W -= eta/n * sign(G)  # accept TP516: no entries vanish",
        "h = U @ X[0]\n    g = n * grad(loss[t], v)\n"
        "    W -= eta/n * sign(f[t, 0] - y[0]) * outer(sign(v * tanh'(W @ tanh(h))), sign(tanh(h)))"))
    one = {"X": data()["X"][:1], "y": data()["y"][:1]}
    first, second = (p.simulate(one, width=64, seeds=2)["f"] for p in (whole, split))
    assert np.allclose(first, second, atol=1e-10)
    first, second = (p.run(one, samples=512, replicates=2)["f"] for p in (whole, split))
    assert np.allclose(first, second, atol=3e-3)


def test_a_network_takes_the_step_that_is_written():
    text = """
width n
param eps = 0.1
vector u : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
G = outer(u, w) + 0.5*outer(w, u*u)
D = where(G > 0, max(G, 0.2), G / sqrt(G**2 + eps**2)) - 0.3
output moment(u * (D.T @ w)) / n as c, norm(D) / n as r, dot(D, G.T) / n**2 as q, norm(u) / sqrt(n) as s
"""
    program = tensorprog.compile(text)
    found = program.simulate({}, width=200, seeds=200)
    limit = program.run({}, samples=1024, replicates=4)
    for name in "crqs":
        assert abs(limit[name] - found[name]) < 4 * np.hypot(limit.error[name], found.error[name]) + 0.01


DERIVED = """
width n
param eta = 0.1
vector u : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
matrix S : [n, n] = 0
x = tanh(w)
y = W.T @ u
for t in range(5):
    h[t] = W @ x
    f[t] = moment(u * tanh(h[t]))
    G = n * grad(f[t], W)
    S = 0.9*S + 0.1*G**2
    W -= STEP
output f
"""


@pytest.mark.parametrize("step, formula", [
    ("eta/n * G / sqrt(S + 0.01)", "A.2[t] = eta*outer(dh, x)/sqrt(outer(dh, x)**2/10 + 9*S[t]/10 + 1/100)"),
    ("eta/n * sign(G)", "A[t] = sign(outer(dh, x))"),
    ("eta * polar(G)", "A[t] = polar(outer(dh, x))"),
])
def test_derive_writes_functions_of_matrices_as_matrices_with_names(step, formula):
    text = str(tensorprog.compile(DERIVED.replace("STEP", step)).limit).replace("u*tanh'(h[t])", "dh")
    assert formula in text and text.count("TP IVb") == 1
    assert "A[t] = outer(dh, x)**2" in text if "S" in step else "S[t]" not in text


def test_responses_go_through_functions_of_matrices():
    """What is computed by a function of an update depends on what went into the update: no response is left out for it."""
    text = str(tensorprog.compile(NETWORK.replace("NET", ONE).replace("UPDATE", LION)).limit)
    assert "Z^{A" in text and "Zdot^{W x[t,a]} = sum_{s<t}" in text and ".T dh[t,a]}" in text


def test_derive_writes_inner_products_of_outer_products_by_averages():
    text = """
width n
vector u : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 2)
G = outer(u, w) + 0.5*outer(w, u*u)
D = G / sqrt(G**2 + 0.01)
output norm(G)/n as r, dot(G.T, G)/n**2 as q, dot(D, G)/n**2 as s
"""
    program = tensorprog.compile(text)
    # |G|**2 = E u**2 E w**2 + E[u w] E[w u**2] + E w**2 E u**4 / 4
    assert "E[Z^{u}**4]" in str(program.limit)
    found = program.run(samples=2048)
    assert float(found["r"]) == pytest.approx(np.sqrt(2 + 0.25 * 2 * 3), abs=4 * float(found.error["r"]) + 1e-3)
    assert "dot(" in str(program.limit)


def test_derive_writes_functions_of_matrices_in_latex():
    text = tensorprog.compile(DERIVED.replace("STEP", "eta/n * G / sqrt(S + 0.01)")).limit.latex()
    assert r"\otimes x\right)^{2}" in text and "TP IVb" in text


def test_a_gradient_goes_through_inner_products_and_norms():
    """d/du of |outer(u, w)|**2 = |u|**2 |w|**2 is 2 |w|**2 u; of the norm, |w| u / |u|."""
    text = """
width n
vector v : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
u = 2*v
G = outer(u, w)
s = dot(G, G) / n
r = norm(G)
output moment(grad(s, u) * v) as c, moment(grad(r, u) * v) as d
"""
    program = tensorprog.compile(text)
    found = program.simulate({}, width=100, seeds=400)
    limit = program.run({}, samples=1024, replicates=4)
    assert limit["c"] == pytest.approx(4.0, abs=0.05) and found["c"] == pytest.approx(4.0, abs=0.2)
    assert limit["d"] == pytest.approx(1.0, abs=0.05) and found["d"] == pytest.approx(1.0, abs=0.05)
