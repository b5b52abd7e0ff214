"""Readout vectors: initial vectors that the program uses only linearly, inside moments.

Their sign may be flipped particle by particle, so the particles evaluator samples them antithetically: the output at
initialization is then exactly zero, and so is the error that it would feed into training (docs/architecture.md).
"""

from __future__ import annotations

from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    GradStmt,
    Initial,
    Let,
    Load,
    MatrixType,
    Moment,
    Pick,
    Program,
    Statement,
    Var,
    cells_read,
    operands,
    reads,
    walk,
)
from tensorprog.passes.rewrite import without_kernels
from tensorprog.passes.simplify import remove_dead


def readouts(program: Program) -> frozenset[Cell]:
    """The readouts of a program before differentiation. Kernels contain readouts only squared, so a scalar that only
    kernels use is none of them."""
    users: dict[Var, list[Statement]] = {}
    flat = list(walk(remove_dead(program.with_body(without_kernels(program.body))).body))
    for statement in flat:
        for var in reads(statement):
            users.setdefault(var, []).append(statement)
    return frozenset(i.cell for i in program.initials if _symmetric(i) and _is_readout(i.cell, flat, users))


def _symmetric(initial: Initial) -> bool:
    if isinstance(initial.cell.type, MatrixType):
        return False
    if initial.law.name == "rademacher":
        return True
    if initial.law.name != "normal":
        return False
    mean = initial.law.args[0]
    return mean.op == "num" and mean.leaf == 0


def _is_readout(cell: Cell, flat: list[Statement], users: dict[Var, list[Statement]]) -> bool:
    loads = [s for s in flat if isinstance(s, Let) and isinstance(s.op, Load) and s.op.cell is cell]
    others = [s for s in flat if cell in cells_read(s) and s not in loads and not isinstance(s, GradStmt)]
    if not loads or others:
        return False
    return all(_ends_in_moments(s.var, users) for s in loads)


def _ends_in_moments(var: Var, users: dict[Var, list[Statement]]) -> bool:
    """Whether everything made of a value is linear in it and ends in a moment."""
    return all(_linear_use(var, s, users) for s in users.get(var, []))


def _linear_use(var: Var, statement: Statement, users: dict[Var, list[Statement]]) -> bool:
    if isinstance(statement, Accum):
        return False
    match statement:
        case Let(op=Moment()):
            return True
        case Let(var=out, op=Elementwise(fn="mul" | "div") as op):
            return sum(a is var for a in operands(op)) == 1 and _ends_in_moments(out, users)
        case Let(var=out, op=Elementwise(fn="neg") | Pick() | Contract()):
            return _ends_in_moments(out, users)
        case _:
            return False
