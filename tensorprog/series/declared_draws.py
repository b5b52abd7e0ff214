"""Declared random arrays without a width (`matrix A : [K, d]`, `vector b : [K]`): the limit is a function of their draws.

Their number does not grow with n, so that nothing averages over them (TP I, Corollary 5.5, with such arrays among what is
conditioned on). A limit program reads them from inputs, one row a draw, as it reads its Gaussian numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntSym
from tensorprog.ir.program import Initial, Input, InputRef, Law, MatrixType, Program, Statement, Store, TensorType
from tensorprog.passes.powers import Powers, initial_power
from tensorprog.passes.rewrite import over_elements


@dataclass(frozen=True, slots=True)
class DeclaredDraws:
    """A declared array without a width, and the input that holds its draws: [draws, *extents, *axes]."""

    input: str
    initial: Initial


def is_finite(initial: Initial) -> bool:
    """Whether a declared object has no width."""
    return not isinstance(initial.cell.type, MatrixType) and initial.cell.type.width is None


def shape_of(initial: Initial) -> tuple[IntExpr, ...]:
    """The shape of a declared object without a width, its family's indices first."""
    kind = initial.cell.type
    assert not isinstance(kind, MatrixType)
    return *initial.extents, *kind.shape


def without_small_starts(program: Program, powers: Powers, env: Mapping[str, object]) -> Program:
    """The program in which declared arrays start at zero that updates of a larger power of n are added to."""
    # In units of the power of n that updates have, a draw of a smaller power is 0.
    return replace(program, initials=tuple(
        replace(i, law=Law("zero")) if is_finite(i) and initial_power(program, i, env) != powers[i.cell] else i
        for i in program.initials))


def declared_as_inputs(program: Program, draw: str, size: str, builder: Builder) -> tuple[Program, tuple[DeclaredDraws, ...]]:
    """The program of one draw, which reads its declared arrays without a width from inputs, and these.

    Args:
        draw, size: the names of the index of the draw, and of the number of draws.
    """
    declared: list[DeclaredDraws] = []
    body: list[Statement] = []
    inputs: list[Input] = []
    for initial in filter(is_finite, program.initials):
        cell = initial.cell
        # A zero is stored all the same: elements without a value would be errors where they are read.
        if initial.law.name == "zero":
            body += _stored(initial, None, draw, builder)
            continue
        name = builder.names.fresh(f"{cell.name}_drawn")
        declared.append(DeclaredDraws(name, initial))
        inputs.append(Input(name, (IntSym(size, "size"), *shape_of(initial)), "real", span=cell.span))
        body += _stored(initial, name, draw, builder)
    initials = tuple(i for i in program.initials if not is_finite(i))
    made = replace(program, initials=initials, inputs=(*program.inputs, *inputs), body=(*body, *program.body))
    return made, tuple(declared)


def _stored(initial: Initial, input: str | None, draw: str, builder: Builder) -> tuple[Statement, ...]:
    """Every element of a declared array is stored: from an input, or zero."""
    cell, kind = initial.cell, TensorType(None, shape_of(initial)[len(initial.extents):])
    names = [builder.names.fresh("i") for _ in initial.extents]
    items = tuple(IntSym(v, "loop") for v in names)
    builder.span = cell.span
    with builder.nested() as made:
        value = builder.const(0, kind) if input is None else \
            builder.let(InputRef(input, (IntSym(draw, "loop"), *items)), kind, cell.name)
        builder.append(Store(cell, items, value, span=cell.span))
    return over_elements(names, initial.extents, tuple(made))
