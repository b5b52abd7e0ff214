"""What a person would call things: the names of the program's text instead of those that the compiler made.

`given` maps temporaries to the name that the program assigns them to; `by_name` are the families (and outputs) whose
elements are written once, which a derivation refers to by name and never looks into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tensorprog.ir.integers import IntExpr, IntLit, IntSym, linear_form, loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    For,
    Let,
    Load,
    MatrixType,
    Program,
    Statement,
    Store,
    Var,
    Zero,
    blocks,
    written,
)

Placed = tuple[Statement, tuple[str, ...]]


@dataclass(slots=True)
class Labels:
    """Unique names: the second `h` becomes `h.2`."""

    taken: dict[str, int] = field(default_factory=dict)
    of_cell: dict[str, str] = field(default_factory=dict)
    carriers: set[tuple[str, int]] = field(default_factory=set)

    def new(self, stem: str) -> str:
        count = self.taken.get(stem, 0) + 1
        self.taken[stem] = count
        return stem if count == 1 else f"{stem}.{count}"

    def cell(self, cell: Cell) -> str:
        if cell.name not in self.of_cell:
            self.of_cell[cell.name] = self.new(stem_of(cell))
        return self.of_cell[cell.name]

    def carried(self, cell: Cell, depth: int) -> str:
        """The name of what a loop inside of `depth` others carries in a cell: for the first loop at that depth the cell's own. Times
        of a further loop are not those of the first, and so it gets a new name."""
        if (cell.name, depth) in self.carriers:
            return self.new(self.cell(cell).partition(".")[0])
        self.carriers.add((cell.name, depth))
        return self.cell(cell)


def stem_of(cell: Cell) -> str:
    """The user's name; that of an adjoint is `d` and the name of what it belongs to."""
    if cell.role != "hidden":
        return cell.display or cell.name
    collected = adjoint_of(cell)
    return f"d{collected}" if collected else re.sub(r"(?:_\d+)+$", "", cell.name)


def adjoint_of(cell: Cell) -> str | None:
    """What a cell of a gradient's sweep collects the adjoint of; None for other cells."""
    match = re.fullmatch(r"(.*?)_bar(?:_\d+)?", cell.name) if cell.role == "hidden" else None
    return match[1] if match else None


def adjoints(program: Program) -> dict[Var, str]:
    """The temporaries that are read from cells of gradients' sweeps, with what they are the adjoints of."""
    return {s.var: name for s, _ in placed(program.body)
            if isinstance(s, Let) and isinstance(s.op, Load) and (name := adjoint_of(s.op.cell))}


def loop_stem(var: str) -> str:
    """`a` for the loops `a`, `a_1`, `a_1_2`."""
    return re.sub(r"(?:_\d+)+$", "", var)


def placed(body: tuple[Statement, ...], loops: tuple[str, ...] = ()) -> Iterator[Placed]:
    """Every statement with the loops around it."""
    for statement in body:
        yield statement, loops
        inner = (*loops, statement.var) if isinstance(statement, For) else loops
        for block in blocks(statement):
            yield from placed(block, inner)


def labels_of(program: Program) -> Labels:
    """The labels of declared objects and outputs, taken first so that they keep their names."""
    labels = Labels()
    for name in (*(s.name for s in program.sizes), *(p.name for p in program.params), *(i.name for i in
    program.inputs)):
        labels.new(name)
    for initial in program.initials:
        labels.cell(initial.cell)
    for output in program.outputs:
        if output.cell.name not in labels.of_cell:
            labels.of_cell[output.cell.name] = labels.new(output.name)
    return labels


def by_name(program: Program) -> frozenset[Cell]:
    """The cells whose every element is assigned in one iteration only, and then (for adjoints: before they are read)
    added to."""
    writes = _writes(program)
    fixed = {i.cell for i in program.initials}
    outputs = {o.cell for o in program.outputs}
    return frozenset(cell for cell, found in writes.items() if cell not in fixed
                     and not isinstance(cell.type, MatrixType) and _is_written_once(cell, found, cell in outputs))


def recorded(program: Program) -> frozenset[Cell]:
    """The compiler's own families that are stored at loop variables: records for a backward pass, which reads them in
    the same iteration of all other loops."""
    return frozenset(cell for cell, found in _writes(program).items()
                     if cell.role == "hidden" and cell.rank and not isinstance(cell.type, MatrixType)
                     and all(isinstance(s, Store) and all(map(shifted_variable, s.items)) for s, _ in found))


def _writes(program: Program) -> dict[Cell, list[Placed]]:
    writes: dict[Cell, list[Placed]] = {}
    for statement, loops in placed(program.body):
        if (cell := written(statement)) is not None:
            writes.setdefault(cell, []).append((statement, loops))
    return writes


def _is_written_once(cell: Cell, found: list[Placed], output: bool) -> bool:
    if cell.rank == 0:
        return output and len(found) == 1 and not found[0][1] and isinstance(found[0][0], Store)
    if cell.role == "hidden" and not output:
        if not any(isinstance(s, Accum) for s, _ in found):
            return False
        found = [(s, loops) for s, loops in found if isinstance(s, Accum)]
    return all(isinstance(s, Store | Accum) and covers(s.items, loops) for s, loops in found)


def covers(items: tuple, loops: tuple[str, ...]) -> bool:
    """Whether the indices tell the iterations of all loops apart: each variable is an index, up to a constant."""
    named = {variable for item in items if (variable := shifted_variable(item)) is not None}
    return set(loops) <= named


def shifted_variable(item: object) -> str | None:
    """`t` for the index `t + constant`."""
    if not isinstance(item, IntExpr):
        return None
    form = linear_form(item)
    match [a for a in form if a != IntLit(1)]:
        case [IntSym(name, "loop") as atom] if form[atom] == 1:
            return name
    return None


def given(program: Program) -> dict[Var, tuple[Cell, tuple[IntExpr, ...]]]:
    """The temporaries that the program gives a name: the cell, and the indices of the name."""
    defined: dict[Var, tuple[str, ...]] = {}
    stores: dict[Cell, list[tuple[Store, tuple[str, ...]]]] = {}
    others: set[Cell] = set()
    for statement, loops in placed(program.body):
        match statement:
            case Let(var=var):
                defined[var] = loops
            case Store(cell=cell) if cell.role == "user":
                stores.setdefault(cell, []).append((statement, loops))
            case Zero():
                pass
            case _ if (other := written(statement)) is not None:
                others.add(other)
    named: dict[Var, tuple[Cell, tuple[IntExpr, ...]]] = {}
    for cell, found in stores.items():
        if cell not in others:
            for var, indices in _names_of(cell, found):
                if loop_names_of(indices) == set(defined[var]):
                    named.setdefault(var, (cell, indices))
    return named


def _names_of(cell: Cell, found: list[tuple[Store, tuple[str, ...]]]) -> Iterator[tuple[Var, tuple[IntExpr, ...]]]:
    if cell.rank == 0 and len(found) == 1:
        store, loops = found[0]
        yield store.value, tuple(IntSym(name, "loop") for name in loops)
    elif cell.rank and all(covers(store.items, loops) for store, loops in found):
        for store, _ in found:
            yield store.value, store.items


def loop_names_of(indices: tuple[IntExpr, ...]) -> set[str]:
    return set().union(*(loop_names(i) for i in indices))
