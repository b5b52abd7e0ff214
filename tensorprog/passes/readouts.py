"""Readout vectors: initial vectors that the program uses only linearly, inside moments.

Training may change them. Their sign may be flipped particle by particle, so that the output at initialization is zero in the
limit. The particles evaluator draws them so that it is exactly zero, and with it the error that it would feed into training:
orthogonal to what they are averaged with (`passes.initial_features`), or antithetically.
"""

from __future__ import annotations

from collections import defaultdict

from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    Expand,
    GradStmt,
    Initial,
    Let,
    Load,
    MatrixType,
    Moment,
    Pick,
    Program,
    Statement,
    Store,
    SumAxis,
    Var,
    cells_read,
    reads,
    walk,
)
from tensorprog.passes.rewrite import without_kernels
from tensorprog.passes.simplify import remove_dead


def readouts(program: Program) -> frozenset[Cell]:
    """The readouts of a program before differentiation. Kernels contain readouts only squared, so a scalar that only
    kernels use is none of them."""
    program = remove_dead(program.with_body(without_kernels(program.body)))
    uses = _Uses(program)
    return frozenset(i.cell for i in program.initials if _symmetric(i) and uses.linear(i.cell))


def _symmetric(initial: Initial) -> bool:
    if isinstance(initial.cell.type, MatrixType):
        return False
    if initial.law.name == "rademacher":
        return True
    if initial.law.name != "normal":
        return False
    mean = initial.law.args[0]
    # A mean that is computed may be zero, and is not looked at.
    return mean.op == "num" and mean.leaf == 0


class _Uses:
    """Who reads what in a program."""

    def __init__(self, program: Program):
        self.of_var: dict[Var, list[Statement]] = defaultdict(list)
        self.of_cell: dict[Cell, list[Statement]] = defaultdict(list)
        for statement in walk(program.body):
            for var in reads(statement):
                self.of_var[var].append(statement)
            if not isinstance(statement, GradStmt):
                for cell in cells_read(statement):
                    self.of_cell[cell].append(statement)

    def linear(self, cell: Cell) -> bool:
        """Whether a cell is used, everything made of it is linear in it, and ends in moments. Other vectors may be added
        to that; names and families that keep it for later are followed."""
        made, users = self._followed(cell)
        return bool(made) and all(_is_linear(statement, made) for statement in users)

    def _followed(self, cell: Cell) -> tuple[set[Var], list[Statement]]:
        """The temporaries with something of a cell in them, as far as moments, and what reads those and the cells that
        keep them."""
        cells, made, users = [cell], set(), []
        for kept in cells:
            users += self.of_cell[kept]
            waiting = [s.var for s in self.of_cell[kept] if isinstance(s, Let)]
            while waiting:
                var = waiting.pop()
                if var in made:
                    continue
                made.add(var)
                users += self.of_var[var]
                for statement in self.of_var[var]:
                    if isinstance(statement, Let) and not isinstance(statement.op, Moment):
                        waiting.append(statement.var)
                    elif isinstance(statement, Store | Accum) and statement.cell not in cells:
                        cells.append(statement.cell)
        return made, users


def _is_linear(statement: Statement, made: set[Var]) -> bool:
    """Whether a statement is linear, but for something added, in the temporaries `made`, or keeps or averages one."""
    match statement:
        case Store() | Accum() | Let(op=Load() | Moment() | Pick() | SumAxis() | Expand()):
            return True
        case Let(op=Elementwise(fn="neg" | "add" | "sub", order=0)):
            return True
        case Let(op=Elementwise(fn="mul", args=(left, right)) | Contract(left=left, right=right)):
            # v times v keeps its sign when v is flipped.
            return not (left in made and right in made)
        case Let(op=Elementwise(fn="div", args=(_, bottom))):
            return bottom not in made
        case _:
            return False
