"""`output`: scalars, finite arrays, and whole families of them."""

from __future__ import annotations

from tensorprog.check.context import Abandon, Context
from tensorprog.check.expressions import reference, tensor_of
from tensorprog.check.scope import CellName, Pending, describe
from tensorprog.ir.program import Cell, MatrixType, Output, Store, Type
from tensorprog.syntax import tree
from tensorprog.syntax.unparse import expression as expression_text


def output(ctx: Context, node: tree.Output) -> None:
    for expression, alias in node.items:
        try:
            _output_item(ctx, expression, alias)
        except Abandon:
            continue


def _output_item(ctx: Context, expression: tree.Expr, alias: tree.Declared | None) -> None:
    cell = _whole_cell(ctx, expression)
    name = alias.name if alias else _name(expression)
    if cell is None:
        value = tensor_of(ctx, expression, "an output")
        _require_finite(ctx, value.type, expression)
        hint = f"out_{name}" if name.isidentifier() else "out"
        cell = ctx.builder.cell(hint, value.type, display=name, span=expression.span)
        ctx.builder.append(Store(cell, (), value, span=expression.span))
    if any(o.name == name for o in ctx.outputs):
        ctx.fail("TP233", f"two outputs are called `{name}`", alias.span if alias else expression.span,
                 help=f"name one of them: `output ... as {name}_2`")
    ctx.outputs.append(Output(name, cell, span=expression.span))


def _whole_cell(ctx: Context, expression: tree.Expr) -> Cell | None:
    """The storage of a plain name, which is output as it stands at the end of the program."""
    if not isinstance(expression, tree.Name):
        return None
    binding = ctx.scope.lookup(expression.id)
    if isinstance(binding, Pending):
        ctx.fail("TP217", f"`{expression.id}` may be read before it is assigned", expression.span,
                 help="assign it before the `if`, or in every branch")
    ref = reference(ctx, expression)
    if not isinstance(ref, CellName):
        return None
    _require_finite(ctx, ref.cell.type, expression, family=ref.cell.rank > 0)
    return ref.cell


def _require_finite(ctx: Context, type: Type, expression: tree.Expr, family: bool = False) -> None:
    if isinstance(type, MatrixType):
        ctx.fail("TP234", "a matrix has no limit that could be output", expression.span,
                 help="output moments of what it does, as in `moment(x * (W @ x))`")
    if type.width:
        what = f"a family, each element {describe(type)}" if family else describe(type)
        ctx.fail("TP234", f"an output is a number or a family of numbers, and this is {what}",
                 expression.span, help="output a moment of it, as in `moment(x)` or `moment(x*y)`")


def _name(expression: tree.Expr) -> str:
    if isinstance(expression, tree.Name):
        return expression.id
    return expression_text(expression)

