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


def covered(compiled: Compiled, cells: list[Cell]) -> Covered:
    """Those of the outputs `cells` that are functions of few Gaussians, as equations of one system. Responses are first
    taken to cancel what recursions carry over, which gives the shorter system (`gaussian`); if that fails, they are
    carried along."""
    if not cells:
        return Covered(None, {})
    try:
        return Covered(build(compiled, cells), {})
    except Unsupported as reason:
        if len(cells) == 1:
            return Covered(None, {cells[0]: str(reason)})
    return _together(compiled, *_alone(compiled, cells))


def _alone(compiled: Compiled, cells: list[Cell]) -> tuple[dict[Cell, System], dict[Cell, str]]:
    """The systems of the outputs that have one by themselves, and why the others have none."""
    systems, reasons = {}, {}
    for cell in cells:
        try:
            systems[cell] = build(compiled, [cell])
        except Unsupported as reason:
            reasons[cell] = str(reason)
    return systems, reasons


def _together(compiled: Compiled, systems: dict[Cell, System], reasons: dict[Cell, str]) -> Covered:
    """One system for outputs that have one each. The last ones are left out if it would be too large, or if some
    responses cancel only without them."""
    cells = list(systems)
    while len(cells) > 1:
        try:
            return Covered(build(compiled, cells), reasons)
        except Unsupported as reason:
            reasons[cells.pop()] = f"in a system with the other outputs, {reason}"
    return Covered(systems[cells[0]] if cells else None, reasons)


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
        return System(Unwound(compiled.limit, laws), laws, cells, cancelling)
    except RecursionError:
        raise Unsupported("an expression is nested too deeply") from None
