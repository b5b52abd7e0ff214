"""Replace every `GradStmt` by statements that compute the gradient (reverse mode; TP IV section 3, "backward pass"),
and every kernel by sums over what sweeps have kept.

A gradient is computed right after the scalar it differentiates, by a sweep that runs the statements since the
variable's last change backwards: loops reversed, every cell and temporary with a shadow that collects its adjoint.
Values of the forward pass that the sweep needs from inside loops are recorded in families indexed by those loops.
Gradients with one scalar share one sweep. Nothing is unrolled, and a gradient may itself be differentiated, since
it is replaced by ordinary statements before a later one is taken.

Not done here: powers of n (a gradient has no hidden factor), simplification, choosing what to keep in memory.
"""

from __future__ import annotations

from collections import defaultdict

from tensorprog.diagnostics import Reporter
from tensorprog.ir.build import Builder, Names
from tensorprog.ir.integers import IntSym
from tensorprog.ir.made_by_updates import check_functions
from tensorprog.ir.program import (
    Cell,
    For,
    GradAdd,
    GradDot,
    GradRecord,
    GradStmt,
    KernelStmt,
    Let,
    Load,
    MatrixTerm,
    MatrixType,
    MatStore,
    Program,
    Statement,
    Store,
    blocks,
    walk,
    written,
)
from tensorprog.passes.adjoint import AdjointSweep
from tensorprog.passes.data import read_data
from tensorprog.passes.factors import GradientRecord
from tensorprog.passes.kernel_sums import kernel_statements, used_gradient
from tensorprog.passes.regions import GradientSite, plan_sweep
from tensorprog.passes.rewrite import map_blocks, over_elements


def differentiate(program: Program, reporter: Reporter) -> Program:
    """The program without `GradStmt`s, `GradRecord`s, `KernelStmt`s, `GradAdd`s and `GradDot`s.

    Raises:
        ProgramError: through `reporter`, for a gradient that cannot be taken (TP42x).
    """
    names = used_names(program)
    kernels = _Kernels(program)
    # Noted before they are replaced: what depends on an object through a gradient alone is no reason to warn
    # (`regions`).
    targets = frozenset(s.target for s in walk(program.body) if isinstance(s, GradStmt))
    while True:
        # As soon as both of its sides are recorded, a kernel is ordinary statements, over which later sweeps run.
        program = kernels.take(program, names, reporter)
        reporter.raise_errors()
        pending = [s for s in walk(program.body) if isinstance(s, GradStmt | GradRecord)]
        if not pending:
            check_functions(program, reporter)
            reporter.raise_errors()
            return read_data(program)
        program = _take(program, pending, names, reporter, kernels, targets)
        reporter.raise_errors()


class _Kernels:
    """The kernels still to be taken, and what has been recorded for them."""

    def __init__(self, program: Program):
        self.ledger: dict[tuple[Cell, Cell], list[GradientRecord]] = defaultdict(list)
        self._missing = [s for s in walk(program.body) if isinstance(s, GradRecord)]
        self._places: dict[int, tuple[int, frozenset[str], frozenset[int]]] = {}
        self._survey(program.body, frozenset(), frozenset())

    def _survey(self, body: tuple[Statement, ...], loops: frozenset[str], branches: frozenset[int]) -> None:
        """Of each record and kernel its position in the program, and the loops and branches around it."""
        for statement in body:
            if isinstance(statement, GradRecord | KernelStmt | GradAdd | GradDot):
                self._places[id(statement)] = (len(self._places), loops, branches)
            for block in blocks(statement):
                if isinstance(statement, For):
                    self._survey(block, loops | {statement.var}, branches)
                else:
                    self._survey(block, loops, branches | {id(block)})

    def add(self, record: GradientRecord) -> None:
        self._missing = [s for s in self._missing if s is not record.statement]
        self.ledger[record.statement.scalar, record.statement.wrt].append(record)

    def take(self, program: Program, names: Names, reporter: Reporter) -> Program:
        """Replace the kernels of which both sides are recorded, and what adds recorded gradients or takes their inner products."""
        needed = {(s.scalar, s.wrt) for s in self._missing}
        replaced = {}
        for s in walk(program.body):
            if isinstance(s, GradAdd | GradDot) and (s.scalar, s.wrt) not in needed:
                replaced[id(s)] = used_gradient(program, s, self.ledger, self._scope(s), names)
            if isinstance(s, KernelStmt) and not any((side, v.cell) in needed for side in (s.left, s.right)
                                                     for v in s.wrt):
                replaced[id(s)] = kernel_statements(program, s, self.ledger, self._scope(s), names, reporter)
        return program.with_body(_rebuild(program.body, {}, replaced)) if replaced else program

    def _scope(self, kernel: KernelStmt | GradAdd | GradDot) -> dict[int, frozenset[str]]:
        """For each record the loops in which the kernel means the record of the same iteration: those around both, if
        the record comes first, and whenever the kernel comes."""
        position, loops, branches = self._places[id(kernel)]
        found = {}
        for record in (r.statement for records in self.ledger.values() for r in records):
            before, around, under = self._places[id(record)]
            # In another branch, or behind the kernel, the record in the store is that of an earlier iteration, if of
            # any.
            found[id(record)] = loops & around if before < position and under <= branches else frozenset()
        return found


def used_names(program: Program) -> Names:
    """Names that new cells and temporaries must not take."""
    names = Names()
    for name in (*(w.name for w in program.widths), *(d.name for d in program.declared)):
        names.fresh(name)
    for initial in program.initials:
        names.fresh(initial.cell.name)
    for statement in walk(program.body):
        if isinstance(statement, Let):
            names.fresh(statement.var.name)
        elif (cell := written(statement)) is not None:
            names.reserve(cell.name)
        elif hasattr(statement, "var"):
            names.fresh(statement.var)
    return names


def _take(program: Program, pending: list[GradStmt | GradRecord], names: Names, reporter: Reporter,
          kernels: _Kernels, targets: frozenset[Cell]) -> Program:
    """Replace the gradients of one sweep."""
    site = plan_sweep(program, pending, reporter, targets)
    if site is None:
        return program
    builder = Builder(names)
    builder.span = site.gradients[0].span
    sweep = AdjointSweep(builder, site, reporter)
    code, results = sweep.run()
    insertions = dict(sweep.recorded)
    insertions.setdefault(id(site.anchor), ([], []))[1].extend(code)
    replaced = {}
    start: list[Statement] = []
    for gradient in site.gradients:
        if isinstance(gradient, GradStmt):
            replaced[id(gradient)] = _read_result(gradient, results[gradient.wrt], site, names)
        else:
            record = sweep.recorder.records[gradient.wrt]
            kernels.add(record)
            start += record.zeroed
            code = _keep_whole(program, gradient, results[gradient.wrt], names) if record.whole else []
            replaced[id(gradient)] = code
    return program.with_body((*start, *_rebuild(program.body, insertions, replaced)))


def _read_result(gradient: GradStmt, result: Cell, site: GradientSite, names: Names) -> list[Statement]:
    items = site.result_items(gradient) + gradient.wrt_items
    if isinstance(gradient.target.type, MatrixType):
        return [MatStore(gradient.target, (), (MatrixTerm(None, result, items),), span=gradient.span)]
    builder = Builder(names)
    builder.span = gradient.span
    value = builder.let(Load(result, items), gradient.target.tensor, gradient.target.name)
    return [*builder.block, Store(gradient.target, (), value, span=gradient.span)]


def _keep_whole(program: Program, gradient: GradRecord, result: Cell, names: Names) -> list[Statement]:
    """Store the gradient with respect to every element of a family under the scalar's indices and the element's."""
    builder = Builder(names)
    builder.span = gradient.span
    extents = next((i.extents for i in program.initials if i.cell is gradient.wrt), ())
    loops = [names.fresh("i") for _ in extents]
    items = tuple(IntSym(var, "loop") for var in loops)
    value = builder.let(Load(result, items), gradient.wrt.tensor, gradient.target.name)
    body = (*builder.block, Store(gradient.target, (*gradient.scalar_items, *items), value, span=gradient.span))
    return list(over_elements(loops, extents, body, gradient.span))


Insertions = dict[int, tuple[list[Statement], list[Statement]]]


def _rebuild(body: tuple[Statement, ...], insertions: Insertions, replaced: dict[int, list[Statement]]) -> tuple:
    out: list[Statement] = []
    for statement in body:
        before, after = insertions.get(id(statement), ((), ()))
        out += before
        if id(statement) in replaced:
            out += replaced[id(statement)]
        else:
            out.append(map_blocks(statement, lambda b: _rebuild(b, insertions, replaced)))
        out += after
    return tuple(out)
