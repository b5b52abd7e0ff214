"""The evaluator of programs that are linear but for products with declared vectors and functions of those, as diagonal matrices:
vectors are functions of the latter, on independent directions (`passes.diagonals`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tensorprog.diagnostics import Diagnostic, ProgramError
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Choice, Evaluated
from tensorprog.evaluators.evaluator import Evaluator, Share, Task
from tensorprog.ir.program import Output
from tensorprog.modules import load_module
from tensorprog.passes.diagonals import DiagonalProgram, diagonal_outputs

NAME = "diagonal"


def share(analysis: Analysis, outputs: Sequence[Output], asked: bool) -> Share:
    """The outputs whose vectors are linear with such coefficients."""
    # Of what vanishes the plan says so, at no cost.
    wanted = outputs if asked else [o for o in outputs if o.name not in analysis.vanishing]
    found = diagonal_outputs(analysis.limit, wanted)
    names = tuple(o.name for o in found.program.outputs) if found.program is not None else ()
    return Share(names, found.reasons, found)


def choice(analysis: Analysis, output: Output, shares: Mapping[str, Share]) -> Choice:
    """What is said of an output that it evaluates."""
    found: DiagonalProgram = shares[NAME].found
    names = ", ".join(f"'{cell.name}'" for cell in found.diagonals)
    return Choice(output, NAME, f"all vectors are linear in independent ones, with functions of {names} as coefficients",
                  "reported; 1e-10 aimed at", "directions x nodes x vectors kept; that x rank for each matrix product")


def emit(analysis: Analysis, found: DiagonalProgram) -> str:
    """The source of the emitted module of the outputs that `found` has; there must be one."""
    def text() -> str:
        from tensorprog.codegen.span import emit_span_module

        assert found.program is not None
        return emit_span_module(found.program, analysis.original, analysis.powers, analysis.vanishing, analysis.env,
                                found.diagonals)

    assert found.program is not None
    return analysis.text("diagonal " + " ".join(o.name for o in found.program.outputs), text)


def run(analysis: Analysis, own: Share, task: Task) -> Evaluated:
    """Its share; nothing if functions of the diagonals vary too fast or overflow, or there are too many nodes.

    Raises:
        ProgramError: TP713, if it was asked for and has no values.
    """
    from tensorprog.runtime.diagonals import NotResolved

    options = task.options
    try:
        values, errors = load_module(emit(analysis, own.found)).run(
            task.env, dtype=options["dtype"] or "float64", threads=options["threads"], progress=options["progress"])
    except NotResolved:
        if not task.asked:
            return {}, {}, {}
        raise ProgramError([Diagnostic("TP713", "the functions of the vectors that multiply others take too many nodes", help=(
            "use the method 'particles'"))], task.source) from None
    # Infinity at a node far out, where the weight is 0, tells neither that it diverges nor that it is undefined: particles do.
    if not task.asked and not all(np.isfinite(v).all() for v in values.values()):
        return {}, {}, {}
    return values, errors, dict.fromkeys(values, NAME)


EVALUATOR = Evaluator(NAME, True, share, choice, run, lambda analysis, own: emit(analysis, own.found), total=False)
