"""Which outputs depend on vectors that are linear in the initial ones, if some declared vectors count as numbers by
coordinate: `x = O @ (d * x)`, with `d` a diagonal matrix, and functions of `d`.

Such a vector is `sum_k c_k(d) e_k`, with directions `e_k` that are independent of each other and of `d`: normal vectors, whatever
matrices make of vectors that they have not met, and the constant one. An inner product is `sum_k E c_k(d) c_k'(d)`. (This is the
limit with the diagonal matrices in the place of the complex numbers: operator-valued freeness, Voiculescu, 1995.) So everything
is as in `passes.linear`, with functions in the place of coefficients.

Not done here: the nodes at which functions are kept, which is the runtime's (`runtime.diagonals`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tensorprog.ir.laws import LAWS
from tensorprog.ir.program import Cell, Initial, Output, Program, TensorType, cells_written
from tensorprog.passes.linear import NoCoefficient, NotLinear, Slices, homogeneous
from tensorprog.passes.spaces import Spaces

# Declared vectors of one space that can be diagonals: functions of them are kept on a grid.
MOST = 3
# More declared vectors than this are not looked through for those that have to be diagonals.
CANDIDATES = 24


@dataclass(frozen=True, slots=True)
class DiagonalProgram:
    """The homogeneous program of the outputs that are linear (None without any), its diagonals, and for each other output
    why not."""

    program: Program | None
    diagonals: tuple[Cell, ...]
    reasons: Mapping[Cell, str]


#: No outputs.
NONE = DiagonalProgram(None, (), {})


def diagonal_outputs(program: Program, outputs: Iterable[Output]) -> DiagonalProgram:
    """Find those of some outputs whose vectors are linear with functions of declared vectors as coefficients."""
    outputs = tuple(outputs)
    slices = Slices(program)
    # All outputs together, which is the rule; where one spoils it, each is tried by itself.
    try:
        return _found(slices.of(*outputs), {})
    except NotLinear:
        pass
    good: list[Output] = []
    reasons: dict[Cell, str] = {}
    for output in outputs:
        try:
            _with_coefficients(part := slices.of(output), _candidates(part))
        except NotLinear as error:
            reasons[output.cell] = str(error)
        else:
            good.append(output)
    if not good:
        return DiagonalProgram(None, (), reasons)
    try:
        return _found(slices.of(*good), reasons)
    except NotLinear as error:
        return DiagonalProgram(None, (), {**reasons, **{o.cell: str(error) for o in good}})


def _found(program: Program, reasons: Mapping[Cell, str]) -> DiagonalProgram:
    """With as few diagonals as will do: those that cost most are left out first.

    Raises:
        NotLinear: if none of the choices will do.
    """
    found, chosen = _with_coefficients(program, _candidates(program))
    # One after the other: without a grid for its functions, is everything still linear?
    for cell in chosen:
        try:
            found, chosen = _with_coefficients(program, tuple(c for c in chosen if c is not cell))
        except NotLinear:
            continue
    spaces = Spaces(found)
    for space in {spaces.of(c) for c in chosen}:
        # A grid for functions of several vectors is a product: nodes to the power of their number.
        if sum(spaces.of(c) == space for c in chosen) > MOST:
            raise NotLinear(f"more than {MOST} vectors multiply others")
    return DiagonalProgram(found, chosen, reasons)


def _candidates(program: Program) -> tuple[Cell, ...]:
    """The declared single vectors, those with normal entries first, which need most nodes, and those with atoms last.

    Raises:
        NotLinear: if they are too many.
    """
    initials = [i for i in program.initials
                if isinstance(i.cell.type, TensorType) and not i.cell.type.shape and not i.extents and i.law.name in LAWS]
    if len(initials) > CANDIDATES:
        raise NotLinear("there are too many declared vectors to look which of them multiply others")
    # In this order they are tried to be left out.
    return tuple(i.cell for i in sorted(initials, key=_cost))


def _cost(initial: Initial) -> tuple[bool, bool]:
    return LAWS[initial.law.name].atoms, initial.law.name != "normal"


def _with_coefficients(program: Program, diagonals: tuple[Cell, ...]) -> tuple[Program, tuple[Cell, ...]]:
    """The homogeneous program in which functions of `diagonals` are coefficients: these, and the cells that nothing else is
    stored in. And those of the diagonals that stay such: training makes a declared vector linear.

    Raises:
        NotLinear: if a vector is not linear then.
    """
    initial = {i.cell for i in program.initials}
    cells = frozenset(c for c in cells_written(program.body) if _is_vector(c) and c not in initial) | set(diagonals)
    while True:
        try:
            return homogeneous(program, cells), tuple(c for c in diagonals if c in cells)
        except NoCoefficient as other:
            # What is linear holds no coefficients. Without this cell, others may turn out to be linear as well.
            cells -= {other.cell}


def _is_vector(cell: Cell) -> bool:
    return isinstance(cell.type, TensorType) and cell.type.width is not None
