"""Gradients of losses on whole rows, slices and tables of families: as with the sum over elements written out."""

import ast
import re

import numpy as np
import pytest

import tensorprog
from tensorprog.evaluators import particles, span

HEAD = """width n
size P, d
input X : [P, d]
input y : [P]
input Y : [P, P]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
"""
ROWS = [
    ("mean((f[t] - y)**2)", "mean((f[t, i] - y[i])**2 for i in range(P))"),
    ("log(sum(exp(f[t])))", "log(sum(exp(f[t, i]) for i in range(P)))"),
    ("max(f[t])", "max(f[t, i] for i in range(P))"),
    ("prod(f[t] + 1)", "prod(f[t, i] + 1 for i in range(P))"),
    ("f[t] @ y", "sum(f[t, i]*y[i] for i in range(P))"),
    ("sum(f[t, 1:]**2 * y[:P-1])", "sum(f[t, i+1]**2 * y[i] for i in range(P-1))"),
    ("sum(f[:t+1, 0]**3) + f[t, 1]", "sum(f[i, 0]**3 for i in range(t+1)) + f[t, 1]"),
]
TABLES = [
    ("sum((K - Y)**2)", "sum((K[i, j] - Y[i, j])**2 for i in range(P) for j in range(P))"),
    ("y @ K @ y", "sum(y[i]*K[i, j]*y[j] for i in range(P) for j in range(P))"),
    ("sum(K[1:, :2]**3)", "sum(K[i+1, j]**3 for i in range(P-1) for j in range(2))"),
    ("sum(exp(K @ y))", "sum(exp(sum(K[i, j]*y[j] for j in range(P))) for i in range(P))"),
    ("sum(sum(K[t, :t+1]**2) for t in range(P))", "sum(K[t, i]**2 for t in range(P) for i in range(t+1))"),
]
BODY_OF_ROWS = """for t in range(2):
    for i in range(P):
        f[t, i] = moment((v + (1 + t) * U @ X[0]) * {phi}(U @ X[i]))
for t in range(2):
    whole[t] = {whole}
    each[t] = {each}
"""
BODY_OF_TABLES = """for i in range(P):
    for j in range(P):
        K[i, j] = moment({phi}(U @ X[i]) * {phi}(U @ X[j]))
whole[0] = {whole}
each[0] = {each}
"""
RESULTS = """for k in range({K}):
    a{s}[k] = n * moment((grad(whole[k], U) @ X[0]) * (U @ X[1]))
    b{s}[k] = n * moment((grad(each[k], U) @ X[0]) * (U @ X[1]))
output whole as w{s}
output each as e{s}
output a{s}
output b{s}
"""
DATA = {"X": np.array([[0.5, -1.2], [0.8, 0.4], [-0.3, 0.9]]), "y": np.array([0.7, -0.2, 0.4]),
        "Y": np.arange(9.0).reshape(3, 3) / 9}


def program(body, pairs, phi, steps):
    """One program with a gradient for every spelling: two names a pair."""
    text = HEAD
    for number, (whole, each) in enumerate(pairs):
        part = body.format(phi=phi, whole=whole, each=each) + RESULTS.format(K=steps, s=number)
        for name in ("f", "K", "whole", "each"):
            part = "\n".join(_renamed(line, name, number) for line in part.split("\n"))
        text += part
    return text


def _renamed(line, name, number):

    return re.sub(rf"\b{name}\b", f"{name}_{number}", line)


@pytest.mark.quick("tables-linear", "tables-tanh")
@pytest.mark.parametrize("phi", ["", "tanh"], ids=["linear", "tanh"])
@pytest.mark.parametrize("body, pairs, steps", [(BODY_OF_ROWS, ROWS, 2), (BODY_OF_TABLES, TABLES, 1)],
                         ids=["rows", "tables"])
def test_a_gradient_of_a_row_is_that_of_its_elements(body, pairs, steps, phi):
    compiled = tensorprog.compile(program(body, pairs, phi, steps))
    ast.parse(particles.emit(compiled.compiled_for({})))
    runs = [compiled.run(DATA, method="particles", samples=64, replicates=2),
            compiled.simulate(DATA, width=16, seeds=2)]
    if not phi:
        ast.parse(span.emit(compiled.compiled_for({})))
        runs += [compiled.run(DATA, method="span")]
    for run in runs:
        for number in range(len(pairs)):
            np.testing.assert_allclose(run[f"w{number}"], run[f"e{number}"], rtol=1e-12)
            np.testing.assert_allclose(run[f"a{number}"], run[f"b{number}"], rtol=1e-9, atol=1e-12)
            assert np.any(run[f"a{number}"])


@pytest.mark.slow
def test_by_covariances_too():
    compiled = tensorprog.compile(program(BODY_OF_TABLES, TABLES[2:3], "relu", 1))
    run = compiled.run(DATA, method="covariance")
    np.testing.assert_allclose(run["a0"], run["b0"], rtol=1e-9)
    other = compiled.run(DATA, method="particles", samples=256, replicates=4)
    np.testing.assert_allclose(other["a0"], run["a0"], atol=5 * other.error["a0"].max())


def test_the_gradient_of_a_row_by_hand():
    text = ("width n\nvector v[3] : [n] ~ normal(0, 1)\nfor k in range(3):\n    f[k] = moment(v[k]**2)\ns = sum(exp(f))\n"
            "output n*moment(v[0]*grad(s, v[0])) as q\n")
    for method in ("span", "covariance"):
        assert tensorprog.compile(text).run(method=method)["q"] == pytest.approx(2 * np.e, rel=1e-12)


def test_a_slice_whose_length_grows():
    text = ("width n\nsize P\ninput w : [P]\nvector v[P] : [n] ~ normal(0, 1)\nfor i in range(P):\n"
            "    f[i] = moment(v[i]**2)\ns = 0\nfor t in range(P):\n    u = f[:t+1]\n    s = s + sum(u**2) + u @ w[:t+1]\n"
            "output n*moment(grad(s, v[0])*v[0]) as q\n")
    # v[0] is in every slice: three times d(f**2 + w f) = (2 f + w) 2 v v, where f and the mean of v v are 1.
    for method in ("span", "covariance"):
        assert tensorprog.compile(text).run({"w": [1.0, 2.0, -1.0]}, method=method)["q"] == pytest.approx(18, rel=1e-12)
