"""Integer expressions, conditions and declared constants: from the tree to `IntExpr`, `BoolExpr`, `ConstExpr`."""

from __future__ import annotations

from tensorprog.check.context import Abandon, Context
from tensorprog.check.scope import (
    InputName,
    IntName,
    IntValue,
    ParamName,
    Poison,
    Value,
    WidthName,
    describe_value,
)
from tensorprog.diagnostics import near_miss
from tensorprog.ir.integers import BoolExpr, Comparison, IntExpr, IntLit, Logic
from tensorprog.ir.program import ConstExpr, Var
from tensorprog.syntax import tree

CONSTANT_FUNCTIONS = ("sqrt", "exp", "log")


def int_expr(ctx: Context, node: tree.Expr, what: str) -> IntExpr:
    """`node` as an integer; `what` names its role for the message."""
    from tensorprog.check.expressions import value_of

    value = value_of(ctx, node)
    if isinstance(value, IntValue):
        return value.expr
    ctx.fail("TP301", f"{what} must be an integer, and this is {_what(ctx, node, value)}", node.span,
             help=_integer_help(ctx, node, value, what))


def _what(ctx: Context, node: tree.Expr, value: Value) -> str:
    if isinstance(node, tree.Name):
        match ctx.scope.lookup(node.id):
            case WidthName():
                return "a width, which tends to infinity"
            case ParamName():
                return "a real parameter"
    return describe_value(value)


def _integer_help(ctx: Context, node: tree.Expr, value: Value, what: str) -> str:
    """What to write instead of a value that is not an integer."""
    binding = ctx.scope.lookup(node.id) if isinstance(node, tree.Name) else None
    if isinstance(node, tree.Name) and isinstance(binding, ParamName):
        return f"declare it as an integer: `param {node.id} : int = 10`"
    if isinstance(binding, WidthName):
        return "a sum over all coordinates is `dot(u, v)`, an average `moment(x)`"
    if isinstance(node, tree.Binary) and node.op == "/":
        return "integers are divided by `//`"
    if isinstance(node, tree.CallExpr) and node.func in ("argmax", "argmin"):
        sign = "-" * (node.func == "argmin")
        return (f"`{node.func}` is a number, which indexes nothing; the entry of another array at that place is "
                f"`sum(c[k]*accuracy({sign}f, k) for k in range(len(f)))`")
    if isinstance(value, Var) and what == "a compared value":
        return ("branches depend on integers alone; on values write `step(x)`, `max(x, 0)` or `clip(x, -1, 1)`, "
                "which act coordinatewise")
    return ("integers are literals, sizes, loop variables, `int` parameters and entries of `int` inputs, combined by "
            "+ - * // % ** min max")


def bool_expr(ctx: Context, node: tree.Expr) -> BoolExpr:
    """`node` as a condition on integers."""
    match node:
        case tree.Compare(operands=operands, ops=ops):
            # a < b < c, as in Python.
            values = [int_expr(ctx, o, "a compared value") for o in operands]
            parts = tuple(Comparison(op, a, b) for op, a, b in zip(ops, values, values[1:]))
            return parts[0] if len(parts) == 1 else Logic("and", parts)
        case tree.BoolOp(op=op, operands=operands):
            return Logic(op, tuple(bool_expr(ctx, o) for o in operands))
        case tree.Not(operand=operand):
            return Logic("not", (bool_expr(ctx, operand),))
        case _:
            ctx.fail("TP302", "a condition must compare integers", node.span,
                     help="write a comparison such as `t > 0`, `t % 2 == 1` or `a != b`; coordinatewise choices are "
                          "written with step, max, min or clip")


def const_expr(ctx: Context, node: tree.Expr) -> ConstExpr:
    """`node` as a constant of a declaration: numbers, sizes, parameters, widths, and arithmetic on them."""
    match node:
        case tree.NumberExpr(value=value):
            return ConstExpr("num", leaf=float(value), span=node.span)
        case tree.Unary(op="-", operand=operand):
            return ConstExpr("neg", (const_expr(ctx, operand),), span=node.span)
        case tree.Unary(operand=operand):
            return const_expr(ctx, operand)
        case tree.Binary(op="+" | "-" | "*" | "/" | "**" as op, left=left, right=right):
            return ConstExpr(op, (const_expr(ctx, left), const_expr(ctx, right)), span=node.span)
        case tree.CallExpr(func=func, primes=0, args=(arg,), wrt=()) if func in CONSTANT_FUNCTIONS:
            return ConstExpr(func, (const_expr(ctx, arg),), span=node.span)
        case tree.Name(id=name):
            return _const_name(ctx, name, node)
        case _:
            ctx.fail("TP303", "a declaration takes a constant here", node.span,
                     help="constants are numbers, sizes, parameters and widths, combined by + - * / ** sqrt exp log")


def _const_name(ctx: Context, name: str, node: tree.Name) -> ConstExpr:
    match ctx.scope.lookup(name):
        case WidthName():
            return ConstExpr("width", leaf=name, span=node.span)
        case ParamName():
            return ConstExpr("param", leaf=name, span=node.span)
        case IntName(expr=expr):
            return ConstExpr("int", leaf=expr, span=node.span)
        case None:
            ctx.unknown_name(name, node.span)
        case Poison():
            raise Abandon
        case InputName():
            ctx.fail("TP303", f"`{name}` is an input, and a declaration takes a constant here", node.span,
                     help=f"declare it as `param {name}` instead, and set it with --set {name}=...")
        case _:
            ctx.fail("TP303", f"`{name}` is computed by the program, and a declaration takes a constant here",
                     node.span, help="constants are numbers, sizes, parameters and widths")


def extent_expr(ctx: Context, node: tree.Expr, what: str) -> IntExpr:
    """An extent of a declared family or input: a positive integer from sizes and integer parameters."""
    if isinstance(node, tree.Name) and isinstance(ctx.scope.lookup(node.id), WidthName):
        ctx.fail("TP304", f"{what} must be finite, but `{node.id}` is a width", node.span,
                 help="declare a `size` for it")
    if isinstance(node, tree.Name) and ctx.scope.lookup(node.id) is None:
        guess = near_miss(node.id, ctx.scope.names())
        ctx.fail("TP201", f"`{node.id}` is not declared", node.span,
                 help=f"did you mean `{guess}`?" if guess else f"declare it first: `size {node.id}`")
    expr = int_expr(ctx, node, what)
    if isinstance(expr, IntLit) and expr.value <= 0:
        ctx.fail("TP305", f"{what} must be positive", node.span, help="extents are at least 1")
    return expr
