"""Logical lines: rows joined inside brackets, with TP102 for brackets that do not match, and their indentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lark import Token

from tensorprog.diagnostics import Diagnostic, Note, Source, Span
from tensorprog.syntax.tokens import CLOSERS, SIGNS, inserted, token_span

ONLY_AT_START = frozenset("WIDTH SIZE PARAM INPUT MATRIX VECTOR DEF RETURN OUTPUT PASS ELIF".split())


@dataclass(slots=True)
class Line:
    """One statement or block header; the last token is its NEWLINE. `broken` if an error was reported already."""

    tokens: list[Token]
    indent: str
    broken: bool = False

    @property
    def first(self) -> Token:
        return self.tokens[0]


def logical_lines(tokens: Iterable[Token], source: Source, report: Callable[[Diagnostic], None]) -> Iterator[Line]:
    rows = _rows(tokens)
    texts = source.text.split("\n")
    begins = [token_span(row[0]) for row in rows]
    # (An editor's byte order mark is no indentation.)
    indents = [texts[place.line - 1][:place.column - 1].replace("\ufeff", "") for place in begins]
    start = 0
    while start < len(rows):
        end, problem = _line_end(rows, indents, start)
        body = [token for row in rows[start:end] for token in row]
        if problem:
            report(problem)
        yield Line([*body, inserted("NEWLINE", "\n", body[-1])], indents[start], problem is not None)
        start = end


def _rows(tokens: Iterable[Token]) -> list[list[Token]]:
    """The significant tokens of each row of the text that has some."""
    rows: dict[int, list[Token]] = {}
    for token in tokens:
        if token.type not in ("NEWLINE", "COMMENT"):
            rows.setdefault(token_span(token).line, []).append(token)
    return list(rows.values())


def _line_end(rows: list[list[Token]], indents: list[str], start: int) -> tuple[int, Diagnostic | None]:
    """The row after the logical line that starts at `start`, and what is wrong with its brackets."""
    opened: list[Token] = []
    problem = None
    for end in range(start, len(rows)):
        # A bracket that is never closed would swallow the rest of the program, and every mistake in it.
        if opened and _starts_statement(rows[end], indented=len(indents[end]) > len(indents[start])):
            return _guess_end(rows[:end], indents, start, opened[-1]), problem or _unclosed(opened[-1])
        for token in rows[end]:
            problem = track_bracket(opened, token) or problem
        # A backslash joins rows, too, and is reported as foreign to the language.
        if not opened and rows[end][-1] != "\\":
            return end + 1, problem
    if not opened:
        return len(rows), problem
    return _guess_end(rows, indents, start, opened[-1]), problem or _unclosed(opened[-1])


def _starts_statement(row: list[Token], indented: bool) -> bool:
    """Whether a row inside brackets is a new statement, so that a bracket was not closed."""
    # In brackets nothing is assigned; but `f(x, eta=3)` may be, further in, by mistake.
    assigns = any(token.type in ("EQUAL", "AUGMENTED") for token in row)
    return row[0].type in ONLY_AT_START or (assigns and not indented)


def track_bracket(opened: list[Token], token: Token) -> Diagnostic | None:
    if token.type in CLOSERS:
        opened.append(token)
    elif token.type in CLOSERS.values():
        opener = opened.pop() if opened else None
        if opener is None:
            return Diagnostic("TP102", f"`{token}` closes nothing", token_span(token),
                              help=f"remove it, or write the missing `{_opener_of(token)}` before it")
        if CLOSERS[opener.type] != token.type:
            return Diagnostic("TP102", f"`{token}` does not match `{opener}`", token_span(token),
                              (Note("opened here", token_span(opener)),),
                              f"write `{SIGNS[CLOSERS[opener.type]]}` here")
    return None


def _opener_of(closer: Token) -> str:
    return next(SIGNS[opener] for opener, kind in CLOSERS.items() if kind == closer.type)


def _unclosed(opener: Token) -> Diagnostic:
    return Diagnostic("TP102", f"`{opener}` is never closed", token_span(opener),
                      help=f"write the missing `{SIGNS[CLOSERS[opener.type]]}`")


def _guess_end(rows: list[list[Token]], indents: list[str], start: int, opener: Token) -> int:
    """Where a line with an unclosed bracket probably ends: at the next row that is not indented under it."""
    for end in range(start + 1, len(rows)):
        if token_span(rows[end][0]).line > token_span(opener).line and len(indents[end]) <= len(indents[start]):
            return end
    return len(rows)


# --- indentation ---------------------------------------------------------------------------------------------


def _width(indent: str) -> int:
    return len(indent.expandtabs(8))


def is_deeper(indent: str, other: str) -> bool:
    return _width(indent) > _width(other)


def is_consistent(indent: str, other: str) -> bool:
    """Whether two indentations compare the same way for every width of a tab."""
    # Tabs of eight columns, and of one.
    wide, narrow = _width(indent) - _width(other), len(indent) - len(other)
    return (wide > 0) == (narrow > 0) and (wide < 0) == (narrow < 0)


def indent_span(line: Line) -> Span:
    first = token_span(line.first)
    return Span(first.line, 1, first.line, first.column) if first.column > 1 else first
