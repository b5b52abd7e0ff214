"""Declared symmetric matrices as what they are for powers of n: normal entries. The typed program makes them of a
hidden matrix and its transpose (`check/ensembles.py`)."""

from __future__ import annotations

from dataclasses import replace

from tensorprog.ensembles.ensemble import combined, number
from tensorprog.ir.program import Cell, For, Initial, Law, MatrixTerm, MatStore, Program, Statement


def with_symmetric_objects(program: Program) -> Program:
    """The program whose symmetric matrices are declared objects."""
    declarations = [(_declaration(_innermost(s)), s) for s in program.body]
    made = dict(pair for pair, _ in declarations if pair is not None)
    if not made:
        return program
    body = tuple(s for pair, s in declarations if pair is None)
    return replace(program, body=body, initials=tuple(_symmetric(i, made[i.cell]) if i.cell in made else i
                                                      for i in program.initials))


def _innermost(statement: Statement) -> Statement:
    """The one statement in loops over a family."""
    while isinstance(statement, For) and len(statement.body) == 1:
        statement = statement.body[0]
    return statement


def _declaration(statement: Statement) -> tuple[Cell, Cell] | None:
    """(G, A) if this is `A = G + G.T` with a matrix G that only the declaration of A knows."""
    match statement:
        case MatStore(cell=cell, terms=(MatrixTerm(coef=None, cell=one, transposed=False),
                                        MatrixTerm(coef=None, cell=two, transposed=True))):
            # The same span: the hidden matrix is made by the declaration, and the user cannot have used it.
            return (one, cell) if one is two and one.role == "initial" and one.span == cell.span else None
    return None


def _symmetric(initial: Initial, cell: Cell) -> Initial:
    mean, half = initial.law.args
    # G + G.T has twice the variance of G off its diagonal.
    law = Law("normal", (mean, combined("*", half, number(2, (half,)))))
    return replace(initial, cell=cell, law=law, drawn=Law("symmetric_normal", law.args))
