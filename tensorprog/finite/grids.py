"""Indices inside a block: integers that differ between the iterations of the open loops, as arrays over batch axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tensorprog.finite.batched import Axis, Batched, dense
from tensorprog.finite.indices import Indices
from tensorprog.ir.integers import IntExpr, loop_names
from tensorprog.ir.program import Cell, Item, Range, TensorType


@dataclass(frozen=True, slots=True)
class LoopIndex:
    """An index that depends on loops of the block: int array over `axes`."""

    array: np.ndarray
    axes: tuple[Axis, ...]


Index = int | LoopIndex | slice
Key = int | LoopIndex | range


class Grids:
    """The open loops of a block. `sizes` has the number of iterations of each batch axis."""

    def __init__(self, indices: Indices):
        self.indices = indices
        self.sizes: dict[Axis, int] = {}
        self._axes: dict[str, Axis] = {}
        self._positions: dict[str, np.ndarray] = {}

    def open(self, var: str, iterations: range) -> Axis:
        """Add a batch axis."""
        axis = (len(self.sizes), var)
        self.sizes[axis] = len(iterations)
        self._axes[var] = axis
        self._positions[var] = np.array(iterations)
        return axis

    def close(self, axis: Axis) -> None:
        """Remove the batch axis that was added last."""
        del self.sizes[axis], self._axes[axis[1]], self._positions[axis[1]]

    def named(self, names: Iterable[str]) -> frozenset[Axis]:
        """The batch axes of those loops that are open in the block."""
        return frozenset(self._axes[name] for name in names if name in self._axes)

    # --- evaluation ---

    def index(self, expr: IntExpr) -> int | LoopIndex:
        """The value of an integer expression in all iterations."""
        axes = tuple(sorted(self.named(loop_names(expr))))
        # `Indices` evaluates with the loop variables bound to arrays, each along an axis of its own.
        for at, (_, name) in enumerate(axes):
            self.indices.values[name] = along(self._positions[name], at, len(axes))
        value = self.indices.integer(expr)
        return LoopIndex(np.broadcast_to(value, self.lengths(axes)), axes) if axes else value

    def number(self, expr: IntExpr) -> Batched:
        """The value of an integer expression as a scalar."""
        index = self.index(expr)
        if isinstance(index, LoopIndex):
            return dense(index.array.astype(float), index.axes, 0, False)
        return dense(np.float64(index), (), 0, False)

    def subscript(self, items: tuple[Item, ...], shape: tuple[int, ...], name: str) -> tuple[Index, ...]:
        """Checked indices into the leading finite axes, of lengths `shape`."""
        return tuple(self._checked(item, size, name) for item, size in zip(items, shape))

    def _checked(self, item: Item, size: int, name: str) -> Index:
        if isinstance(item, Range):
            return self.indices.slice(item, size, name)
        index = self.index(item)
        if isinstance(index, LoopIndex):
            self.indices.checked(index.array, size, name)
        else:
            self.indices.checked(index, size, name)
        return index

    def keys(self, cell: Cell, items: tuple[Item, ...], kind: TensorType) -> list[Key]:
        """The family part of `items`, as `Indices.keys` gives it."""
        return self.indices.keys(cell, items, kind, self.index)

    # --- arrays ---

    def lengths(self, axes: Iterable[Axis]) -> tuple[int, ...]:
        """The lengths of batch axes."""
        return tuple(self.sizes[a] for a in axes)

    def spread(self, index: LoopIndex, axes: tuple[Axis, ...]) -> np.ndarray:
        """A grid as an array over more axes, of length 1 where it does not depend on one."""
        return index.array.reshape([self.sizes[a] if a in index.axes else 1 for a in axes])

    def tuples(self, indices: Iterable[Index | Key], axes: tuple[Axis, ...]) -> list[tuple]:
        """The indices in each iteration of `axes`, in C order."""
        lengths = self.lengths(axes)
        count = int(np.prod(lengths))
        columns = [np.broadcast_to(self.spread(i, axes), lengths).ravel().tolist() if isinstance(i, LoopIndex)
                   else [i] * count for i in indices]
        return list(zip(*columns)) if columns else [()] * count

    def full(self, x: Batched, axes: tuple[Axis, ...]) -> np.ndarray:
        """The array [`axes` in full length, other batch axes of `x`, finite axes, width]."""
        rest = tuple(a for a in x.axes if a not in axes)
        everything = tuple(sorted({*axes, *rest}))
        array = x.aligned(everything, x.rank, x.wide)
        array = np.moveaxis(array, [everything.index(a) for a in axes + rest], range(len(everything)))
        return np.broadcast_to(array, self.lengths(axes) + array.shape[len(axes):])

    def pick(self, x: Batched, index: tuple[Index, ...]) -> Batched:
        """x[index] on the finite axes."""
        rank = x.rank - sum(not isinstance(i, slice) for i in index)
        axes = tuple(sorted({*x.axes, *grid_axes(index)}))
        # Basic indexing gives a view, advanced indexing a copy.
        if not grid_axes(index):
            plain = tuple(i for i in index if not isinstance(i, LoopIndex))
            return dense(x.array[(slice(None),) * len(x.axes) + plain], x.axes, rank, x.wide)
        shape = np.shape(x.array)[len(x.axes):]
        return dense(x.array[self._advanced(x.axes, index, axes, shape)], axes, rank, x.wide)

    def place(self, x: Batched, index: tuple[Index, ...], shape: tuple[int, ...]) -> Batched:
        """Zeros of finite shape `shape` with `x` at `index`."""
        axes = tuple(sorted({*x.axes, *grid_axes(index)}))
        whole = shape + (x.array.shape[-1:] if x.wide else ())
        array = np.zeros(self.lengths(axes) + whole)
        array[self._advanced(axes, index, axes, whole)] = x.aligned(axes, x.rank, x.wide)
        return dense(array, axes, len(shape), x.wide)

    def _advanced(self, own: tuple[Axis, ...], index: tuple[Index, ...], axes: tuple[Axis, ...],
                  shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """Index arrays for an array [`own` batch axes, `shape`] whose result is [`axes`, slices of `index`, rest]."""
        slices = sum(isinstance(i, slice) for i in index)
        total = len(axes) + slices
        arrays = [along(np.arange(self.sizes[a]), axes.index(a), total) for a in own]
        at = len(axes)
        for i, size in zip(index, shape):
            if isinstance(i, slice):
                arrays.append(along(np.arange(*i.indices(size)), at, total))
                # Slices become index arrays, too: mixed with them, NumPy would move the advanced axes to the front.
                at += 1
            elif isinstance(i, LoopIndex):
                grid = self.spread(i, axes)
                arrays.append(grid.reshape(grid.shape + (1,) * slices))
            else:
                arrays.append(np.full([1] * total, i))
        return tuple(arrays)


def grid_axes(indices: Iterable[Index | Key]) -> tuple[Axis, ...]:
    """The batch axes that indices depend on."""
    return tuple(sorted({a for i in indices if isinstance(i, LoopIndex) for a in i.axes}))


def along(array: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """A one-dimensional array as axis `axis` of `ndim`."""
    return array.reshape([-1 if i == axis else 1 for i in range(ndim)])
