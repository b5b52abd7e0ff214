"""How a part of a result is made: what a recipe says, and what it asks for when it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorprog.ir.build import Builder
from tensorprog.ir.program import Cell, Term, Var
from tensorprog.series.parts import SeriesPart

Node = Var | Cell
Need = tuple[Node, SeriesPart]
#: A temporary, or a term of a matrix.
Emitted = Var | Term

FINITE_WIDTH = ("this needs the fluctuation of an average that does not vanish: a correction of finite width, which no "
                "limit has")
DELTA = "this needs the derivative of a jump, to a higher order than a limit is taken here"


class Writer:
    """What emission asks for: the parts of operands in the program that is written."""

    builder: Builder

    def part(self, node: Var, part: SeriesPart) -> Var:
        """The temporary that holds a part of a temporary."""
        raise NotImplementedError

    def cell(self, cell: Cell, part: SeriesPart) -> Cell:
        """The cell that holds a part of a cell."""
        raise NotImplementedError

    def total(self, node: Var, parts: tuple[SeriesPart, ...]) -> Var:
        """The sum of parts of a temporary; zeros if there are none."""
        found = [self.part(node, p) for p in parts]
        if not found:
            return self.builder.const(0, node.type)
        whole = found[0]
        for other in found[1:]:
            whole = self.builder.add(whole, other)
        return whole


@dataclass(frozen=True, slots=True)
class TermRecipe:
    """A term of a result: its part, the parts that it needs, and how it is written. `refused` says why it cannot be."""

    part: SeriesPart
    needs: tuple[Need, ...]
    emit: Callable[[Writer], Emitted] | None
    refused: str = ""

    def value(self, writer: Writer) -> Var:
        """The term, of a temporary or a tensor."""
        found = self._written(writer)
        assert isinstance(found, Var), "a term of a matrix"
        return found

    def term(self, writer: Writer) -> Term:
        """The term, of a matrix."""
        found = self._written(writer)
        assert not isinstance(found, Var), "a term of a tensor"
        return found

    def _written(self, writer: Writer) -> Emitted:
        assert self.emit is not None, "what is refused is not written"
        return self.emit(writer)


def of_part(part: SeriesPart, need: Need, emit: Callable[[Writer, SeriesPart], Emitted]) -> TermRecipe:
    """A term that needs one part of something, which `emit` is given."""
    return TermRecipe(part, (need,), lambda w: emit(w, need[1]))


def of_parts(part: SeriesPart, first: Need, second: Need,
             emit: Callable[[Writer, SeriesPart, SeriesPart], Emitted]) -> TermRecipe:
    """A term that needs parts of two things, which `emit` is given."""
    return TermRecipe(part, (first, second), lambda w: emit(w, first[1], second[1]))


def refusal(part: SeriesPart, why: str) -> TermRecipe:
    return TermRecipe(part, (), None, why)
