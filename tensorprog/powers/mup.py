"""The maximal update parametrization of a program, determined by its powers of n (TP IV, section 5; TP V; TP IVb).

Two passes of one calculus. The first runs over the program without its gradients and determines spreads, the largest
updates and multipliers. The second runs over the differentiated program with these in place, and reads the power of
each gradient; learning rates follow from what the optimizer makes of a gradient:

    SGD          update = lr * gradient                       lr = update - gradient
    Adam         entries of order one                         lr = update
    Muon         singular values of order one: entries n**(-(number of width axes)/2) for a matrix of finite rank
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tensorprog.diagnostics import Diagnostic, ProgramError, Reporter, near_miss
from tensorprog.files import mistake
from tensorprog.ir.constants import constants_env
from tensorprog.ir.program import Cell, GradStmt, Let, MatrixType, Program, Statement, walk
from tensorprog.passes.differentiate import differentiate
from tensorprog.passes.rewrite import without_kernels
from tensorprog.powers.declared import with_symmetric_objects
from tensorprog.powers.entries import Constant, MultiplierUse, Mup, TrainableEntry, Update
from tensorprog.powers.multiply import with_multipliers
from tensorprog.powers.terms import BARE
from tensorprog.powers.trainable import made_of_gradients, trainable_objects
from tensorprog.powers.unknowns import Calculus, Determined

OPTIMIZERS = ("sgd", "adam", "adamw", "muon")


def maximal_update(program: Program, optimizer: str, settings: Mapping[str, Any] | None = None) -> Mup:
    """The parametrization of a checked program.

    Raises:
        ProgramError: TP721, nothing is trained; TP720, powers of n do not decide; TP722, an unknown optimizer.
    """
    if optimizer not in OPTIMIZERS:
        meant = near_miss(optimizer, OPTIMIZERS)
        raise mistake("TP722", f"there is no optimizer '{optimizer}'",
                      f"did you mean '{meant}'?" if meant else f"there is: {', '.join(OPTIMIZERS)}")
    env = constants_env(program, settings or {})
    # As declared objects, because the sum G + G.T would determine the spread of a hidden matrix.
    program = with_symmetric_objects(program)
    plain = program.with_body(without_kernels(program.body))
    trainable = trainable_objects(plain)
    _require_trained(plain, trainable)
    # Filled by the first pass; the second one only reads it.
    solution = Determined()
    Calculus(plain, env, trainable, solution).run()
    _require_used(plain, trainable, solution)
    backward = _with_gradients(plain, env, trainable, solution)
    gradients = _gradient_powers(plain, backward, trainable)
    uses = _uses(plain, solution)
    entries = tuple(_entry(cell, optimizer, solution, gradients.get(cell), uses) for cell in trainable)
    updates = tuple(Update(cell.display, s.span, backward.power(backward.written.get((cell, s.span), {})))
                    for cell, statements in trainable.items() for s in statements)
    return Mup(optimizer, program, env, entries, uses, updates, _constants(plain, backward))


def _require_trained(program: Program, trainable: Mapping[Cell, tuple[Statement, ...]]) -> None:
    if trainable:
        return
    gradients = [s for s in walk(program.body) if isinstance(s, GradStmt)]
    raise ProgramError([Diagnostic(
        "TP721", "nothing in this program is trained", gradients[0].span if gradients else None,
        help="update what is to be trained by its gradient, as in `W -= eta * grad(loss, W)`")], program.source)


def _require_used(program: Program, trainable: Mapping[Cell, tuple[Statement, ...]], solution: Determined) -> None:
    for cell, updates in trainable.items():
        if cell not in solution.spreads or cell not in solution.updates:
            raise ProgramError([Diagnostic(
                "TP721", f"`{cell.display}` is updated, but nothing that is used depends on it", updates[0].span,
                help="use it, or leave out its update")], program.source)


def _with_gradients(program: Program, env: Mapping[str, object], trainable: Mapping[Cell, object],
                    solution: Determined) -> Calculus:
    """The calculus of the differentiated program, every unknown known."""
    reporter = Reporter(program.source)
    written_out = differentiate(with_multipliers(program, solution.multipliers), reporter)
    reporter.raise_errors()
    # The program has its multipliers in it now, and none is added again.
    known = replace(solution, multipliers={})
    calculus = Calculus(written_out, env, trainable, known, solving=False,
                        gradients=made_of_gradients(program, trainable))
    calculus.run()
    return calculus


def _gradient_powers(program: Program, backward: Calculus, trainable: Mapping[Cell, object]) -> dict[Cell, Fraction]:
    """The largest power of a gradient with respect to each object, or to a value that holds the object."""
    found: dict[Cell, Fraction] = {}
    for statement in (s for s in walk(program.body) if isinstance(s, GradStmt)):
        power = backward.power(backward.of.get(statement.target, {}))
        # A gradient with respect to a copy, as an unrolled weight, is one of the object in it.
        held = {u.cell for t in backward.cell(statement.wrt, None) if t.kind == BARE for u in t.parts}
        if power is not None:
            found |= {cell: max(power, found.get(cell, power)) for cell in held & set(trainable)}
    return found


def _constants(program: Program, backward: Calculus) -> tuple[Constant, ...]:
    """The numbers beside gradients whose power of n is not theirs, in program order; of a number in a function that is
    called more than once, all calls if one of them is such."""
    spans = {s.var: s.span for s in walk(program.body) if isinstance(s, Let)}
    found = [Constant(spans[var], power) for var, power in backward.constants.items() if var in spans]
    changed = {c.span for c in found if c.power}
    # One function, one place in the text: its number gets one power for all calls, or none.
    return tuple(dict.fromkeys(c for c in found if c.span in changed))


def _entry(cell: Cell, optimizer: str, solution: Determined, gradient: Fraction | None, uses: tuple[MultiplierUse, ...]) -> TrainableEntry:
    axes = 2 if isinstance(cell.type, MatrixType) else 1 if cell.type.width else 0
    # Uses are noted in the order of the program, and the first one has determined the spread.
    first = next(iter(solution.uses[cell].values()))
    later = tuple(u.relative for u in uses if cell.display in u.objects)
    return TrainableEntry(cell, axes, optimizer, first, solution.spreads[cell], solution.updates[cell], gradient,
                 solution.why_spread[cell], solution.why_update[cell], later)


def _uses(program: Program, solution: Determined) -> tuple[MultiplierUse, ...]:
    """The operations with a multiplier of their own, in program order."""
    found = []
    for var, span in ((s.var, s.span) for s in walk(program.body) if isinstance(s, Let)):
        missing = solution.multipliers.get(var, Fraction(0))
        users = {cell: uses for cell, uses in solution.uses.items() if var in uses}
        for cell, uses in users.items():
            relative = uses[var] + missing - next(iter(uses.values()))
            if relative:
                found.append(MultiplierUse(span, uses[var], missing, relative, (cell.display,)))
        if not users and (missing or solution.products.get(var)):
            written = solution.products.get(var, Fraction(0))
            found.append(MultiplierUse(span, written, missing, written + missing, ()))
    return tuple(found)
