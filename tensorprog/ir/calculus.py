"""Partial derivatives of the coordinatewise primitives, as operations of the typed program.

Shared by reverse mode (`passes.differentiate`) and by `phi'` of a user's nonlinearity.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, overload

from tensorprog.ir.build import Builder
from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.expr import Expr, X, num
from tensorprog.ir.primitives import derivative, last_derivative, slope_of_kink
from tensorprog.ir.program import (
    Const,
    Elementwise,
    FromInt,
    FunctionTerm,
    InputRef,
    Let,
    ParamRef,
    Statement,
    Var,
    WidthConst,
    operands,
    walk,
)

if TYPE_CHECKING:
    from tensorprog.ir.entries import EntryBuilder, Operand

Fetch = Callable[[Var], Var]


@overload
def partial(builder: Builder, op: Elementwise, out: Var, position: int, fetch: Fetch = ...) -> Var | None: ...


@overload
def partial(builder: EntryBuilder, op: FunctionTerm, out: FunctionTerm, position: int,
            fetch: Callable[[Operand | FunctionTerm], Operand]) -> Operand | None: ...


def partial(builder: Any, op: Any, out: Any, position: int, fetch: Callable[[Any], Any] = lambda var: var) -> Any:
    """d op / d args[position] as a temporary; None when it vanishes identically.

    `fetch` turns a temporary of the forward pass into one that is visible here; it is asked only for what is needed.
    """
    match op.fn:
        case "neg":
            return builder.const(-1)
        case "add":
            return builder.const(1)
        case "sub":
            return builder.const(1 if position == 0 else -1)
        case "mul":
            return fetch(op.args[1 - position])
        case "div":
            return _partial_of_div(builder, op, out, position, fetch)
        case "pow":
            return _partial_of_pow(builder, op, out, position, fetch)
        case "max" | "min":
            return _partial_of_extremum(builder, op, position, fetch)
        case "square":
            return _partial_of_square(builder, op, fetch)
        case _:
            return _partial_of_function(builder, op, out, fetch)


def _partial_of_function(builder: Builder, op: Elementwise, out: Var, fetch: Fetch) -> Var | None:
    slope = NONLINEARITIES[op.fn].slope
    if slope is not None and (op.order == 0 or slope == X):  # exp is all of its derivatives
        # Through the value, as 1 - tanh**2: the forward pass has it, and its argument need not be kept.
        return _at(builder, slope, lambda: fetch(out))
    # Past its jump a function has a delta there, and 0 elsewhere. At finite width it is 0; in the limit Stein's lemma counts it
    # (TP IV, Remark F.2), by regression on the Zhats and with no derivative.
    if op.order >= last_derivative(op.fn) or derivative(op.fn, op.order + 1) == num(0):
        return None
    # relu' is written as step: of that, closed forms, signs and bounds know more than of a derivative of relu. The order is
    # 0 here, since a kink has but one derivative.
    known = slope_of_kink(op.fn)
    if known is not None:
        return builder.elementwise(known, fetch(op.args[0]))
    return builder.elementwise(op.fn, fetch(op.args[0]), order=op.order + 1)


def _at(builder: Builder, expr: Expr, x: Callable[[], Var]) -> Var:
    """An expression at a temporary."""
    if expr.fn == "x":
        return x()
    if expr.fn == "num":
        return builder.const(Fraction(expr.value))
    return builder.elementwise(expr.fn, *(_at(builder, a, x) for a in expr.args))


def _partial_of_square(builder: Builder, op: Elementwise, fetch: Fetch) -> Var | None:
    # The product 2 x, which every pass knows, and not a primitive of order 1.
    if op.order == 0:
        return builder.mul(builder.const(2), fetch(op.args[0]))
    # The derivatives of the derivatives of x**2: 2 of 2 x, and none of 2.
    return builder.const(2) if op.order == 1 else None


def _partial_of_div(builder: Builder, op: Elementwise, out: Var, position: int, fetch: Fetch) -> Var:
    bottom = fetch(op.args[1])
    if position == 0:
        return builder.div(builder.const(1), bottom)
    # d(a/b)/db = -(a/b)/b, with the quotient from the forward pass.
    return builder.neg(builder.div(fetch(out), bottom))


def _partial_of_pow(builder: Builder, op: Elementwise, out: Var, position: int, fetch: Fetch) -> Var | None:
    base, exponent = fetch(op.args[0]), fetch(op.args[1])
    if position == 1:
        # d(a**b)/db = a**b log(a).
        return builder.mul(fetch(out), builder.elementwise("log", base))
    # Without a power of exponent 1, which nothing takes for the base itself.
    known = builder.constant_value(exponent)
    if known == 0:
        return None
    if known == 2:
        return builder.mul(builder.const(2), base)
    return builder.mul(exponent, builder.elementwise("pow", base, _lower_exponent(builder, exponent, known)))


def _lower_exponent(builder: Builder, exponent: Var, known: Fraction | float | None) -> Var:
    """What `exponent` times a power of the base is the derivative with."""
    # An exact exponent stays one: powers of n may depend on it.
    if isinstance(known, Fraction):
        return builder.const(known - 1)
    if not isinstance(exponent, Var) or exponent.type.width is not None:
        return builder.sub(exponent, builder.const(1))
    # Of exponent 0 the derivative is 0, also where the base is 0 and 0 * base**(-1) is no number: 0 * base**0.
    return builder.sub(exponent, builder.elementwise("square", builder.elementwise("sign", exponent)))


def _partial_of_extremum(builder: Builder, op: Elementwise, position: int, fetch: Fetch) -> Var:
    """The larger (smaller) operand takes the derivative; on a tie the second one does."""
    left, right = (fetch(a) for a in op.args)
    difference = builder.sub(left, right) if op.fn == "max" else builder.sub(right, left)
    # step(0) is 0, so that a tie goes to the second operand, and all of it: step of the opposite difference for that one
    # would leave max(x, x) without a derivative.
    first = builder.elementwise("step", difference)
    return first if position == 0 else builder.sub(builder.const(1), first)


def may_be_undefined(body: tuple[Statement, ...]) -> bool:
    """Whether statements divide by something that they compute, or take a root, a logarithm or a power."""
    lets = [s for s in walk(body) if isinstance(s, Let)]
    # Divisors that are written down, given or widths are not 0 by what the statements compute.
    given = {s.var for s in lets if isinstance(s.op, Const | FromInt | ParamRef | InputRef | WidthConst)}
    return any(isinstance(s.op, Elementwise) and (s.op.fn in ("log", "sqrt", "pow")
               or s.op.fn == "div" and s.op.args[1] not in given) for s in lets)


def forward_derivative(builder: Builder, body: list[Statement], seed: Var, value: Var) -> Var:
    """d value / d seed, coordinatewise, for `body` made of `Let`s of primitives alone.

    Raises:
        ValueError: `value` depends on `seed` through something that is not coordinatewise.
    """
    # What is not in it does not depend on the seed; None is a tangent that vanishes identically, as of step(seed).
    tangents: dict[Var, Var | None] = {seed: builder.const(1)}
    for statement in body:
        if not isinstance(statement, Let):
            raise ValueError("not a coordinatewise function")
        if isinstance(statement.op, Elementwise):
            tangents[statement.var] = _tangent(builder, statement.op, statement.var, tangents)
        elif any(v in tangents for v in operands(statement.op)):
            raise ValueError("not a coordinatewise function")
    # A constant function has no tangent and a derivative all the same: zero, with the seed's width.
    tangent = tangents.get(value)
    return tangent if tangent is not None else builder.const(0, seed.type)


def _tangent(builder: Builder, op: Elementwise, out: Var, tangents: dict[Var, Var | None]) -> Var | None:
    # The chain rule in forward mode: a nonlinearity has one argument that is differentiated, and a short body.
    total: Var | None = None
    for position, arg in enumerate(op.args):
        inner = tangents.get(arg)
        if inner is None:
            continue
        outer = partial(builder, op, out, position)
        if outer is not None:
            term = builder.mul(outer, inner)
            total = term if total is None else builder.add(total, term)
    return total
