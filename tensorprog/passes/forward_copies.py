"""Read families where they were computed, not from copies.

    for e in range(T):                                 ... = x[row]
        for row in range(P):
            y[e, row] = x[row]            ->
    ... = y[e, row]

Only of families that are written once, the copied one in loops that have ended. What is then not read any more is left to
`simplify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tensorprog.ir.integers import IntExpr, IntSym, loop_names
from tensorprog.ir.program import Cell, For, If, Item, Let, Load, Range, Statement, Store, Var, blocks, written
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
    while copies := _copies(body, fixed):
        changed = _forwarded(body, copies)
        if changed == body:
            break
        body = changed
    return body


def _copies(body: tuple[Statement, ...], fixed: frozenset[Cell]) -> dict[Cell, _Copy]:
    writers: dict[Cell, list[tuple[Statement, tuple[Statement, ...]]]] = {}
    makers: dict[Var, tuple[Let, tuple[Statement, ...]]] = {}
    for statement, around in _places(body, ()):
        if isinstance(statement, Let):
            makers[statement.var] = statement, around
        elif (cell := written(statement)) is not None:
            writers.setdefault(cell, []).append((statement, around))
    found = {}
    for cell, places in writers.items():
        statement, around = places[0]
        # Under a condition an element may not have been copied.
        if cell in fixed or len(places) > 1 or not isinstance(statement, Store) or any(isinstance(s, If) for s in around):
            continue
        names = tuple(i.name for i in statement.items if isinstance(i, IntSym) and i.kind == "loop")
        let, inside = makers.get(statement.value, (None, ()))
        match let.op if let is not None else None:
            case Load(cell=source, items=items) if (
                    len(set(names)) == len(statement.items) == cell.rank and source.type == cell.type
                    and len(items) == source.rank and inside == around[: len(inside)] and source not in fixed
                    and all(isinstance(i, IntExpr) and loop_names(i) <= set(names) for i in items)
                    and _has_ended(writers.get(source, []), around)):
                found[cell] = _Copy(names, source, items)
    return found


def _has_ended(writers: list[tuple[Statement, tuple[Statement, ...]]], around: tuple[Statement, ...]) -> bool:
    """Whether a family is written by one statement that has no loop in common with another."""
    return len(writers) == 1 and isinstance(writers[0][0], Store) and not any(s is t for s in writers[0][1] for t in around)


def _places(body: tuple[Statement, ...], around: tuple[Statement, ...]) -> Iterator[tuple[Statement, tuple[Statement, ...]]]:
    for statement in body:
        if isinstance(statement, For | If):
            for block in blocks(statement):
                yield from _places(block, (*around, statement))
        else:
            yield statement, around


def _forwarded(body: tuple[Statement, ...], copies: dict[Cell, _Copy]) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for statement in body:
        match statement:
            case Let(op=Load(cell=cell, items=items)) if cell in copies and (load := copies[cell].load(items)) is not None:
                found.append(replace(statement, op=load))
            case _:
                found.append(map_blocks(statement, lambda b: _forwarded(b, copies)))
    return tuple(found)
