"""Diagnostics as data, and the one function that turns them into text.

A diagnostic is a stable code, a place in the source, a message, and optionally a note (why) and a help (what to
write instead). Stages add diagnostics to a `Reporter` (reporter.py); the driver raises them together as one `ProgramError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a program and the name it is reported under."""

    name: str
    text: str

    def line(self, number: int) -> str:
        """The source line with a 1-based number, without its newline ('' past the end)."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 1 <= number <= len(lines) else ""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A piece of source text: 1-based lines and columns, the end exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other`."""
        return Span(self.line, self.column, other.end_line, other.end_column)


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that explains the first, such as an earlier definition."""

    message: str
    span: Span | None = None


Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to tell the user. `span` is None when it is not about a place in the program (data, options)."""

    code: str
    message: str
    span: Span | None = None
    notes: tuple[Note, ...] = ()
    help: str | None = None
    severity: Severity = "error"


class ProgramError(Exception):
    """A user's mistake. Carries every diagnostic found in the run; `str()` is the rendered text."""

    def __init__(self, diagnostics: Iterable[Diagnostic], source: Source | None = None):
        self.diagnostics = tuple(diagnostics)
        self.source = source
        super().__init__(render(self.diagnostics, source))

    def __reduce__(self) -> tuple[object, ...]:
        """What a pickle holds, for mistakes that other processes find."""
        return ProgramError, (self.diagnostics, self.source)


def near_miss(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate a mistyped word was probably meant to be, or None."""
    matches = difflib.get_close_matches(word, sorted(set(candidates)), n=1, cutoff=0.6)
    return matches[0] if matches else None


def render(diagnostics: Iterable[Diagnostic], source: Source | None = None) -> str:
    """The diagnostics as the text a terminal shows, at most `MAX_ERRORS` of them, in source order."""
    ordered = in_order(diagnostics)
    blocks = [_render_one(d, source) for d in ordered[:MAX_ERRORS]]
    if len(ordered) > MAX_ERRORS:
        blocks.append(f"... and {len(ordered) - MAX_ERRORS} more")
    return "\n".join(blocks)


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Diagnostics by their places; those without a place first."""
    return sorted(diagnostics, key=lambda d: d.span or Span(0, 0, 0, 0))


def _render_one(diagnostic: Diagnostic, source: Source | None) -> str:
    name = source.name if source else "tpc"
    place = f"{name}:{diagnostic.span.line}:{diagnostic.span.column}" if diagnostic.span else name
    lines = [f"{place}: {diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"]
    if source and diagnostic.span:
        lines += _excerpt(source, diagnostic.span)
    for note in diagnostic.notes:
        where = f" ({name}:{note.span.line}:{note.span.column})" if note.span else ""
        lines.append(f"  note: {note.message}{where}")
        if source and note.span:
            lines += _excerpt(source, note.span)
    if diagnostic.help:
        lines.append("  help: " + diagnostic.help.replace("\n", "\n        "))
    return "\n".join(lines)


def _excerpt(source: Source, span: Span) -> list[str]:
    text = source.line(span.line).replace("\t", " ")
    end = span.end_column if span.end_line == span.line else len(text) + 1
    gutter = f"{span.line:>5} | "
    return [gutter + text, " " * 5 + " | " + " " * (span.column - 1) + "^" * max(1, end - span.column)]
