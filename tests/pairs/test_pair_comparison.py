"""Functions of one variable that are multiples or derivatives of each other, in several spellings."""

import numpy as np
import pytest
import sympy

from tensorprog.expectations.functions import gelu, relu, sigmoid, sigmoid_slope, silu, step, tanh_slope
from tensorprog.pairs.codegen.comparison import breaks, multiple, slope_of
from tensorprog.pairs.codegen.univariate import X, canonical, numpy_source

MAX, MIN, EXP, TANH = sympy.Max, sympy.Min, sympy.exp, sympy.tanh
ELU = MAX(X, 0) + EXP(MIN(X, 0)) - 1


@pytest.mark.parametrize("f, g, factor", [
    (1 - TANH(X)**2, tanh_slope(X), 1),
    (sympy.Rational(9, 4) - sympy.Rational(9, 4) * TANH(X)**2, 1 - TANH(X)**2, 2.25),
    (3 * X * (sigmoid(X) - sigmoid(X)**2) + 3 * sigmoid(X), X * sigmoid_slope(X) + sigmoid(X), 3),
    (1 / (1 + EXP(-X)), sigmoid(X), 1), (X / (1 + EXP(-X)), -2 * silu(X), -0.5),
    (MAX(-1, MIN(1, X)), MIN(1, MAX(-1, X)), 1), (relu(X), X * step(X), 1), (relu(X), (X + abs(X)) / 2, 1),
    (TANH(10**6 * X), TANH(2 * 10**6 * X), None), (step(5 - X) * step(5 + X), sympy.S.One, None), (X, abs(X), None)])
def test_multiples(f, g, factor):
    assert multiple(canonical(f), canonical(g)) == (factor and pytest.approx(factor, rel=1e-14))


@pytest.mark.parametrize("whole, slope, factor", [
    (TANH(X), 1 - TANH(X)**2, 1), (TANH(2 * X), tanh_slope(2 * X), 2), (gelu(X), gelu(X).diff(X), 1),
    (MIN(1, MAX(-1, X)), step(1 - MAX(-1, X)) * step(X + 1), 1), (ELU, EXP(MIN(X, 0)), 1), (relu(X), step(X), 1),
    (X * step(X), step(X), 1), (X * step(X - 1), step(X - 1), None), (sympy.sign(X), sympy.S.Zero, None),
    (X, step(5 - X) * step(5 + X), None), (sympy.floor(X), sympy.S.Zero, None)])
def test_derivatives(whole, slope, factor):
    assert slope_of(canonical(whole), canonical(slope)) == (factor and pytest.approx(factor, rel=1e-14))


def test_places_of_kinks():
    assert breaks(MIN(1, MAX(-1, X))) == {-1.0, 1.0} and breaks(TANH(X)) == set()
    assert breaks(abs(2 * X - 3)) == {1.5} and breaks(relu(X**2 - 1)) is breaks(sympy.floor(X)) is None


def test_slopes_are_written_as_such():
    """What vanishes at both limits only: -tanh(x)**2 alone would lose digits near 0."""
    assert numpy_source(2 - 2 * TANH(3 * X)**2) == "2.0*rt.tanh_slope(3*x)"
    assert numpy_source(X - X * sigmoid(X)**2) == "-x*rt.sigmoid(x)**2 + x"
    assert "slope" not in numpy_source(TANH(X)**2)


def test_a_kink_at_0_does_not_hide_the_scale_of_what_is_beside_it():
    from tensorprog.runtime.partition import Partition

    def slope(x, scale):
        return np.where(x > 0, 1.0, np.exp(np.minimum(x, 0) / scale))

    for scale in (0.1, 1.0, 30.0):
        found = Partition(lambda x, scale=scale: slope(x, scale), 1e6).features()
        assert [0.0, 0.0] in found.tolist()
        assert any(place == 0 and 0.1 * scale <= width <= 10 * scale for place, width in found)
    relu = Partition(lambda x: np.maximum(x, 0.0), 1e6).features()
    assert relu.tolist() == [[0.0, 0.0]]
