"""A limit program in two: averages that no draw and no training changes, and equations between numbers.

Once training is kernel gradient descent (`superpose`), no vector is left in its loop. The averages in front of it,
kernels for the most part, are then a program of their own, which `covariance` may evaluate exactly; the rest reads
them from inputs, and needs no samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tensorprog.ir.integers import IntExpr, IntSym
from tensorprog.ir.places import placed
from tensorprog.ir.program import (
    Cell,
    Input,
    InputRef,
    Let,
    Load,
    Moment,
    Output,
    Program,
    Statement,
    Store,
    Var,
    cells_read,
    defined,
    reads,
    touched,
    uses,
    walk,
    written,
)
from tensorprog.passes.rewrite import map_blocks
from tensorprog.passes.simplify import remove_unused, simplify, without_idle
from tensorprog.series.draws import extents_of
from tensorprog.series.linear import has_width


@dataclass(frozen=True, slots=True)
class Split:
    """`averages` has an output for every family of averages that `numbers` reads from the input of the same name, and
    for outputs of the whole that are such averages (`direct`: the whole's name for each of these)."""

    averages: Program
    numbers: Program
    inputs: tuple[str, ...]
    direct: dict[str, str]


def split(program: Program, draws: frozenset[str], coefficients: frozenset[str]) -> Split | None:
    """The two parts of a limit program; None if they cannot be told apart.

    Args:
        draws: the inputs of draws.
        coefficients: the names of the families of numbers that training changes (`superpose`).
    """
    moving = _dependent(program.body, lambda s: isinstance(s, Let) and isinstance(s.op, InputRef) and s.op.name in draws
                        or getattr(written(s), "name", None) in coefficients)
    averaged = _dependent(program.body, lambda s: isinstance(s, Let) and isinstance(s.op, Moment))
    # A draw or training enters a vector, and so the averages over it.
    if any(has_width(v) for v in moving):
        return None
    ends = _ends(program, moving, averaged)
    shapes = _shapes(program.body)
    cells = [c for c in ends if isinstance(c, Cell) and c in shapes]
    if not coefficients or len(cells) < len(ends):
        return None
    # By name, because the order of a set is another one in every process.
    names = {cell: f"{cell.name}_known" for cell in sorted(cells, key=lambda c: c.name)}
    direct = {names[o.cell]: o.name for o in program.outputs if o.cell in ends}
    outputs = tuple(Output(name, c, span=c.span) for c, name in names.items())
    averages = without_idle(simplify(remove_unused(replace(program, outputs=outputs))))
    inputs = tuple(Input(name, (*shapes[c], *c.tensor.shape), "real") for c, name in names.items())
    outputs = tuple(o for o in program.outputs if o.cell not in ends)
    body = _reading(program.body, names)
    whole = replace(program, body=body, outputs=outputs, inputs=(*program.inputs, *inputs))
    numbers = without_idle(simplify(remove_unused(whole)))
    # Vectors that are left would need samples.
    if any(has_width(c) for s in walk(numbers.body) for c in touched(s)) or not outputs:
        return None
    return Split(averages, numbers, tuple(names.values()), direct)


def _ends(program: Program, moving: set[Var | Cell], averaged: set[Var | Cell]) -> set[Var | Cell]:
    """What is made of averages and read by what moves, or an output: names, or averages themselves."""
    makers = {s.var: s for s in walk(program.body) if isinstance(s, Let)}
    waiting = [c for s in walk(program.body) if defined(s) in moving for c in (*cells_read(s), *reads(s))]
    waiting += [o.cell for o in program.outputs]
    found: set[Var | Cell] = set()
    while waiting:
        value = waiting.pop()
        if value in moving or value not in averaged or value in found:
            continue
        # An average is read where it stands, or through the name that keeps it.
        if isinstance(value, Cell) or isinstance(makers[value].op, Moment):
            found.add(value)
        else:
            waiting += [*reads(makers[value]), *cells_read(makers[value])]
    return found


def _dependent(body: tuple[Statement, ...], begins: Callable[[Statement], bool]) -> set[Var | Cell]:
    """The temporaries and names that depend on what some statements make."""
    flat = [(made, s) for s in walk(body) if (made := defined(s)) is not None]
    found = {made for made, s in flat if begins(s)}
    while True:
        more = {made for made, s in flat if any(v in found for v in uses(s))} - found
        if not more:
            return found
        found |= more


def _shapes(body: tuple[Statement, ...]) -> dict[Cell, tuple[IntExpr, ...]]:
    """The extents of the names that are stored in loops over all their indices."""
    found: dict[Cell, tuple[IntExpr, ...]] = {}
    for place in placed(body):
        match place.statement:
            case Store(cell=cell, items=items) if not place.guarded and items == tuple(
                    IntSym(loop.var, "loop") for loop in place.loops):
                found[cell] = extents_of(place.loops)
    return found


def _reading(body: tuple[Statement, ...], names: dict[Cell, str]) -> tuple[Statement, ...]:
    """The statements with the averages read from inputs."""
    found = []
    for s in body:
        if isinstance(s, Let) and isinstance(s.op, Load) and s.op.cell in names:
            s = replace(s, op=InputRef(names[s.op.cell], s.op.items))
        found.append(map_blocks(s, lambda b: _reading(b, names)))
    return tuple(found)
