"""where(a > b, x, y): a choice that is made in every coordinate, from indicators (language reference, section 3).

`step(u)` is 1 for u > 0 and 0 for u <= 0; so `a > b` is `step(a - b)` and `a >= b` is `1 - step(b - a)`, also where the
two are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorprog.check.expressions import arity, value_of
from tensorprog.check.matrix_functions import coordinatewise, matrix_or_tensor
from tensorprog.check.scope import IntValue, Value
from tensorprog.syntax import tree

if TYPE_CHECKING:
    from tensorprog.check.context import Context

EXAMPLE = "where(h > 0, x, y)"


def where(ctx: Context, node: tree.CallExpr) -> Value:
    """`x` where the condition holds, else `y`; a condition on integers alone chooses one of the two as a whole."""
    arity(ctx, node, 3, EXAMPLE)
    condition, then, orelse = node.args
    if _on_integers(ctx, condition):
        return value_of(ctx, tree.IfExp(condition, then, orelse, span=node.span))
    holds = _indicator(ctx, condition)
    left, right = matrix_or_tensor(ctx, then, "a value of where"), matrix_or_tensor(ctx, orelse, "a value of where")
    # (Both sides are computed everywhere, and must be finite where they do not count: 0 * inf is NaN.)
    sides = [coordinatewise(ctx, "mul", *pair, node=node)
             for pair in ((holds, left), (_complement(ctx, holds, node), right))]
    return coordinatewise(ctx, "add", *sides, node=node)


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


def _indicator(ctx: Context, node: tree.Expr) -> Value:
    """1 where a condition on numbers, vectors or entries of matrices holds, else 0."""
    match node:
        case tree.Compare(operands=operands, ops=ops):
            values = [matrix_or_tensor(ctx, o, "a compared value") for o in operands]
            return _product(ctx, node, [_comparison(ctx, op, a, b, node) for op, a, b in zip(ops, values, values[1:])])
        case tree.BoolOp(op="and", operands=operands):
            return _product(ctx, node, [_indicator(ctx, o) for o in operands])
        case tree.BoolOp(operands=operands):
            # a or b = not (not a and not b).
            negated = [_complement(ctx, _indicator(ctx, o), node) for o in operands]
            return _complement(ctx, _product(ctx, node, negated), node)
        case tree.Not(operand=operand):
            return _complement(ctx, _indicator(ctx, operand), node)
        case _:
            ctx.fail("TP302", "the condition of `where` must be a comparison", node.span, help=f"write `{EXAMPLE}`")


def _comparison(ctx: Context, op: str, left: Value, right: Value, node: tree.Expr) -> Value:
    if op in ("==", "!="):
        ctx.fail("TP302", f"`{op}` of real numbers has no limit", node.span,
                 help="compare by `<`, `>`, `<=` or `>=`")
    # a > b is step(a - b), and a <= b what is left of it: also on ties, step(0) = 0.
    above, below = (left, right) if op in (">", "<=") else (right, left)
    indicator = coordinatewise(ctx, "step", coordinatewise(ctx, "sub", above, below, node=node), node=node)
    return indicator if op in (">", "<") else _complement(ctx, indicator, node)


def _product(ctx: Context, node: tree.Expr, factors: list[Value]) -> Value:
    result = factors[0]
    for factor in factors[1:]:
        result = coordinatewise(ctx, "mul", result, factor, node=node)
    return result


def _complement(ctx: Context, indicator: Value, node: tree.Expr) -> Value:
    return coordinatewise(ctx, "sub", ctx.builder.const(1), indicator, node=node)
