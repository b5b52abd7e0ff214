"""Statements: assignments, updates, loops, branches, functions, outputs."""

from __future__ import annotations

from collections.abc import Iterator

from tensorprog.check.context import Abandon, Context
from tensorprog.check.declarations import BUILTINS, declare
from tensorprog.check.expressions import as_tensor, read, tensor_of, value_of
from tensorprog.check.integers import bool_expr, int_expr
from tensorprog.check.matrices import scale_matrix
from tensorprog.check.scope import (
    CellName,
    ChainValue,
    FunctionName,
    InputName,
    IntName,
    IntValue,
    MatrixValue,
    ParamName,
    Pending,
    Poison,
    Scope,
    TupleValue,
    Value,
    ValueName,
    counted,
    describe,
    describe_value,
)
from tensorprog.diagnostics import Note, Span
from tensorprog.ir.build import TypeMismatch, broadcast, same_shape
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin, loop_names, substitute
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    Const,
    For,
    If,
    Let,
    MatAccum,
    MatrixTerm,
    MatrixType,
    MatStore,
    Statement,
    Store,
    TensorType,
    Type,
    Var,
)
from tensorprog.syntax import tree

# The block path of a parameter that stands for the caller's storage: assigning it makes a cell of the function's own.
PARAMETER = (-1,)


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
    for name, _ in assigned_places(statement):
        if ctx.scope.lookup(name) is None or isinstance(ctx.scope.lookup(name), Pending):
            ctx.scope.bind(name, Poison())


def _statement(ctx: Context, node: tree.Statement) -> None:
    ctx.builder.span = node.span
    match node:
        case tree.Assign():
            _assign(ctx, node)
        case tree.For():
            _for(ctx, node)
        case tree.If():
            _if(ctx, node)
        case tree.FuncDef():
            _define(ctx, node)
        case tree.Output():
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


# --- assignment ----------------------------------------------------------------------------------------------


def _assign(ctx: Context, node: tree.Assign) -> None:
    if isinstance(node.target, tree.TupleExpr):
        _assign_tuple(ctx, node)
        return
    name, items = _target(ctx, node.target)
    ctx.builder.hint = name
    if node.op == "=":
        _store(ctx, name, items, value_of(ctx, node.value), node)
    else:
        _update(ctx, name, items, node)


def _assign_tuple(ctx: Context, node: tree.Assign) -> None:
    value = value_of(ctx, node.value)
    targets = node.target.items
    if not isinstance(value, TupleValue) or len(value.items) != len(targets):
        count = len(value.items) if isinstance(value, TupleValue) else 1
        have = "is 1" if count == 1 else f"are {count}"
        ctx.fail("TP221", f"{len(targets)} names take {len(targets)} values, and here {have}", node.span,
                 help="write one name for each value")
    for target, item in zip(targets, value.items):
        name, items = _target(ctx, target)
        _store(ctx, name, items, item, node)


def _target(ctx: Context, node: tree.Expr) -> tuple[str, tuple[IntExpr, ...] | None]:
    """The assigned name, and the indices of `f[t, a] = ...` (None for a plain name)."""
    match node:
        case tree.Name(id=name):
            _check_assignable(ctx, name, node.span)
            return name, None
        case tree.Index(base=tree.Name(id=name), items=items):
            _check_assignable(ctx, name, node.span)
            if any(isinstance(i, tree.Slice) for i in items):
                ctx.fail("TP222", "a slice cannot be assigned", node.span, help="assign the elements in a loop")
            exprs = tuple(int_expr(ctx, i, "an index") for i in items)
            for expr, item in zip(exprs, items):
                if isinstance(expr, IntLit) and expr.value < 0:
                    ctx.fail("TP314", "indices count from 0 and are not negative", item.span,
                             help="write the last element as `f[T-1]`")
            return name, exprs
        case tree.Index(base=tree.Index()):
            ctx.fail("TP223", "an element is assigned with all its indices in one bracket", node.span,
                     help="write `f[t, a] = ...`")
        case _:
            ctx.fail("TP224", "this cannot be assigned", node.span, help="names and elements of families are assigned")


def _check_assignable(ctx: Context, name: str, span: Span | None) -> None:
    binding = ctx.scope.lookup(name)
    if isinstance(binding, InputName) and ctx.scope is not ctx.globals and name in ctx.scope.bindings:
        return  # a function's own parameter
    what = {InputName: "an input", ParamName: "a parameter", FunctionName: "a function"}.get(type(binding))
    if isinstance(binding, IntName) and binding.fixed:
        kinds = {"size": "a size", "param": "a parameter", "loop": "a loop variable"}
        what = kinds[binding.expr.kind] if isinstance(binding.expr, IntSym) else "an integer"
    if type(binding).__name__ == "WidthName":
        what = "a width"
    if name in BUILTINS:
        what = "a function of the language"
    if what:
        notes = (Note("it is declared here", ctx.scope.place(name)),) if ctx.scope.place(name) else ()
        ctx.fail("TP225", f"`{name}` is {what} and cannot be assigned", span, notes=notes,
                 help=f"give the new value a name of its own, such as `{name}_`")


def _store(ctx: Context, name: str, items: tuple[IntExpr, ...] | None, value: Value, node: tree.Assign) -> None:
    if isinstance(value, TupleValue):
        ctx.fail("TP221", f"one name takes one value, and here are {len(value.items)}", node.span,
                 help="write one name for each value, as in `a, b = ...`")
    if isinstance(value, ChainValue):
        ctx.fail("TP323", "a product of matrices is not a matrix of the language", node.value.span,
                 help="apply it to a vector: `A @ (B @ x)`")
    if items is None and isinstance(value, IntValue) and _is_int_name(ctx, name, node):
        ctx.scope.bind(name, IntName(value.expr), node.target.span)
        return
    if not isinstance(value, MatrixValue):
        value = as_tensor(ctx, value, node.value)
    type = MatrixType(value.rows, value.cols) if isinstance(value, MatrixValue) else value.type
    cell = _cell_for_store(ctx, name, items, type, node)
    store_value(ctx, cell, items or (), value, node)


def _is_int_name(ctx: Context, name: str, node: tree.Assign) -> bool:
    """An integer given to a name that is assigned once names that integer; otherwise it starts a scalar."""
    binding = ctx.scope.lookup(name) if name in ctx.scope.bindings else None
    if isinstance(binding, CellName | Pending):
        return False
    return name not in ctx.reassigned


def store_value(ctx: Context, cell: Cell, items: tuple[IntExpr, ...], value: Var | MatrixValue,
                node: tree.Statement) -> None:
    ctx.note_store(cell, items)
    if isinstance(value, MatrixValue):
        ctx.builder.append(MatStore(cell, items, value.terms, span=node.span))
    else:
        store = Store(cell, items, _fit(ctx, value, cell.type), span=node.span)
        ctx.builder.append(store)
        if cell.type == SCALAR and not items and ctx.builder.constant_value(value) == 0:
            ctx.zeros[cell] = (ctx.builder.block, store)


def _fit(ctx: Context, value: Var, type: TensorType) -> Var:
    """A number stored where an array or vector stands is repeated."""
    if value.type == type or (value.type.width == type.width and same_shape(value.type.shape, type.shape)):
        return value
    constant = ctx.builder.constant_value(value)
    if constant is not None:
        return ctx.builder.const(constant, type)
    return ctx.builder.add(ctx.builder.const(0, type), value)


def _cell_for_store(ctx: Context, name: str, items: tuple | None, type: Type, node: tree.Assign) -> Cell:
    """The storage that `name = ...` or `name[items] = ...` writes, made on first assignment."""
    binding = ctx.scope.lookup(name)
    local = name in ctx.scope.bindings
    if isinstance(binding, Poison):
        raise Abandon
    if items is not None and binding is not None and not isinstance(binding, CellName | Pending):
        ctx.fail("TP226", f"`{name}` is not a family", node.target.span, help="choose another name for the family")
    if isinstance(binding, CellName) and (local or items is not None):
        existing = _existing_cell(ctx, name, binding, items, type, node)
        if existing is not None:
            return existing
    block = binding.block if isinstance(binding, Pending) else ctx.block_path
    if items is not None:
        block = ()
    cell = ctx.builder.cell(name, type, len(items or ()), role="user", display=name, span=node.target.span,
                            home=ctx.loop_names if ctx.calls else ())
    ctx.scope.bind(name, CellName(cell, (), block), node.target.span)
    return cell


def _existing_cell(ctx: Context, name: str, binding: CellName, items: tuple | None, type: Type,
                   node: tree.Assign) -> Cell | None:
    """The cell to write again; None when a new one takes over the name."""
    cell = binding.cell
    if binding.block == PARAMETER and items is None:
        return None
    rank = len(items or ())
    if items is None and cell.role != "initial" and name not in ctx.differentiated and cell.rank == 0:
        if binding.block == ctx.block_path or binding.block != ctx.block_path[: len(binding.block)]:
            return None
    if rank != cell.rank:
        had = counted(cell.rank, "index", "indices") if cell.rank else "no index"
        if cell.role == "initial":
            ctx.fail("TP226", f"`{name}` is declared with {had}, and is assigned with {rank or 'none'} here",
                     node.target.span, notes=(Note("it is declared here", cell.span),),
                     help="single coordinates and entries have no limit: update the whole"
                     if rank > cell.rank else "assign an element of it")
        ctx.fail("TP226", f"`{name}` was assigned with {had} before, and with {rank or 'none'} here", node.target.span,
                 notes=(Note("the first assignment is here", cell.span),), help="choose another name")
    if not _storable(type, cell.type):
        ctx.scope.bind(name, Poison())
        where = "it is declared here" if cell.role == "initial" else "the first assignment is here"
        help = f"a name keeps its kind where loops or branches assign it again: start it as {describe(type)}, or " \
               "choose another name"
        if cell.role == "initial":
            help = f"the zero matrix is `0*{name}`" if type == SCALAR else "choose another name"
        ctx.fail("TP227", f"`{name}` holds {describe(cell.type)}, and this is {describe(type)}", node.target.span,
                 notes=(Note(where, cell.span),), help=help)
    return cell


def _storable(new: Type, old: Type) -> bool:
    if isinstance(new, MatrixType) or isinstance(old, MatrixType):
        return new == old
    return (new.width == old.width and same_shape(new.shape, old.shape)) or new == SCALAR


# --- updates -------------------------------------------------------------------------------------------------


def _update(ctx: Context, name: str, items: tuple[IntExpr, ...] | None, node: tree.Assign) -> None:
    binding = ctx.scope.lookup(name)
    if binding is None:
        ctx.unknown_name(name, node.target.span)
    if isinstance(binding, Poison):
        raise Abandon
    if name not in ctx.scope.bindings:
        ctx.fail("TP415", f"a function cannot update `{name}`, which stands outside it", node.target.span,
                 help="return the new value, and assign it where the function is called")
    if isinstance(binding, IntName):
        _update_int(ctx, name, binding, node)
        return
    if isinstance(binding, Pending):
        ctx.fail("TP217", f"`{name}` may be updated before it is assigned", node.target.span,
                 help="assign it before the `if`, or in every branch")
    if items is None and (isinstance(binding, ValueName | InputName) or binding.block == PARAMETER):
        binding = _copy_parameter(ctx, name, binding, node)
    if not isinstance(binding, CellName):
        ctx.fail("TP226", f"`{name}` is not a family", node.target.span, help="choose another name for the family")
    if len(items or ()) != binding.cell.rank:
        _wrong_rank(ctx, name, binding.cell, len(items or ()), node)
    if isinstance(binding.cell.type, MatrixType):
        _update_matrix(ctx, name, binding.cell, items or (), node)
    else:
        _update_tensor(ctx, name, binding, items, node)


def _wrong_rank(ctx: Context, name: str, cell: Cell, given: int, node: tree.Assign) -> None:
    if cell.rank == 0:
        ctx.fail("TP226", f"`{name}` is {describe(cell.type)} and takes no index", node.target.span,
                 help=f"write `{name} {node.op} ...`")
    has = counted(cell.rank, "index", "indices")
    indices = ", ".join("tabcd"[: cell.rank])
    ctx.fail("TP226", f"`{name}` is a family with {has}, and {given or 'none'} given", node.target.span,
             help=f"update its elements: `{name}[{indices}] {node.op} ...`")


def _copy_parameter(ctx: Context, name: str, binding: CellName | InputName | ValueName, node: tree.Assign) -> CellName:
    """A function's parameter is updated in a copy of its own; the caller's value stays."""
    value = binding.value if isinstance(binding, ValueName) else read(ctx, binding, (), node.target)
    if isinstance(value, IntValue | TupleValue):
        value = as_tensor(ctx, value, node.target)
    if isinstance(value, ChainValue):
        ctx.fail("TP323", "a product of matrices is not a matrix of the language", node.target.span,
                 help="apply it to a vector: `A @ (B @ x)`")
    type = MatrixType(value.rows, value.cols) if isinstance(value, MatrixValue) else value.type
    cell = ctx.builder.cell(name, type, role="user", display=name, span=node.target.span, home=ctx.loop_names)
    store_value(ctx, cell, (), value, node)
    copy = CellName(cell, (), ctx.block_path)
    ctx.scope.bind(name, copy, node.target.span)
    return copy


def _update_int(ctx: Context, name: str, binding: IntName, node: tree.Assign) -> None:
    value = value_of(ctx, node.value)
    if not isinstance(value, IntValue) or node.op == "/=":
        ctx.fail("TP228", f"`{name}` is an integer here and cannot be updated by a real number", node.target.span,
                 help="give the real number a name of its own, such as `s = 0.0`")
    ctx.scope.bind(name, IntName(int_bin(node.op[0], binding.expr, value.expr)), node.target.span)


def _update_matrix(ctx: Context, name: str, cell: Cell, items: tuple[IntExpr, ...], node: tree.Assign) -> None:
    if node.op in ("+=", "-="):
        value = value_of(ctx, node.value)
        if not isinstance(value, MatrixValue):
            ctx.fail("TP307", f"`{name}` is a matrix, and only matrices are added to it", node.value.span,
                     help="an outer product is written `outer(u, v)`")
        if MatrixType(value.rows, value.cols) != cell.type:
            ctx.fail("TP326", f"`{name}` is {describe(cell.type)}, and this is {describe_value(value)}",
                     node.value.span,
                     help="`outer(u, v)` has the rows of `u` and the columns of `v`; a transpose is written `W.T`")
        if node.op == "-=":
            value = scale_matrix(ctx, ctx.builder.const(-1), value)
        ctx.builder.append(MatAccum(cell, items, value.terms, span=node.span))
        return
    factor = tensor_of(ctx, node.value, "a matrix's factor")
    if factor.type != SCALAR:
        ctx.fail("TP309", f"a matrix's factor must be a single number, and this is {describe(factor.type)}",
                 node.value.span, help="apply a matrix to a vector with `@`")
    if node.op == "/=":
        factor = ctx.builder.div(ctx.builder.const(1), factor)
    ctx.builder.append(MatStore(cell, items, (MatrixTerm(factor, cell, items),), span=node.span))


def _update_tensor(ctx: Context, name: str, binding: CellName, items: tuple | None, node: tree.Assign) -> None:
    value = tensor_of(ctx, node.value, "the update")
    cell = _widen_zero(ctx, name, binding, value.type, node)
    try:
        fits = broadcast([cell.type, value.type])
    except TypeMismatch as error:
        ctx.fail("TP306", f"the operands do not fit: {error}", node.span,
                 help="coordinatewise operations take vectors of one width, and arrays of one shape or numbers")
    if not _storable(fits, cell.type) or fits == SCALAR != cell.type:
        ctx.scope.bind(name, Poison())
        ctx.fail("TP227", f"`{name}` holds {describe(cell.type)}, and this update makes {describe(fits)}", node.span,
                 notes=(Note("the first assignment is here", cell.span),),
                 help=f"start `{name}` as {describe(fits)}, such as `0*x` with an `x` of that kind")
    if node.op in ("+=", "-="):
        value = ctx.builder.neg(value) if node.op == "-=" else value
        ctx.builder.append(Accum(cell, items or (), _fit(ctx, value, cell.type), span=node.span))
        return
    loaded = ctx.builder.load(cell, items or ())
    result = ctx.builder.elementwise("mul" if node.op == "*=" else "div", loaded, value)
    ctx.builder.append(Store(cell, items or (), result, span=node.span))


def _widen_zero(ctx: Context, name: str, binding: CellName, type: TensorType, node: tree.Assign) -> Cell:
    """`acc = 0` followed by `acc += vector`: the zero becomes a vector."""
    started = ctx.zeros.get(binding.cell)
    if started is None or type == SCALAR or node.op not in ("+=", "-="):
        return binding.cell
    block, zero = started
    cell = ctx.builder.cell(name, type, role="user", display=name, span=binding.cell.span, home=binding.cell.home)
    var = Var(ctx.builder.names.fresh("c"), type)
    position = next(i for i, s in enumerate(block) if s is zero) + 1
    block[position:position] = [Let(var, Const(0), span=zero.span), Store(cell, (), var, span=zero.span)]
    ctx.scope.bind(name, CellName(cell, (), binding.block))
    return cell


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


def _for(ctx: Context, node: tree.For) -> None:
    start, stop, step = loop_bounds(ctx, node.range_args, node.span)
    binding = ctx.scope.bindings.get(node.var)
    if binding is not None and not (isinstance(binding, IntName) and not binding.fixed) \
            and not isinstance(binding, Poison):
        ctx.fail("TP231", f"the loop variable `{node.var}` already names something else", node.var_span,
                 notes=(Note("it is defined here", ctx.scope.place(node.var)),), help="choose another name")
    if node.var in BUILTINS:
        ctx.fail("TP203", f"`{node.var}` is a function of the language and cannot be a loop variable", node.var_span,
                 help="choose another name")
    var = ctx.builder.names.fresh(node.var)
    ctx.scope.bind(node.var, IntName(IntSym(var, "loop"), fixed=True), node.var_span)
    ctx.loops.append((var, start, stop, step))
    try:
        with ctx.block() as body:
            check_block(ctx, node.body)
    finally:
        ctx.loops.pop()
        _leave_loop(ctx, node.var, var, _last_value(start, stop, step))
    ctx.builder.append(For(var, start, stop, step, tuple(body), span=node.span))


def _last_value(start: IntExpr, stop: IntExpr, step: int) -> IntExpr:
    if abs(step) == 1:
        return int_bin("-", stop, IntLit(step))
    toward = IntLit(1 if step > 0 else -1)
    steps = int_bin("//", int_bin("-", int_bin("-", stop, toward), start), IntLit(step))
    return int_bin("+", start, int_bin("*", steps, IntLit(step)))


def _leave_loop(ctx: Context, name: str, var: str, last: IntExpr) -> None:
    """After a loop its variable, and integers named in it, keep their last values."""
    for other, binding in list(ctx.scope.bindings.items()):
        if isinstance(binding, IntName) and var in loop_names(binding.expr):
            ctx.scope.bindings[other] = IntName(substitute(binding.expr, {var: last}))
    ctx.scope.bindings[name] = IntName(last)


def _if(ctx: Context, node: tree.If) -> None:
    for name in assigned_names((node,)):
        if ctx.scope.lookup(name) is None:
            ctx.scope.bind(name, Pending(ctx.block_path))
    branches = []
    for condition, body in node.branches:
        checked = bool_expr(ctx, condition)
        branches.append((checked, _branch(ctx, body)))
    orelse = _branch(ctx, node.orelse)
    for condition, body in reversed(branches):
        orelse = (If(condition, body, orelse, span=node.span),)
    ctx.builder.append(orelse[0])


def _branch(ctx: Context, body: tuple[tree.Statement, ...]) -> tuple[Statement, ...]:
    before = dict(ctx.scope.bindings)
    with ctx.block() as statements:
        check_block(ctx, body)
    for name, binding in ctx.scope.bindings.items():
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
                while isinstance(t, tree.Index):
                    t = t.base
                if isinstance(t, tree.Name):
                    yield t.id, t.span
        case tree.For(body=body):
            for s in body:
                yield from assigned_places(s)
        case tree.If(branches=branches, orelse=orelse):
            for s in (*(s for _, body in branches for s in body), *orelse):
                yield from assigned_places(s)
        case tree.SizeDecl(names=names):
            yield from ((n.name, n.span) for n in names)
        case tree.Output() | tree.Return() | tree.Pass():
            pass
        case _:
            yield statement.name.name, statement.name.span


def _assignments(statements: tuple[tree.Statement, ...]) -> Iterator[tuple[str, str]]:
    for s in statements:
        match s:
            case tree.Assign(target=target, op=op):
                for t in target.items if isinstance(target, tree.TupleExpr) else (target,):
                    if isinstance(t, tree.Name):
                        yield t.id, op
            case tree.For(body=body):
                yield from _assignments(body)
            case tree.If(branches=branches, orelse=orelse):
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


# --- functions -----------------------------------------------------------------------------------------------


def _define(ctx: Context, node: tree.FuncDef) -> None:
    if ctx.calls or ctx.block_path:
        ctx.fail("TP416", "functions are defined at the top level of a program", node.name.span,
                 help="move the definition above, out of the loop or function")
    if node.name.name in BUILTINS:
        ctx.fail("TP203", f"`{node.name.name}` is a function of the language and cannot be defined again",
                 node.name.span, help="choose another name")
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
    if isinstance(last, tree.If):
        return all(_returns(b) for _, b in last.branches) and _returns(last.orelse)
    return isinstance(last, tree.Return)


def function_value(ctx: Context, definition: tree.FuncDef, arguments: tuple, node: tree.Call) -> Value:
    """Expand a function where it is called: its body over a new scope, the value of its `return`."""
    outer, reassigned, hint = ctx.scope, ctx.reassigned, ctx.builder.hint
    ctx.scope = Scope(ctx.globals)
    ctx.reassigned = reassigned_names(definition.body)
    try:
        for param, argument in zip(definition.params, arguments):
            ctx.scope.bind(param.name, _parameter(argument), param.span)
        if definition.expression is not None:
            return value_of(ctx, definition.expression)
        return _body_value(ctx, definition.body)
    finally:
        ctx.scope, ctx.reassigned, ctx.builder.hint = outer, reassigned, hint


def _parameter(argument: Value | CellName | InputName) -> object:
    match argument:
        case IntValue(expr=expr):
            return IntName(expr)
        case CellName(cell=cell, items=items):
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
    return _branches_value(ctx, last)


def _branches_value(ctx: Context, node: tree.If) -> Var:
    """A final `if` whose every branch returns."""
    parts = [(bool_expr(ctx, c), body) for c, body in node.branches]
    results = []
    for _, body in [*parts, (None, node.orelse)]:
        with ctx.block() as statements:
            value = as_tensor(ctx, _body_value(ctx, body), node, "a value returned from a branch")
        results.append((statements, value))
    cell = ctx.builder.cell("choice", results[0][1].type, home=ctx.loop_names)
    for statements, value in results:
        if not _storable(value.type, cell.type):
            ctx.fail("TP325", f"the branches return {describe(cell.type)} and {describe(value.type)}", node.span,
                     help="every branch of a function returns the same kind of value")
        with ctx.builder.nested() as tail:
            fitted = _fit(ctx, value, cell.type)
        statements += [*tail, Store(cell, (), fitted, span=node.span)]
    orelse = tuple(results[-1][0])
    for (condition, _), (statements, _) in zip(reversed(parts), reversed(results[:-1])):
        orelse = (If(condition, tuple(statements), orelse, span=node.span),)
    ctx.builder.append(orelse[0])
    return ctx.builder.load(cell)
