"""Which matrices functions are taken of, or are made by them, and in what form each is wanted."""

from __future__ import annotations

from tensorprog.check.made_by_updates import random_matrices
from tensorprog.ir.program import Cell, FunctionTerm, MatAccum, MatrixTerm, MatStore, Program, Statement, walk


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
        entries = _sources(writes, {m.cell for _, t in functions if t.entrywise for m in t.matrices})
        factors = _sources(writes, {m.cell for _, t in functions if not t.entrywise for m in t.matrices})
        made = _targets(writes, {cell for cell, _ in functions})
        self.functional: frozenset[Cell] = frozenset((entries | factors | made) - random)
        self.entries: frozenset[Cell] = frozenset(entries - factors)


def _sources(writes: list[Statement], found: set[Cell]) -> set[Cell]:
    """The matrices, and all that they are linear combinations of."""
    found = set(found)
    while True:
        more = {t.cell for s in writes if s.cell in found for t in s.terms if isinstance(t, MatrixTerm)}
        if more <= found:
            return found
        found |= more


def _targets(writes: list[Statement], found: set[Cell]) -> set[Cell]:
    """The matrices, and all linear combinations with them."""
    found = set(found)
    while True:
        more = {s.cell for s in writes for t in s.terms if isinstance(t, MatrixTerm) and t.cell in found}
        if more <= found:
            return found
        found |= more
