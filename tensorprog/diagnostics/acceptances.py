"""Warnings that the program's author accepts: `# accept TP512: alignment is bounded` at the end of a line.

A comment accepts the warnings of that code about its line; in a statement of several lines, joined by brackets, about
all of them. What accepts nothing is a warning itself (TP514): the text has changed, or the compiler has learned.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

from tensorprog.diagnostics.report import Diagnostic, Source, Span

_ACCEPT = re.compile(r"#\s*accept\s+(TP\d{3}(?:\s*,\s*TP\d{3})*)\s*(?::|$)")

# Warnings that only a run can give.
OF_RUNS = ("TP513", "TP640", "TP641", "TP643", "TP645", "TP646")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A code that is accepted in lines `first` to `last`; `span` is that of the code in the comment."""

    code: str
    first: int
    last: int
    span: Span


@lru_cache(maxsize=16)
def acceptances(source: Source) -> tuple[Acceptance, ...]:
    """All acceptances of a program's text."""
    return tuple(_found(source.text)) if "accept" in source.text else ()


def _found(text: str) -> Iterator[Acceptance]:
    first, depth, held = 1, 0, []
    for number, line in enumerate(text.split("\n"), 1):
        code, _, comment = line.partition("#")
        if depth <= 0 and code.strip():
            first = number
        depth += sum(map(code.count, "([")) - sum(map(code.count, ")]"))
        match = _ACCEPT.match("#" + comment)
        if match and code.strip():
            for word in re.finditer(r"TP\d{3}", match[1]):
                column = len(code) + match.start(1) + word.start() + 1
                held.append((word[0], Span(number, column, number, column + len(word[0]))))
        if depth <= 0:
            yield from (Acceptance(word, first, number, span) for word, span in held)
            held = []


def acceptance_of(diagnostic: Diagnostic, source: Source) -> Acceptance | None:
    """The acceptance of a warning, if there is one."""
    if diagnostic.severity != "warning" or diagnostic.span is None:
        return None
    return next((a for a in acceptances(source)
                 if a.code == diagnostic.code and a.first <= diagnostic.span.line <= a.last), None)


def unused(source: Source, used: Collection[Acceptance], *, after_run: bool) -> tuple[Diagnostic, ...]:
    """TP514 for each acceptance that is not among those used: of codes that a run may give, or of all others."""
    return tuple(Diagnostic("TP514", f"there is no warning {a.code} about this line to accept", a.span,
                            help="remove the comment, or move it to the end of the line that the warning is about",
                            severity="warning")
                 for a in acceptances(source) if a not in used and (a.code in OF_RUNS) == after_run)
