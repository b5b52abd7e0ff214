"""Which matrices functions are taken of, or are made by them, and in what form each is wanted."""

from __future__ import annotations

from tensorprog.ir.made_by_updates import random_matrices
from tensorprog.ir.program import Cell, FunctionTerm, MatAccum, MatrixTerm, MatStore, Program, walk


class MatrixKinds:
    """Of a limit program's matrices without a random part:

    Attributes:
        functional: those that functions are taken of or that hold functions, however indirectly.
        entries: those among them whose entries are asked for, and that nothing wants as outer products.
    """

    def __init__(self, program: Program):
        writes = [s for s in walk(program.body) if isinstance(s, MatStore | MatAccum)]
        random = set(random_matrices(program))
        functions = [(s.cell, t) for s in writes for t in s.terms if isinstance(t, FunctionTerm)]
        combined = [(s.cell, t.cell) for s in writes for t in s.terms if isinstance(t, MatrixTerm)]
        # Backwards along sums: if the entries of A + B are asked for, those of A and B are. `made` goes forwards.
        entries = _reached({m.cell for _, t in functions if t.entrywise for m in t.matrices}, combined)
        factors = _reached({m.cell for _, t in functions if not t.entrywise for m in t.matrices}, combined)
        made = _reached({cell for cell, _ in functions}, [(source, target) for target, source in combined])
        # A sum with a random matrix is an operator, to which functions are added; the checker refuses functions of it.
        self.functional: frozenset[Cell] = frozenset((entries | factors | made) - random)
        # Polar factors and products are computed from outer products.
        self.entries: frozenset[Cell] = frozenset(entries - factors)


def _reached(found: set[Cell], steps: list[tuple[Cell, Cell]]) -> set[Cell]:
    """Some matrices, and all that steps from one to another lead to from them."""
    while more := {end for start, end in steps if start in found} - found:
        found = found | more
    return found
