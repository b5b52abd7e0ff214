"""What the indices of outputs are called: `f[t, a] = ...` gives the axes of f the names t and a."""

from __future__ import annotations

import re

from tensorprog.ir.integers import IntExpr, IntSym, int_text, loop_names
from tensorprog.ir.program import Accum, Cell, Program, Store, walk

_LOOP = re.compile(r"\bfor\s+(\w+)\s+in\b")


def axes_of_outputs(program: Program) -> dict[str, tuple[str, ...]]:
    """For each output a name for every axis: the one loop variable that an assignment has there, as t in f[t+1], or the size
    of a finite array; else `dim_0`, `dim_1` and so on."""
    written = set(_LOOP.findall(program.source.text))
    return {o.name: _distinct([*_family_axes(program, o.cell, written), *_finite_axes(o.cell)]) for o in program.outputs}


def _family_axes(program: Program, cell: Cell, written: set[str]) -> list[str | None]:
    names: list[str | None] = [None] * cell.rank
    for statement in walk(program.body):
        if isinstance(statement, Store | Accum) and statement.cell is cell:
            for position, item in enumerate(statement.items[:cell.rank]):
                loops = sorted(loop_names(item)) if isinstance(item, IntExpr) else []
                if names[position] is None and len(loops) == 1:
                    names[position] = _as_written(loops[0], written)
    return names


def _as_written(name: str, written: set[str]) -> str:
    """A loop variable as the user wrote it: later loops over the same name are numbered by the checker."""
    while name not in written and "_" in name:
        name = name.rpartition("_")[0]
    return name


def _finite_axes(cell: Cell) -> list[str | None]:
    return [int_text(size) if isinstance(size, IntSym) else None for size in cell.tensor.shape]


def _distinct(names: list[str | None]) -> tuple[str, ...]:
    found: list[str] = []
    for position, name in enumerate(names):
        found.append(name if name is not None and name not in found else f"dim_{position}")
    return tuple(found)
