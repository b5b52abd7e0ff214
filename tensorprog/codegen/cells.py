"""Storage: reading, writing and adding to cells under parallel axes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from tensorprog.codegen.emission import Emission, Value
from tensorprog.codegen.fusion import Fusion
from tensorprog.codegen.indexing import Indexed, grids_text, index_text
from tensorprog.codegen.layout import Axis, CellStorage, Layout, aligned, lengths_text, shape_parts, tuple_text
from tensorprog.codegen.matrix_states import MatrixStates
from tensorprog.codegen.names import int_text, python_name
from tensorprog.ir.integers import loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    For,
    MatrixType,
    Range,
    Var,
    Zero,
    walk,
    written,
)


class Cells:
    """Source text of loads, stores, accumulations and allocations."""

    def __init__(self, state: Emission, fusion: Fusion, matrices: MatrixStates):
        self.state, self.fusion, self.matrices = state, fusion, matrices

    def read(self, var: Var, text: str, items: tuple, lead: tuple[str, ...], extents: tuple, *, copy: bool,
             width: bool = False) -> None:
        """`text[items]`, an array whose leading axes are the parallel axes `lead`."""
        # Axes that the array has of its own run along with it; the others are what indices are made into.
        free = [a for a in self.state.active if a.var not in lead]
        moving = {n for i in items if not isinstance(i, Range) for n in loop_names(i)} & set(lead)
        if moving:
            # One index array asks for others on all axes: of mixed indices, NumPy moves axes to the front.
            index, axes = self._read_along(items, lead)
            order = list(range(len(axes)))
        else:
            found = index_text(items, free, extents)
            axes = self.in_order((*lead, *found.axes))
            index = ", ".join([*([":"] * len(lead)), *([found.text] if found.text else [])])
            order = _transposition(lead, found, axes)
            if set(index.replace(" ", "").split(",")) <= {":"} and order == sorted(order):
                # The whole array in the order in which it lies: no view, and no line of its own.
                index = ""
        result = f"{text}[{index}]" if index else text
        layout = Layout(axes, len(var.type.shape), width or bool(var.type.width))
        # Slices leave axes in the order of the indices, as x[b, a] or X[:, a] do; a value has those of loops first, in their order.
        if order != sorted(order):
            order += range(len(order), layout.dims)
            result = f"np.transpose({result}, {tuple_text([str(o) for o in order])})"
        # A view of a family that changes later on would change with it.
        if copy and layout.dims:
            result = f"{result}.copy()"
        if result == text:
            self.state.values[var] = Value(text, layout)
        else:
            self.state.assign(var, result, layout)

    def _read_along(self, items: tuple, lead: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """An index that moves with an axis that the array itself has: index arrays for all."""
        named = {n for i in items if not isinstance(i, Range) for n in loop_names(i)}
        axes = self.in_order({*lead, *named})
        # Position 0 of an axis is the iteration at which its loop starts.
        grids = [f"{a}_grid[:{', None' * (len(axes) - 1 - axes.index(a))}] - {int_text(self.state.every_axis[a].start)}"
                 for a in lead]
        return ", ".join([*grids, *([grids_text(items, axes)] if items else [])]), axes

    def in_order(self, axes: Iterable[str]) -> tuple[str, ...]:
        wanted = set(axes)
        return tuple(a for a in self.state.order if a in wanted)

    def load(self, var: Var, cell: Cell, items: tuple) -> None:
        self.flush_zeros({cell})
        storage = self.state.storage[cell]
        name = python_name(cell.name)
        lead = self.lead(storage)
        # A name: what it holds now has the layout of the last store, which may have fewer axes than the cell can have.
        if cell.rank == 0 and not items:
            layout = self.state.layouts.get(cell) or self._cell_layout(cell)
            # A name of its own, for an assignment would make the cell's mean another array; declared vectors that no one
            # assigns keep theirs.
            if self._rebound(cell):
                self.state.assign(var, name, layout)
            else:
                self.state.values[var] = Value(name, layout)
            return
        extents = (*self.state.extents.get(cell, ()), *map(int_text, cell.tensor.shape))
        # Of an array that changes in place, now or in a later iteration, a temporary has to keep what it was.
        self.read(var, name, items, lead, extents, copy=storage.full and cell in self.state.changing,
                   width=bool(cell.tensor.width))

    @cached_property
    def _partly_added(self) -> set[Cell]:
        """The single arrays to whose entries something is added."""
        return {s.cell for s in walk(self.state.program.body) if isinstance(s, Accum) and s.items and not s.cell.rank}

    def _rebound(self, cell: Cell) -> bool:
        return cell not in self.state.initials or cell in self.state.written

    def lead(self, storage: CellStorage) -> tuple[str, ...]:
        return tuple(a for a in storage.axes if a in self.state.order)

    def _cell_layout(self, cell: Cell) -> Layout:
        return Layout(self.lead(self.state.storage[cell]), len(cell.tensor.shape), bool(cell.tensor.width))

    def store(self, cell: Cell, items: tuple, value: Var) -> None:
        storage = self.state.storage[cell]
        name = python_name(cell.name)
        if cell.rank == 0:
            self.state.unzeroed.discard(cell)
            found = self.fusion.value(value)
            # Elements of an array are taken from it by indices, and so it has them all, also where they are one number.
            if storage.full or cell.tensor.shape and not found.layout.finite:
                text, layout = self._fitted(cell, value)
            else:
                text, layout = found.text, found.layout
            if cell in self._partly_added and layout.dims:
                text = f"np.array({text})"  # neither another's memory nor read-only
            self.state.line(f"{name} = {text}")
            self.state.layouts[cell] = layout
            return
        self.flush_zeros({cell})
        index, axes, _ = self._write_index(cell, items)
        text, layout = self.fusion.full(value, width=bool(cell.tensor.width), axes=self.in_order(axes))
        text = self._lined_up(text, layout, Layout(axes, layout.finite, layout.width))
        # A family that is stored as a whole needs no memory of its own beside what is stored.
        self.state.line(f"{name} = {text}" if storage.named else f"{name}[{index}] = {text}")

    def _fitted(self, cell: Cell, value: Var) -> tuple[str, Layout]:
        """A value with every axis of the cell that it is stored in."""
        axes = self.lead(self.state.storage[cell])
        found = self.fusion.value(value)
        target = Layout(axes, len(cell.tensor.shape), bool(cell.tensor.width))
        if found.layout == target:
            return found.text, target
        shape = tuple_text(shape_parts(target, self.state.every_axis, cell.tensor.shape, "samples"))
        if shape == "()":
            return found.text, target
        # No copy: a number beside a vector of its values takes no memory. It may not be written to, which `store` sees to.
        return f"np.broadcast_to({aligned(found.text, found.layout, target)}, {shape})", target

    def _write_index(self, cell: Cell, items: tuple) -> tuple[str, tuple[str, ...], list[int]]:
        """The index of a family's element, the parallel axes, in order, of what is written there, and where NumPy has these and
        the finite ones behind them."""
        lead = self.lead(self.state.storage[cell])
        free = [a for a in self.state.active if a.var not in lead]
        moving = {n for i in items if not isinstance(i, Range) for n in loop_names(i)} & set(lead)
        if moving:
            index, axes = self._read_along(items, lead)
            return index, axes, list(range(len(axes)))
        found = index_text(items, free, self.state.extents.get(cell))
        axes = (*lead, *found.axes)
        index = ", ".join([*([":"] * len(lead)), *([found.text] if found.text else [])])
        return index, axes, _transposition(lead, found, axes)

    def accumulate(self, cell: Cell, items: tuple, value: Var) -> None:
        storage = self.state.storage[cell]
        name = python_name(cell.name)
        index, axes, order = self._write_index(cell, items) if cell.rank or items else ("", self.lead(storage), [])
        # Iterations add to one element along each axis that the target has not: their sum is added, at once.
        summed = tuple(a for a in self.state.order if a not in axes)
        text, layout = self.fusion.reduced(value, summed) if summed else self._plain(value)
        # (An addition to a part of the array, by `items`, needs the array.)
        if cell in self.state.unzeroed and cell.rank == 0 and not items:
            self.state.unzeroed.discard(cell)
            # Zeros are made only where something else than an addition meets them first.
            self.first_accumulation(cell, text, layout)
            return
        self.flush_zeros({cell})
        if cell.rank == 0 and not items:
            lined = self._lined_up(text, layout, self._cell_layout(cell))
            # Not in place: the array may be the value of a temporary, too.
            self.state.line(f"{name} = {name} + {lined}")
            return
        target = Layout(axes, _finite_left(cell, items), bool(cell.tensor.width))
        lined = self._lined_up(text, layout, target)
        if "_grid" in index and not self._is_apart(items, axes, self.lead(storage)):
            # `+=` adds once where index arrays name an element twice, as ids do in `u[ids[t]] += g`.
            self.state.line(f"np.add.at({name}, np.s_[{index}], {lined})")
        elif order != sorted(order):
            # Of u[:, a], whose axes NumPy has the other way round, a view.
            order += range(len(order), target.dims)
            self.state.line(f"np.transpose({name}[{index}], {tuple_text([str(o) for o in order])})[...] += {lined}")
        else:
            self.state.line(f"{name}[{index}] += {lined}")

    @staticmethod
    def _is_apart(items: tuple, axes: tuple[str, ...], lead: tuple[str, ...]) -> bool:
        """Whether an index that moves with axes names every element at most once: all of the axes are the array's own."""
        return set(axes) == set(lead) and not any(isinstance(i, Range) for i in items)

    def _plain(self, value: Var) -> tuple[str, Layout]:
        found = self.fusion.value(value)
        return found.text, found.layout

    def _lined_up(self, text: str, layout: Layout, target: Layout) -> str:
        """`text` broadcastable to `target`, whose axes may be in another order than the nest's."""
        if layout.axes and tuple(a for a in target.axes if a in layout.axes) != layout.axes:
            order = [layout.axes.index(a) for a in target.axes if a in layout.axes]
            order += range(len(order), layout.dims)
            text = f"np.transpose({text}, {tuple_text([str(o) for o in order])})"
            layout = Layout(tuple(a for a in target.axes if a in layout.axes), layout.finite, layout.width)
        lined = aligned("@", layout, target)
        return text if lined == "@" else lined.replace("@", f"({text})", 1)

    def first_accumulation(self, cell: Cell, text: str, layout: Layout) -> None:
        """The first addition to a zeroed cell sets it."""
        target = self._cell_layout(cell)
        lined = self._lined_up(text, layout, target)
        if layout != target and target.dims:
            shape = tuple_text(shape_parts(target, self.state.every_axis, cell.tensor.shape, "samples"))
            lined = f"np.broadcast_to({lined}, {shape})"
        self.state.line(f"{python_name(cell.name)} = {lined}")
        self.state.layouts[cell] = target

    # --- zeros and storage ---

    def zero(self, cell: Cell) -> None:
        if isinstance(cell.type, MatrixType):
            zero = self.matrices.matrix_family(cell) if cell.rank else self.matrices.zero_matrix(cell)
            self.state.line(f"{python_name(cell.name)} = {zero}")
        else:
            # Not written yet: most are added to next, and begin with that.
            self.state.unzeroed.add(cell)

    def flush_zeros(self, cells: set[Cell]) -> None:
        """Make the zeros of cells that are about to be used in a way that needs them."""
        # Sorted, because emitted text is the same in every process: compiled kernels are kept by it.
        for cell in sorted(cells & self.state.unzeroed, key=lambda c: c.name):
            self.state.unzeroed.discard(cell)
            self.state.line(f"{python_name(cell.name)} = {self.zeros(cell)}")
            self.state.layouts[cell] = self._cell_layout(cell)

    def zeros(self, cell: Cell) -> str:
        """A cell's value before anything is added to it."""
        if cell in self.state.factored.cells:
            finite = tuple_text([int_text(s) for s in cell.tensor.shape])
            return f"rt.Factored({self.state.lengths(self.state.factored.cells[cell])}, {finite}, samples)"
        shape = self._shape(cell)
        return f"np.zeros({lengths_text(shape) if cell.rank else shape}{_type(cell)})" if shape != "()" else "0.0"

    def _shape(self, cell: Cell) -> str:
        lead = [int_text(self.state.every_axis[a].length) for a in self.lead(self.state.storage[cell])]
        finite = [int_text(s) for s in cell.tensor.shape]
        extents = list(self.state.extents.get(cell, ())) if cell.rank else []
        return tuple_text([*lead, *extents, *finite, *(["samples"] if cell.tensor.width else [])])

    def allocate(self) -> None:
        """Storage of the families that the program assigns, not a number anywhere yet."""
        zeroed = {written(s) for s in walk(self.state.program.body) if isinstance(s, Zero)}
        for cell in sorted(self.state.storage, key=lambda c: c.name):
            # Single names come into being by assignment, declared and zeroed families where they are drawn and zeroed.
            if not cell.rank or cell in self.state.initials or cell in zeroed or self.state.storage[cell].named:
                continue
            if isinstance(cell.type, MatrixType):
                self.state.line(f"{python_name(cell.name)} = {self.matrices.matrix_family(cell)}")
                continue
            for loop in self.state.storage[cell].axes:
                statement = next(s for s in walk(self.state.program.body) if isinstance(s, For) and s.var == loop)
                self.state.every_axis.setdefault(loop, Axis(loop, statement.start, statement.stop))
            lead = [int_text(self.state.every_axis[a].length) for a in self.state.storage[cell].axes]
            finite = [int_text(s) for s in cell.type.shape]
            # A family that nothing is stored to has no elements.
            extents = self.state.extents.get(cell, ("0",) * cell.rank)
            shape = tuple_text([*lead, *extents, *finite, *(["samples"] if cell.type.width else [])])
            only_added = all(isinstance(s, Accum) for s in walk(self.state.program.body) if written(s) is cell)
            # Adjoints are read where nothing was added; an element of the user's family that is never assigned stays
            # NaN.
            zero = only_added and cell.role == "hidden"
            lengths = lengths_text(shape)
            fill = f"np.zeros({lengths}{_type(cell)})" if zero else f"np.full({lengths}, np.nan{_type(cell)})"
            self.state.line(f"{python_name(cell.name)} = {fill}")


def _transposition(lead: tuple[str, ...], found: Indexed, axes: tuple[str, ...]) -> list[int]:
    """Where NumPy has the parallel axes `axes`, and then the slices, of an array with leading axes `lead` that is indexed."""
    made = (*found.axes, *lead, *(None for a in found.order if a is None)) if found.moved else (*lead, *found.order)
    return [made.index(a) for a in axes] + [k for k, a in enumerate(made) if a is None]


def _type(cell: Cell) -> str:
    """The argument that says of what type the entries of an array are: vectors may be float32, numbers are float64."""
    return ", dtype" if cell.tensor.width else ""


def _finite_left(cell: Cell, items: tuple) -> int:
    """The number of finite axes that `cell[items]` has left."""
    given = items[cell.rank:]
    return len(cell.tensor.shape) - sum(not isinstance(i, Range) for i in given)
