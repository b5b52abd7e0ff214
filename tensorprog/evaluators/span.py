"""The evaluator of linear programs: vectors are coefficients on an orthonormal basis (TP IV, App. D.1)."""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import COEFFICIENTS, Choice, Evaluated
from tensorprog.ir.program import Cell, Output
from tensorprog.modules import load_module

NAME = "span"


def refused(analysis: Analysis) -> Mapping[Cell, str]:
    """Why outputs are not covered."""
    return analysis.linear.reasons


def choice(output: Output) -> Choice:
    """What is said of an output that it evaluates."""
    return Choice(output, NAME, "all vectors stay in the linear span of the initial ones", "rounding",
                  "directions x vectors kept; directions x rank for each matrix product")


def emit(analysis: Analysis) -> str:
    """The source of the emitted module of the outputs that are linear; there must be one."""
    def text() -> str:
        from tensorprog.codegen.span import emit_span_module

        return emit_span_module(analysis.linear.program, analysis.original, analysis.powers, analysis.vanishing,
                                analysis.env)

    return analysis.text("span", text)


def run(analysis: Analysis, env: Mapping[str, object], options: Mapping) -> Evaluated:
    """The outputs that are linear."""
    module = load_module(emit(analysis))
    given = {name: options[name] for name in (*COEFFICIENTS, "threads", "progress")}
    values, errors = module.run(env, **given | {"dtype": given["dtype"] or "float64"})
    return values, errors, dict.fromkeys(values, NAME)
