"""where(a > b, x, y): a choice that is made in every coordinate, from indicators (language reference, section 3).

`step(u)` is 1 for u > 0 and 0 for u <= 0; so `a > b` is `step(a - b)` and `a >= b` is `1 - step(b - a)`, also where the
two are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorprog.check.expressions import arity, as_tensor, tensor_of, value_of
from tensorprog.check.scope import IntValue, Value
from tensorprog.ir.program import Var
from tensorprog.syntax import tree

if TYPE_CHECKING:
    from tensorprog.check.context import Context

EXAMPLE = "where(h > 0, x, y)"


def where(ctx: Context, node: tree.Call) -> Value:
    """`x` where the condition holds, else `y`; a condition on integers alone chooses one of the two as a whole."""
    arity(ctx, node, 3, EXAMPLE)
    condition, then, orelse = node.args
    if _on_integers(ctx, condition):
        return value_of(ctx, tree.IfExp(condition, then, orelse, span=node.span))
    holds = _indicator(ctx, condition)
    left, right = tensor_of(ctx, then, "a value of where"), tensor_of(ctx, orelse, "a value of where")
    chosen = ctx.builder.elementwise("mul", holds, left)
    return ctx.builder.elementwise("add", chosen, ctx.builder.elementwise("mul", _complement(ctx, holds), right))


def _on_integers(ctx: Context, node: tree.Expr) -> bool:
    """Whether a condition compares integers alone."""
    match node:
        case tree.Compare(operands=operands):
            with ctx.block():  # what the operands take is emitted again where they are used
                return all(isinstance(value_of(ctx, o), IntValue) for o in operands)
        case tree.BoolOp(operands=operands):
            return all(_on_integers(ctx, o) for o in operands)
        case tree.Not(operand=operand):
            return _on_integers(ctx, operand)
        case _:
            return False


def _indicator(ctx: Context, node: tree.Expr) -> Var:
    """1 where a condition on numbers or vectors holds, else 0."""
    match node:
        case tree.Compare(operands=operands, ops=ops):
            values = [as_tensor(ctx, value_of(ctx, o), o, "a compared value") for o in operands]
            return _product(ctx, [_comparison(ctx, op, a, b, node) for op, a, b in zip(ops, values, values[1:])])
        case tree.BoolOp(op="and", operands=operands):
            return _product(ctx, [_indicator(ctx, o) for o in operands])
        case tree.BoolOp(operands=operands):
            return _complement(ctx, _product(ctx, [_complement(ctx, _indicator(ctx, o)) for o in operands]))
        case tree.Not(operand=operand):
            return _complement(ctx, _indicator(ctx, operand))
        case _:
            ctx.fail("TP302", "the condition of `where` must be a comparison", node.span, help=f"write `{EXAMPLE}`")


def _comparison(ctx: Context, op: str, left: Var, right: Var, node: tree.Expr) -> Var:
    if op in ("==", "!="):
        ctx.fail("TP302", f"`{op}` of real numbers has no limit", node.span,
                 help="compare by `<`, `>`, `<=` or `>=`")
    above, below = (left, right) if op in (">", "<=") else (right, left)
    indicator = ctx.builder.elementwise("step", ctx.builder.elementwise("sub", above, below))
    return indicator if op in (">", "<") else _complement(ctx, indicator)


def _product(ctx: Context, factors: list[Var]) -> Var:
    result = factors[0]
    for factor in factors[1:]:
        result = ctx.builder.elementwise("mul", result, factor)
    return result


def _complement(ctx: Context, indicator: Var) -> Var:
    return ctx.builder.elementwise("sub", ctx.builder.const(1), indicator)
