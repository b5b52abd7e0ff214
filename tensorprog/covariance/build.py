"""Which outputs the covariance evaluator covers, and their system of equations."""

from __future__ import annotations

from tensorprog.compiled import Compiled
from tensorprog.covariance.budget import Budget, Unsupported, limited, shared
from tensorprog.covariance.covered import Covered
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.system import System
from tensorprog.covariance.unwind import unwind
from tensorprog.covariance.unwound import Unwound
from tensorprog.ir.program import Cell
from tensorprog.passes.first_iterations import first_iterations
from tensorprog.passes.unit_steps import unit_steps

#: A program as expressions.
Expressions = tuple[Unwound, Laws]

#: Steps that may be taken to find equations (see `budget`); some twenty seconds.
MOST_STEPS = 700_000


def covered(compiled: Compiled, cells: list[Cell], conditional: bool = True) -> Covered:
    """Those of the outputs `cells` that are functions of few Gaussians, as equations of one system. Responses are first
    taken to cancel what recursions carry over, which gives the shorter system (`gaussian`); if some outputs have none
    then, they are carried along, and the hypothesis is kept by which more outputs have equations. Unless it may be
    `conditional`, that responses cancel has to be seen without computing numbers."""
    if not cells:
        return Covered(None, {})
    with limited(Budget(MOST_STEPS)):
        try:
            program = _unwound(compiled, True)
        except Unsupported as reason:
            return Covered(None, dict.fromkeys(cells, str(reason)))
        # Half of the steps: the second hypothesis may need as many.
        with shared(1 / 2):
            cancelling = _judged(compiled, cells, True, program)
        if cancelling.system is not None and cancelling.system.conditions and not conditional:
            cancelling = Covered(None, dict.fromkeys(cells, "responses do not cancel"))
        if not cancelling.reasons:
            return cancelling
        carried = _judged(compiled, cells, False, _unwound(compiled, False))
        return cancelling if cancelling.count > carried.count else carried


def _judged(compiled: Compiled, cells: list[Cell], cancelling: bool, program: Expressions) -> Covered:
    """What is covered under one hypothesis. If it fails for the outputs together, it may hold for some of them."""
    try:
        system = System(*program, cells, cancelling)
    except Unsupported as reason:
        if len(cells) == 1:
            return Covered(None, {cells[0]: str(reason)})
        return _together(compiled, cells, cancelling)
    return Covered(system if system.outputs else None, system.refused)


def _together(compiled: Compiled, cells: list[Cell], cancelling: bool) -> Covered:
    """One system for the outputs that have one by themselves. The last ones are left out if responses cancel only
    without them."""
    alone = {}
    for position, cell in enumerate(cells):
        # Equal parts of the budget, the last of which is left for the common system.
        with shared(1 / (len(cells) + 1 - position)):
            alone[cell] = _alone(compiled, cell, cancelling)
    reasons = {cell: found.reasons[cell] for cell, found in alone.items() if found.reasons}
    rest = [cell for cell in cells if cell not in reasons]
    while len(rest) > 1:
        try:
            system = System(*_unwound(compiled, cancelling), rest, cancelling)
            return Covered(system, reasons | system.refused)
        except Unsupported as reason:
            reasons[rest.pop()] = f"in a system with the other outputs, {reason}"
    return Covered(alone[rest[0]].system if rest else None, reasons)


def _alone(compiled: Compiled, cell: Cell, cancelling: bool) -> Covered:
    """What is covered of one output, whose program is unwound for it."""
    try:
        return _judged(compiled, [cell], cancelling, _unwound(compiled, cancelling))
    except Unsupported as reason:  # the budget may end where it is unwound
        return Covered(None, {cell: str(reason)})


def _unwound(compiled: Compiled, cancelling: bool) -> Expressions:
    """The program as expressions, of which a system takes possession.

    Raises:
        Unsupported: with the reason why it cannot be written so.
    """
    laws = Laws(compiled.limit, compiled.powers, compiled.env)
    try:
        return unwind(first_iterations(unit_steps(compiled.limit)), laws, keep_sums=cancelling), laws
    except RecursionError:
        raise Unsupported("an expression is nested too deeply") from None
    except ArithmeticError:
        raise Unsupported("a number in its formulas is too large, or one is divided by 0") from None
