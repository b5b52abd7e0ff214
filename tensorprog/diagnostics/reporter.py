"""What the stages of one compilation add their diagnostics to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tensorprog.diagnostics.acceptances import Acceptance, acceptance_of, unused
from tensorprog.diagnostics.report import Diagnostic, Note, ProgramError, Source, Span, in_order


@dataclass(slots=True)
class Reporter:
    """Collects the diagnostics of one compilation, but for warnings that the source accepts: `accepted` has what
    accepted some."""

    source: Source
    found: list[Diagnostic] = field(default_factory=list)
    accepted: set[Acceptance] = field(default_factory=set)

    def error(self, code: str, message: str, span: Span | None, *, notes: Iterable[Note] = (),
              help: str | None = None) -> None:
        self._add(Diagnostic(code, message, span, tuple(notes), help))

    def warn(self, code: str, message: str, span: Span | None, *, notes: Iterable[Note] = (),
             help: str | None = None) -> None:
        self._add(Diagnostic(code, message, span, tuple(notes), help, "warning"))

    def _add(self, diagnostic: Diagnostic) -> None:
        acceptance = acceptance_of(diagnostic, self.source)
        if acceptance is not None:
            self.accepted.add(acceptance)
        elif diagnostic not in self.found:
            self.found.append(diagnostic)

    def warn_unused_acceptances(self) -> None:
        """TP514, once all warnings are found that do not need a run."""
        for diagnostic in unused(self.source, self.accepted, after_run=False):
            self._add(diagnostic)

    def has(self, code: str) -> bool:
        return any(d.code == code for d in self.found)

    def extend(self, other: Reporter) -> None:
        """Take over what another reporter found."""
        self.accepted |= other.accepted
        for diagnostic in other.found:
            self._add(diagnostic)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.found if d.severity == "warning")

    def raise_errors(self) -> None:
        """Raise `ProgramError` if an error was reported."""
        errors = [d for d in self.found if d.severity == "error"]
        if errors:
            raise ProgramError(in_order(errors), self.source)
