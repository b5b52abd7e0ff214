"""Matrices that a loop applies as earlier iterations have left them: training. Programs with one have no equations between
covariances, which is seen here without SymPy, whose import takes as long as many a run.

Not done here: matrices that are read after a loop which trained them (`covariance.matrices`).
"""

from __future__ import annotations

from collections.abc import Iterator

from tensorprog.ir.program import Cell, For, If, Let, MatMul, MatStore, Program, Statement, Zero, cells_written

#: The loops around a statement: what each of them writes, and which matrices it has set anew before the statement.
_Loops = tuple[tuple[frozenset[Cell], set[Cell]], ...]


def changing_matrix(program: Program) -> Cell | None:
    """A matrix that a loop applies before it sets it, and changes; None if there is none."""
    return next(_changing(program.body, ()), None)


def _changing(body: tuple[Statement, ...], loops: _Loops) -> Iterator[Cell]:
    for statement in body:
        match statement:
            case Let(op=MatMul(matrix=cell)) if _carried(cell, loops):
                yield cell
            case Zero(cell=cell) | MatStore(cell=cell):
                for _, anew in loops:
                    anew.add(cell)
            case For(body=inner):
                yield from _changing(inner, (*loops, (frozenset(cells_written(inner)), set())))
            case If(then=then, orelse=orelse):
                yield from _changing(then, loops)
                yield from _changing(orelse, loops)


def _carried(cell: Cell, loops: _Loops) -> bool:
    """Whether the innermost loop that writes a matrix has not set it anew before."""
    anew = next((anew for written, anew in reversed(loops) if cell in written), None)
    return anew is not None and cell not in anew
