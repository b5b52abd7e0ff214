"""Every row of the table of expectations: against quadrature, against the calculus, and enclosed by intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import pytest
import sympy
from mpmath import iv
from numba import njit
from sympy import Abs, cos, erf, exp, sign, sin, symbols
from test_expectations import by_panels, np_erf, np_gelu

from tensorprog.expectations import U, V
from tensorprog.expectations.affine import Affine
from tensorprog.expectations.basis import GaussianBasis
from tensorprog.expectations.forms import Conditional
from tensorprog.expectations.functions import gelu, relu, step
from tensorprog.expectations.guarded import plain
from tensorprog.expectations.source import function_source
from tensorprog.expectations.table import BUILT_IN, K11, K12, K22, look_up

COVARIANCES = [(1.0, 0.5, 1.0), (1.0, -0.7, 2.0), (0.3, 0.1, 2.5), (1.7, 0.0, 0.6), (1.0, 0.999, 1.0)]
SINGULAR = [(1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
NUMERIC = [{"relu": lambda x: x * (x > 0), "step": lambda x: 1.0 * (x > 0), "erf": np_erf, "gelu": np_gelu}, "numpy"]
rows = pytest.mark.parametrize("row", BUILT_IN, ids=[row.name for row in BUILT_IN])


def compiled(formula):
    scope: dict = {}
    exec(function_source(formula, {}, (K11, K12, K22)), scope)
    return njit(scope["expectation"])


def covariance(g, h):
    return {(U, U): K11, (V, V): K22}.get((g, h), K12)


@rows
def test_row_against_quadrature(row):
    function = sympy.lambdify((U, V), row.integrand, NUMERIC)
    formula, printed = compiled(row.formula), sympy.lambdify((K11, K12, K22), plain(row.formula), "math")
    for case in COVARIANCES:
        expected = by_panels(function, case)
        assert formula(*case) == pytest.approx(expected, abs=1e-12, rel=1e-12)
        assert printed(*case) == pytest.approx(expected, abs=1e-12, rel=1e-12)


@rows
def test_row_against_calculus(row):
    """The table and the calculus are independent derivations of the same number, also for singular covariances."""
    derived = Conditional(GaussianBasis(frozenset({U, V}), covariance), set()).expectation(row.integrand)
    first, second = compiled(row.formula), compiled(derived)
    for case in COVARIANCES + SINGULAR:
        assert first(*case) == pytest.approx(second(*case), abs=1e-14, rel=1e-13), case


@rows
def test_row_is_found(row):
    g, h, c = symbols("g h c", real=True)
    factors = sympy.Mul.make_args(row.integrand.xreplace({U: g, V: h}))
    forms = [Affine(((x, sympy.S.One),)) for x in (g, h) if any(x in f.free_symbols for f in factors)]
    found, formula = look_up(factors, forms, lambda x, y: c)
    assert found is row and formula.free_symbols <= {c} and row.source


# --- enclosures ----------------------------------------------------------------------------------------------

ORDER, HALF_WIDTH, REACH = 16, "0.25", 9


class Series:
    """A Taylor polynomial with interval coefficients."""

    def __init__(self, coefficients):
        self.c = (list(coefficients) + [iv.mpf(0)] * (ORDER + 1))[:ORDER + 1]

    def __mul__(self, other):
        return Series(sum((self.c[i] * other.c[k - i] for i in range(k + 1)), iv.mpf(0)) for k in range(ORDER + 1))

    def exp(self):
        c = [iv.exp(self.c[0])]
        for k in range(1, ORDER + 1):
            c.append(sum((j * self.c[j] * c[k - j] for j in range(1, k + 1)), iv.mpf(0)) / k)
        return Series(c)

    def waves(self):
        """sin and cos; the argument must be linear."""
        turns = [iv.sin(self.c[0]), iv.cos(self.c[0])]
        both = [turns[0], turns[1], -turns[0], -turns[1]]
        slope = self.c[1]
        powers = [slope**k / math.factorial(k) for k in range(ORDER + 1)]
        return [Series(both[(k + shift) % 4] * power for k, power in enumerate(powers)) for shift in (0, 1)]

    def antiderivative(self, constant):
        return Series([constant] + [c / (k + 1) for k, c in enumerate(self.c)])

    def scaled(self, factor):
        return Series(factor * c for c in self.c)


def gauss(x: Series) -> Series:
    """exp(-x**2)."""
    return (x * x).scaled(iv.mpf(-1)).exp()


def integral(center: Series, whole: Series):
    """An enclosure of the integral over [-h, h] of a function with these series at 0 and over all of [-h, h]."""
    h = iv.mpf(HALF_WIDTH)
    even = sum((2 * center.c[k] * h**(k + 1) / (k + 1) for k in range(0, ORDER, 2)), iv.mpf(0))
    rest = 2 * h**(ORDER + 1) / (ORDER + 1)
    return even + whole.c[ORDER] * rest


@dataclass(frozen=True)
class Panel:
    """Series of x, of the normal density, and of erf(x) and erf(x / sqrt 2), at the center of a panel and over it."""

    x: tuple[Series, Series]
    density: tuple[Series, Series]
    erfs: tuple[dict[int, Series], dict[int, Series]]


@cache
def panels() -> tuple[Panel, ...]:
    """Panels of [0, REACH]."""
    h, erfs = iv.mpf(HALF_WIDTH), {1: iv.mpf(0), 2: iv.mpf(0)}
    found = []
    for p in range(2 * REACH):
        middle = h * (2 * p + 1)
        x = tuple(Series([at, iv.mpf(1)]) for at in (middle, iv.mpf([(middle - h).a, (middle + h).b])))
        slopes = {k: tuple(_erf_slope(s, k) for s in x) for k in erfs}
        centers = {k: slopes[k][0].antiderivative(erfs[k] + _to_middle(*slopes[k])) for k in erfs}
        ends = {k: erfs[k] + integral(*slopes[k]) for k in erfs}
        wholes = {k: slopes[k][1].antiderivative(iv.mpf([erfs[k].a, ends[k].b])) for k in erfs}
        density = tuple(gauss(s.scaled(1 / iv.sqrt(2))).scaled(1 / iv.sqrt(2 * iv.pi)) for s in x)
        found.append(Panel(x, density, (centers, wholes)))
        erfs = ends
    return tuple(found)


def _erf_slope(x: Series, k: int) -> Series:
    """The derivative of erf(x / sqrt k)."""
    return gauss(x.scaled(1 / iv.sqrt(k))).scaled(2 / iv.sqrt(k * iv.pi))


def _to_middle(center: Series, whole: Series):
    """The integral over [-h, 0]."""
    h = iv.mpf(HALF_WIDTH)
    terms = (center.c[k] * h**(k + 1) * (-1)**k / (k + 1) for k in range(ORDER))
    return sum(terms, iv.mpf(0)) + whole.c[ORDER] * h**(ORDER + 1) * (-1)**ORDER / (ORDER + 1)


def enclosure(first, second, flip: int):
    """An enclosure of E first(x) second(flip x), x standard normal; what is beyond REACH is less than 1e-13."""
    total = iv.mpf(["-1e-13", "1e-13"])
    for panel in panels():
        for side in (1, -1):
            total += integral(*(density * first(x, side, e) * second(x, side * flip, e)
                                for x, density, e in zip(panel.x, panel.density, panel.erfs)))
    return total


ONE, NONE = Series([iv.mpf(1)]), Series([iv.mpf(0)])

# f(side * x) for x > 0, with the series of x and those of erf(x), erf(x / sqrt 2).
ENCLOSED = {
    relu: lambda x, side, e: x if side > 0 else NONE,
    step: lambda x, side, e: ONE if side > 0 else NONE,
    sign: lambda x, side, e: ONE.scaled(side),
    Abs: lambda x, side, e: x,
    erf: lambda x, side, e: e[1].scaled(side),
    gelu: lambda x, side, e: (x * Series([e[2].c[0] + side, *e[2].c[1:]])).scaled(iv.mpf(1) / 2),
    sin: lambda x, side, e: x.waves()[0].scaled(side),
    cos: lambda x, side, e: x.waves()[1],
}


def enclosed_function(expr):
    """The function of one factor of a row, for `enclosure`."""
    if isinstance(expr, sympy.Pow):
        base, power = (enclosed_function(expr.base), int(expr.exp))
        return lambda x, side, e: _product(base(x, side, e) for _ in range(power))
    if isinstance(expr, exp):
        if expr.args[0].is_Symbol:
            return lambda x, side, e: x.scaled(side).exp()
        return lambda x, side, e: gauss(x)
    if expr.is_Symbol:
        return lambda x, side, e: x.scaled(side)
    return ENCLOSED[expr.func]


def _product(series):
    result = ONE
    for factor in series:
        result = result * factor
    return result


@rows
def test_row_is_enclosed(row):
    """At correlations 1 and -1, where an expectation is an integral over a line, and at 0, a product of two of them."""
    formula = compiled(row.formula)
    factors = sympy.Mul.make_args(row.integrand)
    of_u = _product_function([enclosed_function(f) for f in factors if U in f.free_symbols])
    of_v = _product_function([enclosed_function(f) for f in factors if V in f.free_symbols])
    apart = enclosure(of_u, _product_function([]), 1) * enclosure(of_v, _product_function([]), 1)
    for c, found in ((1.0, enclosure(of_u, of_v, 1)), (-1.0, enclosure(of_u, of_v, -1)), (0.0, apart)):
        assert found.delta < 1e-9
        assert float(found.a) - 4e-15 <= formula(1.0, c, 1.0) <= float(found.b) + 4e-15, (c, found)


def _product_function(functions):
    return lambda x, side, e: _product(f(x, side, e) for f in functions)
