"""The coordinatewise primitives: functions of one argument (`ir.functions`), of two, and their derivatives.

Kinks use one-sided conventions that finite networks use too: relu'(0) = 0, step(0) = 0, sign(0) = 0, and step' = sign' = 0 (the
delta is left to Stein's lemma in the limit).
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache

from tensorprog.ir.functions import NONLINEARITIES, Nonlinearity
from tensorprog.ir.functions.expr import Expr, X, add, call, compose, div, mul, num, sub

BINARY = ("add", "sub", "mul", "div", "pow", "max", "min")


def degree(fn: str) -> int | None:
    """The degree of a homogeneous function of one argument: f(c x) = c**degree f(x) for every c > 0. Such functions commute with
    any power of n (docs/language.md, section 6)."""
    return NONLINEARITIES[fn].degree if fn in NONLINEARITIES else None


def kink(fn: str) -> str | None:
    """Whether a function of one argument jumps at 0 ('jump'), or its derivative does ('kink')."""
    return NONLINEARITIES[fn].kink if fn in NONLINEARITIES else None


def last_derivative(fn: str) -> float:
    """The order of the last derivative that is a function, of functions with a kink or a jump; infinite for others."""
    # The derivative of a jump is a delta, that of a kink a jump.
    return {"jump": 0.0, "kink": 1.0}.get(kink(fn) or "", math.inf)


def jumps(fn: str, order: int) -> bool:
    """Whether the `order`-th derivative of a function of one argument jumps at 0."""
    return order == last_derivative(fn)


def parity(fn: str, order: int = 0) -> str:
    """'odd', 'even' or 'none': of a unary primitive or its `order`-th derivative."""
    own = NONLINEARITIES[fn].parity if fn in NONLINEARITIES else "none"
    # Each derivative turns odd into even, and even into odd.
    return own if order % 2 == 0 or own == "none" else "even" if own == "odd" else "odd"


def slope_of_kink(fn: str) -> str | None:
    """The function that is the derivative of one with a kink: step of relu."""
    expr = NONLINEARITIES[fn].derivative if kink(fn) == "kink" else None
    return expr.fn if expr is not None and expr.args == (X,) else None


def derivative(fn: str, order: int) -> Expr:
    """The `order`-th derivative of a unary primitive as an expression over `x`."""
    return _derivative(NONLINEARITIES[fn], order)


# By the record and not by its name: a name may be registered anew, with another function.
@cache
def _derivative(function: Nonlinearity, order: int) -> Expr:
    expr = call(function.name, X)
    for _ in range(order):
        expr = differentiate_expr(expr)
    return expr


def differentiate_expr(expr: Expr) -> Expr:
    """d expr / dx, by the derivatives of the functions and the chain rule."""
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
        # (a' b - a b') / b**2.
        case "div":
            a, b = expr.args
            return div(sub(mul(differentiate_expr(a), b), mul(a, differentiate_expr(b))), call("square", b))
        case _:
            (inner,) = expr.args
            return mul(compose(NONLINEARITIES[expr.fn].derivative, inner), differentiate_expr(inner))


def value_at(expr: Expr, x: float, known: Callable[[str], Nonlinearity | None] = NONLINEARITIES.get) -> float:
    """The value of an expression at a number; NaN where it has none. `known` looks up functions first."""
    if expr.fn == "x":
        return x
    if expr.fn == "num":
        return float(expr.value)
    args = [value_at(a, x, known) for a in expr.args]
    if len(args) == 1:
        # A function that is being checked is not registered yet, and its derivative may be written in itself, as exp' = exp.
        return (known(expr.fn) or NONLINEARITIES[expr.fn]).at(args[0])
    try:
        return float(_OF_TWO[expr.fn](*args))
    except (ZeroDivisionError, OverflowError):
        return math.nan


_OF_TWO: dict[str, Callable[[float, float], float]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow, "max": max,
    "min": min}


_LARGEST = Fraction(sys.float_info.max)


def exact(fn: str, values: Sequence[Fraction | float | None]) -> Fraction | None:
    """The exact value of a primitive on exact numbers; None where it has none, or one that is too large for a float.
    A value that is not known is None."""
    exactly = _fractions(values)
    value = None if exactly is None else _rational(fn, exactly)
    return None if value is None or abs(value) > _LARGEST else value


def is_too_large(fn: str, values: Sequence[Fraction | float | None]) -> bool:
    """Whether a primitive on exact numbers has a value that is too large for a float."""
    exactly = _fractions(values)
    if exactly is None:
        return False
    if fn == "pow":
        base, exponent = exactly
        # By logarithms: the power itself may have too many digits to be computed.
        return base != 0 and exponent * _log(abs(base)) > _log(_LARGEST)
    value = _rational(fn, exactly)
    return value is not None and abs(value) > _LARGEST


def _fractions(values: Sequence[Fraction | float | None]) -> list[Fraction] | None:
    # A float is not exact: 0.1 as a float is another number than the 1/10 of a literal.
    exactly = [v for v in values if isinstance(v, Fraction)]
    return exactly if len(exactly) == len(values) else None


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
        # A division by 0 has no exact value: it is left to be reported, or to be infinite, where it is evaluated.
        case "div", [a, b] if b:
            return a / b
        case "square", [a]:
            return a * a
        case "sign", [a]:
            return Fraction((a > 0) - (a < 0))
        case _:
            return None
