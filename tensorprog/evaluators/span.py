"""The evaluator of linear programs: vectors are coefficients on an orthonormal basis (TP IV, App. D.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import COEFFICIENTS, Choice, Evaluated
from tensorprog.evaluators.evaluator import Evaluator, Share, Task
from tensorprog.evaluators.tiles import tiles_of
from tensorprog.ir.program import Output
from tensorprog.modules import load_module

NAME = "span"


def share(analysis: Analysis, outputs: Sequence[Output], asked: bool) -> Share:
    """The outputs that are linear; none if all of those are kernels over pairs of rows, which tiles compute without a
    direction for every row and layer."""
    # Linear outputs have no reason.
    reasons = analysis.linear.reasons
    linear = [o for o in outputs if o.cell not in reasons]
    if linear and not asked and _by_tiles(analysis, linear):
        return Share((), {**reasons} | dict.fromkeys((o.cell for o in linear), "it is a kernel over pairs of rows"))
    return Share(tuple(o.name for o in linear), reasons)


def _by_tiles(analysis: Analysis, outputs: Sequence[Output]) -> bool:
    from tensorprog.pairs.lower import pairs_of_rows  # a planned program does without SymPy

    # The indices tell first, and equations are looked for only of what may be a kernel.
    if not all(pairs_of_rows(analysis.limit, o.cell) for o in outputs):
        return False
    system = analysis.covered.system
    return system is not None and all(tiles_of(analysis, system).has(o.name) for o in outputs)


def choice(analysis: Analysis, output: Output, shares: Mapping[str, Share]) -> Choice:
    """What is said of an output that it evaluates."""
    return Choice(output, NAME, "all vectors stay in the linear span of the initial ones", "rounding",
                  "directions x vectors kept; directions x rank for each matrix product")


def emit(analysis: Analysis) -> str:
    """The source of the emitted module of the outputs that are linear; there must be one."""
    def text() -> str:
        from tensorprog.codegen.span import emit_span_module

        assert analysis.linear.program is not None
        return emit_span_module(analysis.linear.program, analysis.original, analysis.powers, analysis.vanishing,
                                analysis.env)

    return analysis.text("span", text)


def run(analysis: Analysis, own: Share, task: Task) -> Evaluated:
    """The outputs that are linear."""
    module = load_module(emit(analysis))
    given = {name: task.options[name] for name in (*COEFFICIENTS, "threads", "progress")}
    values, errors = module.run(task.env, **given | {"dtype": given["dtype"] or "float64"})
    return values, errors, dict.fromkeys(values, NAME)


EVALUATOR = Evaluator(NAME, True, share, choice, run, lambda analysis, _: emit(analysis))
