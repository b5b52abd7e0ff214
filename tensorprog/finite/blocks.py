"""Parallel loops run as one block: all iterations at once, one matrix product instead of many products with vectors.

Values carry a batch axis for each parallel loop that they depend on (`finite.batched`). Of a cell that the body stores there
are two kinds: indexed by the loop variable, whose elements are scattered into the storage, and private to an iteration,
which live in an overlay with a batch axis until the loop ends and its last iteration's value is kept. Long loops are cut
into pieces, to bound the memory. Loops for which this does not work stay sequential (`finite.blockable`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as each
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.finite.batched import WIDTH, Axis, Batched, dense, einsum, product
from tensorprog.finite.blockable import blockable
from tensorprog.finite.functions import BINARY, apply_unary
from tensorprog.finite.storage import Key
from tensorprog.ir.integers import IntExpr, loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    Expand,
    For,
    FromInt,
    If,
    InputRef,
    Item,
    Let,
    Load,
    MatAccum,
    MatMul,
    MatrixTerm,
    Moment,
    Op,
    OuterTerm,
    Pick,
    Place,
    Range,
    Statement,
    Store,
    SumAxis,
    TensorType,
    Term,
    Var,
)

if TYPE_CHECKING:
    from tensorprog.finite.interpreter import Interpreter

MAX_ENTRIES = 1 << 23


@dataclass(frozen=True, slots=True)
class Grid:
    """An index that depends on block loops: int array over `axes`."""

    array: np.ndarray
    axes: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Private:
    """An element of which each iteration of the loops `owners` has its own."""

    value: Batched
    owners: frozenset[Axis]


Index = int | Grid | slice


class BlockRunner:
    """Runs one outermost block; `host` is the sequential interpreter that met it."""

    def __init__(self, host: Interpreter):
        self.host = host
        self.indices = host.indices
        self.storage = host.storage
        self.sizes: dict[Axis, int] = {}
        self._axes: dict[str, Axis] = {}
        self._positions: dict[str, np.ndarray] = {}
        self._temporaries: dict[Var, Batched] = {}
        self._overlay: dict[tuple[Cell, Key], Private] = {}

    # --- loops and statements ---

    def run_loop(self, loop: For) -> None:
        """Run a loop inside the block (or the outermost one): as a further batch axis, or step by step."""
        iterations = self.host.iterations(loop)
        if blockable(loop):
            for piece in self._pieces(iterations):
                self._run_piece(loop, piece)
            return
        for i in iterations:
            self.indices.values[loop.var] = i
            self._run_body(loop.body)

    def _pieces(self, iterations: range) -> Iterator[range]:
        """The iterations cut so that an array over all batch axes and a width stays below `MAX_ENTRIES`."""
        other = max(self.host.widths.values(), default=1) * int(np.prod(list(self.sizes.values())))
        length = max(1, MAX_ENTRIES // other)
        for start in range(0, len(iterations), length):
            yield iterations[start:start + length]

    def _run_piece(self, loop: For, iterations: range) -> None:
        axis = (len(self.sizes), loop.var)
        self.sizes[axis] = len(iterations)
        self._axes[loop.var] = axis
        self._positions[loop.var] = np.array(iterations)
        self._run_body(loop.body)
        self._settle(axis)
        del self.sizes[axis], self._axes[loop.var], self._positions[loop.var]

    def _settle(self, axis: Axis) -> None:
        """Keep the last iteration of what was private to the loop that ends."""
        for place, entry in list(self._overlay.items()):
            value, owners = entry.value.last(axis), entry.owners - {axis}
            if owners:
                self._overlay[place] = Private(value, owners)
            else:
                del self._overlay[place]
                self.storage.put(*place, value.array)

    def _run_body(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self._run_statement(statement)
        for statement in body:
            if isinstance(statement, Let):
                self._temporaries.pop(statement.var, None)

    def _run_statement(self, statement: Statement) -> None:
        self.indices.span = statement.span
        match statement:
            case Let(var, op):
                self._temporaries[var] = self._evaluate(op, var)
            case Store(cell, items, value):
                self._write(cell, items, value, add=False)
            case Accum(cell, items, value):
                self._write(cell, items, value, add=True)
            case MatAccum(cell, items, terms):
                delta = sum(self._term(term) for term in terms)
                self.storage.add(cell, self.indices.integers(items), delta)
            case For():
                self.run_loop(statement)
            case If(condition, then, orelse):
                self._run_body(then if self.indices.condition(condition) else orelse)

    def _term(self, term: Term) -> np.ndarray:
        """A term of an accumulated matrix, summed over all iterations: [rows, cols]."""
        match term:
            case MatrixTerm(coef, cell, items, transposed):
                m = self.storage.borrow(cell, self.indices.integers(items))
                one = dense(np.float64(1.0), (), 0, False)
                total = (one if coef is None else self._value(coef)).total((), self.sizes)
                return total.array * (m.T if transposed else m)
            case OuterTerm(coef, left, right):
                u, v = self._value(left), self._value(right)
                factors = u.relabelled({WIDTH: "rows"}) + v.relabelled({WIDTH: "cols"})
                used = {*u.axes, *v.axes}
                if coef is not None:
                    c = self._value(coef)
                    factors += c.factors
                    used.update(c.axes)
                repeats = np.prod([size for axis, size in self.sizes.items() if axis not in used])
                return repeats * einsum(factors, ("rows", "cols"))

    # --- indices ---

    def _index(self, item: IntExpr) -> int | Grid:
        names = loop_names(item) & self._axes.keys()
        if not names:
            return self.indices.integer(item)
        axes = tuple(sorted(self._axes[name] for name in names))
        values = self.indices.values
        for at, (_, name) in enumerate(axes):
            values[name] = _along(self._positions[name], at, len(axes))
        array = self.indices.integer(item)
        return Grid(np.broadcast_to(array, [self.sizes[a] for a in axes]), axes)

    def _subscript(self, items: tuple[Item, ...], shape: tuple[int, ...], name: str) -> tuple[Index, ...]:
        """Checked indices into the leading finite axes, of lengths `shape`."""
        result: list[Index] = []
        for item, size in zip(items, shape):
            index = item if isinstance(item, Range) else self._index(item)
            if isinstance(index, Grid):
                self.indices.checked(index.array, size, name)
                result.append(index)
            else:
                result += self.indices.subscript((item,), (size,), name)
        return tuple(result)

    def _keys(self, cell: Cell, items: tuple[Item, ...], kind: TensorType) -> list[int | Grid | range]:
        """The family part of `items`, as `Interpreter.keys` gives it."""
        closed = [i for i in items[:cell.rank] if not isinstance(i, Range)]
        grids = iter([self._index(item) for item in closed])
        family = items[:cell.rank] + (Range(),) * (cell.rank - len(items))
        sizes = iter(kind.shape)
        return [self.host.open_range(item, next(sizes)) if isinstance(item, Range) else next(grids) for item in family]

    # --- cells ---

    def _value(self, var: Var) -> Batched:
        """A temporary of the block, or of the sequential code around it."""
        if var in self._temporaries:
            return self._temporaries[var]
        return dense(self.host.temporaries[var], (), len(var.type.shape), var.type.width is not None)

    def _element(self, cell: Cell, key: Key) -> Batched:
        if (cell, key) in self._overlay:
            return self._overlay[cell, key].value
        return dense(self.storage.read(cell, key), (), *_form(cell.type))

    def _load(self, cell: Cell, items: tuple[Item, ...], var: Var) -> Batched:
        keys = self._keys(cell, items, var.type)
        if all(isinstance(k, int) for k in keys):
            value = self._element(cell, tuple(keys))
        else:
            value = self._gather(cell, keys)
        finite = items[cell.rank:]
        if not finite:
            return value
        opened = value.rank - len(cell.type.shape)
        shape = np.shape(value.array)[len(value.axes) + opened:]
        index = self._subscript(finite, shape, cell.display or cell.name)
        return self._pick(value, (slice(None),) * opened + index)

    def _gather(self, cell: Cell, keys: list[int | Grid | range]) -> Batched:
        """Elements over the batch axes of `keys` and along its open axes."""
        axes = _grid_axes(keys)
        opened = [len(k) for k in keys if isinstance(k, range)]
        elements = [self._element(cell, key) for where in self._places(axes) for key in _open_keys(_at(keys, axes, where))]
        outer = [self.sizes[a] for a in axes] + opened
        rank, wide = _form(cell.type)
        if not elements:
            return dense(np.zeros([*outer, *self.storage.shape(cell)]), axes, len(opened) + rank, wide)
        extra = tuple(sorted({a for e in elements for a in e.axes}))
        stacked = _stack([e.aligned(extra, rank, wide) if extra else e.array for e in elements])
        labels = axes + tuple(range(len(opened))) + extra + tuple(range(len(opened), len(opened) + rank))
        array = stacked.reshape(outer + list(stacked.shape[1:]))
        return Batched(((array, labels + ((WIDTH,) if wide else ())),), axes + extra, len(opened) + rank, wide)

    def _places(self, axes: tuple[Axis, ...]) -> Iterator[tuple[int, ...]]:
        return each(*(range(self.sizes[a]) for a in axes))

    def _write(self, cell: Cell, items: tuple[Item, ...], var: Var, *, add: bool) -> None:
        """cell[items] = value, or +=, in all iterations."""
        keys = self._keys(cell, items, var.type)
        finite = self._finite_index(cell, items[cell.rank:], keys)
        axes = _grid_axes([*keys, *finite])
        owners = self._owners(cell, keys, axes, add)
        value = self._value(var).total({*axes, *owners}, self.sizes) if add else self._value(var)
        if all(isinstance(k, int) for k in keys) and not finite:
            self._write_element(cell, tuple(keys), (), value, owners, add)
            return
        opened = [len(k) for k in keys if isinstance(k, range)]
        rest = tuple(a for a in value.axes if a not in axes)
        rank = value.rank - len(opened)
        spread = _broadcast(value, axes, self.sizes)
        for where in self._places(axes):
            part = spread[where]
            place = dict(zip(axes, where))
            index = tuple(_point(i, place) for i in finite)
            for at, key in zip(np.ndindex(*opened), _open_keys(_at(keys, axes, where))):
                piece = dense(part[(slice(None),) * len(rest) + at], rest, rank, value.wide)
                self._write_element(cell, key, index, piece, owners, add)

    def _finite_index(self, cell: Cell, items: tuple[Item, ...], keys: list) -> tuple[Index, ...]:
        return self._subscript(items, self.storage.shape(cell), cell.display or cell.name) if items else ()

    def _owners(self, cell: Cell, keys: list, axes: tuple[Axis, ...], add: bool) -> frozenset[Axis]:
        """The loops each of whose iterations has its own copy of the elements that are written."""
        first = next(_open_keys(_at(keys, axes, (0,) * len(axes))), None)
        entry = self._overlay.get((cell, first))
        before = entry.owners if entry else frozenset()
        return before if add else before | (frozenset(self.sizes) - set(axes))

    def _write_element(self, cell: Cell, key: Key, index: tuple[int | slice, ...], value: Batched,
                       owners: frozenset[Axis], add: bool) -> None:
        """Write one element; `value` depends on no loop but its owners."""
        rank, wide = _form(cell.type)
        if index:
            rank -= sum(isinstance(i, int) for i in index)
        if not owners:
            array = value.aligned((), rank, wide)
            self._write_shared(cell, key, index, array, add)
            return
        if index or add:
            old = self._private(cell, key)
            value = self._changed(old, index, value, owners, add)
        else:
            value = self._filled(cell, value)
        self._overlay[cell, key] = Private(value, owners)

    def _write_shared(self, cell: Cell, key: Key, index: tuple, array, add: bool) -> None:
        if index:
            (self.storage.add_at if add else self.storage.put_at)(cell, key, index, array)
        elif add:
            self.storage.add(cell, key, array)
        else:
            self.storage.put(cell, key, np.broadcast_to(array, self.storage.shape(cell)))

    def _private(self, cell: Cell, key: Key) -> Batched:
        """The element that a private change starts from."""
        if (cell, key) in self._overlay:
            return self._overlay[cell, key].value
        return dense(self.storage.current(cell, key), (), *_form(cell.type))

    def _filled(self, cell: Cell, value: Batched) -> Batched:
        """`value` with all axes of the cell's elements."""
        rank, wide = _form(cell.type)
        if (value.rank, value.wide) == (rank, wide):
            return value
        array = value.aligned(value.axes, rank, wide)
        shape = array.shape[:len(value.axes)] + self.storage.shape(cell)
        return dense(np.broadcast_to(array, shape), value.axes, rank, wide)

    def _changed(self, old: Batched, index: tuple, value: Batched, owners: frozenset[Axis], add: bool) -> Batched:
        """`old` after `old[index] = value`, or +=, in each iteration of its owners."""
        axes = tuple(sorted({*old.axes, *value.axes}))
        array = np.array(_broadcast(old, axes, self.sizes))
        rank = old.rank - sum(isinstance(i, int) for i in index)
        change = value.aligned(axes, rank, old.wide)
        at = (slice(None),) * len(axes) + index
        array[at] = array[at] + change if add else change
        return dense(array, axes, old.rank, old.wide)

    # --- operations ---

    def _evaluate(self, op: Op, var: Var) -> Batched:
        rank, wide = _form(var.type)
        match op:
            case FromInt(expr):
                index = self._index(expr)
                if isinstance(index, Grid):
                    return dense(index.array.astype(float), index.axes, 0, False)
                return dense(np.float64(index), (), 0, False)
            case InputRef(name, items):
                array = self.indices.values[name]
                index = self._subscript(items, array.shape, name)
                picked = self._pick(dense(array, (), array.ndim, False), index)
                return dense(np.asarray(picked.array, dtype=float), picked.axes, rank, False)
            case Load(cell, items):
                return self._load(cell, items, var)
            case Elementwise(fn, (arg,), order):
                x = self._value(arg)
                return dense(apply_unary(fn, order, x.array), x.axes, rank, wide)
            case Elementwise(fn, (left, right)):
                return self._binary(fn, self._value(left), self._value(right), rank, wide)
            case Moment(arg):
                x = self._value(arg)
                names = {i: i for i in range(rank)}
                return _formed(Batched(x.relabelled(names), x.axes, rank, False)).scaled(1 / self.host.widths[arg.type.width])
            case Contract():
                return self._contract(op, rank, wide)
            case SumAxis(arg, axis):
                x = self._value(arg)
                names = {i: i - (i > axis) for i in range(x.rank) if i != axis} | {WIDTH: WIDTH}
                return _formed(Batched(x.relabelled(names), x.axes, rank, wide))
            case Expand(arg, axis, size):
                x = self._value(arg)
                array = np.expand_dims(x.array, len(x.axes) + axis)
                shape = list(array.shape)
                shape[len(x.axes) + axis] = self.indices.integer(size)
                return dense(np.broadcast_to(array, shape), x.axes, rank, wide)
            case Pick(arg, items):
                x = self._value(arg)
                return self._pick(x, self._subscript(items, np.shape(x.array)[len(x.axes):], arg.name))
            case Place(arg, items, shape):
                return self._place(self._value(arg), items, self.indices.integers(shape), var)
            case MatMul(matrix, items, transposed, arg):
                m = self.storage.borrow(matrix, self.indices.integers(items))
                return self._matmul(m.T if transposed else m, self._value(arg))
            case _:
                return dense(self.host.evaluate(op, var), (), rank, wide)

    def _binary(self, fn: str, left: Batched, right: Batched, rank: int, wide: bool) -> Batched:
        if fn == "mul" and (kept := product(left, right)) is not None:
            return kept
        axes = tuple(sorted({*left.axes, *right.axes}))
        return dense(BINARY[fn](left.aligned(axes, rank, wide), right.aligned(axes, rank, wide)), axes, rank, wide)

    def _contract(self, op: Contract, rank: int, wide: bool) -> Batched:
        """The einsum as factors; axes that are summed over get labels of their own, shared by both operands."""
        names = {letter: i for i, letter in enumerate(op.out_axes)}
        for letter in op.left_axes + op.right_axes:
            names.setdefault(letter, f"{op.left.name}.{letter}")
        left, right = self._value(op.left), self._value(op.right)
        factors = (left.relabelled(dict(enumerate(names[x] for x in op.left_axes)) | {WIDTH: WIDTH})
                   + right.relabelled(dict(enumerate(names[x] for x in op.right_axes)) | {WIDTH: WIDTH}))
        result = Batched(factors, {*left.axes, *right.axes}, rank, wide)
        outer = set(op.left_axes + op.right_axes) == set(op.out_axes)
        return result if outer else _formed(result)

    def _matmul(self, m: np.ndarray, x: Batched) -> Batched:
        flat = x.array.reshape(-1, m.shape[1]) @ m.T
        return dense(flat.reshape(x.array.shape[:-1] + (m.shape[0],)), x.axes, x.rank, True)

    def _pick(self, x: Batched, index: tuple[Index, ...]) -> Batched:
        """x[index] on the finite axes."""
        rank = x.rank - sum(not isinstance(i, slice) for i in index)
        axes = tuple(sorted({*x.axes, *_grid_axes(index)}))
        if not _grid_axes(index):
            return dense(x.array[(slice(None),) * len(x.axes) + index], x.axes, rank, x.wide)
        shape = np.shape(x.array)[len(x.axes):]
        return dense(x.array[self._advanced(x.axes, index, axes, shape)], axes, rank, x.wide)

    def _place(self, x: Batched, items: tuple[Item, ...], shape: tuple[int, ...], var: Var) -> Batched:
        """Zeros of finite shape `shape` with `x` at `items`."""
        index = self._subscript(items, shape, var.name)
        axes = tuple(sorted({*x.axes, *_grid_axes(index)}))
        whole = shape + (x.array.shape[-1:] if x.wide else ())
        array = np.zeros([*(self.sizes[a] for a in axes), *whole])
        array[self._advanced(axes, index, axes, whole)] = x.aligned(axes, x.rank, x.wide)
        return dense(array, axes, len(shape), x.wide)

    def _advanced(self, own: tuple[Axis, ...], index: tuple[Index, ...], axes: tuple[Axis, ...],
                  shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """Index arrays for an array [own batch axes, `shape`] whose result is [`axes`, slices of `index`, rest]."""
        slices = sum(isinstance(i, slice) for i in index)
        total = len(axes) + slices
        arrays = [_along(np.arange(self.sizes[a]), axes.index(a), total) for a in own]
        at = len(axes)
        for i, size in zip(index, shape):
            if isinstance(i, slice):
                arrays.append(_along(np.arange(*i.indices(size)), at, total))
                at += 1
            elif isinstance(i, Grid):
                lengths = [self.sizes[a] if a in i.axes else 1 for a in axes]
                arrays.append(i.array.reshape(lengths + [1] * slices))
            else:
                arrays.append(np.full([1] * total, i))
        return tuple(arrays)


def _form(kind: TensorType) -> tuple[int, bool]:
    """The number of finite axes, and whether there is a width."""
    return len(kind.shape), kind.width is not None


def _formed(x: Batched) -> Batched:
    return dense(x.array, x.axes, x.rank, x.wide)


def _along(array: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """A one-dimensional array as axis `axis` of `ndim`."""
    return array.reshape([-1 if i == axis else 1 for i in range(ndim)])


def _grid_axes(index) -> tuple[Axis, ...]:
    return tuple(sorted({a for i in index if isinstance(i, Grid) for a in i.axes}))


def _point(index: Index | range, place: dict[Axis, int]) -> int | slice | range:
    """An index in one iteration."""
    return int(index.array[tuple(place[a] for a in index.axes)]) if isinstance(index, Grid) else index


def _at(keys: list[int | Grid | range], axes: tuple[Axis, ...], where: tuple[int, ...]) -> list[int | range]:
    place = dict(zip(axes, where))
    return [_point(k, place) for k in keys]


def _open_keys(keys: list[int | range]) -> Iterator[Key]:
    return each(*(k if isinstance(k, range) else (k,) for k in keys))


def _broadcast(x: Batched, axes: tuple[Axis, ...], sizes: dict[Axis, int]) -> np.ndarray:
    """The array with `axes` first, in full length, and then the other batch axes of `x` and its own axes."""
    rest = tuple(a for a in x.axes if a not in axes)
    everything = tuple(sorted({*axes, *rest}))
    array = x.aligned(everything, x.rank, x.wide)
    array = np.moveaxis(array, [everything.index(a) for a in axes + rest], range(len(everything)))
    return np.broadcast_to(array, [*(sizes[a] for a in axes), *array.shape[len(axes):]])


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays along a new first axis, after broadcasting them to one shape."""
    shape = np.broadcast_shapes(*{np.shape(a) for a in arrays})
    return np.stack([a if np.shape(a) == shape else np.broadcast_to(a, shape) for a in arrays])
