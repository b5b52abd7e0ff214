"""Warnings where a hypothesis of the limit theorem is not met, and none where it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorprog.check import front
from tensorprog.diagnostics import Reporter, Source
from tensorprog.finite.functions import BINARY as BINARY_VALUES
from tensorprog.finite.functions import apply_unary
from tensorprog.ir.functions import NONLINEARITIES as UNARY
from tensorprog.ir.primitives import BINARY
from tensorprog.passes.bounds import Bound, Problems, of_primitive
from tensorprog.pipeline import compile_program

HEAD = "width n\nparam eps = 0.01\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector u : [n] ~ normal(0, 1)\n" \
    "vector v : [n] ~ normal(0, 1)\nvector s : [n] ~ rademacher()\nvector p : [n] ~ uniform(1, 2)\nh = W @ v\n"


def warnings(body: str) -> list[str]:
    source = Source("test.tp", HEAD + body)
    reporter = Reporter(source)
    compile_program(front(source, reporter), None, reporter)
    return [d.code for d in reporter.warnings if d.code in ("TP511", "TP512", "TP513")]


@pytest.mark.parametrize("expression, code", [
    ("exp(h*h)", "TP511"), ("exp(abs(h)**2)", "TP511"), ("exp(h**4)", "TP511"), ("exp(exp(h))", "TP511"),
    ("exp(u*h)", "TP511"), ("exp(softplus(h)*relu(u))", "TP511"), ("exp(gelu(h)**2)", "TP511"),
    ("u / h", "TP512"), ("1 / tanh(h)", "TP512"), ("u / (h*h)", "TP512"), ("log(abs(h))", "TP512"),
    ("h**(-1)", "TP512"), ("u / relu(h)", "TP512"), ("u / (exp(h) - 1)", "TP512"), ("sqrt'(h*h)", "TP512"),
    ("u / (s + p)", "TP512"), ("step(0*h)", None), ("sign(s)", None), ("step(p - 1.5)", None),
    ("exp(-h*h)", None), ("exp(-h**2/2 + h)", None), ("exp(h)", None), ("exp(abs(h)**1.5)", None),
    ("exp(tanh(h)*u)", None), ("exp(-abs(h))", None), ("h*exp(-0.5*h*h)", None), ("exp(-exp(h))", None),
    ("u / sqrt(h*h + eps)", None), ("u / (1 + exp(-h))", None), ("u / (2 + sin(h))", None), ("u / p", None),
    ("u / s", None), ("exp(u) / (exp(u) + exp(h))", None), ("log(softplus(h))", None), ("log(1 + h**2)", None),
    ("u / moment(h*h)", None), ("u / (abs(h) + moment(h*h))", None), ("p**(-2)", None), ("erf'(h)", None),
    ("sigmoid''(h) * gelu''(h)", None), ("abs(u) / sqrt(u*u + h*h)", None), ("u*h / (u**2 + h**2)", None),
    ("(u*u - 3*h*h) / (2*square(u) + h*h)", None), ("tanh(u) / (abs(u) + abs(h))", None),
    ("u*u / sqrt(u**4 + 0.5*h**4)", None), ("v / sqrt(u*u + h*h)", "TP512"), ("(u + v) / sqrt(u*u + h*h)", "TP512"),
    ("u / max(0.1*h, eps)", None), ("u / max(h, 0)", "TP512"), ("u / min(h*h, 1)", "TP512"), ("u / min(h, -eps)", None),
    ("u / (u*u + h*h)", "TP512"), ("u / (u + h)", "TP512"), ("u / (u*u - h*h)", "TP512")])
def test_warnings(expression, code):
    found = set(warnings(f"output moment({expression} * 1.0) as q\n"))
    assert found == ({code} if code else set())


@pytest.mark.parametrize("body, expected", [
    ("x = v\nfor t in range(5):\n    x = W @ (x / (1 + x*x))\noutput moment(x*x) as q\n", []),
    ("x = v\nfor t in range(5):\n    x = x * x / (0.5 + abs(h))\noutput moment(tanh(x)) as q\n", []),
    ("x = v\nfor t in range(5):\n    x = h - x\ny = exp(x*x)\noutput moment(1/y) as q\n", ["TP511"]),
    ("g[0] = u\ng[1] = h\nm = mean(g[k] for k in range(2))\nr = mean((g[k] - m)**2 for k in range(2))\n"
     "output moment(tanh((u - m) / sqrt(r + 0.01))) as q, moment(tanh(u / sqrt(r))) as o\n", ["TP512"]),
    ("s2 = 0*u\nfor t in range(1, 4):\n    s2 = s2 + h**2 / t\noutput moment(u / sqrt(s2 + eps)) as q\n", []),
    ("s2 = 0*u\nfor t in range(2, -1, -1):\n    s2 += h**2 / (t + 1)\noutput moment(u / (s2 + eps)) as q\n", []),
    ("c = p\nfor t in range(5):\n    c = c - 0.5*p\noutput moment(v / c) as q\n", ["TP512"])])
def test_loops(body, expected):
    assert warnings(body) == expected


ADAPTIVE = """matrix S : [n, n] = 0
vector s2 : [n] = 0
vector m2 : [n] = 0
b = 0*u
for t in range(3):
    f = moment(tanh(v) * tanh(W @ tanh(u)))
    g = n * grad(f, v)
    G = n * grad(f, W)
    STEP
output f
"""


@pytest.mark.parametrize("step", [
    "s2 = 0.99*s2 + 0.01*g**2; S = 0.99*S + 0.01*G**2; v -= g / (sqrt(s2) + eps); W -= G/n / (S**0.5 + eps)",
    "s2 = 0.9*s2 + 0.1*g*g; m2 = max(m2, s2); v -= g / max(sqrt(m2), eps); W -= G/n / sqrt(max(G*G, eps**2))",
    "s2 = max(0.9*s2, abs(g)); v -= 0.1 / (1 - 0.9**(t+1)) * g * (s2 + eps)**(-1); W -= G / (abs(G) + eps) / n",
    "s2 = s2 - 0.1*(s2 - g**2); v -= clip(g / max(0.1*s2, eps), -1, 1); W -= G / (norm(G) + 1e-7)",
    "s2 += square(g); v -= g / sqrt(s2 + 1e-10); W -= 0.1*W + G/n / (1 + abs(G))",
    "q = g / (sqrt(g*g) + eps); v -= sqrt(moment(v*v)) / sqrt(moment(q*q) + eps) * q",
    "s2 = s2 - 0.1*sign(s2 - g**2)*g**2; v -= g / (sqrt(abs(s2)) + eps)",
    "r[t] = 0.9*b + 0.1*g**2; b = r[t]; v -= (g / (1 - 0.9**(t+1))) / (sqrt(r[t]) / sqrt(1 - 0.9**(t+1)) + eps)"])
def test_adaptive_optimizers_keep_their_denominators_away_from_zero(step):
    """AMSGrad, AdaMax, Sophia, AdaGrad, LARS, Yogi and others as people write them; most leave W's gradient unused."""
    assert warnings(ADAPTIVE.replace("STEP", step.replace("; ", "\n    "))) == []


QUARTERS = st.integers(-12, 12).map(lambda k: k / 4)


@settings(deadline=None)
@given(st.sampled_from([*UNARY, *BINARY]), st.lists(st.tuples(QUARTERS, QUARTERS.map(abs)), min_size=2,
                                                    max_size=2), st.integers(0, 2**32 - 1))
def test_ranges_hold_the_values(fn, ends, seed):
    count = 1 if fn in UNARY else 2
    boxes = [(low, low + width) for low, width in ends[:count]]
    args = [Bound(low, high, low <= 0 <= high) for low, high in boxes]
    if fn == "pow":
        args[1], boxes[1] = Bound(2.0, 2.0, False), (2.0, 2.0)
    problems = Problems()
    bound = of_primitive(fn, 0, args, 0, problems)
    if problems.division or fn == "sqrt" and args[0].low < 0:
        return
    rng = np.random.default_rng(seed)
    points = [np.array([low, high, *rng.uniform(low, high, 20)]) for low, high in boxes]
    values = apply_unary(fn, 0, *points) if fn in UNARY else BINARY_VALUES[fn](*points)
    slack = 1e-12 * (1 + np.abs(values))
    assert np.all(values >= bound.low - slack) and np.all(values <= bound.high + slack)
    assert bound.zero or np.all(values != 0) or not math.isfinite(bound.low)
