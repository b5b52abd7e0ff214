"""Parallel loops run as one block: all iterations at once, one matrix product instead of many products with vectors.

Values carry a batch axis for each parallel loop that they depend on (`finite.batched`); cells are seen through
`finite.overlay`. Long loops are cut into pieces, to bound the memory. Loops for which this does not work stay
sequential (`finite.blockable`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, assert_never

import numpy as np

from tensorprog.finite.batched import WIDTH, Batched, Label, dense, einsum, product
from tensorprog.finite.functions import BINARY, apply_unary
from tensorprog.finite.grids import Grids
from tensorprog.finite.overlay import Overlay, form
from tensorprog.ir.program import (
    Accum,
    Contract,
    Elementwise,
    Expand,
    For,
    FromInt,
    FunctionTerm,
    GradAdd,
    GradDot,
    GradRecord,
    GradStmt,
    If,
    InputRef,
    KernelStmt,
    Let,
    Load,
    MatAccum,
    MatMul,
    MatrixTerm,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    Pick,
    Place,
    Statement,
    Store,
    SumAxis,
    Term,
    Var,
    Zero,
)

if TYPE_CHECKING:
    from tensorprog.finite.interpreter import Interpreter

# 16 MB of float64 an array: enough rows for matrix products to run at full speed, little beside the matrices.
MAX_ENTRIES = 1 << 21


class BlockRunner:
    """Runs one outermost block; `host` is the sequential interpreter that met it."""

    def __init__(self, host: Interpreter):
        self._host = host
        self._indices = host.indices
        self._storage = host.storage
        self._grids = Grids(host.indices)
        self._cells = Overlay(host.storage, self._grids)
        self._temporaries: dict[Var, Batched] = {}

    # --- loops and statements ---

    def run_loop(self, loop: For) -> None:
        """Run a loop inside the block (or the outermost one): as a further batch axis, or step by step."""
        iterations = self._host.iterations(loop)
        if self._host.as_block(loop):
            for piece in self._pieces(iterations):
                axis = self._grids.open(loop.var, piece)
                self._run_iteration(loop)
                self._cells.settle(axis)
                self._grids.close(axis)
            return
        for i in iterations:
            self._indices.values[loop.var] = i
            self._run_iteration(loop)

    def _pieces(self, iterations: range) -> Iterator[range]:
        """The iterations cut so that an array over all batch axes and a width stays below `MAX_ENTRIES`."""
        other = max(self._host.widths.values(), default=1) * int(np.prod(list(self._grids.sizes.values())))
        length = max(1, MAX_ENTRIES // other)
        for start in range(0, len(iterations), length):
            yield iterations[start:start + length]

    def _run_iteration(self, loop: For) -> None:
        # Both views: what was private to an iteration, and what a sequential iteration before this block has stored.
        for cell in self._host.renewed(loop):
            self._cells.clear(cell, self._grids.named(cell.home))
            self._storage.forget(cell)
        self._run_body(loop.body)

    def _run_body(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self._run_statement(statement)
        for statement in body:
            if isinstance(statement, Let):
                self._temporaries.pop(statement.var, None)

    def _run_statement(self, statement: Statement) -> None:
        self._indices.span = statement.span
        match statement:
            case Let(var, op):
                self._temporaries[var] = self._evaluate(op, var)
            case Store(cell, items, value):
                self._cells.write(cell, items, self._value(value), value.type, add=False)
            case Accum(cell, items, value):
                self._cells.write(cell, items, self._value(value), value.type, add=True)
            case MatAccum(cell, items, terms):
                delta = sum(self._term(term) for term in terms)
                self._storage.add(cell, self._indices.integers(items), delta)
            case Zero(cell):
                self._cells.clear(cell, frozenset(self._grids.sizes))
                self._storage.zero(cell)
            case For():
                self.run_loop(statement)
            case If(condition, then, orelse):
                self._run_body(then if self._indices.condition(condition) else orelse)
            case MatStore() | GradStmt() | KernelStmt() | GradRecord() | GradAdd() | GradDot():
                raise AssertionError(f"`blockable` takes no {type(statement).__name__}")
            case _:
                assert_never(statement)

    def _term(self, term: Term) -> np.ndarray:
        """A term of an accumulated matrix, summed over all iterations: [rows, cols]."""
        coef = dense(np.float64(1.0), (), 0, False) if term.coef is None else self._value(term.coef)
        match term:
            case MatrixTerm(_, cell, items, transposed):
                m = self._storage.borrow(cell, self._indices.integers(items))
                return coef.total((), self._grids.sizes).array * (m.T if transposed else m)
            case OuterTerm(_, left, right):
                u, v = self._value(left), self._value(right)
                factors = u.relabelled({WIDTH: "rows"}) + v.relabelled({WIDTH: "cols"}) + coef.factors
                used = {*u.axes, *v.axes, *coef.axes}
                # A loop that no factor depends on adds the same term in each of its iterations.
                repeats = np.prod([size for axis, size in self._grids.sizes.items() if axis not in used])
                return repeats * einsum(factors, ("rows", "cols"))
            case FunctionTerm():
                raise AssertionError("`blockable` takes no function of a matrix")
            case _:
                assert_never(term)

    # --- operations ---

    def _value(self, var: Var) -> Batched:
        """A temporary of the block, or of the sequential code around it."""
        if var in self._temporaries:
            return self._temporaries[var]
        return dense(self._host.temporaries[var], (), *form(var.type))

    def _evaluate(self, op: Op, var: Var) -> Batched:
        rank, wide = form(var.type)
        match op:
            case FromInt(expr):
                return self._grids.number(expr)
            case InputRef():
                return self._input(op)
            case Load(cell, items):
                return self._cells.load(cell, items, var.type)
            case Elementwise(fn, (arg,), order):
                return self._unary(fn, order, self._value(arg))
            case Elementwise(fn, (left, right)):
                return self._binary(fn, self._value(left), self._value(right), rank, wide)
            case Moment(arg):
                names: dict[Label, Label] = {i: i for i in range(rank)}
                return _reduced(self._value(arg), names, rank, False).scaled(1 / self._host.widths[arg.type.of_width])
            case Contract():
                return self._contract(op, rank, wide)
            case SumAxis(arg, axis):
                names = {WIDTH: WIDTH, **{i: i - (i > axis) for i in range(rank + 1) if i != axis}}
                return _reduced(self._value(arg), names, rank, wide)
            case Expand(arg, axis, size):
                return _expanded(self._value(arg), axis, self._indices.integer(size))
            case Pick(arg, items):
                x = self._value(arg)
                return self._grids.pick(x, self._grids.subscript(items, np.shape(x.array)[len(x.axes):], arg.name))
            case Place(arg, items, shape):
                whole = self._indices.integers(shape)
                return self._grids.place(self._value(arg), self._grids.subscript(items, whole, var.name), whole)
            case MatMul(matrix, items, transposed, arg):
                m = self._storage.borrow(matrix, self._indices.integers(items))
                return _matmul(m.T if transposed else m, self._value(arg))
            case _:
                return dense(self._host.evaluate(op, var), (), rank, wide)

    def _input(self, op: InputRef) -> Batched:
        array = np.asarray(self._indices.values[op.name])
        index = self._grids.subscript(op.items, array.shape, op.name)
        picked = self._grids.pick(dense(array, (), array.ndim, False), index)
        return dense(np.asarray(picked.array, dtype=float), picked.axes, picked.rank, False)

    def _unary(self, fn: str, order: int, x: Batched) -> Batched:
        # A sign goes into one of the factors; every other function needs the product itself.
        if x.lazy and (fn, order) == ("neg", 0):
            return x.scaled(-1.0)
        return dense(apply_unary(fn, order, x.array), x.axes, x.rank, x.wide)

    def _binary(self, fn: str, left: Batched, right: Batched, rank: int, wide: bool) -> Batched:
        # The reciprocal is taken of the smaller factor, and the product stays unformed.
        if fn == "div" and left.lazy:
            fn, right = "mul", dense(1.0 / right.array, right.axes, right.rank, right.wide)
        if fn == "mul" and (kept := product(left, right)) is not None:
            return kept
        axes = tuple(sorted({*left.axes, *right.axes}))
        return dense(BINARY[fn](left.aligned(axes, rank, wide), right.aligned(axes, rank, wide)), axes, rank, wide)

    def _contract(self, op: Contract, rank: int, wide: bool) -> Batched:
        """The einsum; a product without a sum is left as its factors."""
        names: dict[str, Label] = {letter: f"sum {letter}" for letter in op.left_axes + op.right_axes}
        names |= {letter: i for i, letter in enumerate(op.out_axes)}
        left, right = self._value(op.left), self._value(op.right)
        factors = (left.relabelled({WIDTH: WIDTH, **{i: names[x] for i, x in enumerate(op.left_axes)}})
                   + right.relabelled({WIDTH: WIDTH, **{i: names[x] for i, x in enumerate(op.right_axes)}}))
        result = Batched(factors, {*left.axes, *right.axes}, rank, wide)
        # No summed letter, thus as many letters as axes of the result: an outer product, kept as its factors.
        return result if len(names) == rank else _formed(result)


def _reduced(x: Batched, names: Mapping[Label, Label], rank: int, wide: bool) -> Batched:
    """The sum over the axes that `names` leaves out."""
    return _formed(Batched(x.relabelled(names), x.axes, rank, wide))


def _formed(x: Batched) -> Batched:
    return dense(x.array, x.axes, x.rank, x.wide)


def _expanded(x: Batched, axis: int, size: int) -> Batched:
    """`x` repeated along a new finite axis."""
    array = np.expand_dims(x.array, len(x.axes) + axis)
    shape = list(array.shape)
    shape[len(x.axes) + axis] = size
    return dense(np.broadcast_to(array, shape), x.axes, x.rank + 1, x.wide)


def _matmul(m: np.ndarray, x: Batched) -> Batched:
    flat = x.array.reshape(-1, m.shape[1]) @ m.T
    return dense(flat.reshape(x.array.shape[:-1] + (m.shape[0],)), x.axes, x.rank, True)
