"""Everything the compiler says about a user's mistake: where it is, what it is, what to write instead."""

from tensorprog.diagnostics.report import (
    Diagnostic,
    Note,
    ProgramError,
    Severity,
    Source,
    Span,
    near_miss,
    render,
)
from tensorprog.diagnostics.reporter import Reporter

__all__ = ["Diagnostic", "Note", "ProgramError", "Reporter", "Severity", "Source", "Span", "near_miss", "render"]
