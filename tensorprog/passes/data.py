"""Inputs and parameters that gradients were taken with respect to are read from the data again.

The checker reads them from a cell of role 'data', which a gradient can be taken with respect to as of any other value.
Once there are no gradients, nothing tells such a cell from what was stored in it, and the later stages know more about
inputs and parameters than about storage.
"""

from __future__ import annotations

from dataclasses import replace

from tensorprog.ir.program import Cell, InputRef, Let, Load, Op, Program, Statement, Store, written
from tensorprog.passes.rewrite import map_blocks


def read_data(program: Program) -> Program:
    """The program without cells of role 'data'."""
    # The checker stores them at the outermost level.
    made = {s.var: s.op for s in program.body if isinstance(s, Let)}
    sources = {s.cell: made[s.value] for s in program.body if isinstance(s, Store) and s.cell.role == "data"}
    return program.with_body(_without(program.body, sources)) if sources else program


def _without(body: tuple[Statement, ...], sources: dict[Cell, Op]) -> tuple[Statement, ...]:
    kept = (s for s in body if written(s) not in sources)
    return tuple(map_blocks(_reading(s, sources), lambda block: _without(block, sources)) for s in kept)


def _reading(statement: Statement, sources: dict[Cell, Op]) -> Statement:
    match statement:
        case Let(op=Load(cell=cell, items=items)) if cell in sources:
            source = sources[cell]
            return replace(statement, op=replace(source, items=items) if isinstance(source, InputRef) else source)
        case _:
            return statement
