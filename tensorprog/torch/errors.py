"""A user's mistake in a module, shown at the line of the module where it happens."""

from __future__ import annotations

import linecache
import os
import re
import sys
from dataclasses import dataclass
from types import TracebackType

from tensorprog.diagnostics import Diagnostic, ProgramError, Severity, Source, Span, render

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a Python file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


def place_of_stack(trace: str | None) -> SourceLine | None:
    """The innermost line of a stack trace that is not in torch itself: the line that the user wrote, if any."""
    return _innermost([(file, int(line)) for file, line in _FRAME.findall(trace or "")])


def place_of_traceback(traceback: TracebackType | None) -> SourceLine | None:
    """The same of an exception's traceback."""
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return _innermost(frames)


def _innermost(frames: list[tuple[str, int]]) -> SourceLine | None:
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    library = os.path.dirname(os.path.abspath(sys.modules["torch"].__file__ or ""))
    # Names in angle brackets, as <string>, are code without a file.
    users = [frame for frame in frames if not frame[0].startswith((own + os.sep, library + os.sep, "<"))]
    return SourceLine(*users[-1]) if users else None


def module_error(code: str, message: str, place: SourceLine | None = None, help: str | None = None) -> ProgramError:
    """The error to raise, with the module's line if it is known."""
    return ProgramError([_diagnostic(code, message, place, help, "error")], _source(place))


def module_warning(code: str, message: str, place: SourceLine | None = None, help: str | None = None) -> ProgramWarning:
    """A warning about a line of the module, to be collected."""
    return ProgramWarning(_diagnostic(code, message, place, help, "warning"), place)


@dataclass(frozen=True, slots=True)
class ProgramWarning:
    """A warning; `str` of it is what is printed."""

    diagnostic: Diagnostic
    place: SourceLine | None

    def __str__(self) -> str:
        return render([self.diagnostic], _source(self.place))


def _diagnostic(code: str, message: str, place: SourceLine | None, help: str | None, severity: Severity) -> Diagnostic:
    span = None
    if place is not None:
        # `linecache` also has the cells of notebooks.
        text = linecache.getline(place.file, place.line).rstrip("\n")
        first = len(text) - len(text.lstrip()) + 1
        # The whole line but for its indentation: of a trace, lines are all that is read.
        span = Span(place.line, first, place.line, max(first + 1, len(text) + 1))
    return Diagnostic(code, message, span, help=help, severity=severity)


def _source(place: SourceLine | None) -> Source | None:
    return None if place is None else Source(place.file, "".join(linecache.getlines(place.file)))
