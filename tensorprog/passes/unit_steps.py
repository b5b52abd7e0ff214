"""Loops with steps as loops with step 1: `for s in range(a, b, k)` counts its iterations, and s becomes a + k*s; and families of
which every second element (or third, ...) is used as families of these.

What reads the loops after this need not know of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import gcd

from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin, linear_form
from tensorprog.ir.program import Cell, For, Item, Program, Range, Statement, cells_read, walk, written
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.rewrite import CellMap, map_blocks, map_cells, map_indices


def unit_steps(program: Program) -> Program:
    """The program with every loop in steps of 1 or -1, and families of what it uses of them."""
    return _without_gaps(program.with_body(_block(program.body)))


def _block(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    return tuple(_unit(map_blocks(s, _block)) for s in body)


def _unit(statement: Statement) -> Statement:
    if not isinstance(statement, For) or abs(statement.step) == 1:
        return statement
    step = statement.step
    value = int_bin("+", statement.start, int_bin("*", IntLit(step), IntSym(statement.var, "loop")))
    # Homes of cells keep the variable, which still counts the iterations.
    body = tuple(map_indices(s, {statement.var: value}) for s in statement.body)
    return replace(statement, start=IntLit(0), stop=_iterations(statement), step=1, body=body)


def _iterations(loop: For) -> IntExpr:
    """How many iterations a loop has (for a range that is not empty)."""
    ends = (loop.start, loop.stop) if loop.step > 0 else (loop.stop, loop.start)
    step = IntLit(abs(loop.step))
    # Rounded up: range(0, 5, 2) has three iterations.
    return int_bin("//", int_bin("+", int_bin("-", ends[1], ends[0]), IntLit(abs(loop.step) - 1)), step)


# --- families --------------------------------------------------------------------------------------------------


def _without_gaps(program: Program) -> Program:
    """The program with families whose indices are all multiples of a number, plus another one, as families of those elements."""
    names = used_names(program)
    declared = {i.cell for i in program.initials}
    strides: dict[Cell, list[tuple[int, int]]] = {}
    for cell, indices in _indices(program).items():
        found = [_stride(column) for column in zip(*indices)]
        if cell not in declared | program.results and any(stride > 1 for stride, _ in found):
            strides[cell] = found
    cells: CellMap = {cell: (Cell(names.fresh(cell.name), cell.type, cell.rank, cell.display, cell.role, cell.span, cell.home),
                             partial(_counted, found)) for cell, found in strides.items()}
    return program.with_body(map_cells(program.body, cells)) if cells else program


def _indices(program: Program) -> dict[Cell, list[tuple[Item, ...]]]:
    """The indices at which elements of each family are read and written."""
    found: dict[Cell, list[tuple[Item, ...]]] = {}

    def note(cell: Cell, items: tuple[Item, ...]) -> tuple[Item, ...]:
        found.setdefault(cell, []).append(items[:cell.rank])
        return items

    cells = {cell for s in walk(program.body) for cell in (*cells_read(s), written(s)) if cell is not None and cell.rank}
    map_cells(program.body, {cell: (cell, partial(note, cell)) for cell in cells})
    return found


def _stride(indices: Sequence[Item]) -> tuple[int, int]:
    """(k, c) with all indices of the form c + k*j; k is 1 if there is none."""
    forms = [linear_form(i) for i in indices if not isinstance(i, Range)]
    if len(forms) < len(indices):
        return 1, 0
    constants = [form.get(IntLit(1), 0) for form in forms]
    slopes = [abs(c) for form in forms for atom, c in form.items() if atom != IntLit(1)]
    stride = gcd(*slopes, *(c - constants[0] for c in constants)) if slopes else 1
    return max(stride, 1), constants[0] % stride if stride > 1 else 0


def _counted(strides: list[tuple[int, int]], items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Indices c + k*j as j."""
    counted: list[Item] = []
    for (stride, first), item in zip(strides, items):
        assert not isinstance(item, Range)
        form = linear_form(int_bin("-", item, IntLit(first)))
        index: IntExpr = IntLit(0)
        for atom, coefficient in form.items():
            index = int_bin("+", index, int_bin("*", IntLit(coefficient // stride), atom))
        counted.append(index)
    return (*counted, *items[len(strides):])
