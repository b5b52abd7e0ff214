"""Expressions: from the syntax tree to operations of the typed program."""

from __future__ import annotations

from fractions import Fraction
from typing import assert_never

from tensorprog.check.context import Abandon, Context
from tensorprog.check.declarations import builtin_names
from tensorprog.check.integers import bool_expr, int_expr
from tensorprog.check.matrices import add_matrices, matmul, scale_matrix, transpose
from tensorprog.check.matrix_functions import as_matrix, entrywise
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
from tensorprog.ir.build import TypeMismatch, broadcast
from tensorprog.ir.integers import IntBin, IntExpr, IntLit, IntLoad, int_bin, int_choice
from tensorprog.ir.primitives import is_too_large
from tensorprog.ir.program import (
    SCALAR,
    Cell,
    If,
    InputRef,
    Item,
    Load,
    MatrixTerm,
    MatrixType,
    ParamRef,
    Pick,
    Range,
    Store,
    TensorType,
    Var,
    single,
)
from tensorprog.syntax import tree

_INT_OPERATORS = {"+", "-", "*", "//", "%", "**"}
_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow"}


def arity(ctx: Context, node: tree.CallExpr, count: int, usage: str) -> None:
    """Refuse a call with another number of arguments."""
    if len(node.args) != count:
        ctx.fail("TP405", f"`{node.func}` takes {counted(count, 'argument')}, {len(node.args)} given", node.span,
                 help=f"write `{usage}`")


def value_of(ctx: Context, node: tree.Expr) -> Value:
    """Check an expression and emit what computes it."""
    outer, ctx.builder.span = ctx.builder.span, node.span
    try:
        return _value(ctx, node)
    except TypeMismatch as error:
        ctx.fail("TP306", f"the operands do not fit: {error}", node.span,
                 help="coordinatewise operations take vectors of one width, and arrays of one shape or numbers")
    finally:
        ctx.builder.span = outer


def tensor_of(ctx: Context, node: tree.Expr, what: str = "this") -> Var:
    """`node` as a number, array or vector."""
    return as_tensor(ctx, value_of(ctx, node), node, what)


def as_tensor(ctx: Context, value: Value, node: tree.TreeNode, what: str = "this") -> Var:
    match value:
        case IntValue(expr=expr):
            outer, ctx.builder.span = ctx.builder.span, node.span
            try:
                return ctx.builder.from_int(expr)
            finally:
                ctx.builder.span = outer
        case MatrixValue() | ChainValue():
            ctx.fail("TP307", f"{what} must be a number, array or vector, and this is a matrix", node.span,
                     help="apply the matrix to a vector with `@`")
        case TupleValue():
            ctx.fail("TP308", f"{what} must be a single value, and this is several", node.span,
                     help="give each a name first: `a, b = ...`")
        case _:
            return value


def scalar_of(ctx: Context, node: tree.Expr, what: str) -> Var:
    var = tensor_of(ctx, node, what)
    if var.type != SCALAR:
        ctx.fail("TP309", f"{what} must be a single number, and this is {describe(var.type)}", node.span,
                 help="take `moment(...)` of a vector, or an element of an array")
    return var


def _value(ctx: Context, node: tree.Expr) -> Value:
    from tensorprog.check.calls import call, comprehension

    match node:
        case tree.NumberExpr(value=value):
            # By its digits: 0.1 is 1/10.
            return IntValue(IntLit(value)) if isinstance(value, int) else ctx.builder.const(Fraction(str(value)))
        case tree.Name(id=name):
            return _name(ctx, name, node)
        case tree.IndexExpr():
            return _index(ctx, node)
        case tree.TransposeExpr(base=base):
            return transpose(ctx, value_of(ctx, base), node)
        case tree.Unary(op=op, operand=operand):
            return _unary(ctx, op, value_of(ctx, operand), node)
        case tree.Binary(op="@", left=left, right=right):
            return matmul(ctx, value_of(ctx, left), value_of(ctx, right), node)
        case tree.Binary():
            return _binary(ctx, node)
        case tree.CallExpr():
            return call(ctx, node)
        case tree.IfExp():
            return _if_expression(ctx, node)
        case tree.Comprehension():
            return comprehension(ctx, node)
        case tree.TupleExpr(items=items):
            return TupleValue(tuple(value_of(ctx, i) for i in items))
        case tree.Compare() | tree.BoolOp() | tree.Not():
            ctx.fail("TP310", "a comparison stands only in a condition", node.span,
                     help="coordinatewise comparisons are written `step(x - y)`")
        case _:
            assert_never(node)


# --- names and indices ---------------------------------------------------------------------------------------


def _name(ctx: Context, name: str, node: tree.Expr) -> Value:
    binding = ctx.scope.lookup(name)
    match binding:
        case CellName() | InputName():
            return read(ctx, binding, (), node)
        case IntName(expr=expr):
            return IntValue(expr)
        case ParamName(name=param):
            stored = ctx.data.get(param)
            return ctx.builder.load(stored) if stored else ctx.builder.let(ParamRef(param), SCALAR, param)
        case ValueName(value=value):
            return value
        case WidthName(name=width):
            return ctx.builder.width(width)
        case FunctionName():
            ctx.fail("TP312", f"`{name}` is a function", node.span, help=f"call it: `{name}(...)`")
        case Pending():
            ctx.fail("TP217", f"`{name}` may be read before it is assigned", node.span,
                     help="assign it before the `if`, or in every branch")
        case Poison(why=None):
            raise Abandon
        case Poison(why=str(why)):
            ctx.fail("TP218", why, node.span,
                     help="use a condition where it is needed, or start it as a real: `k = 0.0`")
        case _:
            if name in builtin_names():
                ctx.fail("TP312", f"`{name}` is a function", node.span, help=f"call it: `{name}(...)`")
            ctx.unknown_name(name, node.span)


def _index(ctx: Context, node: tree.IndexExpr) -> Value:
    binding = reference(ctx, node)
    if binding is not None:
        return read(ctx, binding, (), node)
    base = value_of(ctx, node.base)
    if not isinstance(base, Var):
        ctx.fail("TP313", f"{describe_value(base)} takes no index", node.base.span,
                 help="inputs and families are indexed: assign the elements of one, as in `f[0] = ...`")
    return pick(ctx, base, _items(ctx, node.items), node)


def pick(ctx: Context, base: Var, items: tuple[Item, ...], node: tree.Expr) -> Var:
    """`base[items]`."""
    if not items:
        return base
    type, kept = _pick_type(ctx, base.type, items, node)
    return ctx.builder.let(Pick(base, kept), type)


def reference(ctx: Context, node: tree.Expr) -> CellName | InputName | None:
    """`f`, `f[t]`, `f[t, a]`, `f[t][a]` as storage and indices; None for any other expression."""
    match node:
        case tree.Name(id=name):
            binding = ctx.scope.lookup(name)
            if isinstance(binding, ParamName) and binding.name in ctx.data:
                return CellName(ctx.data[binding.name])
            return binding if isinstance(binding, CellName | InputName) else None
        case tree.IndexExpr(base=base, items=items):
            inner = reference(ctx, base)
            if inner is None:
                return None
            # x[1:][0] counts from where the slice begins: the second index is one of a value, and not of storage.
            if any(isinstance(i, Range) for i in inner.items):
                return None
            added = inner.items + _items(ctx, items)
            if isinstance(inner, CellName):
                return CellName(inner.cell, added, inner.block)
            return InputName(inner.name, inner.shape, inner.kind, added)
        case _:
            return None


def _items(ctx: Context, nodes: tuple[tree.Expr | tree.Slice, ...]) -> tuple[Item, ...]:
    return tuple(_item(ctx, n) for n in nodes)


def _item(ctx: Context, node: tree.Expr | tree.Slice) -> Item:
    if isinstance(node, tree.Slice):
        start = None if node.start is None else int_expr(ctx, node.start, "a slice's start")
        stop = None if node.stop is None else int_expr(ctx, node.stop, "a slice's end")
        for end, place in ((start, node.start), (stop, node.stop)):
            if place is not None and isinstance(end, IntLit) and end.value < 0:
                ctx.fail("TP314", "indices count from 0 and are not negative", place.span,
                         help="write the end as `y[: P-1]`")
        if isinstance(stop, IntLit) and isinstance(start, IntLit) and stop.value < start.value:
            ctx.fail("TP314", "this slice ends before it starts", node.span, help="write the smaller index first")
        return Range(start, stop)
    expr = int_expr(ctx, node, "an index")
    if isinstance(expr, IntLit) and expr.value < 0:
        ctx.fail("TP314", "indices count from 0 and are not negative", node.span,
                 help="write the last element as `f[T-1]`")
    return expr


def read(ctx: Context, binding: CellName | InputName, more: tuple[Item, ...], node: tree.Expr) -> Value:
    """The value of (a part of) a cell or an input."""
    items = binding.items + more
    if isinstance(binding, InputName):
        return _read_input(ctx, binding, items, node)
    if isinstance(binding.cell.type, MatrixType):
        return _read_matrix(ctx, binding.cell, items, node)
    return _read_cell(ctx, binding.cell, items, node)


def _read_input(ctx: Context, binding: InputName, items: tuple[Item, ...], node: tree.Expr) -> Value:
    if len(items) > len(binding.shape):
        axes = counted(len(binding.shape), "axis", "axes")
        given = counted(len(items), "index", "indices")
        ctx.fail("TP315", f"the input `{binding.name}` has {axes}, and this gives {given}", node.span,
                 help="write at most one index for each axis of its declaration")
    if binding.kind == "int":
        if len(items) == len(binding.shape) and not any(isinstance(i, Range) for i in items):
            return IntValue(IntLoad(binding.name, single(items)))
        ctx.fail("TP316", "an integer input is read one entry at a time", node.span,
                 help=f"write `{binding.name}[{', '.join('tabcdefg'[: len(binding.shape)])}]`, inside a loop or a "
                      "`sum(... for t in range(T))`")
    type, stored = TensorType(None, _remaining_shape(binding.shape, items)), ctx.data.get(binding.name)
    return ctx.builder.let(Load(stored, items) if stored else InputRef(binding.name, items), type, binding.name)


def _remaining_shape(extents: tuple[IntExpr, ...], items: tuple[Item, ...]) -> tuple[IntExpr, ...]:
    shape = []
    for position, extent in enumerate(extents):
        item = items[position] if position < len(items) else Range()
        if isinstance(item, Range):
            # (What lies beyond the end is found by the audit: slices are not shortened as in Python.)
            start = item.start or IntLit(0)
            shape.append(int_bin("-", item.stop or extent, start))
    return tuple(shape)


def _read_matrix(ctx: Context, cell: Cell, items: tuple[Item, ...], node: tree.Expr) -> MatrixValue:
    if len(items) != cell.rank or any(isinstance(i, Range) for i in items):
        ctx.fail("TP317", _rank_message(cell, len(items)), node.span,
                 help=f"write `{cell.display}[{', '.join('labcdefg'[: cell.rank])}]` for one of them" if cell.rank else
                      "entries and rows of a width x width matrix have no limit: apply it to a vector")
    return MatrixValue(cell.matrix.rows, cell.matrix.cols, (MatrixTerm(None, cell, single(items)),))


def _rank_message(cell: Cell, given: int) -> str:
    if cell.rank == 0:
        return f"`{cell.display}` is a single matrix and takes no index"
    has = counted(cell.rank, "index", "indices")
    return f"`{cell.display}` is a family of matrices with {has}, and {given or 'none'} given"


def _read_cell(ctx: Context, cell: Cell, items: tuple[Item, ...], node: tree.Expr) -> Var:
    type = cell.tensor
    family, own = items[: cell.rank], items[cell.rank:]
    if len(family) < cell.rank or any(isinstance(i, Range) for i in family):
        return _read_family_slice(ctx, cell, items, node)
    picked, kept = _pick_type(ctx, type, own, node)
    return ctx.builder.load(cell, family + kept, picked)


def _pick_type(ctx: Context, type: TensorType, items: tuple[Item, ...], node: tree.Expr) -> tuple[TensorType, tuple]:
    """The type of `x[items]` and the items on its finite axes; the width axis takes only `:`."""
    finite = list(items)
    if type.width and type.width_first and items:
        if items[0] != Range():
            ctx.fail("TP318", "a single coordinate of a vector has no limit", node.span,
                     help="index the finite axis: `U[:, j]` is column j")
        finite = finite[1:]
    elif type.width and len(items) == len(type.shape) + 1:
        if items[-1] != Range():
            ctx.fail("TP318", "a single coordinate of a vector has no limit", node.span,
                     help="vectors are read whole; take `moment(...)` for an average")
        finite = finite[:-1]
    if len(finite) > len(type.shape):
        what = "a single coordinate of a vector has no limit" if type.width else \
            "a number takes no index" if type == SCALAR else f"too many indices: this is {describe(type)}"
        ctx.fail("TP318", what, node.span,
                 help="several values under one name are a family, assigned as `h[0] = ...`; take `moment(...)` for "
                      "the average of a vector's coordinates")
    return TensorType(type.width, _remaining_shape(type.shape, tuple(finite)), type.width_first), tuple(finite)


def _read_family_slice(ctx: Context, cell: Cell, items: tuple[Item, ...], node: tree.Expr) -> Var:
    """`f[t]` of a family f[t, a] of numbers: a finite array."""
    if cell.tensor.width:
        has = counted(cell.rank, "index", "indices")
        ctx.fail("TP319", f"`{cell.display}` is a family of vectors with {has}, and {len(items) or 'none'} given",
                 node.span, help="only families of numbers are sliced; use a loop or `sum(... for a in range(P))`")
    extents = [extent for p in range(cell.rank) if (extent := ctx.extent(cell, p)) is not None]
    if len(extents) < cell.rank:
        ctx.fail("TP320", f"the extent of `{cell.display}` depends on data, so it cannot be sliced", node.span,
                 help="give it all its indices")
    shape = _remaining_shape((*extents, *cell.tensor.shape), items)
    return ctx.builder.load(cell, items, TensorType(None, shape))


# --- operators -----------------------------------------------------------------------------------------------


def _unary(ctx: Context, op: str, value: Value, node: tree.Unary) -> Value:
    if op == "+":
        return value
    match value:
        case IntValue(expr=expr):
            return IntValue(int_bin("*", IntLit(-1), expr))
        case MatrixValue():
            return scale_matrix(ctx, ctx.builder.const(-1), value)
        case _:
            return ctx.builder.neg(as_tensor(ctx, value, node.operand, "the operand of `-`"))


def _binary(ctx: Context, node: tree.Binary) -> Value:
    left, right = _side(ctx, node.left), _side(ctx, node.right)
    if left is None or right is None:
        return _known(left, right, node.op in "+-")
    if isinstance(left, IntValue) and isinstance(right, IntValue) and node.op in _INT_OPERATORS:
        # 2**-1 is a real number.
        if node.op != "**" or not (isinstance(right.expr, IntLit) and right.expr.value < 0):
            return _int_binary(ctx, node, left.expr, right.expr)
    if isinstance(left, MatrixValue | ChainValue) or isinstance(right, MatrixValue | ChainValue):
        return _matrix_binary(ctx, node, left, right)
    if node.op not in _ARITHMETIC:
        ctx.fail("TP321", f"`{node.op}` is for integers", node.span,
                 help="real numbers are divided by `/`" if node.op == "//" else "both operands must be integers")
    return arithmetic(ctx, node.op, as_tensor(ctx, left, node.left), as_tensor(ctx, right, node.right), node)


def _side(ctx: Context, node: tree.Expr) -> Value | None:
    """An operand; None, in a run that is to find out what names hold, if that hangs on one of these names."""
    try:
        return value_of(ctx, node)
    except Abandon:
        if ctx.trying:
            return None
        raise


def _known(left: Value | None, right: Value | None, same: bool = True) -> Value:
    """The side that is known, which is of the kind of both where they are the `same`."""
    known = left if left is not None else right
    if known is None or not same:
        raise Abandon
    return known


def _is_large_power(expr: IntExpr) -> bool:
    """Whether this is a power of plain numbers that was not folded, since it has more than 64 bits."""
    match expr:
        case IntBin("**", IntLit(base), IntLit(exponent)):
            return abs(base) > 1 and exponent >= 64
    return False


def _int_binary(ctx: Context, node: tree.Binary, left: IntExpr, right: IntExpr) -> IntValue:
    if node.op in ("//", "%") and right == IntLit(0):
        ctx.fail("TP322", "division by zero", node.right.span, help="write another divisor")
    result = int_bin(node.op, left, right)
    if isinstance(result, IntLit) and abs(result.value) >= 2**63 or _is_large_power(result):
        ctx.fail("TP311", "this integer is too large", node.span, help="write a real number, such as `1e20`")
    return IntValue(result)


def require_divisor(ctx: Context, divisor: Var, node: tree.TreeNode) -> None:
    """Refuse a division by a number that is known to be 0."""
    if ctx.builder.constant_value(divisor) == 0:
        ctx.fail("TP322", "division by zero", node.span, help="write another divisor")


def arithmetic(ctx: Context, op: str, left: Var, right: Var, node: tree.Expr) -> Var:
    """`left op right` on tensors; a power with a literal exponent is exact."""
    if op == "/":
        require_divisor(ctx, right, node)
    if op == "**":
        exponent = ctx.builder.constant_value(right)
        # Exponents that are known give way to what every later stage knows best.
        if exponent == 2:
            return ctx.builder.elementwise("square", left)
        if exponent == 1:
            return left
        if exponent == 0:
            return ctx.builder.const(1)
    # Emitted text could not hold it, nor could a float.
    if is_too_large(_ARITHMETIC[op], [ctx.builder.constant_value(left), ctx.builder.constant_value(right)]):
        ctx.fail("TP106", "this number is too large", node.span, help="numbers go up to 1.8e308: scale the program")
    return ctx.builder.elementwise(_ARITHMETIC[op], left, right)


def _matrix_binary(ctx: Context, node: tree.Binary, left: Value, right: Value) -> MatrixValue:
    left, right = (as_matrix(ctx, v, n) if isinstance(v, ChainValue) else v
                   for v, n in ((left, node.left), (right, node.right)))
    wide = next((v.type for v in (left, right) if isinstance(v, Var) and v.type.width), None)
    if node.op in _ARITHMETIC and wide is not None and (node.op != "*"):
        ctx.fail("TP324", f"`{node.op}` does not combine a matrix and {describe(wide)}: a matrix is applied with `@`",
                 node.span, help="a matrix is applied to a vector by `@`, and combined with matrices and numbers")
    match node.op, left, right:
        case "+" | "-", MatrixValue(), MatrixValue():
            return add_matrices(ctx, left, right, node)
        case "*", MatrixValue(), Var() | IntValue():
            return scale_matrix(ctx, _factor(ctx, right, node.right), left)
        case "*", Var() | IntValue(), MatrixValue():
            return scale_matrix(ctx, _factor(ctx, left, node.left), right)
        case "/", MatrixValue(), IntValue() | Var():
            divisor = _factor(ctx, right, node.right)
            require_divisor(ctx, divisor, node)
            return scale_matrix(ctx, ctx.builder.div(ctx.builder.const(1), divisor), left)
        case "**", MatrixValue(), IntValue(expr=IntLit(value=(1 | 2) as power)):
            return left if power == 1 else entrywise(ctx, "square", (left,), node)
        case "+" | "-" | "*" | "/" | "**", _, _:
            left, right = (as_tensor(ctx, v, n) if isinstance(v, IntValue) else v
                           for v, n in ((left, node.left), (right, node.right)))
            return entrywise(ctx, _ARITHMETIC[node.op], (left, right), node)
        case _:
            ctx.fail("TP324", f"`{node.op}` is for integers, and here is a matrix", node.span,
                     help="a matrix is scaled, added, applied with `@`, and combined entry by entry with + - * / **")


def _factor(ctx: Context, value: Value, node: tree.Expr) -> Var:
    factor = as_tensor(ctx, value, node, "a matrix's factor")
    if factor.type != SCALAR:
        ctx.fail("TP309", f"a matrix's factor must be a single number, and this is {describe(factor.type)}",
                 node.span, help="apply a matrix to a vector with `@`")
    return factor


def _if_expression(ctx: Context, node: tree.IfExp) -> Value:
    """`a if c else b`: only the chosen side is evaluated, as in Python. Of two integers it is an integer."""
    condition = bool_expr(ctx, node.condition)
    with ctx.block() as then:
        left = _side(ctx, node.then)
    with ctx.block() as orelse:
        right = _side(ctx, node.orelse)
    if left is None or right is None:
        return _known(left, right)
    if isinstance(left, IntValue) and isinstance(right, IntValue):
        return IntValue(int_choice(condition, left.expr, right.expr))
    left, right = (_conditional_value(ctx, *side) for side in ((left, node.then, then), (right, node.orelse, orelse)))
    type = _common_type(ctx, left.type, right.type, node)
    cell = ctx.builder.cell("choice", type, home=ctx.loop_names)
    # A cell with one store in each branch is what a choice between values is; integers are chosen within expressions.
    then.append(Store(cell, (), left, span=node.span))
    orelse.append(Store(cell, (), right, span=node.span))
    ctx.builder.append(If(condition, tuple(then), tuple(orelse), span=node.span))
    return ctx.builder.load(cell)


def _conditional_value(ctx: Context, value: Value, node: tree.Expr, statements: list) -> Var:
    """One side of a conditional as a tensor; what that takes joins the statements of the side."""
    with ctx.block() as more:
        tensor = as_tensor(ctx, value, node, "a conditional value")
    statements += more
    return tensor


def _common_type(ctx: Context, left: TensorType, right: TensorType, node: tree.Expr) -> TensorType:
    try:
        return broadcast([left, right])
    except TypeMismatch as error:
        ctx.fail("TP325", f"the two sides differ: {error}", node.span,
                 help="both sides of `if ... else` are the same kind of value")
