"""A program as an editor sees it: its mistakes, and what there is to say of the names in it. Nothing here knows the protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tensorprog.check import check
from tensorprog.check.scope import counted, describe
from tensorprog.diagnostics import Diagnostic, ProgramError, Reporter, Source, Span
from tensorprog.ir.integers import int_text
from tensorprog.ir.program import Cell, Input, Param, Program, Size, walk, written
from tensorprog.language_server.definitions import NameDefinition, definition_of, definitions
from tensorprog.language_server.words import words
from tensorprog.syntax import parse

if TYPE_CHECKING:
    from tensorprog.powers.scale import NamedSizes

_WORD = re.compile(r"[^\W\d][\w\u0300-\u036f]*")

#: Of the equations of a limit that belong to a name, those that are shown.
MOST_EQUATIONS = 6


@dataclass(frozen=True, slots=True)
class Word:
    """A name or a word of the language at a place of the text."""

    text: str
    span: Span


class AnalysedText:
    """One version of a program. What takes long is found out when it is asked for.

    Args:
        text: the program.
        name: what it is called in messages.
        known: definitions of an earlier version, which are used while the text does not parse.
    """

    def __init__(self, text: str, name: str = "<editor>", known: tuple[NameDefinition, ...] = ()):
        self.source = Source(name, text)
        self._known = known

    # --- mistakes ---

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What `tpc check` says."""
        reporter = Reporter(self.source)
        try:
            from tensorprog.pipeline import compile_program

            # All the way to the limit: powers of n and hypotheses have diagnostics as well.
            compile_program(self._front(reporter), None, reporter)
        except ProgramError as error:
            return error.diagnostics
        return tuple(reporter.found)

    def _front(self, reporter: Reporter) -> Program:
        return check(parse(self.source), reporter)

    @cached_property
    def program(self) -> Program | None:
        """The typed program; None if there are mistakes in it."""
        try:
            return self._front(Reporter(self.source))
        except ProgramError:
            return None

    # --- names ---

    @cached_property
    def definitions(self) -> tuple[NameDefinition, ...]:
        """Where names are defined; those of the last version that parsed, if this one does not."""
        try:
            return definitions(parse(self.source))
        except ProgramError:
            # While a line is being typed the text hardly ever parses; places of the version before are nearly right.
            return self._known

    def word(self, line: int, column: int) -> Word | None:
        """The word at a place (1-based) or just before it; none inside of a comment."""
        text = self.source.line(line)
        end = text.find("#")
        for found in _WORD.finditer(text if end < 0 else text[:end]):
            if found.start() < column <= found.end() + 1:
                return Word(found.group(), Span(line, found.start() + 1, line, found.end() + 1))
        return None

    def definition(self, line: int, column: int) -> Span | None:
        """Where the name at a place is defined."""
        word = self.word(line, column)
        found = word and definition_of(self.definitions, word.text, line, column)
        return found.span if found else None

    # --- what there is to say of a name ---

    def hover(self, line: int, column: int) -> tuple[str, Span] | None:
        """What there is to say of the word at a place, as Markdown, and where the word is."""
        word = self.word(line, column)
        if word is None:
            return None
        found = definition_of(self.definitions, word.text, line, column)
        if found is None:
            meaning = words().get(word.text)
            return (f"`{word.text}`: {meaning}", word.span) if meaning is not None else None
        return "\n\n".join(self._about(found)), word.span

    def _about(self, found: NameDefinition) -> Iterator[str]:
        yield f"```tp\n{self.source.line(found.span.line).strip()}\n```"
        yield f"**{found.name}**: {self._type(found)}"
        # Names of functions' insides are expanded wherever these are called: they have no single power and limit.
        if found.region is not None or found.kind in ("function", "loop variable"):
            return
        power = self._power(found.name)
        if power:
            yield power
        equations = self._equations(found.name)
        if equations:
            more = f"\n... {len(equations) - MOST_EQUATIONS} more" if len(equations) > MOST_EQUATIONS else ""
            yield "In the limit\n\n```text\n" + "\n".join(equations[:MOST_EQUATIONS]) + more + "\n```"

    def _type(self, found: NameDefinition) -> str:
        program = self.program
        if program is None or found.region is not None:
            return found.kind
        for declared in program.declared:
            if declared.name == found.name:
                return _declared_type(declared, found.kind)
        cell = self._cells.get(found.name)
        if cell is None:
            return found.kind
        family = f"a family with {counted(cell.rank, 'index', 'indices')}, each element " if cell.rank else ""
        return f"{found.kind}, {family}{describe(cell.type)}"

    @cached_property
    def _cells(self) -> dict[str, Cell]:
        """Declared objects and names that the program assigns, by what the user wrote."""
        if self.program is None:
            return {}
        assigned = (cell for s in walk(self.program.body) if (cell := written(s)) is not None)
        cells = (*(i.cell for i in self.program.initials), *assigned)
        # A name that was assigned anew in another kind has several cells; the last one is shown.
        return {cell.display: cell for cell in cells if cell.role != "hidden"}

    def _power(self, name: str) -> str | None:
        scale = self._scale.get(name)
        if scale is None:
            return None
        sizes = {stage: size.text() for stage, size in scale.sizes.items()}
        if len(set(sizes.values())) == 1:
            return f"of order {next(iter(sizes.values()))} in the width"
        return "of order " + ", ".join(f"{size} ({stage})" for stage, size in sizes.items()) + " in the width"

    @cached_property
    def _scale(self) -> dict[str, NamedSizes]:
        """The power of n of every name (`tpc scale`); none where that is not to be inferred."""
        from tensorprog.powers.scale import inferred, prepare

        if self.program is None:
            return {}
        try:
            return dict(inferred(prepare(self.program)).names)
        except ProgramError:
            return {}

    def _equations(self, name: str) -> list[str]:
        """The equations of the limit whose left side is of this name."""
        # Z^{h[t, a]}, and f[t]: not h1 for h.
        left = re.compile(rf"(?:Z\^\{{)?{re.escape(name)}(?![\w'])")
        return [text for text in self._limit if left.match(text)]

    @cached_property
    def _limit(self) -> list[str]:
        """The equations of the limit (`tpc derive`) in a line each; none if there is no limit or no formula for it."""
        from tensorprog.derive import derive
        from tensorprog.derive.formula import formula
        from tensorprog.pipeline import compile_program

        if self.program is None:
            return []
        try:
            derived = derive(compile_program(self.program, None, Reporter(self.source)))
        except ProgramError:
            return []
        return [f"{formula(rule.left)} {'~' if rule.is_law else '='} {formula(rule.right)}" for rule in derived.rules]


def _declared_type(declared: Size | Param | Input, kind: str) -> str:
    if isinstance(declared, Input):
        return (f"input, {'an integer' if declared.kind == 'int' else 'a real'} array "
                f"[{', '.join(map(int_text, declared.shape))}]")
    default = f", {declared.default} unless it is set" if declared.default is not None else ""
    return f"{'integer ' if isinstance(declared, Param) and declared.kind == 'int' else ''}{kind}{default}"
