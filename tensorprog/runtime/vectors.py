"""Code in vectors of the processor's width, for inner loops that a compiler does not keep in registers by itself."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils


def _registers() -> tuple[int, int]:
    """Bytes of a vector, and how many of them a processor has."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    if platform.machine().lower() in ("aarch64", "arm64"):
        return 16, 32
    return (32 if features.get("avx") else 16), 16


VECTOR_BYTES, REGISTERS = _registers()


class VectorCode:
    """What the code of an intrinsic is written with: `kinds` are the types of its arguments, `item` that of numbers."""

    def __init__(self, context, builder, kinds: Sequence[types.Type], item: types.Float) -> None:
        self.context, self.builder, self.kinds = context, builder, kinds
        self.scalar = context.get_value_type(item)
        self.scalar_bytes = item.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.scalar_bytes
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [ir.Constant(self.scalar, 0.0)] * self.lanes)

    def number(self, value: int) -> ir.Constant:
        return ir.Constant(self.context.get_value_type(types.intp), value)

    def row(self, array, position: int, *index):
        """A pointer to array[index], the argument at a position."""
        kind = self.kinds[position]
        value = self.context.make_array(kind)(self.context, self.builder, array)
        return cgutils.get_item_pointer(self.context, self.builder, kind, value, list(index))

    def load(self, pointer, count: int) -> list:
        """So many vectors from a place on."""
        return [self.builder.load(self._place(pointer, v), align=self.scalar_bytes) for v in range(count)]

    def store(self, pointer, values: Sequence) -> None:
        for v, value in enumerate(values):
            self.builder.store(value, self._place(pointer, v), align=self.scalar_bytes)

    def _place(self, pointer, number: int):
        moved = self.builder.gep(pointer, [self.number(number * self.lanes)])
        return self.builder.bitcast(moved, self.vector.as_pointer())

    def spread(self, scalar):
        """A vector of equal numbers."""
        undefined, index = ir.Constant(self.vector, ir.Undefined), ir.IntType(32)
        one = self.builder.insert_element(undefined, scalar, ir.Constant(index, 0))
        return self.builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(index, self.lanes),
                                                                       [0] * self.lanes))

    def fused(self, a, b, c):
        """a b + c, by one instruction on processors that have it."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))
