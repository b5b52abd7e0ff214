"""What a person would call things: the names of the program's text instead of those that the compiler made.

`given` maps temporaries to the name that the program assigns them to; `by_name` are the families (and outputs) whose
elements are written once, which a derivation refers to by name and never looks into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tensorprog.ir.integers import IntExpr, IntLit, IntSym, linear_form, loop_names
from tensorprog.ir.places import Placed, placed
from tensorprog.ir.program import (
    Accum,
    Cell,
    For,
    Item,
    Let,
    Load,
    MatrixType,
    Program,
    Store,
    Var,
    Zero,
    walk,
    written,
)


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
    # The compiler numbers what it makes, as in `h_2_1`; a person knows it by its stem.
    return f"d{collected}" if collected else re.sub(r"(?:_\d+)+$", "", cell.name)


def adjoint_of(cell: Cell) -> str | None:
    """What a cell of a gradient's sweep collects the adjoint of; None for other cells."""
    # `x_bar` is the cell in which a sweep collects the adjoint of x (`passes/adjoint.py`).
    match = re.fullmatch(r"(.*?)_bar(?:_\d+)?", cell.name) if cell.role == "hidden" else None
    return match[1] if match else None


def adjoints(program: Program) -> dict[Var, str]:
    """The temporaries that are read from cells of gradients' sweeps, with what they are the adjoints of."""
    return {s.var: name for s in walk(program.body)
            if isinstance(s, Let) and isinstance(s.op, Load) and (name := adjoint_of(s.op.cell))}


def loop_stem(var: str) -> str:
    """`a` for the loops `a`, `a_1`, `a_1_2`."""
    return re.sub(r"(?:_\d+)+$", "", var)


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
                     and all(isinstance(s, Store) and all(map(shifted_variable, s.items)) for p in found for s in (p.statement,)))


def _writes(program: Program) -> dict[Cell, list[Placed]]:
    writes: dict[Cell, list[Placed]] = {}
    for at in placed(program.body):
        if (cell := written(at.statement)) is not None:
            writes.setdefault(cell, []).append(at)
    return writes


def _is_written_once(cell: Cell, found: list[Placed], output: bool) -> bool:
    if cell.rank == 0:
        # Without an index, only one store outside of all loops makes a name stand for one value.
        return output and len(found) == 1 and not found[0].loops and isinstance(found[0].statement, Store)
    if cell.role == "hidden" and not output:
        # What is stored to an adjoint's cell is its reset to zero: the values are what is added.
        if not any(isinstance(p.statement, Accum) for p in found):
            return False
        found = [p for p in found if isinstance(p.statement, Accum)]
    return all(isinstance(p.statement, Store | Accum) and covers(p.statement.items, p.loops) for p in found)


def covers(items: tuple[Item, ...], loops: tuple[For, ...]) -> bool:
    """Whether the indices tell the iterations of all loops apart: each variable is an index, up to a constant."""
    named = {variable for item in items if (variable := shifted_variable(item)) is not None}
    return {loop.var for loop in loops} <= named


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
    defined: dict[Var, tuple[For, ...]] = {}
    stores: dict[Cell, list[tuple[Store, tuple[For, ...]]]] = {}
    others: set[Cell] = set()
    for at in placed(program.body):
        match at.statement:
            case Let(var=var):
                defined[var] = at.loops
            case Store(cell=cell) as store if cell.role == "user":
                stores.setdefault(cell, []).append((store, at.loops))
            case Zero():
                pass
            case _ if (other := written(at.statement)) is not None:
                others.add(other)
    named: dict[Var, tuple[Cell, tuple[IntExpr, ...]]] = {}
    for cell, found in stores.items():
        if cell not in others:
            for var, indices in _names_of(cell, found):
                # An index for every loop around the value, and no others: with fewer, the name stands for one of
                # several values.
                if loop_names_of(indices) == {loop.var for loop in defined[var]}:
                    named.setdefault(var, (cell, indices))
    return named


def _names_of(cell: Cell, found: list[tuple[Store, tuple[For, ...]]]) -> Iterator[tuple[Var, tuple[IntExpr, ...]]]:
    if cell.rank == 0 and len(found) == 1:
        store, loops = found[0]
        yield store.value, tuple(IntSym(loop.var, "loop") for loop in loops)
    elif cell.rank and all(covers(store.items, loops) for store, loops in found):
        for store, _ in found:
            yield store.value, store.items


def loop_names_of(indices: tuple[IntExpr, ...]) -> set[str]:
    return set().union(*(loop_names(i) for i in indices))
