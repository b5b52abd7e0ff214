"""Matrix values: linear combinations, transposes, outer products, and every meaning of `@`."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from tensorprog.check.context import Context
from tensorprog.check.scope import ChainValue, IntValue, LinearTerm, MatrixValue, TupleValue, Value, describe
from tensorprog.ir.build import same_shape, shape_text
from tensorprog.ir.program import MatMul, MatrixTerm, OuterTerm, Pick, TensorType, Var
from tensorprog.syntax import tree


def scale_matrix(ctx: Context, factor: Var, matrix: MatrixValue) -> MatrixValue:
    return replace(matrix, terms=tuple(_scaled(ctx, factor, t) for t in matrix.terms))


def _scaled(ctx: Context, factor: Var, term: LinearTerm) -> LinearTerm:
    return replace(term, coef=factor if term.coef is None else ctx.builder.mul(factor, term.coef))


def add_matrices(ctx: Context, left: MatrixValue, right: MatrixValue, node: tree.Binary) -> MatrixValue:
    if (left.rows, left.cols) != (right.rows, right.cols):
        ctx.fail("TP326", f"a [{left.rows}, {left.cols}] and a [{right.rows}, {right.cols}] matrix cannot be added",
                 node.span, help="a transpose is written `W.T`")
    if node.op == "-":
        right = scale_matrix(ctx, ctx.builder.const(-1), right)
    return MatrixValue(left.rows, left.cols, left.terms + right.terms)


def transpose(ctx: Context, value: Value, node: tree.Expr) -> Value:
    match value:
        case MatrixValue() | ChainValue():
            return transposed(value)
        case Var(type=TensorType(width=str(), shape=(_,))):
            type = replace(value.type, width_first=not value.type.width_first)
            return ctx.builder.let(Pick(value, ()), type)
        case Var(type=TensorType(width=None, shape=(_,))):
            return value
        case Var(type=TensorType(shape=())):
            ctx.fail("TP327", "a vector or number has no transpose", node.span,
                     help="write an inner product as `dot(u, v)`, its average as `moment(u*v)`, an outer product as "
                          "`outer(u, v)`")
        case _:
            ctx.fail("TP327", "this has no transpose", node.span, help="`.T` is for matrices")


def transposed(value: MatrixValue | ChainValue) -> MatrixValue | ChainValue:
    """The transpose of a matrix, or of a product of matrices."""
    if isinstance(value, ChainValue):
        return ChainValue(tuple(_transposed_matrix(f) for f in reversed(value.factors)))
    return _transposed_matrix(value)


def _transposed_matrix(value: MatrixValue) -> MatrixValue:
    return MatrixValue(value.cols, value.rows, tuple(_transposed(t) for t in value.terms))


def _transposed(term: LinearTerm) -> LinearTerm:
    if isinstance(term, MatrixTerm):
        return replace(term, transposed=not term.transposed)
    return OuterTerm(term.coef, term.right, term.left)


def outer(ctx: Context, left: Var, right: Var, node: tree.CallExpr) -> MatrixValue | Var:
    """outer(vector, vector) is a matrix; with a finite array it is a width x finite (finite x width) one."""
    match (left.type, right.type):
        case (TensorType(width=str(rows), shape=()), TensorType(width=str(cols), shape=())):
            return MatrixValue(rows, cols, (OuterTerm(None, left, right),))
        case (TensorType(width=str(), shape=()), TensorType(width=None, shape=(_,))):
            return ctx.builder.contract(left, "", right, "a", "a", width_first=True)
        case (TensorType(width=None, shape=(_,)), TensorType(width=str(), shape=())):
            return ctx.builder.contract(left, "a", right, "", "a")
        case (TensorType(width=None, shape=(_,)), TensorType(width=None, shape=(_,))):
            return ctx.builder.contract(left, "a", right, "b", "ab")
        case _:
            ctx.fail("TP328", f"outer takes two vectors, or a vector and a finite array; these are "
                              f"{describe(left.type)} and {describe(right.type)}", node.span,
                     help="numbers are multiplied by `*`, as in `c * outer(u, v)`")


def apply_matrix(ctx: Context, matrix: MatrixValue, x: Var, node: tree.Expr) -> Var:
    """matrix @ x, term by term."""
    if x.type.width != matrix.cols or x.type.shape:
        if x.type.width == matrix.rows and not x.type.shape:
            help = "the transpose fits: `W.T @ x`"
        elif x.type.shape:
            help = "a finite array is multiplied by a matrix `matrix U : [n, d] ~ normal(0, 1/d)`"
        else:
            help = "numbers are multiplied by `*`"
        ctx.fail("TP329", f"a [{matrix.rows}, {matrix.cols}] matrix is applied to a vector of width {matrix.cols}, "
                          f"and this is {describe(x.type)}", node.span, help=help)
    # (W - c*outer(u, x)) @ z = W @ z - c <x, z> u: no matrix is formed.
    return reduce(ctx.builder.add, (_apply_term(ctx, matrix, t, x) for t in matrix.terms))


def _apply_term(ctx: Context, matrix: MatrixValue, term: LinearTerm, x: Var) -> Var:
    if isinstance(term, MatrixTerm):
        product = ctx.builder.let(MatMul(term.cell, term.items, term.transposed, x), TensorType(matrix.rows))
    else:
        product = ctx.builder.mul(width_dot(ctx, term.right, x), term.left)
    return product if term.coef is None else ctx.builder.mul(term.coef, product)


def width_dot(ctx: Context, left: Var, right: Var) -> Var:
    """The plain sum over coordinates: n * moment(left * right)."""
    product = ctx.builder.mul(left, right)
    return ctx.builder.mul(ctx.builder.width(product.type.of_width), ctx.builder.moment(product))


def total(ctx: Context, array: Var) -> Var:
    """The sum over all finite axes."""
    while array.type.shape:
        array = ctx.builder.sum_axis(array, len(array.type.shape) - 1)
    return array


def matmul(ctx: Context, left: Value, right: Value, node: tree.Binary) -> Value:
    if isinstance(left, IntValue | TupleValue) or isinstance(right, IntValue | TupleValue):
        ctx.fail("TP330", "`@` multiplies matrices, vectors and arrays", node.span,
                 help="numbers are multiplied by `*`")
    if isinstance(left, MatrixValue | ChainValue):
        return _matrix_times(ctx, left, right, node)
    if isinstance(right, MatrixValue | ChainValue):
        if left.type.width and not left.type.shape:
            return _matrix_times(ctx, transposed(right), left, node)
        ctx.fail("TP330", "this product is not part of the language", node.span,
                 help="a vector stands on the right of a matrix: `W @ x`")
    return _tensor_times(ctx, left, right, node)


def _matrix_times(ctx: Context, left: MatrixValue | ChainValue, right: MatrixValue | ChainValue | Var,
                  node: tree.Binary) -> Value:
    factors = left.factors if isinstance(left, ChainValue) else (left,)
    if isinstance(right, MatrixValue | ChainValue):
        more = right.factors if isinstance(right, ChainValue) else (right,)
        # Not multiplied out: A @ (B @ x) is two products with vectors, whatever the brackets are.
        return ChainValue(factors + more)
    result = right
    for factor in reversed(factors):
        result = apply_matrix(ctx, factor, result, node)
    return result


def _tensor_times(ctx: Context, left: Var, right: Var, node: tree.Binary) -> Var:
    """`U @ X[a]`, `V @ x`, `u @ v`, and products of finite arrays."""
    a, b = left.type, right.type
    match (a.width, a.shape), (b.width, b.shape):
        case ((str(), ()), (str(), ())) if a.width == b.width:
            return width_dot(ctx, left, right)
        case ((str(), (_,)), (str(), ())) if a.width == b.width and not a.width_first:
            return width_dot(ctx, left, right)
        case ((str(), ()), (str(), (_,))) if a.width == b.width and b.width_first:
            return width_dot(ctx, left, right)
        # U @ X[a] of U : [n, d].
        case ((str(), (k,)), (None, (m, *_))) if a.width_first and same_shape((k,), (m,)):
            letters = "abc"[: len(b.shape)]
            return ctx.builder.contract(left, "a", right, letters, letters[1:], width_first=len(b.shape) > 1)
        # X[a] @ V of V : [K, n].
        case ((None, (*_, k)), (str(), (m,))) if not b.width_first and same_shape((k,), (m,)):
            letters = "cba"[-len(a.shape):]
            return ctx.builder.contract(left, letters, right, "a", letters[:-1])
        case ((None, (*_, k)), (None, (m, *_))) if same_shape((k,), (m,)):
            first = "abc"[: len(a.shape) - 1] + "k"
            second = "k" + "xyz"[: len(b.shape) - 1]
            return ctx.builder.contract(left, first, right, second, first[:-1] + second[1:])
    ctx.fail("TP330", f"`@` cannot multiply shapes {shape_text(a)} and {shape_text(b)}", node.span,
             help="the last axis of the left side must be the first of the right one; numbers are multiplied by `*`")
