"""The program run at a finite width, statement by statement: what every limit is the limit of.

Every value is an array with its finite axes first and its width axis last. Programs with gradients or tangent kernels
run on a tape (`finite.tape`); the others may run their parallel loops as blocks (`finite.blocks`). Nothing here knows
about limits, powers of n or the other passes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import assert_never

import numpy as np

from tensorprog.finite import operations
from tensorprog.finite.blockable import blockable
from tensorprog.finite.blocks import BlockRunner
from tensorprog.finite.indices import Indices, each_key
from tensorprog.finite.initials import actual_widths, draw_initial, element_shape
from tensorprog.finite.storage import Key, Storage, TapedStorage, Value
from tensorprog.finite.tape import plain
from tensorprog.ir.program import (
    POLAR,
    POLAR_DIFFERENTIAL,
    PRODUCT,
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    FunctionTerm,
    GradAdd,
    GradDot,
    GradRecord,
    GradStmt,
    If,
    InputRef,
    Item,
    KernelStmt,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    ParamRef,
    Pick,
    Place,
    Program,
    Statement,
    Store,
    SumAxis,
    TensorType,
    Term,
    Var,
    WidthConst,
    Zero,
    cells_written,
    single,
    walk,
)


def simulate(program: Program, env: Mapping[str, object], *, width: int, seeds: Sequence[int] | int,
             progress: Callable[[int, int], None] | None = None, blocks: bool = True) -> dict[str, np.ndarray]:
    """Run the program at base width `width`, once a seed.

    Args:
        env: validated values: sizes and int parameters as int, real parameters as float, inputs as arrays.
        progress: called as `progress(done, total)` after each seed.
        blocks: run loops flagged `parallel` as one block (equal to the sequential run up to rounding).

    Returns:
        For each output its array [seeds, *family extents, *finite shape]; NaN where a family has no element. For each
        sample the coordinates of its vectors, [seeds, n, vectors].

    Raises:
        ProgramError: TP601, where an element is read that has no value or does not exist.
    """
    chosen = [seeds] if isinstance(seeds, (int, np.integer)) else list(seeds)
    runs = []
    for done, seed in enumerate(chosen, 1):
        # Diverging training is a result, inf or NaN, and no warning.
        with np.errstate(all="ignore"):
            runs.append(Interpreter(program, env, width, int(seed), blocks).run())
        if progress is not None:
            progress(done, len(chosen))
    return {name: np.stack([run[name] for run in runs]) for name in runs[0]}


class Interpreter:
    """One run: the integers, the cells, and the temporaries that are in scope.

    Attributes:
        ops: the operations on values, as in `finite.operations`; another class may have them for arrays of its own.
    """

    ops = operations

    def __init__(self, program: Program, env: Mapping[str, object], n: int, seed: int, blocks: bool):
        self.program = program
        self.indices = Indices(env, program.source)
        self.widths = actual_widths(program, env, n)
        taped = any(isinstance(s, GradStmt | KernelStmt) for s in walk(program.body))
        self.storage = self._storage(taped)
        self.temporaries: dict[Var, Value] = {}
        # Statements compare by value; two equal loops in different places are told apart by identity.
        self._as_blocks = {id(s) for s in walk(program.body) if isinstance(s, For) and blocks and not taped
                           and blockable(s)}
        self._renewed: dict[str, list[Cell]] = defaultdict(list)
        for cell in cells_written(program.body):
            for name in cell.home:
                self._renewed[name].append(cell)
        for cell, key, value in self._initials(env, n, seed):
            self.storage.declare(cell, key, value)

    def _storage(self, taped: bool) -> Storage:
        return TapedStorage(self.indices, self.widths, self.program) if taped else Storage(self.indices, self.widths)

    def _initials(self, env: Mapping[str, object], n: int, seed: int) -> Iterator[tuple[Cell, Key, object]]:
        """The declared random objects, element by element."""
        for initial in self.program.initials:
            for key, value in draw_initial(self.program, initial, env, n, seed):
                yield initial.cell, key, value

    def run(self) -> dict[str, np.ndarray]:
        """Run the body; the outputs' arrays."""
        self.run_block(self.program.body)
        numbers = {o.name: self._output(o.cell) for o in self.program.outputs}
        return numbers | {s.name: np.stack([self._output(c) for c in s.cells], axis=-1) for s in self.program.samples}

    def iterations(self, loop: For) -> range:
        """The values of a loop's variable."""
        self.indices.span = loop.span
        return range(self.indices.integer(loop.start), self.indices.integer(loop.stop), loop.step)

    # --- statements ---

    def run_block(self, body: tuple[Statement, ...]) -> None:
        """Run statements and forget their temporaries."""
        for statement in body:
            self._run_statement(statement)
        for statement in body:
            if isinstance(statement, Let):
                self.temporaries.pop(statement.var, None)

    def _run_statement(self, statement: Statement) -> None:
        self.indices.span = statement.span
        match statement:
            case Let(var, op):
                self.temporaries[var] = self.evaluate(op, var)
            case Store(cell, items, value):
                self._write(cell, items, value, add=False)
            case Accum(cell, items, value):
                self._write(cell, items, value, add=True)
            case MatStore(cell, items, terms):
                self.storage.put(cell, self.indices.integers(items), self._matrix(cell, terms))
            case MatAccum(cell, items, terms):
                self.storage.add(cell, self.indices.integers(items), self._matrix(cell, terms))
            case Zero(cell):
                self.storage.zero(cell)
            case GradStmt():
                self.storage.declare(statement.target, (), self._gradient(statement))
            case KernelStmt(kind="ntk"):
                self.storage.declare(statement.target, (), self._tangent_kernel(statement))
            case For():
                self._run_loop(statement)
            case If(condition, then, orelse):
                self.run_block(then if self.indices.condition(condition) else orelse)
            case KernelStmt():
                pass  # A covariance over draws has no value in one network.
            case GradRecord() | GradAdd() | GradDot():
                raise AssertionError(f"{type(statement).__name__} is in no network's program")
            case _:
                assert_never(statement)

    # A cell is new in each iteration of its home loop: its elements of the iteration before are gone.
    def _run_loop(self, loop: For) -> None:
        if self.as_block(loop):
            BlockRunner(self).run_loop(loop)
            return
        for i in self.iterations(loop):
            self.indices.values[loop.var] = i
            for cell in self.renewed(loop):
                self.storage.forget(cell)
            self.run_block(loop.body)

    def as_block(self, loop: For) -> bool:
        """Whether all iterations of a loop are run at once."""
        return id(loop) in self._as_blocks

    def renewed(self, loop: For) -> list[Cell]:
        """The cells that are new in each iteration of a loop."""
        return self._renewed[loop.var]

    def _write(self, cell: Cell, items: tuple[Item, ...], var: Var, *, add: bool) -> None:
        """cell[items] = value, or +=; the value's leading axes run along the family axes that `items` leave open."""
        keys, finite = self.indices.keys(cell, items, var.type), items[cell.rank:]
        value = self._aligned(self.temporaries[var], var.type, cell.tensor)
        opened = [size for size in keys if isinstance(size, range)]
        for where, key in zip(np.ndindex(*map(len, opened)), each_key(keys)):
            part = self.ops.pick(value, index=where) if where else value
            self._write_element(cell, key, finite, part, add)

    def _write_element(self, cell: Cell, key: Key, finite: tuple[Item, ...], value: Value, add: bool) -> None:
        if finite:
            # `current` and not `borrow`: an accumulation may be the first that the element hears of.
            shape = np.shape(plain(self.storage.current(cell, key)))
            index = self.indices.subscript(finite, shape, cell.display or cell.name)
            (self.storage.add_at if add else self.storage.put_at)(cell, key, index, value)
        elif add:
            self.storage.add(cell, key, value)
        else:
            self.storage.put(cell, key, self._filled(value, self.storage.shape(cell)))

    def _filled(self, value: Value, shape: tuple[int, ...]) -> Value:
        """`value` broadcast to an element's shape."""
        return value if np.shape(plain(value)) == shape else self.ops.add(self.storage.zeros(shape), value)

    # --- values ---

    def evaluate(self, op: Op, var: Var) -> Value:
        """The value of an operation whose result is `var`."""
        values = self.temporaries
        match op:
            case Const(value):
                return np.full(element_shape(var.type, self.widths, self.indices.values), float(value))[()]
            case WidthConst(width):
                return np.float64(self.widths[width])
            case FromInt(expr):
                return np.float64(self.indices.integer(expr))
            case ParamRef(name):
                return np.float64(self.indices.values[name])
            case InputRef(name, items):
                array = self.indices.values[name]
                return np.asarray(array[self.indices.subscript(items, array.shape, name)], dtype=float)
            case Load(cell, items):
                return self._load(cell, items, var)
            case Elementwise(fn, (arg,), order):
                return self.ops.unary(values[arg], fn=fn, order=order)
            case Elementwise(fn, args):
                return self.ops.binary(*(self._aligned(values[a], a.type, var.type) for a in args), fn=fn)
            case Moment(arg):
                # The mean over the actual coordinates: `round(ratio * n)` of them, not `ratio * n`.
                total = self.ops.sum_axis(values[arg], axis=np.ndim(plain(values[arg])) - 1)
                return self.ops.mul(total, 1.0 / self.widths[arg.type.of_width])
            case Contract():
                return self.ops.contract(values[op.left], values[op.right], axes=_contract_axes(op))
            case SumAxis(arg, axis):
                return self.ops.sum_axis(values[arg], axis=axis)
            case Expand(arg, axis, size):
                return self.ops.expand(values[arg], axis=axis, size=self.indices.integer(size))
            case Pick(arg, items):
                shape = np.shape(plain(values[arg]))
                return self.ops.pick(values[arg], index=self.indices.subscript(items, shape, arg.name))
            case Place(arg, items, shape):
                whole = self.indices.integers(shape) + np.shape(plain(values[arg]))[len(arg.type.shape):]
                index = self.indices.subscript(items, whole, var.name)
                return self.ops.place(values[arg], index=index, shape=whole)
            case MatDot(left, right):
                total = self.ops.mul(self._term(left), self._term(right))
                return self.ops.sum_axis(self.ops.sum_axis(total, axis=0), axis=0)
            case MatMul(matrix, items, transposed, arg):
                m = self.storage.borrow(matrix, self.indices.integers(items))
                return self.ops.matmul(self.ops.transpose(m) if transposed else m, values[arg])
            case Fluctuation():
                raise AssertionError("only limits have it")
            case _:
                assert_never(op)

    def _load(self, cell: Cell, items: tuple[Item, ...], var: Var) -> Value:
        """A cell's element, or the elements along its open family axes, or a part of these."""
        keys, finite = self.indices.keys(cell, items, var.type), items[cell.rank:]
        opened = tuple(len(k) for k in keys if isinstance(k, range))
        if not opened:
            value = self.storage.read(cell, tuple(keys))
        else:
            value = self._gather(cell, keys, opened)
        if not finite:
            return value
        shape = np.shape(plain(value))[len(opened):]
        index = self.indices.subscript(finite, shape, cell.display or cell.name)
        return self.ops.pick(value, index=(slice(None),) * len(opened) + index)

    def _gather(self, cell: Cell, keys: list, opened: tuple[int, ...]) -> Value:
        elements = [self.storage.read(cell, key) for key in each_key(keys)]
        shape = opened + self.storage.shape(cell)
        return self.ops.reshape(self.ops.stack(*elements), shape=shape) if elements else self.storage.zeros(shape)

    # --- matrices and gradients ---

    def _matrix(self, cell: Cell, terms: tuple[Term, ...]) -> Value:
        """The linear combination of matrices and outer products that `cell` gets, [rows, cols]."""
        if not terms:
            return self.storage.zeros(self.storage.shape(cell))
        total = self._term(terms[0])
        for term in terms[1:]:
            total = self.ops.add(total, self._term(term))
        return total

    def _term(self, term: Term) -> Value:
        match term:
            case MatrixTerm(coef, cell, items, transposed):
                m = self.storage.read(cell, self.indices.integers(items))
                m = self.ops.transpose(m) if transposed else m
                return m if coef is None else self.ops.mul(self.temporaries[coef], m)
            case OuterTerm(coef, left, right):
                u = self.temporaries[left]
                u = u if coef is None else self.ops.mul(self.temporaries[coef], u)
                return self.ops.outer(u, self.temporaries[right])
            case FunctionTerm(fn, args, order):
                values = [self.temporaries[a] if isinstance(a, Var) else self._term(a) for a in args]
                return self._function(fn, values, order)
            case _:
                assert_never(term)

    def _function(self, fn: str, values: list, order: int) -> Value:
        """A function of matrices and numbers."""
        if fn == PRODUCT:
            return self.ops.matmul(self.ops.transpose(values[1]), values[0])
        if fn == POLAR:
            return self.ops.polar(*values)
        if fn == POLAR_DIFFERENTIAL:
            return self.ops.polar_differential(*values)
        if len(values) == 1:
            return self.ops.unary(*values, fn=fn, order=order)
        return self.ops.binary(*values, fn=fn)

    def _gradient(self, statement: GradStmt) -> Value:
        key = self.indices.integers(statement.wrt_items)
        return self._gradient_at(statement.scalar, statement.scalar_items, statement.wrt, key)

    def _gradient_at(self, scalar: Cell, items: tuple[Item, ...], wrt: Cell, key: Key) -> Value:
        at = self.indices.integers(single(items))
        assert isinstance(self.storage, TapedStorage), "a program with gradients runs on a tape"
        return self.storage.gradient(scalar, at[:scalar.rank], at[scalar.rank:], wrt, key)

    def _tangent_kernel(self, statement: KernelStmt) -> Value:
        total = np.float64(0.0)
        for variable in statement.wrt:
            given = self.indices.integers(variable.items)
            # A family given without all its indices stands for all its elements, whose kernels add up.
            for key in [k for k in self.storage.elements(variable.cell) if k[:len(given)] == given]:
                left = self._gradient_at(statement.left, statement.left_items, variable.cell, key)
                right = self._gradient_at(statement.right, statement.right_items, variable.cell, key)
                terms = self.ops.mul(left, right)
                for _ in range(np.ndim(plain(terms))):
                    terms = self.ops.sum_axis(terms, axis=0)
                total = self.ops.add(total, terms)
        return total

    def _aligned(self, value: Value, kind: TensorType, target: TensorType) -> Value:
        """`value` with its axes where broadcasting to `target` expects them."""
        # A table without a width meets a vector: its last axis is finite, and NumPy would align it with the width.
        if kind.shape and target.width and not kind.width:
            return self.ops.expand(value, axis=-1, size=1)
        return value

    def _output(self, cell: Cell) -> np.ndarray:
        """A cell as one array [*extents, *finite shape], NaN where it has no element."""
        elements = self.storage.elements(cell)
        extents = tuple(1 + max((key[axis] for key in elements), default=-1) for axis in range(cell.rank))
        result = np.full(extents + self.storage.shape(cell), np.nan)
        for key, value in elements.items():
            result[key] = plain(value)
        return result


def _contract_axes(op: Contract) -> tuple[str, str, str]:
    """The einsum subscripts of a contraction, width axis included."""
    used = op.left_axes + op.right_axes + op.out_axes
    width = next(letter for letter in "nNwWzZ" if letter not in used)
    left, right = (width if v.type.width else "" for v in (op.left, op.right))
    return op.left_axes + left, op.right_axes + right, op.out_axes + (left or right)
