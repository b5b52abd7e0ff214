"""The evaluator of programs that are linear but for products with declared vectors and functions of those, as diagonal matrices:
vectors are functions of the latter, on independent directions (`passes.diagonals`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.choice import Choice, Evaluated
from tensorprog.ir.program import Cell, Output
from tensorprog.modules import load_module
from tensorprog.passes.diagonals import Diagonal
from tensorprog.runtime.diagonals import NotResolved

NAME = "diagonal"


def refused(analysis: Analysis) -> Mapping[Cell, str]:
    """Why outputs are not covered."""
    return analysis.diagonal.reasons


def choice(output: Output, found: Diagonal) -> Choice:
    """What is said of an output that it evaluates."""
    names = ", ".join(f"'{cell.name}'" for cell in found.diagonals)
    return Choice(output, NAME, f"all vectors are linear in independent ones, with functions of {names} as coefficients",
                  "reported; 1e-10 aimed at", "directions x nodes x vectors kept; that x rank for each matrix product")


def emit(analysis: Analysis, found: Diagonal) -> str:
    """The source of the emitted module of the outputs that `found` has; there must be one."""
    def text() -> str:
        from tensorprog.codegen.span import emit_span_module

        assert found.program is not None
        return emit_span_module(found.program, analysis.original, analysis.powers, analysis.vanishing, analysis.env,
                                found.diagonals)

    assert found.program is not None
    return analysis.text("diagonal " + " ".join(o.name for o in found.program.outputs), text)


def run(analysis: Analysis, env: Mapping[str, Any], found: Diagonal, options: Mapping[str, Any]) -> Evaluated:
    """The outputs that `found` has.

    Raises:
        NotResolved: if functions of the diagonals vary too fast, or there are too many nodes.
    """
    module = load_module(emit(analysis, found))
    values, errors = module.run(env, dtype=options["dtype"] or "float64", threads=options["threads"],
                                progress=options["progress"])
    return values, errors, dict.fromkeys(values, NAME)


__all__ = ["NAME", "NotResolved", "choice", "emit", "refused", "run"]
