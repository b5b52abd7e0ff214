"""From the typed program to its limit: the passes in their order, each a function from program to program.

    typed program -> no kernels, no gradients (`differentiated`) -> powers of n -> limit program of leading terms, or by series
                  -> hypotheses of the theorem -> contracted -> parallel loops marked
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from tensorprog.compiled import Compiled, Drawn
from tensorprog.diagnostics import ProgramError, Reporter
from tensorprog.ir.constants import constants_env
from tensorprog.ir.program import Output, Program
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.by_rows import by_rows
from tensorprog.passes.contract_cells import contract_cells
from tensorprog.passes.hypotheses import check_hypotheses
from tensorprog.passes.kernels import plan_kernels
from tensorprog.passes.limit import leading_terms
from tensorprog.passes.powers import Powers, check_outputs, has_vanishing_argument, infer_powers
from tensorprog.passes.readouts import readouts
from tensorprog.passes.simplify import remove_dead, simplify, without_unused_gradients
from tensorprog.passes.without_gradients import without_gradients
from tensorprog.series.build import SeriesLimit, series_limit, with_declared_draws


def differentiated(program: Program, reporter: Reporter) -> Program:
    """The typed program without gradients and kernels, simplified, its parallel loops marked: what a finite network
    runs."""
    return without_gradients(without_unused_gradients(plan_kernels(program, reporter)), reporter)


def compile_program(program: Program, settings: Mapping[str, float | int] | None, reporter: Reporter) -> Compiled:
    """Run every pass.

    Raises:
        ProgramError: through `reporter`.
    """
    env = constants_env(program, settings or {})
    plain = differentiated(program, reporter)
    found = _leading(program, plain, env, reporter) or _by_series(program, plain, env, reporter)
    check_hypotheses(found.limit, env, reporter)
    reporter.warn_unused_acceptances()
    limit = _contracted(found.limit)
    drawn = found.drawn or (_drawn(program, limit, found.powers) if program.samples else None)
    return replace(found, limit=mark_parallel(remove_dead(replace(limit, samples=()))), drawn=drawn)


#: What is said of programs whose leading terms are not all: an output or argument that seems to blow up, powers that
#: grow, a sum whose leading terms cancel, a name with values of several powers, entries that seem not to be of order one.
_NOT_LEADING = ("TP501", "TP502", "TP504", "TP506", "TP510", "TP515")


def _leading(program: Program, plain: Program, env: Mapping[str, object], reporter: Reporter) -> Compiled | None:
    """The limit of leading terms; None if they do not make one."""
    own = Reporter(program.source)
    try:
        powers = infer_powers(plain, env, own)
        later = Reporter(program.source)
        limit = leading_terms(plain, powers, later)
        # A difference that cancels also makes a power too large; then the cancellation alone is reported.
        vanishing = frozenset() if later.has("TP506") else check_outputs(plain, powers, own)
        own.extend(later)
        own.raise_errors()
    except ProgramError as error:
        if any(d.code in _NOT_LEADING for d in error.diagnostics) and not has_vanishing_argument(error):
            return None
        reporter.extend(own)
        raise
    reporter.extend(own)
    limit, gaussians = with_declared_draws(limit, powers, env)
    if gaussians is not None and program.samples:
        _refuse_random_samples(program, "random arrays without a width make it so: give their values as an `input`, and sample for one "
                               "draw", reporter)
    mirrored = readouts(replace(program, samples=())) if gaussians is None else frozenset()
    return Compiled(program, plain, limit, powers, vanishing, mirrored, env, gaussians=gaussians)


def _by_series(program: Program, plain: Program, env: Mapping[str, object], reporter: Reporter) -> Compiled:
    """The limit by series in powers of n, for programs whose leading terms do not make one.

    Raises:
        ProgramError: through `reporter`; where there is no series either, with what leading terms lack.
    """
    own = Reporter(program.source)
    found = series_limit(replace(plain, samples=()), env, own)
    if found is None:
        _report_leading(plain, env, own, reporter)
    assert found is not None
    if not found.coefficients:
        found = _of_all_rows(program, env) or found
    drawn = None
    if program.samples:
        others = Reporter(program.source)
        drawn = _drawn_by_series(program, plain, env, others)
        own = _of_both(own, others)
    vanishing = check_outputs(replace(plain, samples=()), found.powers, reporter)
    reporter.extend(own)
    return Compiled(program, plain, found.limit, found.powers, vanishing, frozenset(), env, drawn=drawn, by_series=True,
                    coefficients=found.coefficients, on_vectors=found.on_vectors, gaussians=found.gaussians)


def _drawn_by_series(program: Program, plain: Program, env: Mapping[str, object], reporter: Reporter) -> Drawn:
    """What the samples of a program need, by series: they are results, as outputs are.

    Raises:
        ProgramError: through `reporter`, where they have no limit, or one that is random.
    """
    columns = [(cell, column) for s in program.samples for cell, column in zip(s.cells, s.columns)]
    results = tuple(Output(column, cell, span=cell.span) for cell, column in columns)
    alone = replace(plain, samples=(), outputs=results)
    found = series_limit(alone, env, reporter)
    if found is None:
        _report_leading(alone, env, reporter, reporter)
    assert found is not None
    if found.gaussians is not None:
        _refuse_random_samples(program, "the random outputs at initialization make it so: sample what does not depend on them, as vectors "
                               "of order one do not in the kernel regime", reporter)
    check_outputs(replace(plain, outputs=()), found.powers, reporter)
    return _drawn(program, _contracted(replace(found.limit, outputs=(), samples=plain.samples)), found.powers)


def _of_both(outputs: Reporter, samples: Reporter) -> Reporter:
    """What is said of outputs or of samples; that an update has no effect (TP509), if it has none on both."""
    both = Reporter(outputs.source)
    both.extend(outputs)
    both.extend(samples)
    both.found[:] = [d for d in both.found if d.code != "TP509" or d in outputs.found and d in samples.found]
    return both


def _refuse_random_samples(program: Program, help: str, reporter: Reporter) -> None:
    """Report samples whose law depends on draws.

    Raises:
        ProgramError: always.
    """
    sample = program.samples[0]
    reporter.error("TP521", f"the law of the coordinates in `{sample.name}` is random", sample.span, help=help)
    reporter.raise_errors()


def _of_all_rows(program: Program, env: Mapping[str, object]) -> SeriesLimit | None:
    """The limit by series with minibatches as rows of the whole data, if training then is equations between numbers."""
    other = by_rows(program)
    if other is program:
        return None
    own = Reporter(program.source)
    try:
        found = series_limit(differentiated(other, own), env, own)
    except ProgramError:
        return None
    return found if found is not None and found.coefficients else None


def _report_leading(plain: Program, env: Mapping[str, object], found: Reporter, reporter: Reporter) -> None:
    """Report why a program has neither a limit of leading terms nor one by series, whose reasons are `found`.

    Raises:
        ProgramError: always.
    """
    leading = Reporter(plain.source)
    with suppress(ProgramError):
        powers = infer_powers(plain, env, leading)
        leading_terms(plain, powers, leading)
        if not (leading.has("TP506") or leading.has("TP510")):
            check_outputs(plain, powers, leading)
    same = found.has("TP515") and {d.message for d in found.found} <= {d.message for d in leading.found}
    plainer = same or leading.has("TP506") or leading.has("TP510")
    reporter.extend(found if found.found and (found.has("TP518") or not plainer) else leading)
    reporter.raise_errors()
    raise AssertionError("a program without a limit and without a reason")


def _contracted(limit: Program) -> Program:
    return simplify(contract_cells(limit))


def _drawn(program: Program, limit: Program, powers: Powers) -> Drawn:
    cells = [cell for sample in limit.samples for cell in sample.cells]
    zero = frozenset(cell for cell in cells if (power := powers[cell]) is not None and power < 0)
    return Drawn(mark_parallel(remove_dead(replace(limit, outputs=()))), readouts(replace(program, outputs=())), zero)
