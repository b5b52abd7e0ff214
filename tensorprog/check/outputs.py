"""`output`: scalars, finite arrays, whole families of them, and joint draws of vectors, `sample(x, y)`."""

from __future__ import annotations

from tensorprog.check.context import Abandon, Context
from tensorprog.check.expressions import reference, tensor_of
from tensorprog.check.scope import CellName, Pending, describe
from tensorprog.diagnostics import Span
from tensorprog.ir.program import Cell, MatrixType, Output, Sample, Store, TensorType, Type, Var
from tensorprog.syntax import tree
from tensorprog.syntax.unparse import expression as expression_text

SAMPLE = "sample"


def output(ctx: Context, node: tree.OutputStmt) -> None:
    for expression, alias in node.items:
        try:
            _output_item(ctx, expression, alias)
        except Abandon:
            continue


def _output_item(ctx: Context, expression: tree.Expr, alias: tree.Declared | None) -> None:
    name = alias.name if alias else _name(expression)
    if isinstance(expression, tree.CallExpr) and _is_sample(ctx, expression):
        sample = _sample(ctx, expression, name)
        _require_new_name(ctx, name, alias.span if alias else expression.span)
        ctx.samples.append(sample)
        return
    # A name is output as it is at the end, not as it is here: later statements may still assign elements.
    cell = _whole_cell(ctx, expression)
    if cell is None:
        value = tensor_of(ctx, expression, "an output")
        _require_finite(ctx, value.type, expression)
        hint = f"out_{name}" if name.isidentifier() else "out"
        cell = ctx.builder.cell(hint, value.type, display=name, span=expression.span)
        ctx.builder.append(Store(cell, (), value, span=expression.span))
    _require_new_name(ctx, name, alias.span if alias else expression.span)
    ctx.outputs.append(Output(name, cell, span=expression.span))


def _require_new_name(ctx: Context, name: str, span: Span | None) -> None:
    if name in {*(o.name for o in ctx.outputs), *(s.name for s in ctx.samples)}:
        ctx.fail("TP233", f"two outputs are called `{name}`", span, help=f"name one of them: `output ... as {name}_2`")


def _is_sample(ctx: Context, expression: tree.Expr) -> bool:
    """Whether this is a call of `sample`, and not of a function of that name that the program defines."""
    return isinstance(expression, tree.CallExpr) and expression.func == SAMPLE and ctx.scope.lookup(SAMPLE) is None


def _sample(ctx: Context, call: tree.CallExpr, name: str) -> Sample:
    """Each vector in a cell of its own: they may be of different powers of n."""
    if not call.args or call.primes or call.wrt:
        ctx.fail("TP239", "`sample` takes one or more vectors", call.span, help="write `output sample(x, y) as joint`")
    values = [_sampled_vector(ctx, arg) for arg in call.args]
    other = next((v for v in values if v.type.width != values[0].type.width), None)
    if other is not None:
        ctx.fail("TP239", f"vectors of the widths {values[0].type.width} and {other.type.width} have no joint draws: their "
                 "coordinates do not belong together", call.span, help="sample those of each width by themselves")
    cells = []
    for i, (value, arg) in enumerate(zip(values, call.args)):
        hint = f"{name}_{i}" if name.isidentifier() else f"sample_{i}"
        text = expression_text(arg)
        cells.append(ctx.builder.cell(hint, TensorType(value.type.width), display=text, span=arg.span))
        ctx.builder.append(Store(cells[-1], (), value, span=arg.span))
    return Sample(name, tuple(cells), tuple(map(expression_text, call.args)), span=call.span)


def _sampled_vector(ctx: Context, arg: tree.Expr) -> Var:
    value = tensor_of(ctx, arg, "an argument of `sample`")
    if not value.type.width or value.type.shape:
        help = ("give an element of it, as in `sample(h[0], h[1])`" if value.type.width else
                "output it as it is, without `sample`")
        ctx.fail("TP239", f"an argument of `sample` is a vector, and this is {describe(value.type)}", arg.span, help=help)
    return value


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
                 expression.span, help="output a moment of it, as in `moment(x)` or `moment(x*y)`, or draws: `sample(x, y) as joint`")


def _name(expression: tree.Expr) -> str:
    if isinstance(expression, tree.Name):
        return expression.id
    return expression_text(expression)
