"""Gram products of rows for one tile, on one thread, by a loop that keeps a block of the product in registers.

A library's product packs both factors for every call, which pays for large matrices; tiles that stay in a cache are
too small for it, and of those at the diagonal one triangle is wanted. Here columns are packed by panels, each of which
all rows of the tile then use, and rows are read where they are. The innermost loop is written in vectors of the
processor's width: a compiler that is given scalars does not keep a block of them in registers.

    out[i, j] = sum_k x[r0 + i, k] y[c0 + j, k]
"""

from __future__ import annotations

import platform

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tensorprog.runtime.compiling import njit
from tensorprog.runtime.hermite import OPTIONS

__all__ = ["buffer", "panel", "product"]

#: Vectors of a panel's row; with the rows of a block, as many as registers hold beside their operands.
VECTORS = 3
#: Terms of a sum that are carried out on one panel, which stays in the second cache.
DEPTH = 512


def _registers() -> tuple[int, int]:
    """Bytes of a vector, and rows of a block: 4 for 16 registers, 8 for 32."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 8
    if platform.machine().lower() in ("aarch64", "arm64"):
        return 16, 8
    return (32 if features.get("avx") else 16), 4


VECTOR_BYTES, ROWS = _registers()


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


class _Block:
    """The code of a block of the product: rows x VECTORS registers, to each of which every term adds once."""

    def __init__(self, context, builder, signature, arguments, rows: int) -> None:
        self.context, self.builder, self.types, self.rows = context, builder, signature.args, rows
        self.x, self.r, self.k0, self.packed, self.depth, self.out, self.i, self.j, self.new = arguments
        item = self.types[0].dtype
        self.scalar = context.get_value_type(item)
        self.lanes = VECTOR_BYTES // (item.bitwidth // 8)
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [ir.Constant(self.scalar, 0.0)] * self.lanes)

    def write(self):
        builder = self.builder
        entry, loop = builder.block, builder.append_basic_block("terms")
        after = builder.append_basic_block("sums")
        rows = [self._row(self.x, 0, self.r, r, self.k0) for r in range(self.rows)]
        packed = self._row(self.packed, 3, self._number(0), 0, self._number(0))
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(self.depth.type)
        sums = [[builder.phi(self.vector) for _ in range(VECTORS)] for _ in rows]
        at = builder.gep(packed, [builder.mul(k, self._number(VECTORS * self.lanes))])
        columns = [builder.load(self._vector(at, v), align=self.scalar_bytes) for v in range(VECTORS)]
        following = builder.add(k, self._number(1))
        k.add_incoming(self._number(0), entry)
        k.add_incoming(following, loop)
        totals = []
        for row, values in zip(rows, sums):
            factor = self._spread(builder.load(builder.gep(row, [k])))
            totals.append([self._fused(factor, column, value) for column, value in zip(columns, values)])
        for value, total in zip(sum(sums, []), sum(totals, [])):
            value.add_incoming(self.zero, entry)
            value.add_incoming(total, loop)
        builder.cbranch(builder.icmp_signed("<", following, self.depth), loop, after)

        builder.position_at_end(after)
        for r, values in enumerate(totals):
            self._store(self._row(self.out, 5, self.i, r, self.j), values)
        return self.context.get_dummy_value()

    @property
    def scalar_bytes(self) -> int:
        return VECTOR_BYTES // self.lanes

    def _number(self, value: int) -> ir.Constant:
        return ir.Constant(self.depth.type, value)

    def _row(self, array, position: int, row, offset: int, column):
        """A pointer to array[row + offset, column]."""
        kind = self.types[position]
        value = self.context.make_array(kind)(self.context, self.builder, array)
        index = [self.builder.add(row, self._number(offset)), column]
        return cgutils.get_item_pointer(self.context, self.builder, kind, value, index)

    def _vector(self, pointer, number: int):
        moved = self.builder.gep(pointer, [self._number(number * self.lanes)])
        return self.builder.bitcast(moved, self.vector.as_pointer())

    def _spread(self, scalar):
        undefined, index = ir.Constant(self.vector, ir.Undefined), ir.IntType(32)
        one = self.builder.insert_element(undefined, scalar, ir.Constant(index, 0))
        return self.builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(index, self.lanes),
                                                                       [0] * self.lanes))

    def _fused(self, a, b, c):
        """a b + c, by one instruction on processors that have it."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    def _store(self, pointer, values) -> None:
        for v, value in enumerate(values):
            place = self._vector(pointer, v)
            before = self.builder.select(self.new, self.zero, self.builder.load(place, align=self.scalar_bytes))
            self.builder.store(self.builder.fadd(before, value), place, align=self.scalar_bytes)
