"""The coordinatewise primitives and their derivatives.

Each unary function's derivative is an expression in the primitives of this table, written over `x`; derivatives of
any order follow by differentiating that expression. Kinks use one-sided conventions that finite networks use too:
relu'(0) = 0, step(0) = 0, sign(0) = 0, and step' = sign' = 0 (the delta is left to Stein's lemma in the limit).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import pi, sqrt


@dataclass(frozen=True, slots=True)
class Expr:
    """A scalar expression over numbers, `x`, and primitives; the language of the derivative table and of kernels.

    fn is 'x' (the argument), 'num' (`value`), or a primitive applied to `args`.
    """

    fn: str
    args: tuple[Expr, ...] = ()
    value: float = 0.0


X = Expr("x")


def num(value: float) -> Expr:
    return Expr("num", (), value)


def add(a: Expr, b: Expr) -> Expr:
    if _is(a, 0):
        return b
    return a if _is(b, 0) else Expr("add", (a, b))


def sub(a: Expr, b: Expr) -> Expr:
    return a if _is(b, 0) else Expr("sub", (a, b))


def mul(a: Expr, b: Expr) -> Expr:
    if _is(a, 0) or _is(b, 0):
        return num(0)
    if _is(a, 1):
        return b
    return a if _is(b, 1) else Expr("mul", (a, b))


def call(fn: str, a: Expr) -> Expr:
    return Expr(fn, (a,))


def _is(a: Expr, value: float) -> bool:
    return a.fn == "num" and a.value == value


UNARY = ("neg", "relu", "abs", "sign", "step", "tanh", "erf", "sigmoid", "gelu", "silu", "softplus", "exp", "log",
         "sqrt", "sin", "cos", "square")
BINARY = ("add", "sub", "mul", "div", "pow", "max", "min")

# Functions that commute with any power of n (docs/language.md, section 6): f(n**e x) = n**(degree*e) f(x).
HOMOGENEOUS_DEGREE = {"neg": 1, "relu": 1, "abs": 1, "sign": 0, "step": 0, "square": 2}

ODD = ("neg", "tanh", "erf", "sin", "sign")
EVEN = ("cos", "abs", "square")


def parity(fn: str, order: int = 0) -> str:
    """'odd', 'even' or 'none': of a unary primitive or its `order`-th derivative."""
    own = "odd" if fn in ODD else "even" if fn in EVEN else "none"
    return own if order % 2 == 0 or own == "none" else "even" if own == "odd" else "odd"



def _gauss() -> Expr:
    """The standard normal density at x."""
    return mul(num(1 / sqrt(2 * pi)), call("exp", mul(num(-0.5), call("square", X))))


def _normal_cdf() -> Expr:
    return mul(num(0.5), add(num(1), call("erf", mul(num(1 / sqrt(2)), X))))


@cache
def derivative_rules() -> dict[str, Expr]:
    """d f(x) / dx for every unary primitive."""
    sigmoid = call("sigmoid", X)
    sigmoid_prime = mul(sigmoid, sub(num(1), sigmoid))
    return {
        "neg": num(-1),
        "relu": call("step", X),
        "abs": call("sign", X),
        "sign": num(0),
        "step": num(0),
        "tanh": sub(num(1), call("square", call("tanh", X))),
        "erf": mul(num(2 / sqrt(pi)), call("exp", call("neg", call("square", X)))),
        "sigmoid": sigmoid_prime,
        "gelu": add(_normal_cdf(), mul(X, _gauss())),
        "silu": add(sigmoid, mul(X, sigmoid_prime)),
        "softplus": sigmoid,
        "exp": call("exp", X),
        "log": Expr("div", (num(1), X)),
        "sqrt": Expr("div", (num(0.5), call("sqrt", X))),
        "sin": call("cos", X),
        "cos": call("neg", call("sin", X)),
        "square": mul(num(2), X),
    }


@cache
def derivative(fn: str, order: int) -> Expr:
    """The `order`-th derivative of a unary primitive as an expression over `x`."""
    expr = call(fn, X)
    for _ in range(order):
        expr = differentiate_expr(expr)
    return expr


def differentiate_expr(expr: Expr) -> Expr:
    """d expr / dx, by the rules above and the chain rule."""
    match expr.fn:
        case "x":
            return num(1)
        case "num":
            return num(0)
        case "add" | "sub":
            a, b = (differentiate_expr(arg) for arg in expr.args)
            return add(a, b) if expr.fn == "add" else sub(a, b)
        case "mul":
            a, b = expr.args
            return add(mul(differentiate_expr(a), b), mul(a, differentiate_expr(b)))
        case "div":
            a, b = expr.args
            top = sub(mul(differentiate_expr(a), b), mul(a, differentiate_expr(b)))
            return num(0) if _is(top, 0) else Expr("div", (top, call("square", b)))
        case _:
            (inner,) = expr.args
            return mul(_compose(derivative_rules()[expr.fn], inner), differentiate_expr(inner))


def _compose(outer: Expr, inner: Expr) -> Expr:
    if outer.fn == "x":
        return inner
    return Expr(outer.fn, tuple(_compose(a, inner) for a in outer.args), outer.value)


_LARGEST = Fraction(sys.float_info.max)


def exact(fn: str, values: list[Fraction | float]) -> Fraction | None:
    """The exact value of a primitive on exact numbers; None where it has none, or one that is too large for a float."""
    if any(not isinstance(v, Fraction) for v in values):
        return None
    value = _rational(fn, values)
    return None if value is None or abs(value) > _LARGEST else value


def is_too_large(fn: str, values: list[Fraction | float]) -> bool:
    """Whether a primitive on exact numbers has a value that is too large for a float."""
    if any(not isinstance(v, Fraction) for v in values):
        return False
    if fn == "pow":
        base, exponent = values
        return base != 0 and exponent * _log(abs(base)) > _log(_LARGEST)
    value = _rational(fn, values)
    return value is not None and abs(value) > _LARGEST


def _log(value: Fraction) -> float:
    return math.log(value.numerator) - math.log(value.denominator)


def _rational(fn: str, values: list[Fraction]) -> Fraction | None:
    match fn, values:
        case "neg", [a]:
            return -a
        case "add", [a, b]:
            return a + b
        case "sub", [a, b]:
            return a - b
        case "mul", [a, b]:
            return a * b
        case "div", [a, b] if b:
            return a / b
        case "square", [a]:
            return a * a
        case _:
            return None
