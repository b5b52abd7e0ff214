"""Which objects of a program are trained: those that something made of gradients is written to.

Decided by the flow of values alone, never by names: `W -= eta*grad(loss, W)`, a momentum in between, an update that is
computed from a gradient with respect to a copy of W. A copy that is updated, `W1 = W - eta*grad(loss, W)`, is a value
and no object of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tensorprog.ir.constants import is_zero
from tensorprog.ir.program import (
    Accum,
    Assignment,
    Cell,
    GradStmt,
    Law,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatStore,
    Program,
    Statement,
    Store,
    Var,
    cells_read,
    operands,
    term_operands,
    walk,
)


@dataclass(slots=True)
class _Flow:
    """What temporaries and cells are made of: gradients, and declared objects or those that a gradient is taken of.
    Trained objects are no gradients, although gradients are added to them."""

    objects: frozenset[Cell]
    roots: frozenset[Cell]
    gradients: set[Var | Cell] = field(default_factory=set)
    sources: dict[Var | Cell, frozenset[Cell]] = field(default_factory=dict)

    def run(self, program: Program) -> None:
        size = None
        # Loops hand values on to statements before: rounds, until nothing is added.
        while size != (size := (len(self.gradients), sum(map(len, self.sources.values())))):
            for statement in walk(program.body):
                self._add(statement)

    def _add(self, statement: Statement) -> None:
        match statement:
            case Let(var=var):
                self._flow(var, read_by(statement))
            case Store(cell=cell) | Accum(cell=cell) | MatStore(cell=cell) | MatAccum(cell=cell):
                # What an object is made of ends there: else everything computed from a trained object would be a
                # gradient.
                if cell not in self.objects:
                    self._flow(cell, read_by(statement))
            case GradStmt(target=target):
                self.gradients.add(target)

    def _flow(self, target: Var | Cell, sources: list[Var | Cell]) -> None:
        if any(s in self.gradients for s in sources):
            self.gradients.add(target)
        found = frozenset(s for s in sources if s in self.roots)
        self.sources[target] = found.union(*(self.sources.get(s, frozenset()) for s in sources))


def read_by(statement: Statement) -> list[Var | Cell]:
    """What a statement itself reads: temporaries and cells."""
    match statement:
        case Let(op=Load(cell=cell)):
            return [cell]
        case Let(op=MatMul(matrix=matrix, arg=arg)):
            return [matrix, arg]
        case Let(op=MatDot()):
            return list(cells_read(statement))
        case Let(op=op):
            return list(operands(op))
        case Store(value=value) | Accum(value=value):
            return [value]
        case MatStore(terms=terms) | MatAccum(terms=terms):
            return [*term_operands(terms), *cells_read(statement)]
        case _:
            return []


def made_of_gradients(program: Program, trainable: Mapping[Cell, object]) -> frozenset[Var | Cell]:
    """The temporaries and cells that are gradients, or functions of gradients; trained objects are none."""
    flow = _Flow(frozenset(trainable), frozenset(trainable))
    flow.run(program)
    return frozenset(flow.gradients)


def trainable_objects(program: Program) -> dict[Cell, tuple[Assignment, ...]]:
    """The trainable objects in the order of their declarations, each with the statements that update it."""
    wanted = [s.wrt for s in walk(program.body) if isinstance(s, GradStmt)]
    # What starts at zero and is never differentiated by is an accumulator, such as a momentum.
    declared = [i.cell for i in program.initials if not _is_zero(i.law) or i.cell in wanted]
    candidates = list(dict.fromkeys((*declared, *wanted)))
    flow = _Flow(frozenset(candidates), frozenset([*(i.cell for i in program.initials), *wanted]))
    flow.run(program)
    found: dict[Cell, tuple[Assignment, ...]] = {}
    for cell in candidates:
        updates = _updates(program, flow, cell)
        if updates and (cell in declared or not _is_copy(program, flow, cell)):
            found[cell] = updates
    return found


def _is_zero(law: Law) -> bool:
    """Whether an object starts at zero."""
    if law.name != "constant":
        return law.name == "zero"
    return is_zero(law.args[0])


def _writes(program: Program, cell: Cell) -> list[Assignment]:
    return [s for s in walk(program.body)
            if isinstance(s, Assignment) and s.cell is cell]


def _updates(program: Program, flow: _Flow, cell: Cell) -> tuple[Assignment, ...]:
    return tuple(s for s in _writes(program, cell) if any(v in flow.gradients for v in read_by(s)))


def _is_copy(program: Program, flow: _Flow, cell: Cell) -> bool:
    """Whether a name of the program's is made of objects: then it is a value, and not an object of its own."""
    sources = {c for s in _writes(program, cell) for v in read_by(s)
               for c in (flow.sources.get(v, frozenset()) | ({v} & flow.roots))}
    return bool(sources - {cell} - flow.gradients)
