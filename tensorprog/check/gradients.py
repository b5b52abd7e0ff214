"""Gradients and kernels: `grad(s, v)`, `ntk(f, g; U, W)`, `cov(f, g)`."""

from __future__ import annotations

from typing import NoReturn

from tensorprog.check.context import Context
from tensorprog.check.expressions import arity, pick, reference, scalar_of, tensor_of, value_of
from tensorprog.check.scope import (
    CellName,
    InputName,
    IntName,
    MatrixValue,
    ParamName,
    TupleValue,
    Value,
    ValueName,
    WidthName,
    describe,
)
from tensorprog.diagnostics import Note
from tensorprog.ir.constants import holds_param
from tensorprog.ir.integers import IntExpr, IntLit, IntSym
from tensorprog.ir.program import (
    SCALAR,
    Cell,
    For,
    GradStmt,
    KernelStmt,
    MatrixTerm,
    MatrixType,
    Range,
    Store,
    TensorType,
    Var,
    Variable,
    single,
)
from tensorprog.syntax import tree


def grad(ctx: Context, node: tree.CallExpr) -> Value:
    """grad(s, v): a value of the type of v."""
    arity(ctx, node, 2, "grad(loss, v)")
    scalar, items = _scalar_place(ctx, node.args[0], "what is differentiated")
    wrt = reference(ctx, node.args[1])
    if isinstance(wrt, InputName) and wrt.name in ctx.data:
        # An input is one cell: its gradient as a whole, of which the entries asked for are picked.
        whole = _gradient(ctx, node, scalar, items, CellName(ctx.data[wrt.name]))
        assert isinstance(whole, Var), "an input is no matrix"
        return pick(ctx, whole, wrt.items, node.args[1])
    if not isinstance(wrt, CellName):
        _no_variable(ctx, node.args[1], wrt)
    if len(wrt.items) < wrt.cell.rank or any(isinstance(i, Range) for i in wrt.items):
        ctx.fail("TP411", f"`{wrt.cell.display}` is a family: take the gradient with respect to one element",
                 node.args[1].span, help=f"write `grad(..., {wrt.cell.display}[l])` in a loop over l")
    _require_whole(ctx, wrt, node.args[1])
    if wrt.cell.role == "data":
        _refuse_law(ctx, wrt.cell, node.args[1])
    return _gradient(ctx, node, scalar, items, wrt)


def _gradient(ctx: Context, node: tree.CallExpr, scalar: Cell, items: tuple, wrt: CellName) -> Value:
    target = ctx.builder.cell(f"d_{wrt.cell.display}", wrt.cell.type, span=node.span, home=ctx.loop_names)
    ctx.builder.append(GradStmt(target, scalar, items, wrt.cell, single(wrt.items), span=node.span))
    if isinstance(target.type, MatrixType):
        return MatrixValue(target.type.rows, target.type.cols, (MatrixTerm(None, target, ()),))
    return ctx.builder.load(target)


def _refuse_law(ctx: Context, param: Cell, node: tree.Expr) -> None:
    """A parameter in a declaration moves what is drawn, which is no derivative of the program's values."""
    name = param.display
    laws = [(c, i.cell.display) for i in ctx.initials for c in (i.drawn or i.law).args]
    ratios = [(w.ratio, w.name) for w in ctx.widths if w.ratio is not None]
    declared = next((d for constant, d in (*laws, *ratios) if holds_param(constant, name)), None)
    if declared is not None:
        ctx.fail("TP431", f"`{name}` is in the declaration of `{declared}`, which has no derivative", node.span,
                 help=f"draw from a law without `{name}` and multiply: `sqrt({name}) * (W @ x)`"
                 if declared not in {w.name for w in ctx.widths} else "give what is differentiated a parameter of its own")


def _require_whole(ctx: Context, wrt: CellName, node: tree.Expr) -> None:
    if len(wrt.items) > wrt.cell.rank:
        ctx.fail("TP410", "a gradient is taken with respect to a whole vector, matrix or array", node.span,
                 help="take the gradient of the whole, and index what you get")


_KIND_OF_NAME = {ParamName: "a parameter", IntName: "an integer", WidthName: "a width"}


def _no_variable(ctx: Context, node: tree.Expr, wrt: InputName | None) -> NoReturn:
    if isinstance(wrt, InputName):
        ctx.fail("TP410", f"`{wrt.name}` is an input, and has no gradient here", node.span,
                 help="gradients are taken with respect to real inputs, and kernels with respect to vectors and matrices")
    value = value_of(ctx, node)  # a misspelt name is reported as such
    name = node.id if isinstance(node, tree.Name) else ""
    binding = ctx.scope.lookup(name) if name else None
    if isinstance(binding, ParamName | IntName | WidthName):
        ctx.fail("TP410", f"`{name}` is {_KIND_OF_NAME[type(binding)]}, and gradients are taken with respect to "
                          "real numbers, vectors and matrices", node.span,
                 help=f"compute with a copy, `{name}_ = 1.0*{name}`, and write `grad(loss, {name}_)`")
    if isinstance(binding, ValueName) and not isinstance(value, TupleValue):
        ctx.fail("TP410", f"`{name}` is a computed value without a name in this call", node.span,
                 help="give it a name before the call: `x = ...`, and call the function with `x`")
    ctx.fail("TP410", "a gradient is taken with respect to a name or a family's element", node.span,
             help="give the value a name, compute the scalar from that name, and write it here: `grad(loss, v)`")


def _scalar_place(ctx: Context, node: tree.Expr, what: str) -> tuple[Cell, tuple]:
    """A scalar as storage; an expression is stored first."""
    ref = reference(ctx, node)
    if isinstance(ref, CellName) and ref.cell.type == SCALAR and len(ref.items) == ref.cell.rank \
            and not any(isinstance(i, Range) for i in ref.items):
        return ref.cell, ref.items
    return _stored(ctx, scalar_of(ctx, node, what), node), ()


def _stored(ctx: Context, value: Var, node: tree.Expr) -> Cell:
    cell = ctx.builder.cell("s", value.type, span=node.span, home=ctx.loop_names)
    ctx.builder.append(Store(cell, (), value, span=node.span))
    return cell


# --- kernels -------------------------------------------------------------------------------------------------


def ntk(ctx: Context, node: tree.CallExpr) -> Var:
    """ntk(f, g; U, W, V): the sum of the inner products of the gradients."""
    arity(ctx, node, 2, "ntk(f, g; U, W, V)")
    if not node.wrt:
        ctx.fail("TP412", "`ntk` does not say with respect to what", node.span,
                 help="list the matrices and vectors after a `;`, as in `ntk(f[a], f[b]; U, W, v)`")
    wrt: list[Variable] = []
    for part in node.wrt:
        variable = _variable(ctx, part)
        # Its part of the sum would count twice.
        if variable in wrt:
            ctx.fail("TP412", f"`{variable.cell.display}` is listed twice", part.span, help="list each of them once")
        wrt.append(variable)
    return _kernel(ctx, node, "ntk", tuple(wrt))


def cov(ctx: Context, node: tree.CallExpr) -> Var:
    """cov(f, g): the covariance of two readouts that are Gaussian in the limit."""
    arity(ctx, node, 2, "cov(f, g)")
    return _kernel(ctx, node, "cov", ())


def _variable(ctx: Context, node: tree.Expr) -> Variable:
    """What a kernel is taken with respect to: a declared object, all or some of a declared family, or a name."""
    ref = reference(ctx, node)
    if not isinstance(ref, CellName):
        _no_variable(ctx, node, ref)
    _require_whole(ctx, ref, node)
    cell = ref.cell
    if any(isinstance(i, Range) for i in ref.items):
        ctx.fail("TP412", "a kernel takes a whole family, or one element of it", node.span,
                 help=f"write `{cell.display}`, or add up `ntk(f, g; {cell.display}[l])` over l")
    if cell.rank and cell.role != "initial":
        notes = (Note("it is assigned here", cell.span),) if cell.span else ()
        ctx.fail("TP412", f"`{cell.display}` is a family that the program assigns, and kernels are taken with respect "
                          "to declared families", node.span, notes=notes,
                 help="list the declared matrices and vectors that it is made of")
    return Variable(cell, single(ref.items))


def _kernel(ctx: Context, node: tree.CallExpr, kind: str, wrt: tuple[Variable, ...]) -> Var:
    """A number; for arrays or families of numbers the array of all pairs, made in loops over their entries."""
    builder, what = ctx.builder, f"an argument of {kind}"
    # Kernels are of numbers that are stored: their gradients are recorded where that is (`passes.kernels`).
    (left, left_items), (right, right_items) = (_numbers_place(ctx, a, what) for a in node.args)
    left_axes, right_axes = (_missing_axes(ctx, *place, a)
                             for place, a in zip(((left, left_items), (right, right_items)), node.args))
    loops = [(builder.names.fresh("i"), size) for size in (*left_axes, *right_axes)]
    entries = tuple(IntSym(var, "loop") for var, _ in loops)
    # A new number for every pair: the loops over pairs are independent.
    home = (*ctx.loop_names, *(var for var, _ in loops))
    target = builder.cell(kind, SCALAR, span=node.span, home=home)
    left_items, right_items = left_items + entries[:len(left_axes)], right_items + entries[len(left_axes):]
    kernel = KernelStmt(target, kind, left, left_items, right, right_items, wrt, span=node.span)
    if not loops:
        builder.append(kernel)
        return builder.load(target)
    family = builder.cell(f"{kind}_pairs", SCALAR, len(loops), span=node.span, home=ctx.loop_names)
    with builder.nested() as body:
        builder.append(kernel)
        builder.append(Store(family, entries, builder.load(target), span=node.span))
    for var, size in reversed(loops):
        body = [For(var, IntLit(0), size, 1, tuple(body), span=node.span)]
    builder.append(body[0])
    return builder.load(family, (), TensorType(None, (*left_axes, *right_axes)))


def _numbers_place(ctx: Context, node: tree.Expr, what: str) -> tuple[Cell, tuple]:
    """A number, or an array or family of numbers, as storage and the first of its indices."""
    ref = reference(ctx, node)
    if isinstance(ref, CellName) and isinstance(ref.cell.type, TensorType) and not ref.cell.type.width \
            and len(ref.items) <= ref.cell.rank + len(ref.cell.type.shape) \
            and not any(isinstance(i, Range) for i in ref.items):
        return ref.cell, ref.items
    value = tensor_of(ctx, node, what)
    if value.type.width:
        ctx.fail("TP309", f"{what} must be a number or an array of numbers, and this is {describe(value.type)}",
                 node.span, help="take `moment(...)` of a vector, or its product with a readout: `dot(v, x)`")
    return _stored(ctx, value, node), ()


def _missing_axes(ctx: Context, cell: Cell, items: tuple, node: tree.Expr) -> tuple[IntExpr, ...]:
    """The lengths of the axes of stored numbers that have no index yet."""
    missing = range(len(items), cell.rank)
    extents = [extent for p in missing if (extent := ctx.extent(cell, p)) is not None]
    if len(extents) < len(missing):
        ctx.fail("TP320", f"the extent of `{cell.display}` depends on data, so that its kernel has no shape",
                 node.span, help="give it all its indices")
    return (*extents, *cell.tensor.shape[max(0, len(items) - cell.rank):])
