"""Whether the particles of a limit program may be float32, whose rounding is far below the scatter of averages over
particles: a run sees for itself if its numbers allow it, but some operations do not."""

from __future__ import annotations

from tensorprog.ensembles import ensemble_of
from tensorprog.ir.program import FunctionTerm, Let, MatAccum, MatDot, MatrixType, MatStore, Program, walk

#: The operator of matrices with independent entries, which is written for both precisions.
GAUSSIAN = "gaussian_matrix"


def not_single(program: Program) -> str | None:
    """Why a program needs float64; None if it does not."""
    for initial in program.initials:
        if isinstance(initial.cell.type, MatrixType) and initial.law.name != "zero" \
                and ensemble_of(initial).operator != GAUSSIAN:
            return f"'{initial.cell.display}' is a matrix with dependent entries"
    for statement in walk(program.body):
        terms = statement.terms if isinstance(statement, MatStore | MatAccum) else ()
        if any(isinstance(t, FunctionTerm) for t in terms) or isinstance(statement, Let) and isinstance(statement.op, MatDot):
            return "it has functions of matrices"
    return None
