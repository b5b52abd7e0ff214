"""Functions of matrices are for matrices that are made by updates: sums of outer products, gradients, accumulators, and
functions of those (language, 8). A matrix that a random one was ever added to stays linear.
"""

from __future__ import annotations

from tensorprog.diagnostics import Note, Reporter
from tensorprog.ir.program import (
    POLAR,
    POLAR_DIFFERENTIAL,
    PRODUCT,
    Cell,
    FunctionTerm,
    Let,
    MatAccum,
    MatDot,
    MatrixTerm,
    MatrixType,
    MatStore,
    Program,
    Statement,
    matrices_read,
    walk,
)


def check_functions(program: Program, reporter: Reporter) -> None:
    """Report functions of matrices that hold a random one (TP323, TP335)."""
    random = random_matrices(program)
    for statement in walk(program.body):
        function = _function(statement)
        if function is None:
            continue
        held = [m.cell for m in matrices_read(statement) if m.cell in random]
        if len(held) > (function == "dot"):  # an inner product applies a random matrix to what the other is made of
            _refuse(function, statement, held[0], random[held[0]], reporter)


def random_matrices(program: Program) -> dict[Cell, Cell]:
    """The matrices that hold a declared random one, each with that."""
    # A matrix that is declared `= 0` is an accumulator, and made by updates.
    random = {i.cell: i.cell for i in program.initials if isinstance(i.cell.type, MatrixType) and i.law.name != "zero"}
    while True:
        # Loops may hand a matrix on to a statement before.
        before = len(random)
        for statement in walk(program.body):
            if isinstance(statement, MatStore | MatAccum):
                # Only terms hand a random matrix on. The arguments of a `FunctionTerm` do not: that is what is refused.
                held = [random[t.cell] for t in statement.terms if isinstance(t, MatrixTerm) and t.cell in random]
                if held:
                    random.setdefault(statement.cell, held[0])
        if len(random) == before:
            return random


def _function(statement: Statement) -> str | None:
    """The function of matrices that a statement computes."""
    match statement:
        case Let(op=MatDot()):
            return "dot"
        # The checker gives each function a matrix of its own, as its only term.
        case MatStore(terms=(FunctionTerm(fn=fn),)):
            return fn
        case _:
            return None


def _refuse(function: str, statement: Statement, held: Cell, random: Cell, reporter: Reporter) -> None:
    notes = (Note(f"`{random.display}` is random: it is declared here", random.span),) if random.span else ()
    if function == PRODUCT:
        reporter.error("TP323", "a product of matrices that holds a random one is not a matrix of the language",
                       statement.span, notes=notes, help="apply it to a vector: `A @ (B @ x)`")
        return
    kinds = {POLAR: "the polar factor", POLAR_DIFFERENTIAL: "the polar factor"}
    what = kinds.get(function, "an entrywise function")
    whose = f"`{held.display}`" if held.role != "hidden" else "this matrix"
    message = f"an inner product or norm of random matrices: {whose} holds one" if function == "dot" \
        else f"{what} of {whose}, which holds a random matrix"
    reporter.error("TP335", message, statement.span, notes=notes,
                   help="functions take matrices that are made by updates: gradients, outer products, accumulators; a "
                        "random matrix is scaled, added, and applied with `@`")
