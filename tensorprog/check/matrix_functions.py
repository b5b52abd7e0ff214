"""Functions of matrices that are made by updates: entrywise functions, products, `polar`, `norm`, `dot` (language, 8).

Each becomes a hidden matrix, or a number, that a statement of its own computes. That no random matrix is in them is
checked when the whole program is known (`ir.made_by_updates`).
"""

from __future__ import annotations

from typing import TypeGuard

from tensorprog.check.context import Context
from tensorprog.check.matrices import total, width_dot
from tensorprog.check.scope import ChainValue, IntValue, MatrixValue, TupleValue, Value, describe, describe_value
from tensorprog.ir.program import (
    POLAR,
    PRODUCT,
    SCALAR,
    Cell,
    FunctionTerm,
    MatDot,
    MatrixTerm,
    MatrixType,
    MatStore,
    Var,
)
from tensorprog.syntax import tree


def is_matrix(value: Value) -> TypeGuard[MatrixValue | ChainValue]:
    """Whether a value is a matrix, or a product of matrices."""
    return isinstance(value, MatrixValue | ChainValue)


def matrix_or_tensor(ctx: Context, node: tree.Expr, what: str = "this") -> Value:
    """The value of an operand of what acts on coordinates, or on the entries of a matrix."""
    from tensorprog.check.expressions import as_tensor, value_of

    value = value_of(ctx, node)
    return value if is_matrix(value) else as_tensor(ctx, value, node, what)


def coordinatewise(ctx: Context, fn: str, *args: Value, node: tree.Expr, order: int = 0) -> Var | MatrixValue:
    """A primitive of numbers, arrays and vectors coordinatewise, of matrices and numbers entrywise."""
    if any(is_matrix(a) for a in args):
        return entrywise(ctx, fn, args, node, order)
    tensors = [ctx.builder.from_int(a.expr) if isinstance(a, IntValue) else a for a in args if isinstance(a, IntValue | Var)]
    assert len(tensors) == len(args), f"{fn} of something that is no number, array or matrix"
    return ctx.builder.elementwise(fn, *tensors, order=order)


def entrywise(ctx: Context, fn: str, args: tuple[Value, ...], node: tree.TreeNode, order: int = 0) -> MatrixValue:
    """A primitive (or its derivative) of every entry of matrices of one shape; numbers are the same for all entries."""
    operands = tuple(_entry_operand(ctx, a, node) for a in args)
    shapes = list(dict.fromkeys(o.shape for o in operands if isinstance(o, MatrixTerm)))
    if len(shapes) > 1:
        left, right = (f"a [{rows}, {cols}]" for rows, cols in shapes[:2])
        ctx.fail("TP326", f"{left} and {right} matrix cannot be combined entry by entry", node.span,
                 help="a transpose is written `W.T`")
    return _function(ctx, FunctionTerm(fn, operands, order), *shapes[0], node)


def _entry_operand(ctx: Context, value: Value, node: tree.TreeNode) -> Var | MatrixTerm:
    match value:
        case MatrixValue() | ChainValue():
            return operand(ctx, as_matrix(ctx, value, node), node)
        case IntValue(expr=expr):
            return ctx.builder.from_int(expr)
        case TupleValue():
            ctx.fail("TP308", "this must be a single value, and this is several", node.span,
                     help="give each a name first: `a, b = ...`")
    if value.type != SCALAR:
        ctx.fail("TP324", f"a matrix and {describe(value.type)} are not combined entry by entry", node.span,
                 help="a matrix is applied to a vector by `@`, and combined with matrices and numbers")
    return value


def as_matrix(ctx: Context, value: MatrixValue | ChainValue, node: tree.TreeNode) -> MatrixValue:
    """A product of matrices as one matrix."""
    if isinstance(value, MatrixValue):
        return value
    result = value.factors[-1]
    for factor in reversed(value.factors[:-1]):
        result = _product(ctx, factor, result, node)
    return result


def _product(ctx: Context, left: MatrixValue, right: MatrixValue, node: tree.TreeNode) -> MatrixValue:
    if left.cols != right.rows:
        ctx.fail("TP326", f"a [{left.rows}, {left.cols}] and a [{right.rows}, {right.cols}] matrix cannot be multiplied",
                 node.span, help="a transpose is written `W.T`")
    term = FunctionTerm(PRODUCT, (operand(ctx, left, node), operand(ctx, right, node)))
    return _function(ctx, term, left.rows, right.cols, node)


def polar(ctx: Context, node: tree.CallExpr) -> MatrixValue:
    """polar(M): the matrix with the singular vectors of M, and 1 for its singular values that are not 0."""
    from tensorprog.check.expressions import arity, value_of

    arity(ctx, node, 1, "polar(M)")
    value = value_of(ctx, node.args[0])
    if not isinstance(value, MatrixValue | ChainValue):
        ctx.fail("TP336", f"polar takes a matrix, and this is {describe_value(value)}", node.args[0].span,
                 help="write `polar(M)` with a width x width matrix M; a vector is normalized by `x / norm(x)`")
    matrix = as_matrix(ctx, value, node)
    return _function(ctx, FunctionTerm(POLAR, (operand(ctx, matrix, node),)), matrix.rows, matrix.cols, node)


def matrix_dot(ctx: Context, left: MatrixValue | ChainValue, right: MatrixValue | ChainValue, node: tree.TreeNode) -> Var:
    """The sum of the products of the entries of two matrices."""
    sides = [operand(ctx, as_matrix(ctx, v, node), node) for v in (left, right)]
    if sides[0].shape != sides[1].shape:
        one, other = (f"a [{rows}, {cols}]" for rows, cols in (s.shape for s in sides))
        ctx.fail("TP326", f"{one} and {other} matrix have no inner product", node.span,
                 help="a transpose is written `W.T`")
    return ctx.builder.let(MatDot(*sides), SCALAR)


def norm(ctx: Context, node: tree.CallExpr) -> Var:
    """norm(M): the root of the sum of the squares of the entries; of vectors and arrays as well."""
    from tensorprog.check.expressions import arity, as_tensor, value_of

    arity(ctx, node, 1, "norm(M)")
    value = value_of(ctx, node.args[0])
    if is_matrix(value):
        matrix = as_matrix(ctx, value, node)
        # Once, though it is both sides of the inner product.
        matrix = MatrixValue(matrix.rows, matrix.cols, (operand(ctx, matrix, node),))
        return ctx.builder.elementwise("sqrt", matrix_dot(ctx, matrix, matrix, node))
    tensor = as_tensor(ctx, value, node.args[0])
    squares = width_dot(ctx, tensor, tensor) if tensor.type.width else ctx.builder.mul(tensor, tensor)
    return ctx.builder.elementwise("sqrt", total(ctx, squares))


def operand(ctx: Context, matrix: MatrixValue, node: tree.TreeNode) -> MatrixTerm:
    """A linear combination as one matrix: itself, or a hidden one that holds it."""
    if len(matrix.terms) == 1 and isinstance(matrix.terms[0], MatrixTerm) and matrix.terms[0].coef is None:
        return matrix.terms[0]
    # Functions take whole matrices: a sum, or a multiple, is stored first.
    cell = _hidden(ctx, matrix.rows, matrix.cols, node)
    ctx.builder.append(MatStore(cell, (), matrix.terms, span=node.span))
    return MatrixTerm(None, cell, ())


def _function(ctx: Context, term: FunctionTerm, rows: str, cols: str, node: tree.TreeNode) -> MatrixValue:
    cell = _hidden(ctx, rows, cols, node)
    ctx.builder.append(MatStore(cell, (), (term,), span=node.span))
    return MatrixValue(rows, cols, (MatrixTerm(None, cell, ()),))


def _hidden(ctx: Context, rows: str, cols: str, node: tree.TreeNode) -> Cell:
    return ctx.builder.cell(ctx.builder.hint, MatrixType(rows, cols), span=node.span, home=ctx.loop_names)
