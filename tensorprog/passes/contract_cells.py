"""Drop a family index that only ever names the current iteration: `h[t, a]` that nothing reads at another t becomes
`h[a]`, so that nothing is kept for all t (docs/architecture.md).

The order of iterations and all values are unchanged. Outputs and declared objects keep their indices.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tensorprog.ir.integers import IntSym
from tensorprog.ir.program import Cell, For, Program, Statement, Zero, access_indices, blocks, touched
from tensorprog.passes.rewrite import CellMap, map_cells


def contract_cells(program: Program) -> Program:
    """Remove every family index that is the same loop variable in all accesses to the family."""
    fixed = program.results | {i.cell for i in program.initials}
    accesses: dict[Cell, list[tuple]] = {}
    zeroed: dict[Cell, set[str]] = {}
    _collect(program.body, accesses, zeroed, ())
    smaller: CellMap = {}
    for cell, items in accesses.items():
        if cell in fixed or not cell.rank:
            continue
        drop = tuple(p for p in range(cell.rank) if _is_current(items, p, zeroed.get(cell)))
        if drop:
            # Every iteration of the loops whose index is dropped has a cell of its own.
            home = dict.fromkeys((*cell.home, *(items[0][p].name for p in drop)))
            smaller[cell] = (replace(cell, rank=cell.rank - len(drop), home=tuple(home)), partial(_without, drop=drop))
    return program.with_body(map_cells(program.body, smaller)) if smaller else program


def _is_current(items: list[tuple], position: int, zeroed_in: set[str] | None) -> bool:
    first = items[0][position] if len(items[0]) > position else None
    if not isinstance(first, IntSym) or first.kind != "loop":
        return False
    # A family that is zeroed outside of the loop starts from zero in all its elements; one element would carry its
    # value on.
    if zeroed_in is not None and first.name not in zeroed_in:
        return False
    return all(len(i) > position and i[position] == first for i in items)


def _collect(body: tuple[Statement, ...], accesses: dict, zeroed: dict, loops: tuple[str, ...]) -> None:
    """All index tuples by cell; for cells that are zeroed as a whole, the loops around every such statement."""
    for statement in body:
        if isinstance(statement, Zero):
            # Only loops around all of these statements zero one iteration's element.
            zeroed[statement.cell] = zeroed.get(statement.cell, set(loops)) & set(loops)
        else:
            for cell in dict.fromkeys(touched(statement)):
                accesses.setdefault(cell, []).extend(access_indices(statement, cell))
        inner = (*loops, statement.var) if isinstance(statement, For) else loops
        for block in blocks(statement):
            _collect(block, accesses, zeroed, inner)


def _without(items: tuple, drop: tuple[int, ...]) -> tuple:
    return tuple(item for position, item in enumerate(items) if position not in drop)
