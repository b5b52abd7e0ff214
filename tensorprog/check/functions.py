"""Functions: their definitions, and their expansion where they are called."""

from __future__ import annotations

from tensorprog.check.assignments import PARAMETER, fit, storable
from tensorprog.check.context import Context
from tensorprog.check.declarations import builtin_names
from tensorprog.check.expressions import as_tensor, value_of
from tensorprog.check.integers import bool_expr
from tensorprog.check.scope import (
    Binding,
    CellName,
    FunctionName,
    InputName,
    IntName,
    IntValue,
    Scope,
    Value,
    ValueName,
    describe,
)
from tensorprog.check.statements import check_block, reassigned_names
from tensorprog.diagnostics import Note
from tensorprog.ir.program import If, Store, Var
from tensorprog.syntax import tree


def define(ctx: Context, node: tree.FuncDef) -> None:
    if ctx.calls or ctx.block_path:
        ctx.fail("TP416", "functions are defined at the top level of a program", node.name.span,
                 help="move the definition above, out of the loop or function")
    if node.name.name in builtin_names():
        ctx.fail("TP203", f"`{node.name.name}` is a function of the language and cannot be defined again",
                 node.name.span, help="choose another name")
    # (Functions of the library are in no scope of the program: they may be defined again.)
    if ctx.scope.lookup(node.name.name) is not None:
        ctx.fail("TP204", f"`{node.name.name}` is already defined", node.name.span,
                 notes=(Note("the first definition is here", ctx.scope.place(node.name.name)),),
                 help="choose another name")
    seen = set()
    for param in node.params:
        if param.name in seen:
            ctx.fail("TP417", f"two parameters are called `{param.name}`", param.span, help="rename one of them")
        seen.add(param.name)
    if node.expression is None and not _returns(node.body):
        ctx.fail("TP418", f"`{node.name.name}` returns nothing", node.name.span, help="end it with `return ...`")
    ctx.scope.bind(node.name.name, FunctionName(node), node.name.span)


def _returns(body: tuple[tree.Statement, ...]) -> bool:
    last = body[-1] if body else None
    if isinstance(last, tree.IfStmt):
        return all(_returns(b) for _, b in last.branches) and _returns(last.orelse)
    return isinstance(last, tree.Return)


def function_value(ctx: Context, definition: tree.FuncDef, arguments: tuple, around: Scope) -> Value:
    """Expand a function where it is called: its body over a new scope inside of `around`, the value of its `return`."""
    # Names are looked up where the function is defined: at the top, whatever the caller's names are.
    outer, reassigned, hint = ctx.scope, ctx.reassigned, ctx.builder.hint
    ctx.scope = Scope(around)
    ctx.reassigned = reassigned_names(definition.body)
    try:
        for param, argument in zip(definition.params, arguments):
            ctx.scope.bind(param.name, _parameter(argument), param.span)
        if definition.expression is not None:
            return value_of(ctx, definition.expression)
        return _body_value(ctx, definition.body)
    finally:
        ctx.scope, ctx.reassigned, ctx.builder.hint = outer, reassigned, hint


def _parameter(argument: Value | CellName | InputName) -> Binding:
    match argument:
        case IntValue(expr=expr):
            return IntName(expr)
        case CellName(cell=cell, items=items):
            # Not its value: a gradient may be taken with respect to it.
            return CellName(cell, items, PARAMETER)
        case InputName():
            return argument
        case _:
            return ValueName(argument)


def _body_value(ctx: Context, body: tuple[tree.Statement, ...]) -> Value:
    check_block(ctx, body[:-1])
    last = body[-1]
    ctx.builder.span = last.span
    if isinstance(last, tree.Return):
        return value_of(ctx, last.value)
    assert isinstance(last, tree.IfStmt), "a function ends with what it returns"
    return _branches_value(ctx, last)


def _branches_value(ctx: Context, node: tree.IfStmt) -> Var:
    """A final `if` whose every branch returns."""
    parts = [(bool_expr(ctx, c), body) for c, body in node.branches]
    results = []
    for _, body in [*parts, (None, node.orelse)]:
        with ctx.block() as statements:
            value = as_tensor(ctx, _body_value(ctx, body), node, "a value returned from a branch")
        results.append((statements, value))
    returned = results[0][1].type
    cell = ctx.builder.cell("choice", returned, home=ctx.loop_names)
    for statements, value in results:
        if not storable(value.type, cell.type):
            ctx.fail("TP325", f"the branches return {describe(cell.type)} and {describe(value.type)}", node.span,
                     help="every branch of a function returns the same kind of value")
        with ctx.builder.nested() as tail:
            fitted = fit(ctx, value, returned)
        statements += [*tail, Store(cell, (), fitted, span=node.span)]
    orelse = tuple(results[-1][0])
    for (condition, _), (statements, _) in zip(reversed(parts), reversed(results[:-1])):
        orelse = (If(condition, tuple(statements), orelse, span=node.span),)
    ctx.builder.append(orelse[0])
    return ctx.builder.load(cell)
