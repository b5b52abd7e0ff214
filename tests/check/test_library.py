"""The library's functions, against NumPy at a finite width and against the same thing written out."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog
from tensorprog.diagnostics import ProgramError

SCALARS = """
width n
size K
input c : [K]
vector v : [n] ~ normal(0, 1)
for k in range(K):
    f[k] = c[k] * moment(v*v)
p = softmax(f)
q = log_softmax(f)
for k in range(K):
    soft[k] = p[k]
    logs[k] = q[k]
g = grad(logsumexp(f), v)
output soft, logs, logsumexp(f) as total, cross_entropy(f, 1) as ce, accuracy(f, 1) as right, accuracy(f, 0) as wrong
output n*moment(v*g) as slope, len(c) as count
"""


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_functions_of_arrays(scale):
    c = scale * np.array([0.3, 1.2, -2.0, 1.1])
    found = tensorprog.compile(SCALARS).run({"c": c}, samples=64, replicates=2)
    total = np.logaddexp.reduce(c)
    np.testing.assert_allclose(found["logs"], c - total, rtol=1e-12)
    np.testing.assert_allclose(found["soft"], np.exp(c - total), rtol=1e-12)
    np.testing.assert_allclose([found["total"], found["ce"], found["count"]], [total, total - c[1], 4], rtol=1e-12)
    assert (found["right"], found["wrong"]) == (1, 0)
    np.testing.assert_allclose(found["slope"], 2 * np.exp(c - total) @ c, rtol=1e-11)


VECTORS = """
width n
vector v : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
def relu_again(x) = where(x > 0, x, 0)
h = 3*v + 2
output mean(h) as m, var(h) as s2, std(h) as s, moment(layernorm(h)**4) as fourth
output moment(where(v > w, v, w)) as larger, moment(where(v >= w, v, w)) as larger_too
output moment(where(v > -1 and not v > 1, 1, 0)) as inside, moment(where(v < -1 or v > 1, 1, 0)) as outside
output moment(relu_again(v)*w*relu_again'(w)) as product, moment(where(-1 < v <= 1, 1, 0)) as chained
"""


def test_functions_of_vectors():
    found = tensorprog.compile(VECTORS).run()
    inside = 0.682689492137085897
    expected = {"m": 2, "s2": 9, "s": 3, "fourth": 3, "larger": np.pi**-0.5, "larger_too": np.pi**-0.5,
                "inside": inside, "outside": 1 - inside, "product": 1 / (2 * np.pi), "chained": inside}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9 if found.method[name] != "particles" else 5e-3), name


def test_a_condition_on_integers_chooses_as_a_whole():
    program = tensorprog.compile("width n\nvector v : [n] ~ normal(0, 1)\nfor t in range(4):\n"
                                 "    f[t] = moment(where(t > 1, v*v, 0*v))\noutput f")
    assert list(program.run()["f"]) == [0, 0, 1, 1]


def test_a_definition_of_the_same_name_wins():
    text = "width n\nvector v : [n] ~ normal(0, 1)\ndef {}\noutput moment({}(v)) as c"
    assert tensorprog.compile(text.format("var(x) = 7*x*x", "var")).run()["c"] == pytest.approx(7)
    # and does not enter the library's other functions
    assert tensorprog.compile(text.format("var(x) = 7*x*x", "0*v + std")).run()["c"] == pytest.approx(1)


def test_a_definition_further_down_is_missed():
    with pytest.raises(ProgramError, match="no function `std` yet"):
        tensorprog.compile("width n\nvector v : [n] ~ normal(0, 1)\nc = std(v)\ndef std(x) = moment(x)\noutput c")


def test_names_of_the_library_may_be_used_for_values():
    program = tensorprog.compile("width n\nvector v : [n] ~ normal(0, 1)\nvar = var(2*v)\noutput var")
    assert program.run()["var"] == pytest.approx(4)


def test_training_with_cross_entropy_agrees_with_a_network():
    program = tensorprog.compile("""
width n
size P, K, d
input X : [P, d]
input y : [P] int
matrix U : [n, d] ~ normal(0, 1/d)
vector v[K] : [n] ~ normal(0, 1)
for t in range(3):
    for a in range(P):
        for k in range(K):
            f[t, a, k] = moment(v[k] * tanh(layernorm(U @ X[a])))
    loss[t] = mean(cross_entropy(f[t, a], y[a]) for a in range(P))
    U -= n * grad(loss[t], U)
    for k in range(K):
        v[k] -= 2*n * grad(loss[t], v[k])
output loss
""")
    data = {"X": np.random.default_rng(0).standard_normal((4, 3)), "y": np.array([0, 1, 2, 1])}
    limit = program.run(data, K=3, samples=1024, replicates=4)
    network = program.simulate(data, K=3, width=2048, seeds=4)
    assert limit["loss"][0] == pytest.approx(np.log(3), abs=1e-9)
    spread = 4 * np.hypot(limit.error["loss"], network.error["loss"]) + 2e-3
    assert np.all(np.abs(limit["loss"] - network["loss"]) < spread)


POSITIONS = """
width n
size K
input c : [K]
vector v : [n] ~ normal(0, 1)
for k in range(K):
    f[k] = c[k] * moment(v*v)
    g[k] = c[k] * moment(v)
output argmax(f) as largest, argmin(f) as smallest, argmax(g) as random
"""


@pytest.mark.parametrize("c", [[1.0, 3.0, 2.0], [3.0, 3.0, 1.0], [0.0, -1.0, 5.0, 5.0], [1e-6, -1e6, 1e6, 0.0]])
@pytest.mark.parametrize("method", ["auto", "particles"])
def test_positions_are_those_of_numpy(c, method):
    """Ties are the first of them; what the sign of a fluctuation decides has no limit."""
    program = tensorprog.compile(POSITIONS)
    found, networks = program.run({"c": c}, method=method, samples=64), program.simulate({"c": c}, width=64)
    for result in (found, networks):
        assert (result["largest"], result["smallest"]) == (np.argmax(c), np.argmin(c))
    assert found.unresolved["random"] and "TP513" in [w.code for w in found.warnings]


def test_positions_index_nothing():
    with pytest.raises(ProgramError, match=r"accuracy\(f, k\)"):
        tensorprog.compile(POSITIONS.replace("argmax(g)", "c[argmax(f)]"))
