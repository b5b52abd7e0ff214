"""Declared symmetric matrices as what they are for powers of n: normal entries. The typed program makes them of a
hidden matrix and its transpose (`check/ensembles.py`)."""

from __future__ import annotations

from dataclasses import replace

from tensorprog.ensembles.ensemble import combined, number
from tensorprog.ir.program import Cell, For, Initial, Law, MatrixTerm, MatStore, Program, Statement


def with_symmetric_objects(program: Program) -> Program:
    """The program whose symmetric matrices are declared objects."""
    made = {s.terms[0].cell: s.cell for s in map(_innermost, program.body) if _is_declaration(s)}
    if not made:
        return program
    body = tuple(s for s in program.body if not _is_declaration(_innermost(s)))
    return replace(program, body=body, initials=tuple(_symmetric(i, made[i.cell]) if i.cell in made else i
                                                      for i in program.initials))


def _innermost(statement: Statement) -> Statement:
    """The one statement in loops over a family."""
    while isinstance(statement, For) and len(statement.body) == 1:
        statement = statement.body[0]
    return statement


def _is_declaration(statement: Statement) -> bool:
    """Whether this is `A = G + G.T` with a matrix G that only the declaration of A knows."""
    match statement:
        case MatStore(cell=cell, terms=(MatrixTerm(coef=None, cell=one, transposed=False),
                                        MatrixTerm(coef=None, cell=two, transposed=True))):
            return one is two and one.role == "initial" and one.span == cell.span
    return False


def _symmetric(initial: Initial, cell: Cell) -> Initial:
    mean, half = initial.law.args
    law = Law("normal", (mean, combined("*", half, number(2, (half,)))))
    return replace(initial, cell=cell, law=law, drawn=Law("symmetric_normal", law.args))
