"""Which outputs the covariance evaluator covers, and their system of equations."""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.system import System
from tensorprog.covariance.unwind import Unwound
from tensorprog.driver import Compiled
from tensorprog.ir.program import Cell


@dataclass(frozen=True, slots=True)
class Covered:
    """The system of the covered outputs (None if there are none), and why the others are not."""

    system: System | None
    reasons: dict[Cell, str]


def covered(compiled: Compiled) -> Covered:
    """The outputs that are functions of few Gaussians, as equations. Responses are first taken to cancel what
    recursions carry over, which gives the shorter system (`gaussian`); if that fails, they are carried along."""
    cells = list(dict.fromkeys(o.cell for o in compiled.limit.outputs))
    try:
        return Covered(build(compiled, cells), {})
    except Unsupported as reason:
        if len(cells) == 1:
            return Covered(None, {cells[0]: str(reason)})
    reasons: dict[Cell, str] = {}
    for cell in cells:
        try:
            build(compiled, [cell])
        except Unsupported as reason:
            reasons[cell] = str(reason)
    good = [c for c in cells if c not in reasons]
    return Covered(build(compiled, good) if good else None, reasons)


def build(compiled: Compiled, cells: list[Cell]) -> System:
    """The system of the given outputs.

    Raises:
        Unsupported: with the reason.
    """
    try:
        return _system(compiled, cells, cancelling=True)
    except Unsupported:
        return _system(compiled, cells, cancelling=False)


def _system(compiled: Compiled, cells: list[Cell], cancelling: bool) -> System:
    laws = Laws(compiled.limit, compiled.powers, compiled.env)
    try:
        return System(Unwound(compiled.limit, laws.matrix_variance), laws, cells, cancelling)
    except RecursionError:
        raise Unsupported("an expression is nested too deeply") from None
