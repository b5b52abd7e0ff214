"""Declarations: widths, sizes, parameters, inputs, random matrices and vectors."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import assert_never

from tensorprog.check.context import Abandon, Context
from tensorprog.check.ensembles import SYMMETRIC, declare_symmetric, normal_of_same_variance, require_ensemble
from tensorprog.check.integers import const_expr, extent_expr
from tensorprog.check.scope import CellName, InputName, IntName, ParamName, Poison, WidthName, counted
from tensorprog.diagnostics import Note, Span, near_miss
from tensorprog.diagnostics.foreign import instead_of_law
from tensorprog.ensembles import ENSEMBLES
from tensorprog.ir.constants import ConstantError, holds_name, literal_value
from tensorprog.ir.functions import nonlinearity_names
from tensorprog.ir.integers import IntExpr, IntSym
from tensorprog.ir.laws import LAWS
from tensorprog.ir.program import (
    SCALAR,
    Cell,
    ConstExpr,
    Initial,
    Input,
    InputRef,
    Law,
    MatrixType,
    Param,
    ParamRef,
    Size,
    Store,
    TensorType,
    Width,
)
from tensorprog.syntax import tree
from tensorprog.syntax.unparse import expression as expression_text

_BUILTINS = frozenset("max min clip moment dot sum mean prod outer grad ntk cov range".split())


def builtin_names() -> frozenset[str]:
    """Functions whose names a program cannot take."""
    return _BUILTINS | frozenset(nonlinearity_names())


def law_parameters() -> dict[str, tuple[str, ...]]:
    """The parameters of every law."""
    return {name: law.parameters for table in (LAWS, ENSEMBLES) for name, law in table.items()}


def declare(ctx: Context, node: tree.Statement) -> bool:
    """Check a declaration; False when `node` is not one. A mistake poisons the names that it declares."""
    if not isinstance(node, tree.Declaration):
        return False
    names = node.names if isinstance(node, tree.SizeDecl) else (node.name,)
    try:
        if ctx.block_path or ctx.calls:
            ctx.fail("TP202", "declarations stand at the top level of a program", node.span,
                     help="move it above, out of the loop or function")
        for name in names:
            _check_new(ctx, name)
        # Cells take names as they are made; other declarations have to, so that no temporary gets theirs.
        if not isinstance(node, tree.MatrixDecl | tree.VectorDecl):
            for name in names:
                ctx.builder.names.fresh(name.name)
        _declare(ctx, node)
    except Abandon:
        for name in names:
            if ctx.scope.lookup(name.name) is None:
                ctx.scope.bind(name.name, Poison(), name.span)
    return True


def _check_new(ctx: Context, name: tree.Declared) -> None:
    if name.name in builtin_names():
        ctx.fail("TP203", f"`{name.name}` is a function of the language and cannot be declared", name.span,
                 help="choose another name")
    if ctx.scope.lookup(name.name) is not None:
        ctx.fail("TP204", f"`{name.name}` is already declared", name.span,
                 notes=(Note("the first declaration is here", ctx.scope.place(name.name)),), help="choose another name")


def _width(ctx: Context, node: tree.WidthDecl) -> None:
    name = node.name.name
    if not ctx.widths:
        if node.value is not None:
            ctx.fail("TP205", "the first width has nothing to be tied to", node.value.span,
                     help=f"write `width {name}`; a finite width is chosen when the program is simulated")
        ctx.widths.append(Width(name, None, name))
    else:
        base = ctx.widths[0].name
        if node.value is None:
            ctx.fail("TP206", f"`{name}` is a second width without a ratio", node.name.span,
                     help=f"all widths tend to infinity together: write `width {name} = 2*{base}`")
        ctx.widths.append(Width(name, _ratio(ctx, node.value, base), base))
    ctx.scope.bind(name, WidthName(name), node.name.span)


def _ratio(ctx: Context, node: tree.Expr, base: str) -> ConstExpr:
    """The coefficient of the base width in `node`, which must be a multiple of a width."""
    expr = const_expr(ctx, node)
    # m = sqrt(n) or n**2 would be of another order, of which no limit theorem says anything.
    if _power_of_width(expr) != 1:
        ctx.fail("TP206", "a width is a multiple of another width", node.span,
                 help=f"write it as a number times `{base}`, as in `0.5*{base}`")
    try:
        positive = literal_value(_at_width_one(expr)) > 0
    except ConstantError:
        positive = True  # known once parameters are
    except (ArithmeticError, ValueError):
        positive = False
    if not positive:
        ctx.fail("TP206", "a width is a positive multiple of another width", node.span,
                 help=f"write it as a positive number times `{base}`, as in `0.5*{base}`")
    return expr


def _at_width_one(expr: ConstExpr) -> ConstExpr:
    if expr.op == "width":
        return replace(expr, op="num", leaf=1.0)
    if expr.op in ("param", "int"):
        raise ConstantError("it holds a name", expr)
    return replace(expr, args=tuple(_at_width_one(a) for a in expr.args))


def _power_of_width(expr: ConstExpr) -> float | None:
    """The power of n of a product or quotient; None for anything else that holds a width."""
    match expr.op:
        case "width":
            return 1
        case "num" | "param" | "int":
            return 0
    powers = [power for a in expr.args if (power := _power_of_width(a)) is not None]
    if len(powers) < len(expr.args):
        return None
    match expr.op:
        case "*":
            return powers[0] + powers[1]
        case "/":
            return powers[0] - powers[1]
        case "neg":
            return powers[0]
        case "+" | "-":
            return powers[0] if powers[0] == powers[1] else None
        case _:
            # sqrt(n), n**2, max(n, 1): not a multiple of n as far as this looks.
            return 0 if not any(powers) else None


def _size(ctx: Context, node: tree.SizeDecl) -> None:
    default = None
    if node.default is not None:
        default = int(_literal(ctx, node.default, "int", "a size's default"))
        if default < 1:
            ctx.fail("TP305", "a size must be positive", node.default.span, help="sizes are at least 1")
    for name in node.names:
        ctx.sizes.append(Size(name.name, default, span=name.span))
        ctx.scope.bind(name.name, IntName(IntSym(name.name, "size"), fixed=True), name.span)


def _param(ctx: Context, node: tree.ParamDecl) -> None:
    name = node.name.name
    default = None if node.default is None else _literal(ctx, node.default, node.kind, "a parameter's default")
    ctx.params.append(Param(name, node.kind, default, span=node.name.span))
    binding = IntName(IntSym(name, "param"), fixed=True) if node.kind == "int" else ParamName(name)
    ctx.scope.bind(name, binding, node.name.span)
    if node.kind != "int":
        _store_data(ctx, name, ParamRef(name), SCALAR, node.name.span)


def _literal(ctx: Context, node: tree.Expr, kind: str, what: str) -> float | int:
    expr = const_expr(ctx, node)
    try:
        # Defaults are known when the program is compiled: powers of n may depend on them.
        value = math.nan if holds_name(expr) else literal_value(expr)
    except (ConstantError, ArithmeticError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        ctx.fail("TP208", f"{what} must be a number", node.span,
                 help="defaults are plain numbers such as 0.1 or 1/3; other values come from --set or from Python")
    if kind == "int":
        if value != int(value):
            ctx.fail("TP208", f"{what} must be an integer", node.span,
                     help="write a whole number" + ", or declare a real parameter, without `: int`" * ("param" in what))
        return int(value)
    return value


def _input(ctx: Context, node: tree.InputDecl) -> None:
    name = node.name.name
    shape = tuple(extent_expr(ctx, s, "an input's extent") for s in node.shape)
    ctx.inputs.append(Input(name, shape, node.kind, span=node.name.span))
    ctx.scope.bind(name, InputName(name, shape, node.kind), node.name.span)
    if node.kind != "int":
        _store_data(ctx, name, InputRef(name, ()), TensorType(None, shape), node.name.span)


def _store_data(ctx: Context, name: str, op: InputRef | ParamRef, type: TensorType, span: Span | None) -> None:
    """Data that gradients are taken with respect to are read from storage, until the gradients are taken
    (`passes.data`)."""
    if name in ctx.differentiated:
        cell = ctx.data[name] = ctx.builder.cell(name, type, role="data", display=name, span=span)
        ctx.builder.append(Store(cell, (), ctx.builder.let(op, type, name), span=span))


def _matrix(ctx: Context, node: tree.MatrixDecl) -> None:
    if len(node.shape) != 2:
        ctx.fail("TP209", f"a matrix has two axes, this one has {len(node.shape)}", node.span,
                 help="write `matrix W : [n, n] ~ normal(0, 1/n)`; for one axis use `vector`")
    rows, cols = (_axis(ctx, s) for s in node.shape)
    if isinstance(rows, str):
        if isinstance(cols, str):
            require_ensemble(ctx, node, MatrixType(rows, cols))
            _declare_random(ctx, node, MatrixType(rows, cols))
        else:
            _declare_random(ctx, node, TensorType(rows, (cols,), True))
    elif isinstance(cols, str):
        _declare_random(ctx, node, TensorType(cols, (rows,), False))
    else:
        _declare_random(ctx, node, TensorType(None, (rows, cols)))


def _axis(ctx: Context, node: tree.Expr) -> str | IntExpr:
    """A width's name, or a finite extent."""
    if isinstance(node, tree.Name) and isinstance(ctx.scope.lookup(node.id), WidthName):
        return node.id
    text = expression_text(node)
    if any(isinstance(ctx.scope.lookup(name), WidthName) for name in re.findall(r"\w+", text)):
        ctx.fail("TP304", "an axis is a size, or the name of a width", node.span,
                 help=f"declare a width for it: `width m = {text}`")
    return extent_expr(ctx, node, "an axis")


def _vector(ctx: Context, node: tree.VectorDecl) -> None:
    if len(node.shape) != 1:
        ctx.fail("TP209", f"a vector has one axis, this one has {len(node.shape)}", node.span,
                 help="write `vector v : [n] ~ normal(0, 1)`; for two axes use `matrix`")
    axis = _axis(ctx, node.shape[0])
    _declare_random(ctx, node, TensorType(axis) if isinstance(axis, str) else TensorType(None, (axis,)))


def _declare_random(ctx: Context, node: tree.MatrixDecl | tree.VectorDecl, type: TensorType | MatrixType) -> None:
    extents = tuple(extent_expr(ctx, e, "a family's extent") for e in node.name.family)
    law = Law("zero") if node.law is None else _law(ctx, node.law, isinstance(type, MatrixType))
    name = node.name.name
    if law.name == SYMMETRIC and isinstance(node, tree.MatrixDecl) and isinstance(type, MatrixType):
        declare_symmetric(ctx, node, type, law, extents)
        return
    cell = Cell(ctx.builder.names.fresh(name), type, len(extents), name, "initial", node.name.span)
    initial = Initial(cell, law, extents)
    # Universality (Golikov and Yang, 2022): of iid entries only the variance matters to a product with a vector. Of vectors, as
    # U, every coordinate has the law itself.
    ctx.initials.append(normal_of_same_variance(initial) if isinstance(type, MatrixType) else initial)
    ctx.scope.bind(name, CellName(cell), node.name.span)


def _law(ctx: Context, node: tree.LawExpr, of_matrix: bool) -> Law:
    laws, name = law_parameters(), node.name
    if name in ENSEMBLES and name not in LAWS and not of_matrix:
        ctx.fail("TP214", f"`{name}` is a law of width x width matrices", _start(node.span, len(name)),
                 help="write `normal(0, 1)`; with variance 1/n, a finite number of such vectors is orthonormal in the limit"
                 if name == "orthogonal" else "write `normal(0, 1)`")
    if name not in laws:
        instead, guess = instead_of_law(name), near_miss(name, laws)
        ctx.fail("TP214", f"`{name}` is not a law", _start(node.span, len(name)),
                 help=instead or (f"did you mean `{guess}`?" if guess else "laws are " + ", ".join(_law_texts())))
    parameters = laws[name]
    if len(node.args) != len(parameters):
        takes = counted(len(parameters), "argument") if parameters else "no argument"
        ctx.fail("TP215", f"`{name}` takes {takes}, this has {len(node.args)}", node.span,
                 help=f"write `{name}({', '.join(parameters)})`")
    args = tuple(const_expr(ctx, a) for a in node.args)
    # (Of parameters the sign is known in a run.)
    if "variance" in parameters and args[variance := parameters.index("variance")].op == "neg":
        ctx.fail("TP216", "a variance is not negative", node.args[variance].span,
                 help="the second argument is the variance, sigma**2")
    return Law(name, args)


def _start(span: Span | None, length: int) -> Span | None:
    return span and Span(span.line, span.column, span.line, span.column + length)


def _law_texts() -> list[str]:
    return [f"{name}({', '.join(args)})" for name, args in law_parameters().items()]


def _declare(ctx: Context, node: tree.Declaration) -> None:
    match node:
        case tree.WidthDecl():
            _width(ctx, node)
        case tree.SizeDecl():
            _size(ctx, node)
        case tree.ParamDecl():
            _param(ctx, node)
        case tree.InputDecl():
            _input(ctx, node)
        case tree.MatrixDecl():
            _matrix(ctx, node)
        case tree.VectorDecl():
            _vector(ctx, node)
        case _:
            assert_never(node)
