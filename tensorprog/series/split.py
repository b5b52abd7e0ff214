"""A limit program in two: averages that no draw and no training changes, and equations between numbers.

Once training is kernel gradient descent (`superpose`), no vector is left in its loop. The averages in front of it,
kernels for the most part, are then a program of their own, which `covariance` may evaluate exactly; the rest reads
them from inputs, and needs no samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tensorprog.ir.integers import IntSym
from tensorprog.ir.program import (
    Cell,
    For,
    If,
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
    operands,
    touched,
    walk,
)
from tensorprog.passes.rewrite import map_blocks
from tensorprog.passes.simplify import remove_unused, simplify
from tensorprog.series.draws import extent
from tensorprog.series.linear import has_width


@dataclass(frozen=True, slots=True)
class Split:
    """`averages` has an output for every family of averages that `numbers` reads from the input of the same name, and
    for outputs of the whole that are such averages (`direct`: the whole's name for each of these)."""

    averages: Program
    numbers: Program
    inputs: tuple[str, ...]
    direct: dict[str, str]


def split(program: Program, draws: frozenset[str]) -> Split | None:
    """The two parts of a limit program; None if draws (inputs) or training change vectors, or if no number is left to
    compute."""
    stored = _stored_averages(program.body)
    if not stored:
        return None
    names = {cell: f"{cell.name}_known" for cell in stored}
    outputs = tuple(Output(names[c], c, span=c.span) for c in stored)
    averages = remove_unused(replace(program, outputs=outputs))
    if _reads(averages, draws) or any(_is_trained(s) for s in averages.body):
        return None
    rest = tuple(o for o in program.outputs if o.cell not in stored)
    inputs = {c: Input(names[c], (*shape, *c.type.shape), "real") for c, shape in stored.items()}
    body = _reading(program.body, {c: i.name for c, i in inputs.items()})
    numbers = simplify(remove_unused(replace(program, body=body, outputs=rest)))
    if not rest or any(has_width(c) for s in walk(numbers.body) for c in touched(s)):
        return None
    used = {s.op.name for s in walk(numbers.body) if isinstance(s, Let) and isinstance(s.op, InputRef)}
    numbers = replace(numbers, inputs=(*program.inputs, *(i for i in inputs.values() if i.name in used)), initials=())
    direct = {names[o.cell]: o.name for o in program.outputs if o.cell in stored}
    kept = tuple(o for o in outputs if o.name in used or o.name in direct)
    averages = remove_unused(replace(averages, outputs=kept))
    touched_cells = {c for s in walk(averages.body) for c in touched(s)}
    averages = replace(averages, initials=tuple(i for i in averages.initials if i.cell in touched_cells))
    return Split(averages, numbers, tuple(sorted(used & {i.name for i in inputs.values()})), direct)


def _stored_averages(body: tuple[Statement, ...]) -> dict[Cell, tuple]:
    """The names that are only ever stored, each once, in loops over their indices, with a value that is made of averages in
    the same iteration; with their extents."""
    writers: dict[Cell, list[tuple[Statement, tuple]]] = {}
    makers: dict[Var, Let] = {}

    def visit(block: tuple[Statement, ...], around: tuple) -> None:
        for s in block:
            match s:
                case For(body=inner):
                    visit(inner, (*around, s))
                case If(then=then, orelse=orelse):
                    visit(then, (*around, None))
                    visit(orelse, (*around, None))
                case Let(var=var):
                    makers[var] = s
                case _ if getattr(s, "cell", None) is not None:
                    writers.setdefault(s.cell, []).append((s, around))

    visit(body, ())
    found = {}
    for cell, places in writers.items():
        statement, around = places[0]
        if len(places) > 1 or has_width(cell) or not isinstance(statement, Store) or None in around:
            continue
        if statement.items == tuple(IntSym(loop.var, "loop") for loop in around) and _is_average(statement.value, makers):
            found[cell] = tuple(extent(list(around[: k + 1])) for k in range(len(around)))
    return found


def _is_average(value: Var, makers: dict[Var, Let]) -> bool:
    """Whether a number is made of averages, not through names."""
    op = makers[value].op
    return isinstance(op, Moment) or any(_is_average(v, makers) for v in operands(op) if not has_width(v))


def _reads(program: Program, inputs: frozenset[str]) -> bool:
    return any(isinstance(s, Let) and isinstance(s.op, InputRef) and s.op.name in inputs for s in walk(program.body))


def _is_trained(statement: Statement) -> bool:
    """Whether a loop runs step by step over averages that it computes: vectors change with numbers."""
    if not isinstance(statement, For) or statement.parallel:
        return False
    inside = list(walk(statement.body))
    stored = {s.cell for s in inside if isinstance(s, Store) and not has_width(s.cell)}
    return any(isinstance(s, Let) and isinstance(s.op, Moment) for s in inside) and any(
        c in stored for s in inside for c in cells_read(s))


def _reading(body: tuple[Statement, ...], names: dict[Cell, str]) -> tuple[Statement, ...]:
    """The statements with the averages read from inputs."""
    found = []
    for s in body:
        if isinstance(s, Let) and isinstance(s.op, Load) and s.op.cell in names:
            s = replace(s, op=InputRef(names[s.op.cell], s.op.items))
        found.append(map_blocks(s, lambda b: _reading(b, names)))
    return tuple(found)
