"""A univariate function as a linear combination of pieces with closed two-point functions.

Every closed form of `duals.py` is bilinear in these pieces, so relu, leaky relu, gelu, sinh and their like need no
entries of their own: relu(x) = (x + |x|)/2, gelu(x) = x/2 + x erf(x/sqrt 2)/2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import sympy

from tensorprog.ir.functions import NONLINEARITIES

Kind = Literal["power", "sign", "erf", "xerf", "gauss", "xgauss", "exp", "sin", "cos"]

#: Functions without a derivative somewhere, for which series and quadrature converge slowly.
KINKED = ("Abs", "sign", "step", "relu", "leaky_relu", "Max", "Min", "Heaviside", "Piecewise", "floor", "ceiling",
          "DiracDelta")


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """x**k | x**k sign(x) | erf(sqrt(k) x) | x erf(sqrt(k) x) | exp(-k x**2) | x exp(-k x**2) | exp(k x) | sin(k x)
    | cos(k x): an error function and its derivative have the same k, so they share what is computed from it."""

    kind: Kind
    k: float

    @property
    def parity(self) -> int:
        """0 for an even, 1 for an odd function, -1 for neither."""
        match self.kind:
            case "power":
                return int(self.k) % 2
            case "sign":
                return (int(self.k) + 1) % 2
            case "exp":
                return -1
            case kind:
                return int(kind in ("erf", "xgauss", "sin"))

    @property
    def kinked(self) -> bool:
        return self.kind == "sign"


def has_kink(phi: sympy.Expr) -> bool:
    """Whether a function with a kink or a jump occurs in `phi`."""
    return any(node.func.__name__ in KINKED for node in sympy.preorder_traversal(phi))


def decompose(phi: sympy.Expr) -> dict[Piece, float] | None:
    """The function's coefficients, or None if it is not a combination of pieces."""
    phi = sympy.sympify(phi)
    x = sympy.Dummy("x", real=True)
    # Which symbol a function is written in does not matter; it has one.
    phi = _expanded(phi.subs(dict.fromkeys(phi.free_symbols, x)))
    pieces: dict[Piece, float] = {}
    for term in sympy.Add.make_args(phi):
        found = _piece(term, x)
        if found is None:
            return None
        piece, coefficient = found
        pieces[piece] = pieces.get(piece, 0.0) + coefficient
    # Sorted, because the order of terms is that of the text, which names compiled kernels on disk.
    return {piece: c for piece, c in sorted(pieces.items()) if c}


def _expanded(phi: sympy.Expr) -> sympy.Expr:
    half = sympy.Rational(1, 2)
    sign, erf, exp = sympy.sign, sympy.erf, sympy.exp
    rules: dict[str, Callable[..., sympy.Expr]] = {
        name: function.formula for name, function in NONLINEARITIES.items() if function.formula is not None}
    rules |= {
        "Heaviside": lambda e, *_: (1 + sign(e)) * half,
        "leaky_relu": lambda e, slope: ((1 + slope) * e + (1 - slope) * abs(e)) * half,
        "normal_cdf": lambda e: (1 + erf(e / sympy.sqrt(2))) * half,
        "erfc": lambda e: 1 - erf(e),
        "sinh": lambda e: (exp(e) - exp(-e)) * half,
        "cosh": lambda e: (exp(e) + exp(-e)) * half,
    }
    phi = phi.replace(lambda e: e.func.__name__ in rules, lambda e: rules[e.func.__name__](*e.args))
    phi = phi.replace(lambda e: e.func in (sympy.Max, sympy.Min) and len(e.args) == 2, _extremum)
    # Not `expand(trig=True)`: it makes 2 sin(x) cos(x) of sin(2 x), which is a piece as it stands.
    return sympy.expand(phi.replace(lambda e: e.func in (sympy.sin, sympy.cos), _split_angle))


def _split_angle(e: sympy.Expr) -> sympy.Expr:
    """sin(c + k x) or cos(c + k x) in terms of sin(k x) and cos(k x)."""
    constant, rest = sympy.expand(e.args[0]).as_independent(*e.free_symbols, as_Add=True)
    other, sign = (sympy.cos, 1) if e.func is sympy.sin else (sympy.sin, -1)
    return e.func(rest) * sympy.cos(constant) + sign * other(rest) * sympy.sin(constant)


def _extremum(e: sympy.Expr) -> sympy.Expr:
    left, right = e.args
    sign = 1 if e.func is sympy.Max else -1
    return (left + right + sign * abs(left - right)) / 2


_SPECIAL: dict[type, Kind] = {sympy.erf: "erf", sympy.sin: "sin", sympy.cos: "cos"}


def _piece(term: sympy.Expr, x: sympy.Symbol) -> tuple[Piece, float] | None:
    """One term of an expanded sum, sorted into powers, signs, exponentials and at most one further function."""
    coefficient, rest = term.as_independent(x)
    power = signs = 0
    exponent: sympy.Expr = sympy.S.Zero
    special: tuple[Kind, sympy.Expr] | None = None
    for factor in sympy.Mul.make_args(rest):
        base, k = factor.as_base_exp()
        if factor.func is sympy.exp:
            exponent += factor.args[0]
        elif base == x and k.is_Integer and k >= 0:
            power += int(k)
        elif base.func in (sympy.Abs, sympy.sign) and base.args[0] == x and k.is_Integer and k > 0:
            # |x|**k = x**k sign(x)**k.
            signs += int(k)
            power += int(k) if base.func is sympy.Abs else 0
        elif (base.func in _SPECIAL and k == 1 and special is None
              and (base.args[0] / x).is_number):
            special = (_SPECIAL[base.func], base.args[0] / x)
        elif factor != 1:
            return None
    return _combined(float(coefficient), power, signs, exponent, special, x)


def _combined(coefficient: float, power: int, signs: int, exponent: sympy.Expr, special: tuple[Kind, sympy.Expr] | None,
              x: sympy.Symbol) -> tuple[Piece, float] | None:
    if special is None and exponent == 0:
        return Piece("sign" if signs % 2 else "power", power), coefficient
    # A product of two functions has no formula in the table.
    if signs or (special is not None and exponent != 0):
        return None
    if special is not None:
        name, k = special
        # Of the products with x, only x erf is a piece (gelu).
        if power > (name == "erf"):
            return None
        # erf and sin are odd, cos is even: the factor of x is made positive.
        odd = -1.0 if k < 0 and name != "cos" else 1.0
        return Piece("xerf" if power else name, float(k**2 if name == "erf" else abs(k))), coefficient * odd
    return _exponential(coefficient, power, sympy.Poly(exponent, x) if exponent.is_polynomial(x) else None)


def _exponential(coefficient: float, power: int, exponent: sympy.Poly | None) -> tuple[Piece, float] | None:
    if exponent is None or exponent.degree() > 2:
        return None
    square, linear, constant = (float(c) for c in ([0, 0, 0] + exponent.all_coeffs())[-3:])
    coefficient *= float(sympy.exp(constant))
    if square < 0 and linear == 0 and power <= 1:
        return Piece("xgauss" if power else "gauss", -square), coefficient
    if square == 0 and power == 0:
        return Piece("exp", linear), coefficient
    return None
