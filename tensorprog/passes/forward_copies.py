"""Read families where they were computed, not from copies.

    for e in range(T):                                 ... = x[row]
        for row in range(P):
            y[e, row] = x[row]            ->
    ... = y[e, row]

Only of families that are written once, the copied one in loops that have ended. What is then not read any more is left to
`simplify`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tensorprog.ir.integers import IntExpr, IntSym, loop_names
from tensorprog.ir.places import Placed, leaves
from tensorprog.ir.program import Cell, For, Item, Let, Load, Range, Statement, Store, Var, written
from tensorprog.passes.rewrite import map_blocks, map_items


@dataclass(frozen=True, slots=True)
class _Copy:
    """`cell[names] = source[items]`."""

    names: tuple[str, ...]
    source: Cell
    items: tuple[Item, ...]

    def load(self, items: tuple[Item, ...]) -> Load | None:
        """The same element of the source."""
        own, rest = items[: len(self.names)], items[len(self.names):]
        if len(own) < len(self.names) or any(isinstance(i, Range) for i in own):
            return None
        values = {name: item for name, item in zip(self.names, own) if not isinstance(item, Range)}
        return Load(self.source, (*map_items(self.items, values), *rest))


def forward_copies(body: tuple[Statement, ...], fixed: frozenset[Cell]) -> tuple[Statement, ...]:
    """The same statements, as many, with loads of copies replaced. `fixed` are cells with values of their own: declared ones and
    outputs."""
    # A copy of a copy takes a round more.
    while copies := _copies(body, fixed):
        changed = _forwarded(body, copies)
        if changed == body:
            break
        body = changed
    return body


def _copies(body: tuple[Statement, ...], fixed: frozenset[Cell]) -> dict[Cell, _Copy]:
    writers: dict[Cell, list[Placed]] = {}
    makers: dict[Var, Placed] = {}
    for at in leaves(body):
        if isinstance(at.statement, Let):
            makers[at.var] = at
        elif (cell := written(at.statement)) is not None:
            writers.setdefault(cell, []).append(at)
    found = {}
    for cell, places in writers.items():
        statement, loops = places[0].statement, places[0].loops
        # Under a condition an element may not have been copied.
        if cell in fixed or len(places) > 1 or not isinstance(statement, Store) or places[0].guarded:
            continue
        names = tuple(i.name for i in statement.items if isinstance(i, IntSym) and i.kind == "loop")
        made = makers.get(statement.value)
        match made and made.op:
            case Load(cell=source, items=items) if made and (
                    len(set(names)) == len(statement.items) == cell.rank and source.type == cell.type
                    and len(items) == source.rank and made.around == loops[: len(made.around)] and source not in fixed
                    and all(isinstance(i, IntExpr) and loop_names(i) <= set(names) for i in items)
                    and _has_ended(writers.get(source, []), loops)):
                found[cell] = _Copy(names, source, items)
    return found


def _has_ended(writers: list[Placed], loops: tuple[For, ...]) -> bool:
    """Whether a family is written by one statement that has no loop in common with another."""
    return len(writers) == 1 and isinstance(writers[0].statement, Store) and not any(
        s is t for s in writers[0].loops for t in loops)


def _forwarded(body: tuple[Statement, ...], copies: dict[Cell, _Copy]) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for statement in body:
        match statement:
            case Let(op=Load(cell=cell, items=items)) if cell in copies and (load := copies[cell].load(items)) is not None:
                found.append(replace(statement, op=load))
            case _:
                found.append(map_blocks(statement, lambda b: _forwarded(b, copies)))
    return tuple(found)
