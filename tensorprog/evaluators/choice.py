"""What an evaluator says of an output, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tensorprog.diagnostics import Diagnostic, ProgramError, Source
from tensorprog.evaluators.analysis import Analysis
from tensorprog.ir.program import Cell, Output

#: Values, errors and the evaluator's name, by output.
Evaluated = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, str]]

#: Options of the coefficients alone, and of all that `span` knows.
STATES = ("checkpoint", "watch")
COEFFICIENTS = ("dtype", *STATES)


@dataclass(frozen=True, slots=True)
class Choice:
    """The evaluator of an output. `reason` says why, `accuracy` what error to expect, `cost` of what it is made."""

    output: Output
    evaluator: str
    reason: str
    accuracy: str
    cost: str


def zero(output: Output) -> Choice:
    """The choice for an output that vanishes."""
    return Choice(output, "zero", "its power of n is below 0", "exact", "none")


def require(analysis: Analysis, method: str, refused: Mapping[Cell, str], source: Source) -> None:
    """Refuse a method that does not cover all outputs.

    Raises:
        ProgramError: TP712, with the reasons.
    """
    if refused:
        raise ProgramError([Diagnostic(
            "TP712", f"the output '{o.name}' is not covered by the method '{method}': {refused[o.cell]}",
            o.span, help="use the method 'auto' or 'particles'")
            for o in analysis.limit.outputs if o.cell in refused], source)
