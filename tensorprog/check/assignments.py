"""Assignments and updates: the storage that a name stands for, and what is written to it."""

from __future__ import annotations

from tensorprog.check.context import Abandon, Context
from tensorprog.check.declarations import builtin_names
from tensorprog.check.expressions import as_tensor, read, require_divisor, tensor_of, value_of
from tensorprog.check.integers import int_expr
from tensorprog.check.matrices import scale_matrix
from tensorprog.check.matrix_functions import as_matrix, entrywise, is_matrix
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
    TupleValue,
    Value,
    ValueName,
    WidthName,
    counted,
    describe,
    describe_value,
)
from tensorprog.diagnostics import Note, Span
from tensorprog.ir.build import TypeMismatch, broadcast, same_shape
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    Const,
    Let,
    MatAccum,
    MatrixTerm,
    MatrixType,
    MatStore,
    Store,
    TensorType,
    Type,
    Var,
)
from tensorprog.syntax import tree

# The block path of a parameter that stands for the caller's storage: assigning it makes a cell of the function's own.
PARAMETER = (-1,)


def assign(ctx: Context, node: tree.Assign) -> None:
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
    assert isinstance(node.target, tree.TupleExpr)
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
        case tree.IndexExpr(base=tree.Name(id=name), items=items):
            _check_assignable(ctx, name, node.span)
            if any(isinstance(i, tree.Slice) for i in items):
                ctx.fail("TP222", "a slice cannot be assigned", node.span, help="assign the elements in a loop")
            exprs = tuple(int_expr(ctx, i, "an index") for i in items if not isinstance(i, tree.Slice))
            for expr, item in zip(exprs, items):
                if isinstance(expr, IntLit) and expr.value < 0:
                    ctx.fail("TP314", "indices count from 0 and are not negative", item.span,
                             help="write the last element as `f[T-1]`")
            return name, exprs
        case tree.IndexExpr(base=tree.IndexExpr()):
            ctx.fail("TP223", "an element is assigned with all its indices in one bracket", node.span,
                     help="write `f[t, a] = ...`")
        case _:
            ctx.fail("TP224", "this cannot be assigned", node.span, help="names and elements of families are assigned")


def _check_assignable(ctx: Context, name: str, span: Span | None) -> None:
    binding = ctx.scope.lookup(name)
    # (It is copied: the caller's input stays.)
    if isinstance(binding, InputName) and ctx.scope is not ctx.globals and name in ctx.scope.bindings:
        return  # a function's own parameter
    what = {InputName: "an input", ParamName: "a parameter", FunctionName: "a function", WidthName: "a width"}.get(type(binding))
    if isinstance(binding, IntName) and binding.fixed:
        kinds = {"size": "a size", "param": "a parameter", "loop": "a loop variable"}
        what = kinds[binding.expr.kind] if isinstance(binding.expr, IntSym) else "an integer"
    if name in builtin_names():
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
        value = as_matrix(ctx, value, node.value)
    # `k = a + 1` names an integer, which can index and bound loops; no statement is made of it.
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
        store = Store(cell, items, fit(ctx, value, cell.tensor), span=node.span)
        ctx.builder.append(store)
        # The 0 of `acc = 0` may turn out to be that of a vector (`_widen_zero`).
        if cell.type == SCALAR and not items and ctx.builder.constant_value(value) == 0:
            ctx.zeros[cell] = (ctx.builder.block, store)


def fit(ctx: Context, value: Var, type: TensorType) -> Var:
    """A number stored where an array or vector stands is repeated."""
    if value.type == type or (value.type.width == type.width and same_shape(value.type.shape, type.shape)):
        return value
    constant = ctx.builder.constant_value(value)
    if constant is not None:
        return ctx.builder.const(constant, type)
    # Zeros of the type give the number its width and its axes.
    return ctx.builder.add(ctx.builder.const(0, type), value)


def _cell_for_store(ctx: Context, name: str, items: tuple | None, type: Type, node: tree.Assign) -> Cell:
    """The storage that `name = ...` or `name[items] = ...` writes, made on first assignment."""
    binding = ctx.scope.lookup(name)
    local = name in ctx.scope.bindings
    if isinstance(binding, Poison):
        raise Abandon
    if items is not None and binding is not None and not isinstance(binding, CellName | Pending):
        ctx.fail("TP226", f"`{name}` is not a family", node.target.span, help="choose another name for the family")
    # In a function, `x = ...` is a name of its own, and `f[t] = ...` an element of the program's family.
    if isinstance(binding, CellName) and (local or items is not None):
        existing = _existing_cell(ctx, name, binding, items, type, node)
        if existing is not None:
            return existing
    block = binding.block if isinstance(binding, Pending) else ctx.block_path
    # Elements are assigned anywhere: a family belongs to no block.
    if items is not None:
        block = ()
    cell = ctx.builder.cell(name, type, len(items or ()), role="user", display=name, span=node.target.span,
                            home=ctx.loop_names if ctx.calls else ())
    ctx.scope.bind(name, CellName(cell, (), block, not isinstance(binding, Pending)), node.target.span)
    return cell


def _may_be_carried(ctx: Context, binding: CellName, left: bool, type: Type) -> bool:
    """Whether a later iteration of a loop around both assignments may read this value under the old name: it may if it
    does not pass the first assignment, which stands under a condition or in a block that was left."""
    around = any(binding.block[: len(path)] == path for path in ctx.loop_paths)
    return around and (left or not binding.sure) and type == binding.cell.type


def _existing_cell(ctx: Context, name: str, binding: CellName, items: tuple | None, type: Type,
                   node: tree.Assign) -> Cell | None:
    """The cell to write again; None when a new one takes over the name."""
    cell = binding.cell
    # The caller's storage is not written to.
    if binding.block == PARAMETER and items is None:
        return None
    rank = len(items or ())
    # A plain name that is assigned again in the same block, or after the block, can be another kind of thing: `x = W @ x; x =
    # moment(x)`. Not where a gradient is taken with respect to the name, which asks for the value of one cell.
    if items is None and cell.role != "initial" and name not in ctx.differentiated and cell.rank == 0:
        left = binding.block != ctx.block_path[: len(binding.block)]
        if (binding.block == ctx.block_path or left) and not _may_be_carried(ctx, binding, left, type):
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
    if not storable(type, cell.type):
        ctx.scope.bind(name, Poison())
        where = "it is declared here" if cell.role == "initial" else "the first assignment is here"
        help = f"a name keeps its kind where loops or branches assign it again: start it as {describe(type)}, or " \
               "choose another name"
        if cell.role == "initial":
            help = f"the zero matrix is `0*{name}`" if type == SCALAR else "choose another name"
        ctx.fail("TP227", f"`{name}` holds {describe(cell.type)}, and this is {describe(type)}", node.target.span,
                 notes=(Note(where, cell.span),), help=help)
    return cell


def storable(new: Type, old: Type) -> bool:
    if isinstance(new, MatrixType) or isinstance(old, MatrixType):
        return new == old
    # A number may be stored where a vector stands: it is repeated.
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
    if items is None and (isinstance(binding, ValueName | InputName)
                          or isinstance(binding, CellName) and binding.block == PARAMETER):
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
    # A parameter that is updated is no longer the integer that the caller gave.
    if isinstance(value, IntValue | TupleValue):
        value = as_tensor(ctx, value, node.target)
    if isinstance(value, ChainValue):
        value = as_matrix(ctx, value, node.target)
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
        if isinstance(value, ChainValue):
            value = as_matrix(ctx, value, node.value)
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
    value = value_of(ctx, node.value)
    if is_matrix(value):
        own = MatrixValue(cell.matrix.rows, cell.matrix.cols, (MatrixTerm(None, cell, items),))
        result = entrywise(ctx, "mul" if node.op == "*=" else "div", (own, value), node)
        ctx.builder.append(MatStore(cell, items, result.terms, span=node.span))
        return
    factor = as_tensor(ctx, value, node.value, "a matrix's factor")
    if factor.type != SCALAR:
        ctx.fail("TP309", f"a matrix's factor must be a single number, and this is {describe(factor.type)}",
                 node.value.span, help="apply a matrix to a vector with `@`")
    if node.op == "/=":
        require_divisor(ctx, factor, node)
        factor = ctx.builder.div(ctx.builder.const(1), factor)
    ctx.builder.append(MatStore(cell, items, (MatrixTerm(factor, cell, items),), span=node.span))


def _update_tensor(ctx: Context, name: str, binding: CellName, items: tuple | None, node: tree.Assign) -> None:
    value = tensor_of(ctx, node.value, "the update")
    cell = _widen_zero(ctx, name, binding, value.type, node)
    try:
        fits = broadcast([cell.tensor, value.type])
    except TypeMismatch as error:
        ctx.fail("TP306", f"the operands do not fit: {error}", node.span,
                 help="coordinatewise operations take vectors of one width, and arrays of one shape or numbers")
    # x += vector makes a vector of a number; only the zero of `_widen_zero` may become one.
    if not storable(fits, cell.type) or fits == SCALAR != cell.type:
        ctx.scope.bind(name, Poison())
        ctx.fail("TP227", f"`{name}` holds {describe(cell.type)}, and this update makes {describe(fits)}", node.span,
                 notes=(Note("the first assignment is here", cell.span),),
                 help=f"start `{name}` as {describe(fits)}, such as `0*x` with an `x` of that kind")
    if node.op in ("+=", "-="):
        value = ctx.builder.neg(value) if node.op == "-=" else value
        ctx.builder.append(Accum(cell, items or (), fit(ctx, value, cell.tensor), span=node.span))
        return
    if node.op == "/=":
        require_divisor(ctx, value, node)
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
    # Right after the number's zero, which stays for whoever has read it as such.
    position = next(i for i, s in enumerate(block) if s is zero) + 1
    block[position:position] = [Let(var, Const(0), span=zero.span), Store(cell, (), var, span=zero.span)]
    ctx.scope.bind(name, CellName(cell, (), binding.block))
    return cell
