"""Products and sums of blocks, by matrix-matrix products where the axes allow it."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

#: Terms of a sum that float32 adds up by itself.
PIECE = 64


def lengths(*extents: int) -> tuple[int, ...]:
    """Lengths of arrays from extents that may be below zero, as those of loops without iterations."""
    return tuple(max(int(extent), 0) for extent in extents)


def integers(array: object) -> np.ndarray:
    """An integer input: as it is if it holds integers, else as int64."""
    given = np.ascontiguousarray(array)
    return given if given.dtype.kind in "iu" else given.astype(np.int64)


@lru_cache(maxsize=4096)
def _plan(spec: str) -> tuple[tuple[int, ...], tuple[int, ...], int, int, int, tuple[int, ...]]:
    """For `ab,cb->ca`: permutations of both operands to [batch, free, summed] and [batch, summed, free], the numbers
    of batch and free axes, and the permutation of the result."""
    inputs, out = spec.split("->")
    left, right = inputs.split(",")
    batch = [c for c in left if c in right and c in out]
    summed = [c for c in left if c in right and c not in out]
    left_free = [c for c in left if c not in right]
    right_free = [c for c in right if c not in left]
    made = batch + left_free + right_free
    return (tuple(left.index(c) for c in batch + left_free + summed),
            tuple(right.index(c) for c in batch + summed + right_free),
            len(batch), len(left_free), len(summed), tuple(made.index(c) for c in out))


def contract(spec: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """An einsum of two operands by one (stacked) matrix product.

    Args:
        spec: as for `numpy.einsum`; a letter of one operand alone must be in the result.
    """
    left, right = np.asarray(left), np.asarray(right)
    if left.dtype != right.dtype:  # one is a number, in double precision, the other a vector
        left, right = left.astype(np.float32, copy=False), right.astype(np.float32, copy=False)
    left_order, right_order, batch, left_free, summed, out_order = _plan(spec)
    a, b = np.transpose(left, left_order), np.transpose(right, right_order)
    batch_shape, left_shape = a.shape[:batch], a.shape[batch:batch + left_free]
    right_shape = b.shape[batch + summed:]
    depth = prod(a.shape[batch + left_free:])
    a = a.reshape(*batch_shape, prod(left_shape), depth)
    b = b.reshape(*batch_shape, depth, prod(right_shape))
    product = np.reshape(a @ b, (*batch_shape, *left_shape, *right_shape))
    return np.transpose(product, out_order)


def copied(value: object) -> object:
    """An array as one of its own. Families of matrices are dictionaries, and matrices never change."""
    return value.copy() if hasattr(value, "copy") else value


def averaged(sums: np.ndarray, samples: int) -> np.ndarray:
    """Sums over `samples` terms as averages, in double precision. An array of that is changed."""
    if isinstance(sums, np.ndarray):
        sums = sums.astype(float, copy=False)
        sums /= samples
        return sums
    return float(sums) / samples


def narrow(value: np.ndarray | float, dtype: np.dtype) -> np.ndarray | np.generic:
    """Numbers that vectors with entries of this type are multiplied with."""
    return value.astype(dtype, copy=False) if isinstance(value, np.ndarray) else dtype.type(value)


def squares(rows: np.ndarray) -> np.ndarray:
    """The sum of squares of each row, [B, N], in double precision: [B]. Of float32, short pieces are added up as they are, whose
    rounding is below that of the numbers and averages out."""
    if rows.dtype != np.float32:
        return np.einsum("bn,bn->b", rows, rows)
    count, length = rows.shape
    whole = length - length % PIECE
    pieces = rows[:, :whole].reshape(count, whole // PIECE, PIECE)
    rest = rows[:, whole:].astype(float)
    return np.einsum("bkn,bkn->bk", pieces, pieces).sum(axis=1, dtype=float) + np.einsum("bn,bn->b", rest, rest)


def mean_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The average over the last axis of the product."""
    if left.dtype == right.dtype == np.float32:
        return np.matmul(left[..., None, :], right[..., None])[..., 0, 0].astype(float) / left.shape[-1]
    return np.einsum("...n,...n->...", left, right) / left.shape[-1]

