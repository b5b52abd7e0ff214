"""What the parts of the emitter share: names, values, storage, lines of source."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tensorprog.codegen.expressions import KernelPool
from tensorprog.codegen.extents import family_extents
from tensorprog.codegen.factored import find_factored
from tensorprog.codegen.indexing import index_text
from tensorprog.codegen.layout import Axis, CellStorage, Layout, tuple_text
from tensorprog.codegen.loops import LoopKernel
from tensorprog.codegen.matrix_kinds import MatrixKinds
from tensorprog.codegen.names import int_text, python_name
from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    For,
    MatAccum,
    MatrixType,
    MatStore,
    Program,
    Statement,
    Store,
    Var,
    Zero,
    blocks,
    cells_written,
    names_used,
    reads,
    touched,
    walk,
    written,
)
from tensorprog.passes.regions import written_first
from tensorprog.passes.spaces import Spaces


def local_names(program: Program) -> set[str]:
    """Every name that the program's own values take in the module."""
    return {python_name(n) for n in names_used(program)}


@dataclass(slots=True)
class Value:
    """What a temporary is in the module: source text and the axes of the array that it names."""

    text: str
    layout: Layout


class Emission:
    """What has been emitted so far, which the parts of the emitter share.

    Attributes:
        lines: the source so far.
        active: the parallel loops that run as axes, outermost first.
        pending: temporaries that are fused into the statement that uses them.
    """

    def __init__(self, program: Program, spaces: Spaces, pool: KernelPool):
        self.program, self.spaces, self.pool = program, spaces, pool
        self.lines: list[str] = []
        self.loop_kernels: list[LoopKernel] = []
        self.depth = 1
        self.active: list[Axis] = []
        self.every_axis: dict[str, Axis] = {}
        self.values: dict[Var, Value] = {}
        self.pending: dict[Var, Elementwise | Contract] = {}
        self.depths: dict[Var, int] = {}
        self.extents = family_extents(program)
        self.initials = {i.cell: i for i in program.initials}
        self.unzeroed: set[Cell] = set()
        self.layouts: dict[Cell, Layout] = {}
        self.gridded: set[str] = set()
        self.taken = local_names(program)
        self._survey()

    # --- what is used where ---

    def _survey(self) -> None:
        self.uses: Counter[Var] = Counter()
        self.use_block: dict[Var, set[int]] = {}
        self.storage: dict[Cell, CellStorage] = {}
        self.touched: dict[int, set[Cell]] = {}
        # Cells that each iteration of a parallel loop has of its own, with these loops, outermost first.
        private: dict[Cell, list[str]] = {}
        writes: Counter[Cell] = Counter()
        accumulated: set[Cell] = set()
        self._survey_block(self.program.body, (), private)
        whole = self._filled_whole(self.program.body, []) - self.program.results
        for s in walk(self.program.body):
            cell = written(s)
            if cell is not None:
                writes[cell] += 1
                if isinstance(s, Accum | Zero):
                    accumulated.add(cell)
        cells = {c for s in walk(self.program.body) for c in touched(s)}
        self.written = set(writes)
        # Cells whose array changes where it lies; a store of any other makes its name mean a new array. And the outermost
        # statement after which it does so no more.
        changes = [self._changed_in_place((statement,)) for statement in self.program.body]
        last = {cell: position for position, cells in enumerate(changes) for cell in cells}
        self.changing = set(last)
        self.unchanged_after: dict[int, set[Cell]] = {}
        for cell, position in last.items():
            self.unchanged_after.setdefault(position, set()).add(cell)
        for cell in cells | set(self.initials):
            # With a single store the layout is that of what is stored; two may differ in the axes that they depend on.
            once = writes[cell] <= 1 and cell not in accumulated and cell not in self.initials
            axes = tuple(private.get(cell, ()))
            self.storage[cell] = CellStorage(axes, not once, once and cell in whole)
        self.factored = find_factored(self.program, self.storage)
        self.kinds = MatrixKinds(self.program)

    def _changed_in_place(self, body: tuple[Statement, ...]) -> set[Cell]:
        return {cell for s in walk(body) if (cell := written(s)) is not None
                and (cell.rank or isinstance(s, Store | Accum | MatStore | MatAccum) and s.items)}

    def _survey_block(self, body: tuple[Statement, ...], loops: tuple[For, ...], private: dict) -> set[Cell]:
        found: set[Cell] = set()
        for statement in body:
            for var in reads(statement):
                self.uses[var] += 1
                self.use_block.setdefault(var, set()).add(id(body))
            here = set(touched(statement))
            inner = (*loops, statement) if isinstance(statement, For) else loops
            for block in blocks(statement):
                here |= self._survey_block(block, inner, private)
            if isinstance(statement, For) and statement.parallel:
                self._note_private(statement, here, private)
            self.touched[id(statement)] = here
            found |= here
        return found

    def _filled_whole(self, body: tuple[Statement, ...], active: list[Axis]) -> set[Cell]:
        """Families that a statement under parallel loops stores completely, in the order of the loops."""
        found: set[Cell] = set()
        for statement in body:
            # (A cell that is local to a loop has that loop's axis besides.)
            if isinstance(statement, Store) and statement.cell.rank and not {a.var for a in active} & set(statement.cell.home):
                indexed = index_text(statement.items, active, self.extents.get(statement.cell))
                if indexed.whole and list(indexed.axes) == [a.var for a in active]:
                    found.add(statement.cell)
            inner = active
            if isinstance(statement, For) and statement.parallel:
                inner = [*active, Axis(statement.var, statement.start, statement.stop)]
            for block in blocks(statement):
                found |= self._filled_whole(block, inner)
        return found

    def _note_private(self, loop: For, cells: set[Cell], private: dict) -> None:
        # Local to the loop's body, or written before it is read in every iteration: then no value goes from one to the next.
        # Inner loops come first, so that each is put in front.
        for cell in sorted(cells & cells_written(loop.body), key=lambda c: c.name):
            if not isinstance(cell.type, MatrixType) and (loop.var in cell.home or written_first(loop.body, cell)):
                private.setdefault(cell, []).insert(0, loop.var)

    # --- lines and names ---

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + (self._grid(text) if "_grid" in text else text))

    def _grid(self, text: str) -> str:
        """`text`, with the index grids that it names defined before it."""
        for axis in self.active:
            # Once in a block, before the first line that uses it.
            if f"{axis.var}_grid" in text and axis.var not in self.gridded:
                self.gridded.add(axis.var)
                self.line(f"{axis.var}_grid = np.arange({int_text(axis.start)}, {int_text(axis.stop)})")
        return text

    def assign(self, var: Var, text: str, layout: Layout) -> None:
        name = python_name(var.name)
        self.line(f"{name} = {text}")
        self.values[var] = Value(name, layout)

    def scratch(self) -> str:
        """A name that the program does not use."""
        # The number of lines grows with every use of the name.
        name = f"product_{len(self.lines)}"
        while name in self.taken:
            name = f"_{name}"
        return name

    def lengths(self, axes: tuple[str, ...]) -> str:
        """How often parallel loops run, as a tuple."""
        return tuple_text([int_text(self.every_axis[a].length) for a in axes])

    @property
    def order(self) -> list[str]:
        return [a.var for a in self.active]
