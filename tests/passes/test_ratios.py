"""Quotients whose numerator and denominator grow together, against numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorprog.check import check
from tensorprog.compiled import Compiled
from tensorprog.diagnostics import Reporter, Source
from tensorprog.ir.functions.bounds import BOUNDED, Bound
from tensorprog.ir.program import Moment, walk
from tensorprog.passes.hypotheses import ProgramBounds
from tensorprog.passes.simplify import simplify
from tensorprog.pipeline import compile_program
from tensorprog.syntax import parse

TRAINING = """
width n
size P
input X : [P, 2]
matrix U : [n, 2] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
def act(x) = {}
for t in range(5):
    for a in range(P):
        f[t, a] = moment(v * act(W @ act(U @ X[a])))
    loss[t] = mean((f[t, a] - 1)**2 for a in range(P))
    U -= .1 * n * grad(loss[t], U)
    W -= .1 * grad(loss[t], W)
    v -= .1 * n * grad(loss[t], v)
output loss
"""

MODERATE = ["1/(1 + exp(-x))", "exp(x)/(1 + exp(x))", "exp(x)/(exp(x) + 1)", "x/(1 + exp(-x))", "x*exp(x)/(1 + exp(x))",
            "(exp(x) - exp(-x))/(exp(x) + exp(-x))", "2/(1 + exp(-2*x)) - 1", "log(1 + exp(x))", "log(3 + 2*exp(x/2))",
            "log((exp(x) + exp(-x))/2)", "log(exp(x) + exp(2*x))", "exp(x)/(exp(x) + exp(2*x) + 1)", "x*exp(-x*x)",
            "max(x, 0) + min(exp(x) - 1, 0)", "max(x, 0) + exp(min(x, 0)) - 1", "x*tanh(log(1 + exp(x)))", "1/(exp(x) + exp(-x))**2"]


def compiled(text: str) -> tuple[Compiled, list[str]]:
    """The limit program, and the codes of warnings."""
    reporter = Reporter(source := Source("<text>", text))
    program = check(parse(source), reporter)
    found = compile_program(simplify(program), {}, reporter)
    return found, [w.code for w in reporter.warnings]


def warnings_of(act: str) -> list[str]:
    return compiled(TRAINING.format(act))[1]


@pytest.mark.parametrize("act", MODERATE)
def test_functions_of_linear_growth_may_be_trained(act):
    assert "TP511" not in warnings_of(act)


@pytest.mark.parametrize("act", ["exp(x)", "exp(x)/(1 + exp(x/2))", "exp(x)*x/(1 + exp(-x))", "1/(1 + exp(x)) + exp(-x)",
                                 "log(1 + exp(x))*exp(x)",
                                 "exp(x)/(1 - exp(x))"])
def test_what_grows_as_an_exponential_does_not_pass(act):
    """Trained, a layer's input grows as the layer below; exp of that grows too fast."""
    assert "TP511" in warnings_of(act)


def bound_of(act: str) -> Bound:
    limit = compiled(f"width n\nvector x : [n] ~ normal(0, 1)\ny = {act} + 0*x\noutput moment(y) as m")[0].limit
    bounds = ProgramBounds(limit, {})
    bounds.solved()
    (argument,) = [s.op.arg for s in walk(limit.body) if isinstance(getattr(s, "op", None), Moment)]
    bound = bounds.vars[argument]
    assert bound is not None
    return bound


@pytest.mark.parametrize(("act", "low", "high"), [
    ("exp(x)/(1 + exp(x))", 0, 1), ("exp(x)/(3 + exp(x))", 0, 1), ("2*exp(x)/(1 + exp(x))", 0, 2),
    ("exp(-x)/(1 + exp(-x))**2", 0, 0.5), ("exp(x)*step(3 - exp(x))", 0, 3)])
def test_ranges(act, low, high):
    bound = bound_of(act)
    assert (bound.low, bound.high) == (low, pytest.approx(high))
    assert bound.size == BOUNDED


def test_what_decays_on_both_sides_is_bounded():
    bound = bound_of("x*exp(-x)/(1 + exp(-x))**2")
    x = np.linspace(-40, 40, 4001)
    value = x * np.exp(-x) / (1 + np.exp(-x))**2
    assert bound.size == BOUNDED
    assert bound.low <= value.min() and value.max() <= bound.high <= 4 * value.max()


POSITIVE = st.deferred(lambda: st.one_of(
    st.sampled_from(["1", "2", "exp(x)", "exp(-x)", "exp(2*x)", "exp(-x*x)", "x*x", "exp(-0.5*x)"]),
    st.tuples(POSITIVE, st.sampled_from("+*"), POSITIVE).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    st.tuples(POSITIVE, POSITIVE).map(lambda t: f"({t[0]} / (1 + {t[1]}))"),
    POSITIVE.map(lambda a: f"log(1 + {a})"), POSITIVE.map(lambda a: f"sqrt({a})"), POSITIVE.map(lambda a: f"step(2 - {a})")))
ANY = st.one_of(POSITIVE, st.tuples(st.sampled_from(["x", "x*x*x", "(1 - exp(x))", "-1"]), POSITIVE).map(lambda t: f"{t[0]} * {t[1]}"),
                st.tuples(POSITIVE, POSITIVE, POSITIVE).map(lambda t: f"({t[0]} - {t[1]}) / (1 + {t[2]})**2"))


@settings(max_examples=150, deadline=None)
@given(ANY)
def test_bounds_hold(act):
    """Of random functions: inside of the range, and no growth where none is said."""
    bound = bound_of(act)
    # Beyond 30, exp(2*x) squared twice is no float any more.
    x = np.linspace(-30, 30, 1201)
    names = {name: getattr(np, name) for name in ("exp", "log", "sqrt")} | {"step": lambda u: np.where(u > 0, 1.0, 0.0), "x": x}
    with np.errstate(all="ignore"):
        value = np.broadcast_to(eval(act, {"__builtins__": {}}, names), x.shape)
    value = value[np.isfinite(value)]
    slack = 1e-9 * np.abs(value).max(initial=1.0)
    assert bound.low - slack <= value.min() and value.max() <= bound.high + slack
    if bound.size == BOUNDED and not (math.isfinite(bound.low) and math.isfinite(bound.high)):
        inner = np.abs(value[np.abs(x[:len(value)]) <= 12]).max(initial=0.0)
        assert np.abs(value).max() <= 10 * inner + 1
