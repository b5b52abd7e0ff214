"""The cells as a block sees them: the storage of the run, and on top the elements that are private to an iteration.

Cells that the body stores are of two kinds. Indexed by the loop variable: the elements are scattered into the storage.
Private, that is written before being read in each iteration: the elements carry a batch axis for each loop that owns
them, until that loop ends and the last iteration's value is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tensorprog.finite.batched import WIDTH, Axis, Batched, dense
from tensorprog.finite.grids import Grids, Key, grid_axes
from tensorprog.finite.indices import each_key
from tensorprog.finite.storage import Key as ElementKey
from tensorprog.finite.storage import Storage
from tensorprog.ir.program import Cell, Item, TensorType


@dataclass(frozen=True, slots=True)
class Private:
    """An element of which each iteration of the loops `owners` has its own."""

    value: Batched
    owners: frozenset[Axis]


class Overlay:
    """Reads and writes cells in all iterations of a block at once."""

    def __init__(self, storage: Storage, grids: Grids):
        self._storage = storage
        self._grids = grids
        self._private: dict[tuple[Cell, ElementKey], Private] = {}
        self._new: dict[Cell, frozenset[Axis]] = {}

    def clear(self, cell: Cell, owners: frozenset[Axis]) -> None:
        """Drop a cell's private elements; those that are accumulated next belong to the iterations of `owners`."""
        for place in [p for p in self._private if p[0] is cell]:
            del self._private[place]
        self._new[cell] = owners

    def settle(self, axis: Axis) -> None:
        """Keep the last iteration of what was private to the loop that ends."""
        for place, entry in list(self._private.items()):
            value, owners = entry.value.last(axis), entry.owners - {axis}
            if owners:
                self._private[place] = Private(value, owners)
            else:
                del self._private[place]
                # After a loop its variables have the values of the last iteration, as in a sequential run.
                self._storage.put(*place, value.array)
        self._new = {cell: owners - {axis} for cell, owners in self._new.items()}

    # --- reading ---

    def load(self, cell: Cell, items: tuple[Item, ...], kind: TensorType) -> Batched:
        """cell[items], of type `kind`."""
        keys = self._grids.keys(cell, items, kind)
        closed = tuple(k for k in keys if isinstance(k, int))
        if len(closed) == len(keys):
            value = self._element(cell, closed)
        else:
            value = self._gather(cell, keys)
        finite = items[cell.rank:]
        if not finite:
            return value
        opened = value.rank - len(cell.tensor.shape)
        shape = np.shape(value.array)[len(value.axes) + opened:]
        index = self._grids.subscript(finite, shape, cell.display or cell.name)
        return self._grids.pick(value, (slice(None),) * opened + index)

    def _element(self, cell: Cell, key: ElementKey) -> Batched:
        if (cell, key) in self._private:
            return self._private[cell, key].value
        return dense(self._storage.read(cell, key), (), *form(cell.tensor))

    def _gather(self, cell: Cell, keys: list[Key]) -> Batched:
        """Elements over the batch axes of `keys` and along its open axes."""
        axes = grid_axes(keys)
        opened = tuple(len(k) for k in keys if isinstance(k, range))
        outer = self._grids.lengths(axes) + opened
        elements = [self._element(cell, key) for some in self._grids.tuples(keys, axes) for key in each_key(some)]
        rank, wide = form(cell.tensor)
        if not elements:
            return dense(np.zeros(outer + self._storage.shape(cell)), axes, len(opened) + rank, wide)
        own = tuple(sorted({a for e in elements for a in e.axes}))
        stacked = np.stack(np.broadcast_arrays(*(e.aligned(own, rank, wide) for e in elements)) if own
                           else [e.array for e in elements])
        slices = tuple(range(len(opened)))
        inner = tuple(range(len(opened), len(opened) + rank)) + ((WIDTH,) if wide else ())
        factor = (stacked.reshape(outer + stacked.shape[1:]), axes + slices + own + inner)
        return Batched((factor,), axes + own, len(opened) + rank, wide)

    # --- writing ---

    def write(self, cell: Cell, items: tuple[Item, ...], value: Batched, kind: TensorType, *, add: bool) -> None:
        """cell[items] = value, or +=, in all iterations; `kind` is the value's type."""
        keys = self._grids.keys(cell, items, kind)
        finite = self._finite_index(cell, items[cell.rank:])
        axes = grid_axes([*keys, *finite])
        owners = self._owners(cell, keys, axes, add)
        if add:
            value = value.total({*axes, *owners}, self._grids.sizes)
        closed = tuple(k for k in keys if isinstance(k, int))
        if axes or finite or len(closed) < len(keys):
            self._scatter(cell, keys, finite, value, owners, add)
        else:
            self._write_element(cell, closed, (), value, owners, add)

    def _finite_index(self, cell: Cell, items: tuple[Item, ...]) -> tuple:
        return self._grids.subscript(items, self._storage.shape(cell), cell.display or cell.name) if items else ()

    def _owners(self, cell: Cell, keys: list[Key], axes: tuple[Axis, ...], add: bool) -> frozenset[Axis]:
        """The loops each of whose iterations has its own copy of the elements that are written."""
        # All elements that one statement writes have the same owners: `blockable` lets only consistent cells in.
        first = next((key for some in self._grids.tuples(keys, axes)[:1] for key in each_key(some)), None)
        entry = None if first is None else self._private.get((cell, first))
        before = entry.owners if entry else self._new.get(cell, frozenset()) - set(axes)
        return before if add else before | (frozenset(self._grids.sizes) - set(axes))

    def _scatter(self, cell: Cell, keys: list[Key], finite: tuple, value: Batched, owners: frozenset[Axis],
                 add: bool) -> None:
        """Write the elements, or parts of elements, that the iterations and the open axes of `keys` select."""
        axes = grid_axes([*keys, *finite])
        rest = tuple(a for a in value.axes if a not in axes)
        opened = [len(k) for k in keys if isinstance(k, range)]
        rank = value.rank - len(opened)
        full = self._grids.full(value, axes)
        tuples = self._grids.tuples
        for where, some, index in zip(np.ndindex(full.shape[:len(axes)]), tuples(keys, axes), tuples(finite, axes)):
            for at, key in zip(np.ndindex(*opened), each_key(some)):
                part = full[where + (slice(None),) * len(rest) + at]
                self._write_element(cell, key, index, dense(part, rest, rank, value.wide), owners, add)

    def _write_element(self, cell: Cell, key: ElementKey, index: tuple[int | slice, ...], value: Batched,
                       owners: frozenset[Axis], add: bool) -> None:
        """Write one element, or its part at `index`; `value` depends on no loop but its owners."""
        if not owners:
            self._write_shared(cell, key, index, value, add)
        elif index or add:
            self._private[cell, key] = Private(self._changed(cell, key, index, value, add), owners)
        else:
            self._private[cell, key] = Private(self._filled(cell, value), owners)

    def _write_shared(self, cell: Cell, key: ElementKey, index: tuple, value: Batched, add: bool) -> None:
        if index:
            rank, wide = form(cell.tensor)
            part = value.aligned((), rank - sum(isinstance(i, int) for i in index), wide)
            (self._storage.add_at if add else self._storage.put_at)(cell, key, index, part)
        elif add:
            self._storage.add(cell, key, value.aligned((), *form(cell.tensor)))
        else:
            self._storage.put(cell, key, self._filled(cell, value).array)

    def _filled(self, cell: Cell, value: Batched) -> Batched:
        """`value` with all axes of the cell's elements."""
        rank, wide = form(cell.tensor)
        if (value.rank, value.wide) == (rank, wide):
            return value
        array = value.aligned(value.axes, rank, wide)
        shape = array.shape[:len(value.axes)] + self._storage.shape(cell)
        return dense(np.broadcast_to(array, shape), value.axes, rank, wide)

    def _changed(self, cell: Cell, key: ElementKey, index: tuple, value: Batched, add: bool) -> Batched:
        """A private element after element[index] = value, or +=, in each iteration."""
        # A private element that is accumulated first starts from what the sequential code has left.
        old = self._element(cell, key) if (cell, key) in self._private else dense(
            self._storage.current(cell, key), (), *form(cell.tensor))
        axes = tuple(sorted({*old.axes, *value.axes}))
        # A copy: `full` is a read-only view where axes are broadcast.
        array = np.array(self._grids.full(old, axes))
        change = value.aligned(axes, old.rank - sum(isinstance(i, int) for i in index), old.wide)
        at = (slice(None),) * len(axes) + index
        array[at] = array[at] + change if add else change
        return dense(array, axes, old.rank, old.wide)


def form(kind: TensorType) -> tuple[int, bool]:
    """The number of finite axes, and whether there is a width."""
    return len(kind.shape), kind.width is not None
