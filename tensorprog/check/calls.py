"""Calls: coordinatewise functions and their derivatives, moments, sums, and the program's own functions."""

from __future__ import annotations

from functools import partial, reduce
from typing import NoReturn

from tensorprog.check.context import Abandon, Context
from tensorprog.check.declarations import builtin_names
from tensorprog.check.expressions import arity, as_tensor, reference, tensor_of, value_of
from tensorprog.check.functions import function_value
from tensorprog.check.gradients import cov, grad, ntk
from tensorprog.check.indicators import where
from tensorprog.check.integers import bool_expr
from tensorprog.check.library import PARAMETERS, length, library_arguments, library_function, library_scope
from tensorprog.check.matrices import outer, total, width_dot
from tensorprog.check.matrix_functions import coordinatewise, is_matrix, matrix_dot, matrix_or_tensor, norm, polar
from tensorprog.check.scope import (
    CellName,
    FunctionName,
    InputName,
    IntName,
    IntValue,
    Poison,
    Scope,
    Value,
    counted,
    describe,
)
from tensorprog.check.statements import loop_bounds
from tensorprog.diagnostics import Note, near_miss
from tensorprog.diagnostics.foreign import instead_of_function
from tensorprog.ir.build import same_shape
from tensorprog.ir.calculus import forward_derivative
from tensorprog.ir.functions import nonlinearity_names
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin, loop_names
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    For,
    If,
    Pick,
    Store,
    Var,
)
from tensorprog.syntax import tree

MAX_PRIMES = 6
#: Operations that one call expands to.
MOST_EXPANDED = 10_000


def call(ctx: Context, node: tree.CallExpr) -> Value:
    binding = ctx.scope.lookup(node.func)
    if isinstance(binding, FunctionName):
        return _call_user(ctx, node, binding.definition)
    if node.func in nonlinearity_names():
        return _nonlinearity(ctx, node)
    # A program's function may have the name of a library function, and then wins wherever the program defines it.
    own = node.func not in builtin_names() and (binding is not None or _defined_later(ctx, node))
    handler = None if own else _SPECIAL.get(node.func)
    if handler is None and not own and node.func in PARAMETERS:
        return _call_library(ctx, node)
    if handler is None:
        _unknown_function(ctx, node, binding)
    if node.primes:
        ctx.fail("TP401", f"`{node.func}` has no derivative", node.func_span or node.span,
                 help="primes go on coordinatewise functions: tanh'(h)")
    if node.wrt and node.func != "ntk":
        ctx.fail("TP402", f"`{node.func}` takes no `;` part", node.span, help="`;` belongs to ntk(f, g; U, W, V)")
    return handler(ctx, node)


def _defined_later(ctx: Context, node: tree.CallExpr) -> bool:
    """Whether the program defines a function of this name below the call."""
    place, span = ctx.later.get(node.func), node.func_span or node.span
    return node.func in ctx.functions and place is not None and span is not None and place > span


def _unknown_function(ctx: Context, node: tree.CallExpr, binding: object) -> NoReturn:
    span = node.func_span or node.span
    if isinstance(binding, Poison):
        raise Abandon
    if binding is not None:
        ctx.fail("TP403", f"`{node.func}` is not a function", span, help="products are written with `*` or `@`")
    defined = (n for n in ctx.scope.names() if isinstance(ctx.scope.lookup(n), FunctionName))
    known = [*nonlinearity_names(), *_SPECIAL, *PARAMETERS, *defined]
    guess = near_miss(node.func, known)
    later = ctx.later.get(node.func)
    notes = (Note("it is defined only here", later),) if later else ()
    help = "move the definition above its first use" if later else instead_of_function(node.func) or (
        f"did you mean `{guess}`?" if guess else f"define it: `def {node.func}(u) = ...`")
    ctx.fail("TP404", f"there is no function `{node.func}`" + " yet" * bool(later), span, notes=notes, help=help)


# --- coordinatewise functions --------------------------------------------------------------------------------


def _nonlinearity(ctx: Context, node: tree.CallExpr) -> Value:
    arity(ctx, node, 1, f"{node.func}(x)")
    if node.primes > MAX_PRIMES:
        ctx.fail("TP401", f"`{node.func}` is differentiated at most {MAX_PRIMES} times", node.func_span or node.span,
                 help="write fewer primes: tanh'(h)")
    arg = matrix_or_tensor(ctx, node.args[0], f"the argument of {node.func}")
    return coordinatewise(ctx, node.func, arg, node=node, order=node.primes)


def _extremum(ctx: Context, node: tree.CallExpr) -> Value:
    """max(x, y, ...) and min(x, y, ...): of integers an integer, else coordinatewise; of one array, over its axis."""
    if not node.args:
        arity(ctx, node, 2, f"{node.func}(x, y)")
    values = [value_of(ctx, a) for a in node.args]
    if len(values) == 1:
        return _fold_array(ctx, node, as_tensor(ctx, values[0], node.args[0]))
    integers = [v.expr for v in values if isinstance(v, IntValue)]
    if len(integers) == len(values):
        return IntValue(reduce(partial(int_bin, node.func), integers))
    # From the left: max(a, b, c) = max(max(a, b), c).
    result, *others = (v if is_matrix(v) else as_tensor(ctx, v, a) for v, a in zip(values, node.args))
    for other in others:
        result = coordinatewise(ctx, node.func, result, other, node=node)
    return result


def _fold_array(ctx: Context, node: tree.CallExpr, array: Var) -> Var:
    """max, min, prod of a finite array: a loop over its axis."""
    if len(array.type.shape) != 1 or array.type.width:
        help = f"write `{node.func}(... for a in range(P))`, or give two arguments"
        if array.type.width:
            help = "over the coordinates only averages have a limit: `moment(x)`"
        ctx.fail("TP406", f"{node.func} of one argument takes an array with one axis, and this is "
                          f"{describe(array.type)}", node.args[0].span, help=help)
    var = ctx.builder.names.fresh("i")
    with ctx.block() as body:
        element = ctx.builder.let(Pick(array, (IntSym(var, "loop"),)))
        cell = _fold_step(ctx, node.func, element)
    _emit_fold(ctx, node.func, cell, [(var, IntLit(0), array.type.shape[0], 1, [])], body, node)
    return ctx.builder.load(cell)


def _clip(ctx: Context, node: tree.CallExpr) -> Value:
    arity(ctx, node, 3, "clip(x, lo, hi)")
    x, low, high = (matrix_or_tensor(ctx, a) for a in node.args)
    return coordinatewise(ctx, "min", coordinatewise(ctx, "max", x, low, node=node), high, node=node)


def user_derivative(ctx: Context, node: tree.CallExpr, definition: tree.FuncDef) -> Var:
    """phi'(x, ...): the derivative with respect to the first argument, by forward mode through the body."""
    if not node.args or node.primes > MAX_PRIMES:
        what = f"is differentiated at most {MAX_PRIMES} times" if node.args else "has no derivative: it has no argument"
        ctx.fail("TP401", f"`{node.func}` {what}", node.func_span or node.span,
                 help="primes go on coordinatewise functions: tanh'(h)")
    first = as_tensor(ctx, value_of(ctx, node.args[0]), node.args[0])
    # As values and not as names: a derivative is not taken with respect to storage.
    rest = tuple(value_of(ctx, a) for a in node.args[1:])
    body = ctx.builder.block
    start = len(body)
    # The derivative goes through the statements from `start` on, so that nothing before them is shared.
    shared, ctx.expanded = ctx.expanded, {}
    value = _inline(ctx, node, definition, (first, *rest))
    ctx.expanded = shared
    if not isinstance(value, Var):
        ctx.fail("TP401", f"`{node.func}` has no derivative: it does not return a vector or number", node.span,
                 help="primes go on coordinatewise functions: tanh'(h)")
    for _ in range(node.primes):
        try:
            # What the first derivative was computed by is part of `body`, so that the second one goes through it as well.
            value = forward_derivative(ctx.builder, list(body[start:]), first, value)
        except ValueError:
            ctx.fail("TP401", f"`{node.func}` has no derivative: it is not a coordinatewise function", node.span,
                     help="primes go on functions built from + - * / ** and coordinatewise functions alone")
    if first.type.width and not value.type.width:  # of a linear function: the same number in every coordinate
        value = ctx.builder.elementwise("mul", ctx.builder.const(1, first.type), value)
    return value


# --- moments, products ---------------------------------------------------------------------------------------


def _moment(ctx: Context, node: tree.CallExpr) -> Var:
    arity(ctx, node, 1, "moment(x)")
    arg = tensor_of(ctx, node.args[0], "the argument of moment")
    if arg.type.width is None:
        ctx.fail("TP407", f"moment averages the coordinates of a vector, and this is {describe(arg.type)}",
                 node.args[0].span, help="an average over a finite index is `mean(... for a in range(P))`"
                 if arg.type.shape else "a number is its own average: remove `moment`")
    return ctx.builder.moment(arg)


def _dot(ctx: Context, node: tree.CallExpr) -> Var:
    arity(ctx, node, 2, "dot(u, v)")
    values = one, other = [value_of(ctx, a) for a in node.args]
    if is_matrix(one) and is_matrix(other):
        return matrix_dot(ctx, one, other, node)
    left, right = (as_tensor(ctx, v, a, "an argument of dot") for v, a in zip(values, node.args))
    # (U : [n, d] and V : [d, n] hold the same numbers in another order of axes, which the user has to say by `.T`.)
    if left.type.width and left.type.width == right.type.width and same_shape(left.type.shape, right.type.shape) \
            and (not left.type.shape or left.type.width_first == right.type.width_first):
        return total(ctx, width_dot(ctx, left, right))
    if not left.type.width and not right.type.width and len(left.type.shape) == len(right.type.shape) == 1 \
            and same_shape(left.type.shape, right.type.shape):
        return ctx.builder.contract(left, "a", right, "a", "")
    ctx.fail("TP408", f"dot takes two vectors or matrices of one shape, or two arrays of one length; these are "
                      f"{describe(left.type)} and {describe(right.type)}", node.span,
             help="numbers are multiplied by `*`, and a matrix is applied by `@`")


def _outer(ctx: Context, node: tree.CallExpr) -> Value:
    arity(ctx, node, 2, "outer(u, v)")
    left, right = (tensor_of(ctx, a, "an argument of outer") for a in node.args)
    return outer(ctx, left, right, node)


def _array_sum(ctx: Context, node: tree.CallExpr) -> Var:
    """sum(x) and mean(x) of a finite array, over all its axes; mean(h) of a vector is its moment."""
    arity(ctx, node, 1, f"{node.func}(... for a in range(P))")
    array = tensor_of(ctx, node.args[0])
    # The average over coordinates, as it is for any array in NumPy.
    if node.func == "mean" and array.type.width and not array.type.shape:
        return ctx.builder.moment(array)
    if not array.type.shape:
        what = "a vector" if array.type.width else "a single number"
        instead = "`moment(x)` or `dot(x, y)`" if array.type.width else f"`{node.func}(... for a in range(P))`"
        ctx.fail("TP406", f"{node.func} is over a finite index, and this is {what}", node.span, help=f"write {instead}")
    count: IntExpr = IntLit(1)
    result = total(ctx, array)
    for size in array.type.shape:
        count = int_bin("*", count, size)
    return ctx.builder.div(result, ctx.builder.from_int(count)) if node.func == "mean" else result


def _array_prod(ctx: Context, node: tree.CallExpr) -> Var:
    arity(ctx, node, 1, "prod(... for a in range(P))")
    return _fold_array(ctx, node, tensor_of(ctx, node.args[0]))


# --- comprehensions ------------------------------------------------------------------------------------------


def comprehension(ctx: Context, node: tree.Comprehension) -> Var:
    """sum, mean, prod, max, min over finite indices: an accumulator and a loop."""
    if node.func not in ("sum", "mean", "prod", "max", "min"):
        guess = near_miss(node.func, ("sum", "mean", "prod", "max", "min"))
        ctx.fail("TP409", f"`{node.func}` does not run over an index", node.span,
                 help=f"did you mean `{guess}`?" if guess else "indices are folded by sum, mean, prod, max and min")
    with ctx.block() as body:
        loops, count_cell, cell = _comprehension_body(ctx, node)
    _emit_fold(ctx, node.func, cell, loops, body, node, count_cell)
    result = ctx.builder.load(cell)
    if node.func != "mean":
        return result
    return ctx.builder.div(result, _count(ctx, loops, count_cell))


def _comprehension_body(ctx: Context, node: tree.Comprehension) -> tuple[list, Cell | None, Cell]:
    # The variable of a comprehension is not known after it, as in Python; that of a loop is.
    saved, depth = dict(ctx.scope.bindings), len(ctx.loops)
    loops = []
    try:
        for clause in node.clauses:
            start, stop, step = loop_bounds(ctx, clause.range_args, node.span)
            var = ctx.builder.names.fresh(clause.var)
            ctx.scope.bind(clause.var, IntName(IntSym(var, "loop"), fixed=True), clause.var_span)
            ctx.loops.append((var, start, stop, step))
            loops.append((var, start, stop, step, [bool_expr(ctx, f) for f in clause.filters]))
        element = tensor_of(ctx, node.element, f"the summand of {node.func}")
        cell = _fold_step(ctx, node.func, element)
        count_cell = None
        if node.func == "mean" and _needs_counting(loops):
            count_cell = ctx.builder.cell("count", SCALAR)
            ctx.builder.append(Accum(count_cell, (), ctx.builder.const(1), span=node.span))
        return loops, count_cell, cell
    finally:
        ctx.scope.bindings = saved
        del ctx.loops[depth:]


def _needs_counting(loops: list) -> bool:
    own = {var for var, *_ in loops}
    # Else the number of terms is a product of lengths, which needs no statements.
    return any(filters or step != 1 or (loop_names(start) | loop_names(stop)) & own
               for _, start, stop, step, filters in loops)


def _fold_step(ctx: Context, func: str, element: Var) -> Cell:
    # Its home is no loop: the fold stores the neutral element before.
    cell = ctx.builder.cell(func, element.type, home=())
    if func in ("sum", "mean"):
        ctx.builder.append(Accum(cell, (), element, span=ctx.builder.span))
    else:
        fn = "mul" if func == "prod" else func
        folded = ctx.builder.elementwise(fn, ctx.builder.load(cell), element)
        ctx.builder.append(Store(cell, (), folded, span=ctx.builder.span))
    return cell


_NEUTRAL = {"sum": 0, "mean": 0, "prod": 1, "max": float("-inf"), "min": float("inf")}


def _emit_fold(ctx: Context, func: str, cell: Cell, loops: list, body: list, node: tree.Expr,
               count_cell: Cell | None = None) -> None:
    """The accumulator's neutral element, then the loops around the body."""
    neutral = ctx.builder.const(_NEUTRAL[func], cell.tensor)
    ctx.builder.append(Store(cell, (), neutral, span=node.span))
    if count_cell is not None:
        ctx.builder.append(Store(count_cell, (), ctx.builder.const(0), span=node.span))
    statements = tuple(body)
    for var, start, stop, step, filters in reversed(loops):
        for condition in reversed(filters):
            statements = (If(condition, statements, (), span=node.span),)
        statements = (For(var, start, stop, step, statements, span=node.span),)
    for statement in statements:
        ctx.builder.append(statement)


def _count(ctx: Context, loops: list, count_cell: Cell | None) -> Var:
    if count_cell is not None:
        return ctx.builder.load(count_cell)
    count: IntExpr = IntLit(1)
    for _, start, stop, _, _ in loops:
        count = int_bin("*", count, int_bin("-", stop, start))
    return ctx.builder.from_int(count)


# --- the program's own functions -----------------------------------------------------------------------------


def _call_user(ctx: Context, node: tree.CallExpr, definition: tree.FuncDef) -> Value:
    if node.wrt:
        ctx.fail("TP402", f"`{node.func}` takes no `;` part", node.span, help="`;` belongs to ntk(f, g; U, W, V)")
    if len(node.args) != len(definition.params):
        names = ", ".join(p.name for p in definition.params)
        takes = counted(len(definition.params), "argument")
        ctx.fail("TP405", f"`{node.func}` takes {takes}, {len(node.args)} given", node.span,
                 help=f"it is defined as {node.func}({names})")
    if node.func in ctx.calls:
        ctx.fail("TP413", f"`{node.func}` calls itself", node.span,
                 help="functions are expanded where they are called: use a loop")
    if node.primes:
        return user_derivative(ctx, node, definition)
    arguments = tuple(_argument(ctx, a) for a in node.args)
    key = _shared_key(ctx, definition, arguments)
    if key is None:
        return _inline(ctx, node, definition, arguments)
    if key not in ctx.expanded:
        value, block = _inline(ctx, node, definition, arguments), ctx.builder.block
        # The body stored something itself (in a `sum`, say): another call may see other values.
        if key[-1] == ctx.builder.stored:
            ctx.expanded[key] = value, block, arguments
        return value
    return ctx.expanded[key][0]


def _shared_key(ctx: Context, definition: tree.FuncDef, arguments: tuple) -> tuple | None:
    """What the value of a function that is one expression depends on: two calls with the same arguments, with nothing
    stored between them, share what they expand to, if both stand in one block. None for arguments without identity."""
    if definition.expression is None:
        return None
    names = []
    for argument in arguments:
        if isinstance(argument, Var):
            names.append(id(argument))
        elif isinstance(argument, CellName) and not argument.items:
            names.append(id(argument.cell))
        else:
            return None
    return id(definition), *names, id(ctx.builder.block), ctx.builder.stored


def _call_library(ctx: Context, node: tree.CallExpr) -> Value:
    if node.wrt:
        ctx.fail("TP402", f"`{node.func}` takes no `;` part", node.span, help="`;` belongs to ntk(f, g; U, W, V)")
    if node.primes:
        ctx.fail("TP401", f"`{node.func}` has no derivative: it is not a coordinatewise function",
                 node.func_span or node.span, help="gradients are written `grad(loss, v)`")
    arguments = library_arguments(ctx, node)
    return _inline(ctx, node, library_function(node.func, node.span), arguments, library_scope(node.span))


def _argument(ctx: Context, node: tree.Expr) -> Value | CellName | InputName:
    """Names and elements are passed as what they are, so that a function can differentiate with respect to them."""
    ref = reference(ctx, node)
    return ref if ref is not None else value_of(ctx, node)


def _inline(ctx: Context, node: tree.CallExpr, definition: tree.FuncDef, arguments: tuple,
            around: Scope | None = None) -> Value:
    """The body of a function in the place of its call; it sees the names of `around`, the program's if None."""
    if not ctx.calls:
        ctx.made_before_call = ctx.builder.made
    # Counted from the outermost call: f that calls g twice, which calls h twice, ... doubles at each level.
    elif ctx.builder.made - ctx.made_before_call > MOST_EXPANDED:
        ctx.fail("TP430", f"`{ctx.calls[0]}` expands to more than {MOST_EXPANDED:,} operations", ctx.call_spans[0],
                 help="functions are expanded where they are called: use a loop, or call fewer of them in one another")
    ctx.calls.append(node.func)
    ctx.call_spans.append(node.span)
    span = ctx.builder.span
    try:
        return function_value(ctx, definition, arguments, around or ctx.globals)
    finally:
        ctx.calls.pop()
        ctx.call_spans.pop()
        ctx.builder.span = span


_SPECIAL = {"moment": _moment, "dot": _dot, "outer": _outer, "grad": grad, "sum": _array_sum, "mean": _array_sum,
            "prod": _array_prod, "max": _extremum, "min": _extremum, "clip": _clip, "ntk": ntk, "cov": cov,
            "where": where, "len": length, "polar": polar, "norm": norm}
