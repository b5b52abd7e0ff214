"""The table of closed forms: `E[integrand]` under zero-mean Gaussians U, V with covariance K11, K12, K22.

A row is used wherever the integrand's product of factors appears, with any linear combinations of Gaussians for U and
V. The calculus of `closed.py` derives all rows below as well (a test compares them); those here are as the papers have
them. `register` adds rows, for functions that the calculus does not know, for instance.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import sympy
from sympy import Abs, Expr, Mul, S, Symbol, cos, erf, exp, pi, sign, sin, sqrt, symbols

from tensorprog.expectations.affine import Affine, Covariance, covariance_of
from tensorprog.expectations.functions import gelu, relu, step
from tensorprog.expectations.guarded import (
    arc0,
    arc1,
    arc2,
    arc_mixed,
    arc_mixed2,
    arcsine,
    decay,
    determinant,
    growth,
    growth_less_one,
    nonzero,
    root,
    sine,
    sine_pair,
)
from tensorprog.ir.functions import NONLINEARITIES

U, V = symbols("U V", real=True)
K11, K12, K22 = symbols("K11 K12 K22", real=True)


@dataclass(frozen=True)
class TableRow:
    """E[integrand] = formula.

    Attributes:
        name: what the list of rules that were used calls it.
        integrand: a product of functions of U, or of U and V.
        formula: an expression in K11 = Var U, K12 = Cov(U, V), K22 = Var V; see `guarded.py` for singular ones.
        source: paper and equation.
        validity: for which covariances it holds.
    """

    name: str
    integrand: Expr
    formula: Expr
    source: str
    validity: str = "any covariance"

    @property
    def shape(self) -> tuple:
        return shape_of(Mul.make_args(self.integrand))


def shape_of(factors: tuple[Expr, ...]) -> tuple:
    """What equal products have in common whatever the arguments are: the functions and their powers."""
    names: Counter[tuple[str, str]] = Counter()
    for factor in factors:
        # SymPy takes exp(x) for E**x; its argument is no power here.
        base, power = factor.as_base_exp() if not isinstance(factor, exp) else (factor, S.One)
        names[base.func.__name__, str(power)] += 1
    return tuple(sorted(names.items()))


CHO_SAUL = "Cho and Saul, Kernel methods for deep learning (2009), equation"
WILLIAMS = "Williams, Computing with infinite networks (1997), equation 11"
SHEPPARD = "Sheppard (1899); Cho and Saul (2009), equation 5"
TP1_B = "Yang, Tensor Programs I (arXiv:1910.12478), facts B.2-B.4"

_GELU = determinant(K12, 1 + K11, 1 + K22)
_DIFFERENCE, _TOTAL = K11 - 2 * K12 + K22, K11 + 2 * K12 + K22

BUILT_IN = (
    TableRow("mean of relu", relu(U), root(K11) / sqrt(2 * pi), f"{CHO_SAUL} 1, one variable"),
    TableRow("mean of abs", Abs(U), root(K11) * sqrt(2 / pi), "half-normal distribution"),
    # A Gaussian of variance 0 is not positive: step(0) = 0.
    TableRow("mean of step", step(U), nonzero(S.Zero, K11) / 2, "symmetry"),
    TableRow("second moment of relu", relu(U)**2, K11 / 2, "symmetry"),
    TableRow("second moment of erf", erf(U)**2, 2 * arcsine(2 * K11, 1 + 2 * K11, 1 + 2 * K11) / pi, WILLIAMS),
    TableRow("arc-cosine kernel of degree 0", step(U) * step(V), arc0(K11, K12, K22), f"{CHO_SAUL} 5"),
    TableRow("arc-cosine kernel of degree 1", relu(U) * relu(V), arc1(K11, K12, K22), f"{CHO_SAUL} 6"),
    TableRow("arc-cosine kernel of degree 2", relu(U)**2 * relu(V)**2, arc2(K11, K12, K22), f"{CHO_SAUL} 7"),
    TableRow("arcsine law of signs", sign(U) * sign(V), 2 * arcsine(K12, K11, K22) / pi, SHEPPARD),
    TableRow("kernel of abs", Abs(U) * Abs(V),
        2 * (root(K11) * root(K22) * sine(K12, K11, K22) + K12 * arcsine(K12, K11, K22)) / pi,
        f"{CHO_SAUL} 6, by linearity"),
    TableRow("arcsine kernel of erf", erf(U) * erf(V), 2 * arcsine(2 * K12, 1 + 2 * K11, 1 + 2 * K22) / pi, WILLIAMS),
    TableRow("derivative of the arcsine kernel", exp(-U**2) * exp(-V**2),
        1 / sqrt(determinant(2 * K12, 1 + 2 * K11, 1 + 2 * K22)), TP1_B),
    TableRow("mixed kernel of relu and step", relu(U) * step(V), arc_mixed(K11, K12, K22), "Stein's lemma from degree 0"),
    TableRow("mixed kernel of relu**2 and step", relu(U)**2 * step(V), arc_mixed2(K11, K12, K22),
        "Stein's lemma from degree 0"),
    TableRow("kernel of gelu", gelu(U) * gelu(V),
        K12 / 4 + K12 * arcsine(K12, 1 + K11, 1 + K22) / (2 * pi)
        + (K12**2 + K11 * K22 * _GELU) / (2 * pi * (1 + K11) * (1 + K22) * sqrt(_GELU)),
        "Tsuchida et al., arXiv:2002.08517, as in Neural Tangents"),
    TableRow("kernel of sin", sin(U) * sin(V), sine_pair(K12, _DIFFERENCE, _TOTAL), TP1_B),
    TableRow("kernel of cos", cos(U) * cos(V), (decay(_DIFFERENCE) + decay(_TOTAL)) / 2, TP1_B),
    TableRow("kernel of exp", exp(U) * exp(V), growth(_TOTAL), "moment generating function"),
    TableRow("kernel of squares", U**2 * V**2, K11 * K22 + 2 * K12**2, "Isserlis (1918)"),
    # (1 - exp(-2 K))/2 by expm1: small variances keep their digits.
    TableRow("second moment of sin", sin(U)**2, -growth_less_one(-2 * K11) / 2, "characteristic function"),
)

_registered: list[TableRow] = []


def rows() -> tuple[TableRow, ...]:
    """All rows, the registered ones first, the last of them before the others; those of functions last."""
    own = (row for f in NONLINEARITIES.values() if f.closed_forms is not None for row in f.closed_forms())
    # Those of users before all: they may correct a row.
    return (*reversed(_registered), *BUILT_IN, *own)


def registered() -> tuple[TableRow, ...]:
    """The rows that were added, in their order."""
    return tuple(_registered)


def register(integrand: Expr, formula: Expr, *, name: str, source: str, validity: str = "any covariance") -> TableRow:
    """Adds a row to the table, for this Python process; it is preferred to earlier ones.

    Example:
        >>> from sympy import Function
        >>> from tensorprog.expectations import K12, U, V, register
        >>> class hermite2(Function): pass
        >>> row = register(hermite2(U) * hermite2(V), 2 * K12**2, name="kernel of He2", source="Mehler (1866)",
        ...                validity="K11 = K22 = 1")

    Args:
        integrand: a product of functions of the symbols U and V of this module, or of U only.
        formula: its expectation, in K11, K12, K22.
        name: shown in the list of rules that an expectation used.
        source: paper and equation.
        validity: where it holds; documentation, not checked.

    Raises:
        ValueError: if other symbols occur, or the integrand is constant or a sum.
    """
    formula = sympy.sympify(formula)
    if integrand.free_symbols not in ({U}, {U, V}):
        raise ValueError("the integrand must be a function of U, or of U and V")
    if isinstance(integrand, sympy.Add):
        raise ValueError("the integrand must be a product; register the terms of a sum one by one")
    known = {K11, K12, K22} if V in integrand.free_symbols else {K11}
    if formula.free_symbols - known:
        raise ValueError(f"the formula may contain {', '.join(sorted(map(str, known)))} only")
    row = TableRow(name, integrand, formula, source, validity)
    _registered.append(row)
    return row


def unregister(row: TableRow) -> None:
    """Takes a registered row out again."""
    _registered.remove(row)


def look_up(factors: tuple[Expr, ...], forms: list[Affine], covariance: Covariance) -> tuple[TableRow, Expr] | None:
    """The row for a product of functions of the one or two linear `forms`, and its formula with their covariances."""
    # Rows are of centred variables: relu(x + 1) is left to the calculus, which has means.
    if not 1 <= len(forms) <= 2 or any(form.constant != 0 for form in forms):
        return None
    shape, product = shape_of(factors), Mul(*factors)
    for row in rows():
        if row.shape != shape or (V in row.integrand.free_symbols) != (len(forms) == 2):
            continue
        # A row for f(U) g(V) is one for g(U) f(V) as well.
        for order in (forms, forms[::-1]) if len(forms) == 2 else (forms,):
            if row.integrand.xreplace(dict(zip((U, V), [form.expr for form in order]))) == product:
                return row, row.formula.xreplace(_covariances(order, covariance))
    return None


def _covariances(forms: list[Affine], covariance: Covariance) -> dict[Symbol, Expr]:
    first, last = forms[0], forms[-1]
    return {K11: covariance_of(first, first, covariance), K12: covariance_of(first, last, covariance),
            K22: covariance_of(last, last, covariance)}
