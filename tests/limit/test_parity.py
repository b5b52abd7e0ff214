"""Parities by parts, with leaves that are told: against values at a point and at its mirror image."""

import itertools

import pytest
import sympy
from sympy import Abs, Integer, Symbol, cos, exp, sign, sinh, tanh

from tensorprog.expectations.functions import parity_of
from tensorprog.ir.parities import EVEN, NEITHER, ODD, ZERO
from tensorprog.limit.parity import Parities

X, Y, S = Symbol("x", real=True), Symbol("y", real=True), Symbol("s", real=True)


class Told(Parities):
    """x and y change their sign, s does not."""

    def leaf(self, expr):
        return {X: ODD, Y: ODD, S: EVEN}.get(expr, None if expr.args or expr == 0 else EVEN)

    def of_kind(self, expr):
        return parity_of(expr.func)


PARTS = (X, Y, S, Integer(3), X * S, tanh(X), cos(X), Abs(Y), sign(X * Y), exp(X), X**3, Y**-2, sinh(X) / S, tanh(cos(X)),
         tanh(S) - tanh(X))


@pytest.mark.parametrize(("one", "two"), list(itertools.combinations(PARTS, 2)))
@pytest.mark.parametrize("join", [sympy.Add, sympy.Mul, lambda a, b: tanh(a) * cos(b), lambda a, b: (a + b)**2])
def test_what_is_called_odd_or_even_is(one, two, join):
    expr = join(one, two)
    at = {X: Integer(3) / 7, Y: Integer(-5) / 4, S: Integer(2) / 3}
    mirrored = at | {X: -at[X], Y: -at[Y]}
    here, there = (float(expr.subs(values)) for values in (at, mirrored))
    # From below nothing is missed among these: each is odd, even or neither by what SymPy finds at a general point.
    truth = EVEN if abs(here - there) < 1e-12 else ODD if abs(here + there) < 1e-12 else NEITHER
    found = Told().parity(expr)
    assert found == truth or found == NEITHER or (found == ZERO and here == there == 0)


@pytest.mark.parametrize(("expr", "parity"), [
    (X * Y, EVEN), (X + Y, ODD), (X + S, NEITHER), (X**3 / Y, EVEN), (tanh(X) * S, ODD), (cos(X + Y), EVEN),
    (exp(X), NEITHER), (exp(S), EVEN), (Integer(0), ZERO), (1 / X, ODD), (sympy.Max(X, Y), NEITHER)])
def test_known_parities(expr, parity):
    assert Told().parity(expr) == parity
