"""From a program without gradients to the limit by series: one function."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from tensorprog.diagnostics import ProgramError, Reporter
from tensorprog.ir.program import Program
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.contract_cells import contract_cells
from tensorprog.passes.hoist import hoist
from tensorprog.passes.known_numbers import names_in_exponents
from tensorprog.passes.powers import Powers, check_outputs, declared_names, initial_power, power_text
from tensorprog.passes.pull_numbers import pull_numbers
from tensorprog.passes.simplify import simplify, without_idle
from tensorprog.series.declared_draws import without_small_starts
from tensorprog.series.draws import Gaussians, NestedDraws, is_random, with_draws
from tensorprog.series.orders import Unfollowed, find_needed, find_orders, without_effect
from tensorprog.series.superpose import superposed
from tensorprog.series.write import write


@dataclass(frozen=True, slots=True)
class SeriesLimit:
    """A limit by series: its program, the largest powers of the source's values (of declared objects, as their laws give
    them), the names of the families of numbers that training changes, the draws, if it is random, and why training moves
    vectors, if it does."""

    limit: Program
    powers: Powers
    coefficients: frozenset[str]
    gaussians: Gaussians | None
    on_vectors: str


def series_limit(program: Program, env: Mapping[str, object], reporter: Reporter) -> SeriesLimit | None:
    """The limit of a program without gradients; None if something is reported, or if its series is not followed for a
    reason that the inference of leading powers reports.

    Reports: an output that blows up (TP501), a correction of finite width (TP518), a covariance that is
    random (TP520).
    """
    try:
        orders = find_orders(program, env)
    except Unfollowed as reason:
        span = reason.statement.span if reason.statement is not None else None
        if reason.error is not None and reason.error.code == "TP515":
            reporter.error("TP515", reason.error.message, span, help=reason.error.help)
        return None
    powers = orders.powers()
    if any((powers[o.cell] or 0) > 0 for o in program.outputs):
        # It raises what it reports: the limit is given up here, and the message is enough.
        with suppress(ProgramError):
            check_outputs(program, powers, reporter)
        return None
    needed = find_needed(orders)
    for statement, why in dict.fromkeys(needed.refused):
        reporter.error("TP518", why, statement.span, help=(
            "outputs of order one that average what vanishes, as `dot(v, x) / sqrt(n)` at initialization, have limits"))
    if needed.refused:
        return None
    for statement, power in without_effect(orders, needed):
        name, own = statement.cell.display, powers[statement.cell]
        assert own is not None, "an update without effect is smaller than what it updates"
        reporter.warn("TP509", f"this update of `{name}` is of order {power_text(power)}, and `{name}` of order "
                      f"{power_text(own)}: it has no effect in the limit", statement.span,
                      help="no output's first term depends on it: multiply it by a power of n if it should")
    # In training only numbers change: what they multiply is then computed once, in front of the loop.
    limit = _simplified(pull_numbers(_simplified(write(orders, needed))))
    # What training does not change goes in front of its loop, where `superposed` looks for it.
    limit = _simplified(hoist(mark_parallel(limit)))
    limit, coefficients, on_vectors = superposed(limit, env)
    limit = _simplified(limit)
    gaussians = None
    if is_random(limit):
        try:
            limit, gaussians = with_draws(limit)
        except NestedDraws as reason:
            reporter.error("TP520", "the covariance of this random number depends on other random numbers",
                           reason.statement.span, help="make what the first numbers are used for deterministic: attention "
                           "logits divided by the width instead of its root, for example")
            return None
    powers.of |= {i.cell: Fraction(0) if i.cell in orders.initial else None for i in program.initials}
    powers.of |= {i.cell: initial_power(limit, i, env) for i in limit.initials}
    powers.fixed |= declared_names(program) | names_in_exponents(program)
    return SeriesLimit(without_idle(_simplified(limit)), powers, coefficients, gaussians, on_vectors)


def with_declared_draws(limit: Program, powers: Powers, env: Mapping[str, object]) -> tuple[Program, Gaussians | None]:
    """A limit of leading terms, whose declared arrays without a width become draws, if it has any."""
    limit = without_small_starts(simplify(limit), powers, env)
    if not is_random(limit):
        return limit, None
    limit, gaussians = with_draws(_simplified(hoist(mark_parallel(limit))))
    return without_idle(_simplified(limit)), gaussians


def _simplified(program: Program) -> Program:
    return simplify(contract_cells(simplify(program)))
