"""Gram products of rows for one tile, on one thread, by a loop that keeps a block of the product in registers.

A library's product packs both factors for every call, which pays for large matrices; tiles that stay in a cache are
too small for it, and of those at the diagonal one triangle is wanted. Here columns are packed by panels, each of which
all rows of the tile then use, and rows are read where they are. The innermost loop is written in vectors of the
processor's width: a compiler that is given scalars does not keep a block of them in registers.

    out[i, j] = sum_k x[r0 + i, k] y[c0 + j, k]
"""

from __future__ import annotations

import numpy as np
from numba import types

from tensorprog.runtime.compiling import intrinsic, njit
from tensorprog.runtime.hermite import OPTIONS
from tensorprog.runtime.vectors import REGISTERS, VECTOR_BYTES, VectorCode

__all__ = ["buffer", "panel", "product"]

#: Vectors of a panel's row; with the rows of a block, as many as registers hold beside their operands.
VECTORS = 3
#: Terms of a sum that are carried out on one panel, which stays in the second cache.
DEPTH = 512
#: Rows of a block.
ROWS = 8 if REGISTERS == 32 else 4


def buffer(height: int, width: int, dtype: np.dtype) -> np.ndarray:
    """Room for a tile's product; it has more columns than the tile, for whole panels."""
    columns = _columns(dtype)
    return np.empty((height, -(-width // columns) * columns), dtype)


def panel(depth: int, dtype: np.dtype) -> np.ndarray:
    """Room for the packed columns of rows with `depth` elements."""
    return np.empty((max(min(depth, DEPTH), 1), _columns(dtype)), dtype)


def _columns(dtype: np.dtype) -> int:
    return VECTORS * (VECTOR_BYTES // np.dtype(dtype).itemsize)


@njit(**OPTIONS)
def product(x, y, out, packed, r0, r1, c0, c1, upper):
    """The products of x[r0:r1] and y[c0:c1], both C-contiguous, to the first columns of `out`; with `upper` at least
    those that are not below the diagonal of the whole."""
    depth, columns = x.shape[1], packed.shape[1]
    parts = -(-depth // len(packed))
    for part in range(parts):
        k0, k1 = part * depth // parts, (part + 1) * depth // parts
        for c in range(c0, c1, columns):
            _pack(y, c, min(c + columns, c1), k0, k1, packed)
            stop = min(r1, c + columns) if upper else r1
            whole = r0 + max(stop - r0, 0) // ROWS * ROWS
            for r in range(r0, whole, ROWS):
                _add_rows(x, r, k0, packed, k1 - k0, out, r - r0, c - c0, part == 0)
            for r in range(whole, stop):
                _add_row(x, r, k0, packed, k1 - k0, out, r - r0, c - c0, part == 0)
    if depth == 0:
        out[:] = 0


@njit(**OPTIONS)
def _pack(y, c0, c1, k0, k1, packed):
    """packed[k - k0, j] = y[c0 + j, k], and 0 for columns that the panel has in excess."""
    if c1 - c0 == packed.shape[1]:
        for k in range(k0, k1):
            for j in range(packed.shape[1]):
                packed[k - k0, j] = y[c0 + j, k]
    else:
        packed[:k1 - k0] = 0
        for j in range(c1 - c0):
            for k in range(k0, k1):
                packed[k - k0, j] = y[c0 + j, k]


def _adder(rows: int):
    """An intrinsic for `rows` rows of x and the columns of a panel, `depth` terms from x[r, k0] and packed[0] on: sets
    out[i:i + rows, j:] to their products where `new`, else adds these."""

    @intrinsic
    def add(typing, x, r, k0, packed, depth, out, i, j, new):
        signature = types.void(x, types.intp, types.intp, packed, types.intp, out, types.intp, types.intp,
                               types.boolean)
        return signature, lambda context, builder, signature, arguments: _Block(
            context, builder, signature, arguments, rows).write()

    return add


_add_rows, _add_row = _adder(ROWS), _adder(1)


class _Block(VectorCode):
    """The code of a block of the product: rows x VECTORS registers, to each of which every term adds once."""

    def __init__(self, context, builder, signature, arguments, rows: int) -> None:
        super().__init__(context, builder, signature.args, signature.args[0].dtype)
        self.rows = rows
        self.x, self.r, self.k0, self.packed, self.depth, self.out, self.i, self.j, self.new = arguments

    def write(self):
        builder = self.builder
        entry, loop = builder.block, builder.append_basic_block("terms")
        after = builder.append_basic_block("sums")
        rows = [self.row(self.x, 0, self._moved(self.r, r), self.k0) for r in range(self.rows)]
        packed = self.row(self.packed, 3, self.number(0), self.number(0))
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(self.depth.type)
        sums = [[builder.phi(self.vector) for _ in range(VECTORS)] for _ in rows]
        at = builder.gep(packed, [builder.mul(k, self.number(VECTORS * self.lanes))])
        columns = self.load(at, VECTORS)
        following = builder.add(k, self.number(1))
        k.add_incoming(self.number(0), entry)
        k.add_incoming(following, loop)
        totals = []
        for row, values in zip(rows, sums):
            factor = self.spread(builder.load(builder.gep(row, [k])))
            totals.append([self.fused(factor, column, value) for column, value in zip(columns, values)])
        for value, total in zip(sum(sums, []), sum(totals, [])):
            value.add_incoming(self.zero, entry)
            value.add_incoming(total, loop)
        builder.cbranch(builder.icmp_signed("<", following, self.depth), loop, after)

        builder.position_at_end(after)
        for r, values in enumerate(totals):
            place = self.row(self.out, 5, self._moved(self.i, r), self.j)
            before = [builder.select(self.new, self.zero, old) for old in self.load(place, VECTORS)]
            self.store(place, [builder.fadd(old, value) for old, value in zip(before, values)])
        return self.context.get_dummy_value()

    def _moved(self, row, offset: int):
        return self.builder.add(row, self.number(offset))
