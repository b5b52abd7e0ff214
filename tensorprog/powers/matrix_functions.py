"""Functions of matrices that are made by updates, in the calculus of single steps (`powers.execution`).

An entry of outer(u, x) is odd in what u is odd in by its row, and in what x is odd in by its column. So that a function
of entries keeps both apart, the objects of columns are moved to bits of their own, and the rules of `components` hold.
"""

from __future__ import annotations

from collections.abc import Callable

from tensorprog.ir.program import POLAR, PRODUCT, FunctionTerm
from tensorprog.powers.components import FLAGS, SCATTERED, UNIT, ZERO, Value, joined
from tensorprog.powers.matrices import MatrixPowers, OuterPowers, inner, outer_parts


def function(term: FunctionTerm, args: list[Value | MatrixPowers], shift: int, entrywise: Callable[[list[Value]], Value]) -> MatrixPowers:
    """A function of matrices and numbers.

    Args:
        shift: a number of bits beyond those of all declared objects.
        entrywise: the rule of the function for values of entries.
    """
    matrices = [a for a in args if isinstance(a, MatrixPowers)]
    if term.fn == PRODUCT:
        left, right = matrices
        return _product(left, right)
    if term.fn == POLAR:
        # Singular values of 1 and finite rank: entries of 1/n, as of u v^T with unit vectors.
        return _of_size(matrices[0], -UNIT)
    if not term.entrywise:  # a differential of polar: of the size of the directions, each over that of the matrix
        # As an operator, an outer product is n times its entries: the UNIT goes from one to the other.
        shares = [_largest(b, 0) - _largest(matrices[0], -UNIT) for b in matrices[1:]]
        return _of_size(matrices[1], sum(shares) - UNIT)
    values = [_entries(a, shift) if isinstance(a, MatrixPowers) else a for a in args]
    return _matrix(entrywise(values), shift)


def dot(left: MatrixPowers, right: MatrixPowers) -> Value:
    """The sum over all entries of the products: of outer(u, x) with M, the sum over coordinates of u and M x."""
    # Two matrices with independent entries do not meet: the checker refuses them (TP335).
    if left.random:
        left, right = right, left
    sums = []
    for o, p in left.outers.items():
        applied = right.applied({o.right: 0})
        for flags, q in inner(o.left & ~FLAGS, applied).items():
            sums.append({flags | o.left & FLAGS: p + q})
    return joined(sums)


def _entries(matrix: MatrixPowers, shift: int) -> Value:
    return joined({o.left | o.right << shift: p} for o, p in matrix.outers.items())


def _matrix(entries: Value, shift: int) -> MatrixPowers:
    return outer_parts((OuterPowers(t & ((1 << shift) - 1), t >> shift), p) for t, p in entries.items())


def _product(left: MatrixPowers, right: MatrixPowers) -> MatrixPowers:
    found = []
    for a, p in left.outers.items():
        for b, q in right.outers.items():
            # The sum over what both share is of n terms in step, or scatters.
            shared = UNIT if a.right == b.left & ~FLAGS else UNIT // 2
            scattered = 0 if a.right == b.left & ~FLAGS else SCATTERED
            found.append((OuterPowers(a.left | b.left & FLAGS | scattered, b.right), p + q + shared))
    return outer_parts(found)


def _of_size(matrix: MatrixPowers, power: int) -> MatrixPowers:
    """The matrix with the largest of its entries of this power."""
    if not matrix.outers:
        return MatrixPowers(ZERO)
    top = max(matrix.outers.values())
    return outer_parts((o, p - top + power) for o, p in matrix.outers.items())


def _largest(matrix: MatrixPowers, default: int) -> int:
    return max(matrix.outers.values(), default=default)
