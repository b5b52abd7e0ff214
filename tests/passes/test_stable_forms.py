"""Written-out sigmoids and their kin are those functions: no infinity over infinity, whatever the norm of a row."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog

KERNEL = """
width n
size P
input X : [P, 2]
matrix U : [n, 2] ~ normal(0, 1)
def act(x) = {}
for a in range(P):
    h[a] = act(U @ X[a])
for a in range(P):
    for b in range(P):
        K[a, b] = moment(h[a] * h[b])
output K
"""
FORMS = [("1/(1 + exp(-x))", "sigmoid(x)"), ("exp(x)/(exp(x) + 1)", "sigmoid(x)"), ("x/(1 + exp(-x))", "silu(x)"),
         ("x*exp(x)/(1 + exp(x))", "silu(x)"), ("log(exp(x) + 1)", "softplus(x)"), ("1 - 1/(1 + exp(2*x))", "sigmoid(2*x)"),
         ("(exp(x) - exp(-x))/(exp(-x) + exp(x))", "tanh(x)"), ("2/(1 + exp(-2*x)) - 1", "tanh(x)")]


@pytest.mark.parametrize(("form", "function"), FORMS)
def test_rows_of_all_norms(form, function):
    X = np.array([[1.0, 0.0], [1e3, 1e3], [1e-3, 0.0]])
    found, expected = (tensorprog.compile(KERNEL.format(f)).run({"X": X}, method="particles", samples=64, replicates=2, dtype="float64")
                       for f in (form, function))
    np.testing.assert_allclose(found["K"], expected["K"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", ["exp(x)/(1 + exp(2*x))", "log(2 + exp(x))", "(exp(x) - exp(-x))/(exp(2*x) + exp(-x))",
                                  "1/(1 - exp(-x*x - 1))"])
def test_what_is_another_function_stays(form):
    x = np.linspace(-3, 3, 7)
    text = f"width n\nsize P\ninput X : [P]\nvector one : [n] ~ constant(1)\ndef act(x) = {form}\n" \
           "for a in range(P):\n    y[a] = moment(act(X[a] * one))\noutput y"
    expected = eval(form, {"exp": np.exp, "log": np.log, "x": x})
    np.testing.assert_allclose(tensorprog.compile(text).run({"X": x})["y"], expected, rtol=1e-13)


def test_the_gradient_is_that_of_the_function():
    """At u = 800 the written-out gradient is infinity over infinity."""
    text = "width n\nvector u : [n] ~ constant(800)\ne = exp(u)\ns = e/(1 + e)\nf = moment(s*s)\ng = grad(f, u)\noutput moment(g) as m, f"
    program = tensorprog.compile(text)
    assert program.run()["m"] == 0 and program.run()["f"] == 1
    assert program.simulate(width=8, seeds=1)["f"] == 1
