"""Blocks of normal vectors that meet inputs: `U : [n, d]` in `U @ X[a]`, as it is or after training.

The law of d independent normal vectors does not change when they are rotated, so that particles may have the principal
axes of the inputs for directions: the first coordinates of a quasi-random sequence, which are its best, then go to the
axes along which the inputs vary most. What is orthogonal to all inputs need not be drawn, if nothing else is done with
the block than to multiply it with inputs and to add to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    InputRef,
    Let,
    Load,
    MatrixType,
    Op,
    Program,
    Range,
    Store,
    Var,
    cells_read,
    reads,
    walk,
)

#: An axis of an object, and (name, axis) of the input that it is summed with.
Use = tuple[int, tuple[str, int]]


@dataclass(frozen=True)
class InputAxes:
    """The axis of a declared object, family indices first, that is summed with axes of inputs, (name, axis) each. `only` says
    whether nothing else is done with it."""

    axis: int
    inputs: tuple[tuple[str, int], ...]
    only: bool


def input_axes(program: Program) -> dict[Cell, InputAxes]:
    """The declared normal vectors of a program that are multiplied with inputs."""
    references = {s.var: s.op for s in walk(program.body) if isinstance(s, Let) and isinstance(s.op, InputRef)}
    found = {}
    for initial in program.initials:
        cell = initial.cell
        # Only normal vectors have a law that rotations leave as it is.
        if isinstance(cell.type, MatrixType) or initial.law.name != "normal" or not cell.type.shape:
            continue
        uses, only = _uses(program, cell, references)
        axes = {axis for axis, _ in uses}
        # A rotation along one axis; an object that meets inputs along two of them is drawn as it is.
        if len(axes) == 1:
            inputs = tuple(sorted({met for _, met in uses}))
            found[cell] = InputAxes(axes.pop(), inputs, only and cell not in program.results)
    return found


def _uses(program: Program, cell: Cell, references: dict[Var, InputRef]) -> tuple[list[Use], bool]:
    """The contractions of an object with inputs; whether all else that is done with it is to multiply it with numbers, to
    add to it and to store that in it."""
    uses: list[Use] = []
    loaded, whole, only = set(), set(), True
    for statement in walk(program.body):
        if cell in cells_read(statement):
            match statement:
                # The whole of an axis: single entries would not turn with the others.
                case Let(var=var, op=Load(items=items)) if len(items) <= cell.rank:
                    loaded.add(var)
                    whole.add(var)
                case _:
                    only = False
                    if isinstance(statement, Let):
                        loaded.add(statement.var)
        elif not any(v in loaded for v in reads(statement)):
            continue
        else:
            match statement:
                case Let(op=Contract() as op) if (met := _meets(op, whole, references)) is not None:
                    axis, other = met
                    uses.append((cell.rank + axis, other))
                case Let(var=var, op=op) if _is_linear(op):
                    loaded.add(var)
                case Store(cell=into) | Accum(cell=into) if into is cell:
                    pass
                case _:
                    only = False
    return uses, only


def _is_linear(op: Op) -> bool:
    match op:
        case Elementwise(fn="neg" | "add" | "sub", order=0):
            return True
        case Elementwise(fn="mul", order=0, args=args):
            return any(not (a.type.width or a.type.shape) for a in args)
        case Elementwise(fn="div", order=0, args=(_, bottom)):
            return not (bottom.type.width or bottom.type.shape)
    return False


def _meets(op: Contract, whole: set[Var], references: dict[Var, InputRef]) -> tuple[int, tuple[str, int]] | None:
    """The axis of a loaded object that a contraction sums with one of an input."""
    for block, block_axes, other, other_axes in ((op.left, op.left_axes, op.right, op.right_axes),
                                                 (op.right, op.right_axes, op.left, op.left_axes)):
        if block in whole and other in references:
            items = references[other].items
            summed = [c for c in block_axes if c in other_axes and c not in op.out_axes]
            # A slice of an input has other axes than the input.
            if len(summed) == 1 and not any(isinstance(i, Range) for i in items):
                return block_axes.index(summed[0]), (references[other].name, len(items) + other_axes.index(summed[0]))
    return None
