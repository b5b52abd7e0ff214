"""How a part of a result is made: what a recipe says, and what it asks for when it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorprog.ir.build import Builder
from tensorprog.ir.program import Cell, Var
from tensorprog.series.parts import SeriesPart

Node = Var | Cell
Need = tuple[Node, SeriesPart]

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
    emit: Callable[[Writer], object] | None
    refused: str = ""


def refusal(part: SeriesPart, why: str) -> TermRecipe:
    return TermRecipe(part, (), None, why)
