"""Which tensors the array modules keep as a base plus outer products (`runtime.factored`).

In a parallel loop, a tensor `[n, d]` that the loop's iterations have of their own would be an array with one more axis.
It stays factored if it only ever

  is made of other tensors and of outer products of a vector and a finite array, by linear operations, and
  is contracted with finite arrays, or added to a tensor.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tensorprog.codegen.layout import CellStorage
from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    For,
    Let,
    Load,
    MatrixType,
    Op,
    Program,
    Statement,
    Store,
    TensorType,
    Var,
    Zero,
    blocks,
    cells_read,
    reads,
    written,
)

Axes = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FactoredAxes:
    """The parallel loops of which a factored temporary or cell has an axis."""

    vars: dict[Var, Axes]
    cells: dict[Cell, Axes]


def find_factored(program: Program, storage: dict[Cell, CellStorage]) -> FactoredAxes:
    """The largest set that is closed under the rules above: start from all that might be, drop what is not."""
    survey = _Survey(program, storage)
    while survey.drop():
        pass
    # Without an outer product among them, there is nothing to keep apart.
    worthwhile = survey.cells and any(survey.is_outer(op) for op in map(survey.ops.get, survey.vars))
    return FactoredAxes(survey.vars, survey.cells) if worthwhile else FactoredAxes({}, {})


class _Survey:
    def __init__(self, program: Program, storage: dict[Cell, CellStorage]):
        self.ops: dict[Var, Op] = {}
        self.defined: dict[Var, Axes] = {}
        self.loops: dict[int, Axes] = {}
        self.users: dict[Var | Cell, list[Statement]] = defaultdict(list)
        self._walk(program.body, ())
        # Results are wanted as arrays, and declared tensors are arrays already.
        fixed = program.results | {i.cell for i in program.initials}
        self.cells = {c: s.axes for c, s in storage.items() if s.axes and _is_tensor(c.type) and not c.rank
                      and c not in fixed}
        self.vars: dict[Var, Axes] = {}
        for var, op in self.ops.items():
            axes = self._axes(var, op) if _is_tensor(var.type) else ()
            if axes:
                self.vars[var] = axes

    def _walk(self, body: tuple[Statement, ...], active: Axes) -> None:
        for s in body:
            self.loops[id(s)] = active
            if isinstance(s, Let):
                self.ops[s.var], self.defined[s.var] = s.op, active
            used: tuple[Var | Cell, ...] = (*reads(s), *cells_read(s))
            for each in used:
                self.users[each].append(s)
            if (cell := written(s)) is not None:
                self.users[cell].append(s)
            inner = (*active, s.var) if isinstance(s, For) and s.parallel else active
            for block in blocks(s):
                self._walk(block, inner)

    def _axes(self, var: Var, op: Op) -> Axes:
        """The axes that a temporary would have; none if its operation is not one of those that keep the form."""
        match op:
            case Load(cell=cell, items=()):
                return self.cells.get(cell, ())
            case Contract() if self.is_outer(op):
                return self.defined[var]
            case Elementwise(fn="neg" | "add" | "sub", args=args, order=0):
                return self._common([a for a in args if a in self.vars], args)
            case Elementwise(fn="mul", args=args, order=0):
                tensors = [a for a in args if a in self.vars]
                plain = all(a in self.vars or _is_number(a.type) for a in args)
                # A number times a tensor; the product of two tensors, entry by entry, is no short sum of outer products.
                return self._common(tensors, tensors) if len(tensors) == 1 and plain else ()
            case Elementwise(fn="div", args=(top, bottom), order=0) if top in self.vars and _is_number(bottom.type):
                return self.vars[top]
        return ()

    def _common(self, tensors: list[Var], args: tuple[Var, ...] | list[Var]) -> Axes:
        found = {self.vars[a] for a in tensors}
        return found.pop() if len(found) == 1 and all(_is_tensor(a.type) for a in args) else ()

    def is_outer(self, op: Op | None) -> bool:
        """Whether an operation is the outer product of a vector and a finite array without a width."""
        if not isinstance(op, Contract):
            return False
        left, right = (op.left, op.left_axes), (op.right, op.right_axes)
        vector, array = (left, right) if not op.left_axes else (right, left)
        # One side without finite axes, and no axis summed: sum_i u x_i e_i.
        return (not vector[1] and bool(vector[0].type.width) and not array[0].type.width and bool(array[1])
                and array[1] == op.out_axes)

    # --- dropping ---

    def drop(self) -> bool:
        """Take out what breaks a rule; whether there was any."""
        # Against the set as it is now: what is dropped spoils what was made of it, until nothing more is.
        bad_vars = [v for v, axes in self.vars.items()
                    if self._axes(v, self.ops[v]) != axes or not all(self._may_use(v, s) for s in self.users[v])]
        bad_cells = [c for c in self.cells if not all(self._may_touch(c, s) for s in self.users[c])]
        for var in bad_vars:
            del self.vars[var]
        for cell in bad_cells:
            del self.cells[cell]
        return bool(bad_vars or bad_cells)

    def _may_use(self, var: Var, statement: Statement) -> bool:
        axes = self.vars[var]
        match statement:
            case Let(op=Contract() as op):
                return self._is_application(var, op) and self._begins_with(statement, axes)
            case Let(var=out, op=Elementwise()):
                return out in self.vars
            case Store(cell=cell, items=()):
                return self.cells.get(cell) == axes
            case Accum(cell=cell, items=()):
                target = self.cells.get(cell)
                # To a plain tensor it adds its sum over iterations; to a factored one, whose loops are the outer ones of its
                # own, a few factors.
                return target is None or axes[:len(target)] == target
        return False

    def _begins_with(self, statement: Statement, axes: Axes) -> bool:
        return self.loops[id(statement)][:len(axes)] == axes

    def _is_application(self, var: Var, op: Contract) -> bool:
        own, other = ((op.left_axes, (op.right, op.right_axes)) if op.left is var else
                      (op.right_axes, (op.left, op.left_axes)))
        # All finite axes against those of an array of numbers: U @ x. Anything else, as a transposed product, would need the array.
        return (op.left is not op.right and not other[0].type.width and own == other[1] and not op.out_axes)

    def _may_touch(self, cell: Cell, statement: Statement) -> bool:
        axes = self.cells[cell]
        match statement:
            case Zero():
                return True
            case Let(var=var):
                return self.vars.get(var) == axes
            case Store(items=(), value=value):
                return self.vars.get(value, axes) == axes and _is_tensor(value.type)
            case Accum(items=(), value=value):
                return value in self.vars and self.vars[value][:len(axes)] == axes
        return False


def _is_tensor(type: TensorType | MatrixType) -> bool:
    return isinstance(type, TensorType) and bool(type.width) and bool(type.shape)


def _is_number(type: TensorType) -> bool:
    return not type.width and not type.shape
