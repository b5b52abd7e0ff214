"""Sums of kinked functions by cases: the same values, at every point, and digits where the sums have lost them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sympy import Abs, Max, Min, Rational, Symbol, sign, tanh

from tensorprog.expectations.functions import relu, step
from tensorprog.expectations.intervals import by_interval, in_intervals
from tensorprog.expectations.source import ExpectationPrinter
from tensorprog.pairs.codegen.univariate import X, numpy_source

x = Symbol("x", real=True)
HALF = Rational(1, 2)
PIECES = {
    "clip": relu(x + 1) - relu(x - 2) - 1,
    "by absolute values": (Abs(x + 1) - Abs(x - 2) + 1) / 2,
    "soft threshold": sign(x) * Max(Abs(x) - HALF, 0),
    "what is left of it": x - Min(Max(x, -HALF), HALF),
    "hard threshold": x * step(Abs(x) - HALF),
    "a hat": relu(1 - Abs(x)),
    "squared": (relu(x + 1) - relu(x - 2) - 1)**2,
    "jumps": step(x + 1) - 2 * step(x - 1) + sign(x) * step(2 - x),
    "nested": Max(Min(relu(x + 1) - 1, 3 - x), x / 3 - 2),
    "a bump": relu(x + 1) * relu(1 - x) - relu(x) * relu(HALF - x),
}
POINTS = [-7, -2, -1, Rational(-3, 4), -HALF, Rational(-1, 10**16), 0, Rational(1, 10**16), Rational(1, 3), HALF, 1, Rational(3, 2), 2, 5]


@pytest.mark.parametrize("name", PIECES)
def test_the_same_values(name):
    found = in_intervals(PIECES[name], frozenset((x,)))
    assert isinstance(found, by_interval)
    scalar = ExpectationPrinter().doprint(found)
    array = numpy_source(PIECES[name].xreplace({x: X}))
    for point in POINTS:
        expected = float(PIECES[name].xreplace({x: point}))
        for value in (eval(scalar, {"x": float(point)}), eval(array, {"np": np, "x": np.array([float(point)])})[0]):
            assert value == pytest.approx(expected, rel=1e-15, abs=0)


@pytest.mark.parametrize("expr", [Min(Max(x, -1), 2), relu(x), x * relu(x + 1), tanh(Max(x, 0)), relu(1 - x**2) + relu(x),
                                  relu(x - Symbol("c", real=True)) + relu(x)])
def test_what_loses_nothing_or_has_no_known_ends_stays(expr):
    assert in_intervals(expr, frozenset((x,))) == expr


def test_a_factor_among_others():
    found = in_intervals(tanh(x) * (relu(x + 1) - relu(x - 1) - 1), frozenset((x,)))
    assert found.has(by_interval)
    text = ExpectationPrinter().doprint(found)
    assert eval(text, {"x": 1e-12, "math": math}) == pytest.approx(1e-24, rel=1e-15)
