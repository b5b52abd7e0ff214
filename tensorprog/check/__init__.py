"""The checker: from the syntax tree to the typed program, or to diagnostics."""

from tensorprog.check.checker import check
from tensorprog.diagnostics import Reporter, Source
from tensorprog.ir.program import Program
from tensorprog.syntax import parse

__all__ = ["check", "front"]


def front(source: Source, reporter: Reporter) -> Program:
    """Parse and check.

    Raises:
        ProgramError: with every mistake found.
    """
    return check(parse(source), reporter)
