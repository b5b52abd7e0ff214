"""The cells of a run: for each cell a dictionary from index tuple to element.

An element is never changed while somebody else may hold it: `add` works in place only on an array that it made itself
and that nobody has read since.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from tensorprog.finite import operations
from tensorprog.finite.indices import Indices
from tensorprog.finite.initials import element_shape
from tensorprog.finite.tape import GradientTape, TapeNode, Value, gradient, plain
from tensorprog.ir.program import Cell, GradStmt, KernelStmt, Program, walk

Key = tuple[int, ...]


class Storage:
    """Cells with elements of plain arrays."""

    def __init__(self, indices: Indices, widths: Mapping[str, int]):
        self._indices = indices
        self._widths = widths
        self._elements: dict[Cell, dict[Key, Value]] = defaultdict(dict)
        self._zeroed: set[Cell] = set()
        self._own: set[tuple[Cell, Key]] = set()

    def shape(self, cell: Cell) -> tuple[int, ...]:
        """The array shape of one element."""
        return element_shape(cell.type, self._widths, self._indices.values)

    def zeros(self, shape: tuple[int, ...]) -> Value:
        """An element of zeros."""
        return np.zeros(shape)

    def elements(self, cell: Cell) -> dict[Key, Value]:
        """All elements that have a value."""
        return self._elements[cell]

    def read(self, cell: Cell, key: Key) -> Value:
        """An element, which the caller may keep."""
        # The caller may keep it: from now on additions make a new array.
        self._own.discard((cell, key))
        return self.borrow(cell, key)

    def borrow(self, cell: Cell, key: Key) -> Value:
        """An element, which the caller only looks at."""
        value = self._elements[cell].get(key)
        if value is not None:
            return value
        # A zeroed family has no extents of its own: every index from 0 on is zero.
        if cell not in self._zeroed or any(i < 0 for i in key):
            raise self._indices.error(self._missing(cell, key))
        return self.zeros(self.shape(cell))

    def current(self, cell: Cell, key: Key) -> Value:
        """What an accumulation starts from: the element, or zero for a hidden cell's element without a value."""
        if cell.role == "hidden" and key not in self._elements[cell]:
            self._check(cell, key)
            return self.zeros(self.shape(cell))
        return self.borrow(cell, key)

    def zero(self, cell: Cell) -> None:
        """Make every element zero."""
        self.forget(cell)
        self._zeroed.add(cell)

    def forget(self, cell: Cell) -> None:
        """Make the cell new: no element has a value."""
        for key in self._elements.pop(cell, ()):
            self._own.discard((cell, key))
        self._zeroed.discard(cell)

    def declare(self, cell: Cell, key: Key, value: Value) -> None:
        """Give an element its first value."""
        self._own.discard((cell, key))
        self._elements[cell][key] = value

    def put(self, cell: Cell, key: Key, value: Value) -> None:
        """Replace an element."""
        self._check(cell, key)
        self.declare(cell, key, value)

    def add(self, cell: Cell, key: Key, value: Value) -> None:
        """Add to an element."""
        if (cell, key) in self._own:
            self._elements[cell][key] += value
        else:
            self._elements[cell][key] = self.current(cell, key) + value
            self._keep(cell, key)

    def put_at(self, cell: Cell, key: Key, index: tuple, value: Value) -> None:
        """Replace a part of an element."""
        self._part(cell, key)[index] = value

    def add_at(self, cell: Cell, key: Key, index: tuple, value: Value) -> None:
        """Add to a part of an element."""
        self._part(cell, key)[index] += value

    def _part(self, cell: Cell, key: Key) -> np.ndarray:
        """An element as an array that may be written to."""
        if (cell, key) not in self._own:
            self._elements[cell][key] = np.array(self.current(cell, key))
            self._keep(cell, key)
        return self._elements[cell][key]

    def _keep(self, cell: Cell, key: Key) -> None:
        # The sum of two numbers of NumPy is a scalar, which cannot be changed in place.
        if isinstance(self._elements[cell][key], np.ndarray):
            self._own.add((cell, key))

    def _check(self, cell: Cell, key: Key) -> None:
        if any(i < 0 for i in key) or cell.role == "initial" and key not in self._elements[cell]:
            raise self._indices.error(self._missing(cell, key))

    def _missing(self, cell: Cell, key: Key) -> str:
        name = cell.display or cell.name
        place = f"{name}[{', '.join(map(str, key))}]" if key else name
        if any(i < 0 for i in key):
            return f"`{place}` has a negative index"
        if cell.role == "initial":
            return f"`{place}` is out of the range that `{name}` was declared with"
        return f"`{place}` has no value yet"


class WholeStorage(Storage):
    """Cells whose elements are replaced and never written to, so that what was made of them keeps its gradient.

    Attributes:
        ops: the operations on elements, as in `finite.operations`.
    """

    ops = operations

    def add(self, cell: Cell, key: Key, value: Value) -> None:
        self.put(cell, key, self.ops.add(self.current(cell, key), value))

    def put_at(self, cell: Cell, key: Key, index: tuple, value: Value) -> None:
        self.put(cell, key, self.ops.replace(self.current(cell, key), value, index=index))

    def add_at(self, cell: Cell, key: Key, index: tuple, value: Value) -> None:
        old = self.current(cell, key)
        self.put(cell, key, self.ops.replace(old, self.ops.add(self.ops.pick(old, index=index), value), index=index))


class TapedStorage(WholeStorage):
    """Cells whose elements may be tape nodes.

    Of each cell that a gradient is taken with respect to it knows the versions in time, and of each scalar that is
    differentiated when it was stored. Versions are held weakly: one that has vanished has nothing that depends on it.
    """

    def __init__(self, indices: Indices, widths: Mapping[str, int], program: Program):
        super().__init__(indices, widths)
        grads = [s for s in walk(program.body) if isinstance(s, GradStmt)]
        self._tape = GradientTape()
        kernels = [s for s in walk(program.body) if isinstance(s, KernelStmt)]
        self._wrt = {g.wrt for g in grads} | {v.cell for k in kernels for v in k.wrt}
        self._scalars = {g.scalar for g in grads} | {c for k in kernels for c in (k.left, k.right)}
        self._stored: dict[tuple[Cell, Key], int] = {}
        self._versions: dict[tuple[Cell, Key], list[tuple[int, weakref.ref[TapeNode]]]] = defaultdict(list)

    def declare(self, cell: Cell, key: Key, value: Value) -> None:
        if cell in self._wrt:
            value = self._tape.new_version(value, self._elements[cell].get(key))
            self._versions[cell, key].append((value.serial, weakref.ref(value)))
        super().declare(cell, key, value)
        if cell in self._scalars:
            self._stored[cell, key] = self._tape.tick()

    def forget(self, cell: Cell) -> None:
        if cell in self._wrt:
            for node in self._elements[cell].values():
                self._tape.retire(node)
        super().forget(cell)

    def gradient(self, scalar: Cell, scalar_key: Key, index: tuple, wrt: Cell, wrt_key: Key) -> Value:
        """The gradient of `scalar[scalar_key][index]` with respect to `wrt[wrt_key]` as that stood at the time."""
        value = self.borrow(scalar, scalar_key)
        seed = operations.place(np.float64(1.0), index=index, shape=np.shape(plain(value)))
        version = self._version_at(wrt, wrt_key, self._stored[scalar, scalar_key])
        # A version that has vanished has nothing that depends on it: the gradient is zero.
        found = None if version is None else gradient(value, seed, version, operations.add)
        return np.zeros(self.shape(wrt)) if found is None else found

    def _version_at(self, cell: Cell, key: Key, time: int) -> TapeNode | None:
        versions = self._versions[cell, key]
        position = bisect_right(versions, time, key=lambda v: v[0])
        if position == 0:
            raise self._indices.error(self._missing(cell, key) + " when the scalar was computed")
        return versions[position - 1][1]()
