"""Matrices of several ensembles in training, against networks, and what every ensemble must fulfil."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from places import EXAMPLES
from strategies import QUICK

import tensorprog

DATA = {"X": np.random.default_rng(5).standard_normal((4, 3)), "y": np.array([1.0, -1.0, 0.5, -0.5])}

TRAINED = """
width n
width m = {ratio}*n
size P, d
param T : int = 10
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [m, n] ~ {law}
vector v : [{last}] ~ normal(0, 1)
def net(x):
    h = tanh(U @ x)
    return moment(v * tanh({body}))
for t in range(T):
    for a in range(P):
        f[t, a] = net(X[a])
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= n * grad(loss, U)
    v -= {last} * grad(loss, v)
    W -= grad(loss, W)
output f
"""
SQUARE = {"once": "W @ h", "twice": "W @ tanh(W @ h)", "there and back": "W.T @ tanh(W @ h)"}
CASES = [("orthogonal(1.5)", 1, SQUARE["there and back"], "m"), ("orthogonal(1.5)", 2, "W @ h", "m")]
MORE_CASES = [("orthogonal(1.5)", 1, SQUARE["once"], "m"), ("orthogonal(1.5)", 1, SQUARE["twice"], "m"),
              ("orthogonal(1.5)", 0.5, "W.T @ tanh(W @ h)", "n"), ("symmetric_normal(0, 2/n)", 1, SQUARE["twice"], "m")]


def trained(law: str, ratio: float, body: str, last: str) -> tensorprog.CompiledProgram:
    text = TRAINED.format(law=law, ratio=ratio, body=body, last=last)
    return tensorprog.compile(text if ratio != 1 else text.replace("width m = 1*n\n", "").replace("[m", "[n").replace(
        "m * grad", "n * grad"))


@pytest.mark.parametrize("law, ratio, body, last",
                         [*CASES, *(pytest.param(*c, marks=pytest.mark.slow) for c in MORE_CASES)])
def test_training_agrees_with_networks(law, ratio, body, last):
    """Ten steps of gradient descent with a matrix that is used once, twice, there and back, square or not."""
    program = trained(law, ratio, body, last)
    limit = program.run(DATA, samples=512, replicates=4)
    network = program.simulate(DATA, width=256, seeds=24)
    room = 4 * np.hypot(limit.error["f"], network.error["f"]) + 6e-3
    assert np.all(np.abs(limit["f"] - network["f"]) < room), np.abs(limit["f"] - network["f"]).max()


def test_the_ensemble_matters():
    """What the tests above could not tell apart if it did not."""
    haar, normal = (trained(law, 1, SQUARE["there and back"], "m").run(DATA, samples=512, replicates=4)
                    for law in ("orthogonal(1.5)", "normal(0, 2.25/n)"))
    assert np.abs(haar["f"] - normal["f"]).max() > 0.05


# --- dynamical isometry --------------------------------------------------------------------------------------


def singular_moments(depth: int, g: float, q: float, growth: float) -> list[float]:
    """E s^2 and E s^4 over the singular values s of a tanh network's Jacobian (arXiv 1711.04735, equations 16 and 17).
    Each layer adds to the relative variance of s^2 that of tanh'^2 and `growth`: 0 for orthogonal weights, 1 for
    Gaussian ones."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    weights /= weights.sum()
    first, relative = 1.0, 1.0
    for _ in range(depth):
        h = np.sqrt(q) * nodes
        slopes = (1 - np.tanh(h)**2)**2
        first *= g**2 * (weights @ slopes)
        relative += (weights @ slopes**2) / (weights @ slopes)**2 - 1 + growth
        q = g**2 * (weights @ np.tanh(h)**2)
    return [first, first**2 * relative]


@pytest.mark.parametrize("L, g, q", [(3, 1.02, 0.02), (3, 1.5, 1.0)])
def test_orthogonal_weights_keep_singular_values_together(L, g, q):
    program = tensorprog.compile(EXAMPLES / "isometry.tp")
    found = program.run(L=L, g=g, q=q, samples=1024, replicates=4)
    for name, growth in (("haar", 0), ("gaussian", 1)):
        expected = singular_moments(L, g, q, growth)
        room = 3 * found.error[name] + 2e-3 * np.abs(expected)
        assert np.all(np.abs(found[name] - expected) < room), (name, found[name], expected)
    assert found["haar"][1] < 0.6 * found["gaussian"][1]


# --- adjoints ------------------------------------------------------------------------------------------------


LAWS = ["normal(0, 2/n)", "uniform(-1/sqrt(n), 1/sqrt(n))", "orthogonal(0.7)", "symmetric_normal(0, 1/n)"]
FUNCTIONS = ["tanh", "relu", "sin", "abs"]


@settings(QUICK, max_examples=8)
@given(st.sampled_from(LAWS), st.lists(st.tuples(st.booleans(), st.sampled_from(FUNCTIONS)), min_size=2, max_size=5),
       st.data())
def test_transposes_are_adjoint(law, layers, data):
    """E x (W y) = E (W.T x) y for any two vectors of a program that uses W and its transpose."""
    text = f"width n\nmatrix W : [n, n] ~ {law}\nvector x0 : [n] ~ normal(0, 1)\nvector s : [n] ~ normal(0.3, 1)\n"
    for k, (turned, fn) in enumerate(layers):
        text += f"x{k + 1} = {'W.T' if turned else 'W'} @ ({fn}(x{k}) + 0.5*s)\n"
    one, two = (data.draw(st.integers(0, len(layers))) for _ in range(2))
    text += f"output moment(x{one} * (W @ x{two})) - moment((W.T @ x{one}) * x{two}) as gap\n"
    program = tensorprog.compile(text)
    found = program.run(method="particles", samples=256, replicates=2)
    assert abs(found["gap"]) < 1e-6 + 4 * float(found.error["gap"]) and float(found.error["gap"]) < 0.2


# --- free probability ----------------------------------------------------------------------------------------


COMPRESSED = "".join(f"x{k + 1} = e * (O @ (d * (O.T @ x{k})))\n" for k in range(3))
LAW_MOMENTS = {"bernoulli(0.3)": [0.3] * 4, "uniform(0, 2)": [2.0**k / (k + 1) for k in range(1, 5)],
               "normal(1, 1)": [1, 2, 4, 10]}


def free_product(a: list[float], b: list[float]) -> list[float]:
    """The moments of a free product by S-transforms (Voiculescu 1987), for means that are not 0."""
    z = sympy.Symbol("z")

    def s_transform(moments: list[float]) -> list[sympy.Expr]:
        """S = (1 + z)/z chi, with chi the inverse of psi(z) = sum_k moments[k] z^k, as a polynomial."""
        psi = [0, *map(sympy.nsimplify, moments)]
        chi = [0, 1 / psi[1]]
        for order in range(2, len(psi)):
            trial = sum(c * z**k for k, c in enumerate(chi))
            value = sympy.expand(sum(p * trial**k for k, p in enumerate(psi))).coeff(z, order)
            chi.append(-value / psi[1])
        return sympy.expand((1 + z) * sum(c * z**(k - 1) for k, c in enumerate(chi) if k))

    s = sympy.expand(s_transform(a) * s_transform(b))
    chi = sympy.series(s * z / (1 + z), z, 0, len(a) + 1).removeO()
    chi = [chi.coeff(z, k) for k in range(len(a) + 1)]
    found = [0, 1 / chi[1]]
    for order in range(2, len(a) + 1):
        trial = sum(c * z**k for k, c in enumerate(found))
        value = sympy.expand(sum(c * trial**k for k, c in enumerate(chi))).coeff(z, order)
        found.append(-value / chi[1])
    return [float(m) for m in found[1:]]


@pytest.mark.parametrize("one, two", [
    ("bernoulli(0.3)", "bernoulli(0.3)"), ("normal(1, 1)", "bernoulli(0.3)"), ("uniform(0, 2)", "normal(1, 1)")])
def test_products_of_orthogonal_and_diagonal_matrices_are_free(one, two):
    """The moments of E O D O.T are those of free multiplicative convolution, exactly."""
    text = f"width n\nmatrix O : [n, n] ~ orthogonal(1)\nvector x0 : [n] ~ normal(0, 1)\nvector d : [n] ~ {one}\n" \
        f"vector e : [n] ~ {two}\n{COMPRESSED}output {', '.join(f'moment(x0 * x{k}) as m{k}' for k in range(1, 4))}\n"
    found = tensorprog.compile(text).run()
    assert set(found.method.values()) == {"covariance"}
    np.testing.assert_allclose([float(found[f"m{k}"]) for k in range(1, 4)],
                               free_product(LAW_MOMENTS[one][:3], LAW_MOMENTS[two][:3]), rtol=1e-10)


def test_free_projections_have_the_arcsine_law():
    assert free_product([0.5] * 4, [0.5] * 4) == pytest.approx([comb(2 * k, k) / 4**k / 2 for k in range(1, 5)])
