"""Prepare `ntk` and `cov`: find the readouts of a `cov`, and keep the gradients that kernels need.

The gradient of a scalar is kept where the scalar is stored (`GradRecord`), once for all kernels that it is in: a Gram
matrix of P scalars takes P sweeps, not P**2. A scalar that is not stored as a whole by `Store`s alone is copied in
front of the kernel first, and entries `f[a, k]` of stored arrays become a family of numbers.

`differentiate` then runs the sweeps and replaces the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from tensorprog.diagnostics import Reporter
from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntSym
from tensorprog.ir.program import (
    SCALAR,
    Cell,
    For,
    GradRecord,
    KernelStmt,
    Program,
    Statement,
    Store,
    Zero,
    walk,
    written,
)
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.rewrite import map_blocks, over_elements


def plan_kernels(program: Program, reporter: Reporter) -> Program:
    """The program with a `GradRecord` for each scalar and variable of its kernels.

    Raises:
        ProgramError: through `reporter`, for a `cov` of scalars that are not Gaussian in the limit (TP427).
    """
    if not any(isinstance(s, KernelStmt) for s in walk(program.body)):
        return program
    from tensorprog.passes.gaussian import with_readouts

    program = with_readouts(program, reporter)
    reporter.raise_errors()
    builder = Builder(used_names(program))
    body = _Copier(program, builder).block(program.body)
    return _Planner(program.with_body(body), builder).planned()


class _Copier:
    """Copies scalars that are accumulated, so that what a kernel differentiates is stored."""

    def __init__(self, program: Program, builder: Builder):
        self.builder = builder
        writers = [(written(s), s) for s in walk(program.body)]
        # An accumulated scalar has its value only after the last addition, and no statement at which to keep its
        # gradient.
        self.stored = {c for c, _ in writers} - {c for c, s in writers if not isinstance(s, Store)}

    def block(self, body: tuple[Statement, ...], loops: tuple[str, ...] = ()) -> tuple[Statement, ...]:
        with self.builder.nested() as out:
            for statement in body:
                inner = (*loops, statement.var) if isinstance(statement, For) else loops
                statement = map_blocks(statement, partial(self.block, loops=inner))
                if isinstance(statement, KernelStmt):
                    statement = self._kernel(statement, loops)
                self.builder.append(statement)
        return tuple(out)

    def _kernel(self, kernel: KernelStmt, loops: tuple[str, ...]) -> KernelStmt:
        self.builder.span = kernel.span
        if kernel.left not in self.stored:
            kernel = replace(kernel, left=self._copy(kernel.left, kernel.left_items, loops), left_items=())
        if kernel.right not in self.stored:
            kernel = replace(kernel, right=self._copy(kernel.right, kernel.right_items, loops), right_items=())
        return kernel

    def _copy(self, scalar: Cell, items: tuple, loops: tuple[str, ...]) -> Cell:
        cell = self.builder.cell("s", SCALAR, home=loops)
        value = self.builder.load(scalar, items, SCALAR)
        self.builder.append(Store(cell, (), value, span=self.builder.span))
        return cell


@dataclass(frozen=True, slots=True)
class _Plan:
    """What follows each store of a scalar: `numbers` is the family that holds the entries of a stored array (the cell
    itself for a number), `targets` one record's name a variable, `masks` one a store."""

    numbers: Cell
    targets: dict[Cell, list[Cell]]
    masks: list[Cell]


class _Planner:
    def __init__(self, program: Program, builder: Builder):
        self.program, self.builder = program, builder
        wanted: dict[Cell, dict[Cell, None]] = {}
        for kernel in (s for s in walk(program.body) if isinstance(s, KernelStmt)):
            for scalar in (kernel.left, kernel.right):
                wanted.setdefault(scalar, {}).update(dict.fromkeys(v.cell for v in kernel.wrt))
        self.count = {c: sum(written(s) is c for s in walk(program.body)) for c in wanted}
        self.plans = {scalar: self._plan(scalar, tuple(cells)) for scalar, cells in wanted.items()}
        self.seen = dict.fromkeys(wanted, 0)

    def _plan(self, scalar: Cell, variables: tuple[Cell, ...]) -> _Plan:
        name, home, stores = scalar.display, scalar.home, range(self.count[scalar])
        rank = scalar.rank + len(scalar.tensor.shape)
        numbers = self.builder.cell(name, SCALAR, rank, home=home) if scalar.tensor.shape else scalar
        targets = {v: [self.builder.cell(f"{name}_by_{v.display}", v.type, rank + v.rank, home=home) for _ in stores]
                   for v in variables}
        # Where several statements store the scalar, a mask each says which of them has stored an element last.
        masks = [self.builder.cell(f"{name}_from", SCALAR, rank, home=home) for _ in stores] if len(stores) > 1 else []
        return _Plan(numbers, targets, masks)

    def planned(self) -> Program:
        body = self._block(self.program.body)
        # No statement has stored anything at the start.
        zeros = [Zero(mask) for plan in self.plans.values() for mask in plan.masks]
        return self.program.with_body((*zeros, *body))

    def _block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        out: list[Statement] = []
        for statement in body:
            statement = map_blocks(statement, self._block)
            if isinstance(statement, KernelStmt):
                statement = replace(statement, left=self.plans[statement.left].numbers,
                                    right=self.plans[statement.right].numbers)
            out.append(statement)
            if isinstance(statement, Store) and statement.cell in self.plans:
                out += self._after(statement)
        return tuple(out)

    def _after(self, store: Store) -> tuple[Statement, ...]:
        """The records of what a statement stored, in loops over the entries of an array."""
        builder, scalar, plan = self.builder, store.cell, self.plans[store.cell]
        number = self.seen[scalar]
        self.seen[scalar] += 1
        builder.span = store.span
        loops = [builder.names.fresh("k") for _ in scalar.tensor.shape]
        items = (*store.items, *(IntSym(var, "loop") for var in loops))
        with builder.nested() as out:
            if plan.numbers is not scalar:
                builder.append(Store(plan.numbers, items, builder.load(scalar, items, SCALAR), span=store.span))
            # The element is this statement's from now on, and no other one's.
            for other, mask in enumerate(plan.masks):
                builder.append(Store(mask, items, builder.const(int(other == number)), span=store.span))
            for variable, targets in plan.targets.items():
                latest = plan.masks[number] if plan.masks else None
                builder.append(GradRecord(targets[number], plan.numbers, items, variable, latest, span=store.span))
        return over_elements(loops, scalar.tensor.shape, tuple(out), store.span)
