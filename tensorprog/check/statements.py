"""Statements: blocks, loops, branches, and the names that statements assign. The others have files of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from tensorprog.check.assignments import assign
from tensorprog.check.context import Abandon, Context
from tensorprog.check.declarations import builtin_names, declare
from tensorprog.check.integers import bool_expr, int_expr
from tensorprog.check.scope import CellName, IntName, Pending, Poison
from tensorprog.diagnostics import Note, Span
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, last_value, loop_names, substitute
from tensorprog.ir.program import For, If, Statement
from tensorprog.syntax import tree


def check_block(ctx: Context, statements: tuple[tree.Statement, ...]) -> None:
    """Check statements one by one; after a mistake go on with the next."""
    for statement in statements:
        if declare(ctx, statement):
            continue
        try:
            _statement(ctx, statement)
        except Abandon:
            _poison(ctx, statement)


def _poison(ctx: Context, statement: tree.Statement) -> None:
    """Names that a wrong statement would have assigned raise no further errors."""
    if ctx.trying:
        return  # another statement may tell what they hold
    for name, _ in assigned_places(statement):
        # A name that had a meaning before keeps it.
        if ctx.scope.lookup(name) is None or isinstance(ctx.scope.lookup(name), Pending):
            ctx.scope.bind(name, Poison())


def _statement(ctx: Context, node: tree.Statement) -> None:
    ctx.builder.span = node.span
    match node:
        case tree.Assign():
            assign(ctx, node)
        case tree.ForStmt():
            _for(ctx, node)
        case tree.IfStmt():
            _if(ctx, node)
        case tree.FuncDef():
            from tensorprog.check.functions import define

            define(ctx, node)
        case tree.OutputStmt():
            ctx.fail("TP219", "`output` stands at the top level of a program", node.span,
                     help="fill a family in the loop, and output it after the loop")
        case tree.Return():
            if not ctx.calls:
                ctx.fail("TP414", "`return` outside a function", node.span,
                         help="a program's results are written `output f, loss`")
            ctx.fail("TP414", "`return` is the last statement of a function", node.span,
                     help="assign the result in the branches, and return it at the end")
        case tree.Pass():
            pass
        case tree.WidthDecl() | tree.SizeDecl() | tree.ParamDecl() | tree.InputDecl() | tree.MatrixDecl() | tree.VectorDecl():
            raise AssertionError("the grammar has declarations at the top alone")
        case _:
            assert_never(node)


# --- loops and branches --------------------------------------------------------------------------------------


def loop_bounds(ctx: Context, args: tuple[tree.Expr, ...], span: Span | None) -> tuple[IntExpr, IntExpr, int]:
    """range(stop), range(start, stop), range(start, stop, step) with a literal step."""
    values = [int_expr(ctx, a, "a loop bound") for a in args]
    start, stop = (IntLit(0), values[0]) if len(values) == 1 else (values[0], values[1])
    step = values[2] if len(values) == 3 else IntLit(1)
    if not isinstance(step, IntLit) or step.value == 0:
        ctx.fail("TP230", "the step of a range is an integer literal other than 0", args[2].span,
                 help="write it as a number, as in `range(0, T, 2)` or `range(T-1, -1, -1)`")
    return start, stop, step.value


def _for(ctx: Context, node: tree.ForStmt) -> None:
    start, stop, step = loop_bounds(ctx, node.range_args, node.span)
    # A loop may use the variable of an earlier one, which is an integer by now.
    binding = ctx.scope.bindings.get(node.var)
    if binding is not None and not (isinstance(binding, IntName) and not binding.fixed) \
            and not isinstance(binding, Poison):
        ctx.fail("TP231", f"the loop variable `{node.var}` already names something else", node.var_span,
                 notes=(Note("it is defined here", ctx.scope.place(node.var)),), help="choose another name")
    if node.var in builtin_names():
        ctx.fail("TP203", f"`{node.var}` is a function of the language and cannot be a loop variable", node.var_span,
                 help="choose another name")
    var = ctx.builder.names.fresh(node.var)
    ctx.scope.bind(node.var, IntName(IntSym(var, "loop"), fixed=True), node.var_span)
    _make_ahead(ctx, node)
    ctx.loops.append((var, start, stop, step))
    try:
        with ctx.block() as body:
            ctx.loop_paths.append(ctx.block_path)
            try:
                check_block(ctx, node.body)
            finally:
                ctx.loop_paths.pop()
    finally:
        ctx.loops.pop()
        _leave_loop(ctx, node.var, var, last_value(start, stop, step))
    ctx.builder.append(For(var, start, stop, step, tuple(body), span=node.span))


def _make_ahead(ctx: Context, loop: tree.ForStmt) -> None:
    """Makes the storage of names that a loop reads ahead."""
    for name in ctx.names_ahead.get(id(loop), ()):
        ahead = ctx.kinds_ahead.get(name)
        if ahead is not None and ctx.scope.lookup(name) is None:
            place = ctx.later.get(name)
            cell = ctx.builder.cell(name, ahead.type, ahead.rank, role="user", display=name, span=place)
            ctx.extents[cell] = list(ahead.extents)
            ctx.scope.bind(name, CellName(cell, (), () if ahead.rank else ctx.block_path, False), place)


def _leave_loop(ctx: Context, name: str, var: str, last: IntExpr) -> None:
    """After a loop its variable, and integers named in it, keep their last values."""
    for other, binding in list(ctx.scope.bindings.items()):
        if isinstance(binding, IntName) and var in loop_names(binding.expr):
            ctx.scope.bindings[other] = IntName(substitute(binding.expr, {var: last}))
    ctx.scope.bindings[name] = IntName(last)


def _if(ctx: Context, node: tree.IfStmt) -> None:
    for name in assigned_names((node,)):
        if ctx.scope.lookup(name) is None:
            # The branches share a cell, made by the first assignment, in the block around them.
            ctx.scope.bind(name, Pending(ctx.block_path))
    branches = []
    for condition, body in node.branches:
        checked = bool_expr(ctx, condition)
        branches.append((checked, _branch(ctx, body)))
    orelse = _branch(ctx, node.orelse)
    for holds, statements in reversed(branches):
        orelse = (If(holds, statements, orelse, span=node.span),)
    ctx.builder.append(orelse[0])


def _branch(ctx: Context, body: tuple[tree.Statement, ...]) -> tuple[Statement, ...]:
    before = dict(ctx.scope.bindings)
    with ctx.block() as statements:
        check_block(ctx, body)
    for name, binding in ctx.scope.bindings.items():
        # Integers are expressions and no storage: which branch ran cannot be remembered.
        if isinstance(binding, IntName) and before.get(name) != binding:
            why = f"`{name}` is an integer that depends on which branch ran"
            ctx.scope.bindings[name] = Poison(why)
    return tuple(statements)


def assigned_names(statements: tuple[tree.Statement, ...]) -> set[str]:
    """Plain names that the statements assign, nested blocks included."""
    return {name for name, _ in _assignments(statements)}


def assigned_places(statement: tree.Statement) -> Iterator[tuple[str, Span | None]]:
    """Names that a statement gives a meaning to: declared, defined, and assigned ones, families included."""
    match statement:
        case tree.Assign(target=target):
            for t in target.items if isinstance(target, tree.TupleExpr) else (target,):
                while isinstance(t, tree.IndexExpr):
                    t = t.base
                if isinstance(t, tree.Name):
                    yield t.id, t.span
        case tree.ForStmt(body=body):
            for s in body:
                yield from assigned_places(s)
        case tree.IfStmt(branches=branches, orelse=orelse):
            for s in (*(s for _, body in branches for s in body), *orelse):
                yield from assigned_places(s)
        case tree.SizeDecl(names=names):
            yield from ((n.name, n.span) for n in names)
        case tree.OutputStmt() | tree.Return() | tree.Pass():
            pass
        case tree.WidthDecl(name=named) | tree.ParamDecl(name=named) | tree.InputDecl(name=named) | tree.MatrixDecl(name=named) \
                | tree.VectorDecl(name=named) | tree.FuncDef(name=named):
            yield named.name, named.span
        case _:
            assert_never(statement)


def _assignments(statements: tuple[tree.Statement, ...]) -> Iterator[tuple[str, str]]:
    for s in statements:
        match s:
            case tree.Assign(target=target, op=op):
                for t in target.items if isinstance(target, tree.TupleExpr) else (target,):
                    if isinstance(t, tree.Name):
                        yield t.id, op
            case tree.ForStmt(body=body):
                yield from _assignments(body)
            case tree.IfStmt(branches=branches, orelse=orelse):
                for _, body in branches:
                    yield from _assignments(body)
                yield from _assignments(orelse)


def reassigned_names(statements: tuple[tree.Statement, ...]) -> frozenset[str]:
    """Plain names that are assigned more than once, or updated."""
    seen: set[str] = set()
    again: set[str] = set()
    for name, op in _assignments(statements):
        if name in seen or op != "=":
            again.add(name)
        seen.add(name)
    return frozenset(again)
