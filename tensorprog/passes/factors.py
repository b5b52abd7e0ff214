"""Gradients kept for kernels: as the outer products that they are sums of, or, for tensors in general, whole.

A sweep meets a matrix at its products `W @ x`, each of which adds outer(adjoint, x) to the gradient. For a kernel the
two vectors are stored, in families indexed by the scalar's indices and by the loops of the sweep; a matrix is never
formed. The gradient of `U : [n, d]` in `U @ x` is outer(adjoint, x), too. `passes.kernel_sums` takes inner products of
records.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import BoolExpr, IntExpr
from tensorprog.ir.program import (
    Cell,
    Contract,
    GradRecord,
    GradStmt,
    Let,
    Load,
    MatrixType,
    Statement,
    Store,
    TensorType,
    Var,
    Zero,
    cells_read,
    reads,
    single,
    walk,
)
from tensorprog.passes.regions import GradientSite


@dataclass(frozen=True, slots=True)
class LoopStep:
    """A loop around a term; `counter` is its non-negative index."""

    var: str
    start: IntExpr
    stop: IntExpr
    step: int
    counter: IntExpr


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition under which a term is there."""

    condition: BoolExpr


Nest = tuple[LoopStep | Guard, ...]


@dataclass(frozen=True, slots=True)
class Outer:
    """One term of a gradient: outer(left, right) added to the element `items` of the family, in every iteration of
    `nest`. `left` and `right` are families indexed by the scalar's indices, then by the counters of the nest."""

    left: Cell
    right: Cell
    items: tuple[IntExpr, ...]
    nest: Nest


@dataclass(slots=True)
class GradientRecord:
    """What was kept for a `GradRecord`: outer products, or (`whole`) the gradient itself in its target family.
    `zeroed` are cells that start from zero, because not every element of the scalar is this record's."""

    statement: GradRecord
    whole: bool
    outers: list[Outer] = field(default_factory=list)

    @property
    def zeroed(self) -> list[Statement]:
        """Statements for the start of the program."""
        # A product with an element of another store is masked, but read: it must be a number.
        if self.statement.mask is None:
            return []
        kept = [self.statement.target] if self.whole else [c for o in self.outers for c in (o.left, o.right)]
        return [Zero(cell) for cell in kept]


class Recorder:
    """The records of one sweep. The sweep tells it about loops and branches (`nest`) and about products."""

    def __init__(self, builder: Builder, site: GradientSite):
        self.builder = builder
        self.nest: list[LoopStep | Guard] = []
        self.records: dict[Cell, GradientRecord] = {}
        self._plain = {g.wrt for g in site.gradients if isinstance(g, GradStmt)}
        self._loads: dict[Var, Load] = {}
        for gradient in site.gradients:
            if isinstance(gradient, GradRecord):
                self._open(gradient, site)

    def _open(self, gradient: GradRecord, site: GradientSite) -> None:
        wrt = gradient.wrt
        # Where the plain gradient is asked for as well, it is collected anyway, and kept whole.
        loads = {} if isinstance(wrt.type, MatrixType) or wrt in self._plain else _applied_loads(wrt, site)
        self._loads |= loads or {}
        self.records[wrt] = GradientRecord(gradient, not isinstance(wrt.type, MatrixType) and not loads)

    def adjoint_needed(self, wrt: Cell) -> bool:
        """Whether the sweep has to collect the gradient itself."""
        return wrt in self._plain or wrt not in self.records or self.records[wrt].whole

    def product(self, matrix: Cell, items: tuple[IntExpr, ...], left: Var, right: Var) -> None:
        """`outer(left, right)` is a term of the gradient with respect to matrix[items]."""
        record = self.records.get(matrix)
        if record is not None:
            rows, cols = matrix.matrix.rows, matrix.matrix.cols
            self._keep(record, items, _of_width(self.builder, left, rows), _of_width(self.builder, right, cols))

    def applied(self, arg: Var) -> bool:
        """Whether a temporary is a tensor whose gradient is kept as outer products."""
        return arg in self._loads

    def contraction(self, arg: Var, left: Var, right: Var) -> None:
        """`outer(left, right)`, of a vector and a finite array, is a term of the gradient with respect to `arg`."""
        load = self._loads[arg]
        self._keep(self.records[load.cell], single(load.items), left, right)

    def _keep(self, record: GradientRecord, items: tuple[IntExpr, ...], left: Var, right: Var) -> None:
        builder, scalar_items = self.builder, record.statement.scalar_items
        # A term for each iteration of the sweep's loops: their counters are indices beside the scalar's.
        key = tuple(step.counter for step in self.nest if isinstance(step, LoopStep))

        def kept(side: str, value: Var) -> Cell:
            name = f"{record.statement.target.name}_{side}"
            cell = builder.cell(name, value.type, len(scalar_items) + len(key), home=record.statement.target.home)
            builder.append(Store(cell, scalar_items + key, value, span=builder.span))
            return cell

        record.outers.append(Outer(kept("left", left), kept("right", right), items, tuple(self.nest)))


def _of_width(builder: Builder, value: Var, width: str) -> Var:
    """A number as the vector whose coordinates it is."""
    return value if value.type.width else builder.add(builder.const(0, TensorType(width)), value)


def _applied_loads(wrt: Cell, site: GradientSite) -> dict[Var, Load] | None:
    """The loads of a width x finite matrix that is only ever applied to finite arrays, outside of the region's loops;
    None where its gradient must be kept whole."""
    active = site.active.vars
    top = {id(s) for p in site.parts if p.loop is None for s in p.statements}
    # Parts go outwards, so that a load may come after what uses it.
    flat = [s for s in walk(tuple(s for p in site.parts for s in p.statements))
            if not isinstance(s, Let) or s.var in active]
    loads: dict[Var, Load] = {}
    for statement in flat:
        if wrt in cells_read(statement):
            op = statement.op if isinstance(statement, Let) else None
            if not isinstance(statement, Let) or not isinstance(op, Load) or len(op.items) != wrt.rank or id(statement) not in top:
                return None
            loads[statement.var] = op
    for statement in flat:
        # Used in another way, U has a gradient that is no sum of these outer products.
        if any(v in loads for v in reads(statement)) and not (
                isinstance(statement, Let) and id(statement) in top and _applies(statement.op, loads)):
            return None
    return loads or None


def _applies(op: object, loads: dict[Var, Load]) -> bool:
    """Whether an operation is `U @ x` with U one of the loads and x a finite array."""
    if not isinstance(op, Contract) or op.left not in loads or op.right in loads:
        return False
    return op.out_axes == "" and op.left_axes == op.right_axes and op.right.type.width is None
