"""Expressions in one variable and the primitives: what derivatives of functions are written in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expr:
    """A scalar expression over numbers, `x`, and primitives.

    fn is 'x' (the argument), 'num' (`value`), or a primitive applied to `args`.
    """

    fn: str
    args: tuple[Expr, ...] = ()
    value: float = 0.0


X = Expr("x")


def num(value: float) -> Expr:
    """A number."""
    return Expr("num", (), value)


def add(a: Expr, b: Expr) -> Expr:
    """a + b."""
    if is_number(a, 0):
        return b
    return a if is_number(b, 0) else Expr("add", (a, b))


def sub(a: Expr, b: Expr) -> Expr:
    """a - b."""
    return a if is_number(b, 0) else Expr("sub", (a, b))


def mul(a: Expr, b: Expr) -> Expr:
    """a * b."""
    # Zero by the product rule, whatever the other factor does: such terms must not be printed as 0*log(x).
    if is_number(a, 0) or is_number(b, 0):
        return num(0)
    if is_number(a, 1):
        return b
    return a if is_number(b, 1) else Expr("mul", (a, b))


def div(a: Expr, b: Expr) -> Expr:
    """a / b."""
    return num(0) if is_number(a, 0) else Expr("div", (a, b))


def call(fn: str, a: Expr = X) -> Expr:
    """A function of one argument."""
    return Expr(fn, (a,))


def is_number(a: Expr, value: float) -> bool:
    """Whether an expression is this number."""
    return a.fn == "num" and a.value == value


def compose(outer: Expr, inner: Expr) -> Expr:
    """`outer` with `inner` in the place of `x`."""
    if outer.fn == "x":
        return inner
    return Expr(outer.fn, tuple(compose(a, inner) for a in outer.args), outer.value)
