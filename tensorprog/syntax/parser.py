"""Text to syntax tree: `parse(source)` gives the `tree.Module` or raises `ProgramError` with every syntax error found.

    tokens          `grammar`: lark's lexer; it never fails, characters foreign to the language become FOREIGN tokens
    logical lines   `lines`: rows joined inside brackets; brackets that do not match are TP102
    layout          here: INDENT and DEDENT between logical lines, from the indentation; TP101
    problems        `problems`: what is wrong with a line wherever it stands
    grammar         `grammar`: lark's LALR parser is fed line by line, the callbacks of `build_tree` make the tree
    explanation     `explanations`: the first token of a line that does not fit becomes a TP1xx diagnostic

After an error the parser goes back to the start of the line, takes a harmless line in its place (a header if a block
follows) and goes on, so that one run reports the errors of several lines. No name is looked up and no value has a
kind here: that is the checker's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from tensorprog.diagnostics import Diagnostic, Reporter, Source, Span
from tensorprog.diagnostics.report import MAX_ERRORS
from tensorprog.syntax import tree
from tensorprog.syntax.build_tree import Mistake
from tensorprog.syntax.explanations import Failure, explain
from tensorprog.syntax.grammar import lark_parser, tokenize
from tensorprog.syntax.lines import Line, indent_span, is_consistent, is_deeper, logical_lines
from tensorprog.syntax.problems import bad_token, foreign_statement, too_deep
from tensorprog.syntax.tokens import end_of, inserted, token_span

# Later stages go into blocks by recursion; see `problems.MAX_DEPTH` for expressions.
MAX_BLOCKS = 50


def parse(source: Source) -> tree.Module:
    """The syntax tree of a program; raises `ProgramError` with its syntax errors."""
    reporter = _Reporter(source)
    lines = list(logical_lines(tokenize(source), source, reporter.add))
    module = _LineParser(reporter).run(lines)
    reporter.raise_errors()
    return module


class _Reporter(Reporter):
    """Gives up at the number of errors that are shown anyway, which also bounds the work on hopeless text."""

    def add(self, diagnostic: Diagnostic) -> None:
        self.found.append(diagnostic)
        if len(self.found) >= MAX_ERRORS:
            self.raise_errors()


# --- layout and recovery -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Level:
    """An open indentation; `block` is False for indentation that was reported and opens nothing."""

    indent: str
    block: bool = True


class _LineParser:
    """Feeds the LALR parser line by line, and puts a harmless line in the place of a bad one."""

    def __init__(self, reporter: _Reporter):
        self.reporter = reporter
        self.parser: InteractiveParser = lark_parser().parse_interactive()
        self.levels = [_Level("")]
        self.mixed = False

    def run(self, lines: list[Line]) -> tree.Module:
        previous: Line | None = None
        for number, line in enumerate(lines):
            self.layout(line, previous)
            follower = lines[number + 1] if number + 1 < len(lines) else None
            self.statement(line, follower is not None and is_deeper(follower.indent, line.indent))
            previous = line
        return self.finish(previous)

    def finish(self, last: Line | None) -> tree.Module:
        place = last.tokens[-1] if last else Token("NEWLINE", "", line=1, column=1, end_line=1, end_column=1)
        if last and self.wants_block():
            self.missing_block(last, end_of(place))
        while len(self.levels) > 1:
            self.close_level(place)
        return self.parser.feed_token(Token.new_borrow_pos("$END", "", place))

    # indentation

    def layout(self, line: Line, previous: Line | None) -> None:
        """Feed the INDENT or the DEDENTs between two lines."""
        top = self.levels[-1]
        deeper = is_deeper(line.indent, top.indent)
        if not self.mixed and not is_consistent(line.indent, top.indent):
            self.mixed = True
            self.report("TP101", "the indentation mixes tabs and spaces", indent_span(line),
                        "indent every line of a block with the same characters, four spaces for each level")
        if self.wants_block() and previous is not None:
            if deeper:
                self.open_level(line, block=True)
                return
            self.missing_block(previous, token_span(line.first))
        elif deeper:
            self.report("TP101", "unexpected indentation", indent_span(line),
                        "start the line in the same column as the line before it")
            self.open_level(line, block=False)
            return
        self.dedent(line)

    def dedent(self, line: Line) -> None:
        while len(self.levels) > 1 and is_deeper(self.levels[-1].indent, line.indent):
            self.close_level(line.first)
        if is_deeper(line.indent, self.levels[-1].indent):
            self.report("TP101", "this indentation matches no earlier line", indent_span(line),
                        "start the line in the same column as the block that it belongs to")
            self.open_level(line, block=False)

    def open_level(self, line: Line, block: bool) -> None:
        if len(self.levels) > MAX_BLOCKS:
            self.report("TP109", f"blocks are nested more than {MAX_BLOCKS} deep", token_span(line.first),
                        "move the inner loops into a function")
            self.reporter.raise_errors()
        self.levels.append(_Level(line.indent, block))
        if block:
            self.parser.feed_token(inserted("INDENT", "", line.first))

    def close_level(self, place: Token) -> None:
        if self.levels.pop().block:
            self.parser.feed_token(inserted("DEDENT", "", place))

    def wants_block(self) -> bool:
        # By the state of the parser: after the end of a header it takes nothing else.
        return "INDENT" in self.parser.choices()

    def missing_block(self, header: Line, span: Span) -> None:
        what = f"an indented block is missing after the `{header.first}` of line {header.first.line}"
        self.report("TP101", what, span,
                    "indent the lines of the block by four spaces, or write `pass` if it is empty")
        place = header.tokens[-1]
        self.feed((("INDENT", ""), ("PASS", "pass"), ("NEWLINE", "\n"), ("DEDENT", "")), place)

    # statements

    def statement(self, line: Line, opens: bool) -> None:
        """Feed one line; report what is wrong with it and feed a harmless line instead."""
        state = self.parser.parser_state
        # To go back to: a line that fails has been parsed in part.
        start = state.state_stack.copy(), state.value_stack.copy()
        problem = None if line.broken else self.try_line(line)
        if problem or line.broken:
            if problem:
                self.reporter.add(problem)
            self.replace_line(line, opens, start)

    def try_line(self, line: Line) -> Diagnostic | None:
        # What is wrong with a line by itself comes before what does not fit where it stands.
        problem = bad_token(line.tokens) or too_deep(line.tokens)
        if problem:
            return foreign_statement(line.tokens) or problem
        for index, token in enumerate(line.tokens):
            try:
                self.parser.feed_token(token)
            except UnexpectedToken:
                return explain(Failure(line.tokens, index, frozenset(self.parser.accepts())))
            except Mistake as mistake:
                return foreign_statement(line.tokens) or mistake.diagnostic
        return None

    def replace_line(self, line: Line, opens: bool, start: tuple[list[Any], list[Any]]) -> None:
        """Feed a line that does nothing, with a header if a block follows and a branch if the line is one."""
        # Which of them fits depends on what stands before: an `elif` may be without its `if`.
        for header in _harmless_lines(line.first.type, opens):
            self.restore(start)
            try:
                self.feed(header, line.tokens[-1])
            except UnexpectedToken:
                continue
            return
        raise AssertionError("a line that does nothing was not accepted")

    def restore(self, start: tuple[list[Any], list[Any]]) -> None:
        state = self.parser.parser_state
        state.state_stack[:], state.value_stack[:] = start

    def feed(self, tokens: Iterable[tuple[str, str]], place: Token) -> None:
        for kind, text in tokens:
            self.parser.feed_token(inserted(kind, text, place))

    def report(self, code: str, message: str, span: Span, help: str) -> None:
        self.reporter.add(Diagnostic(code, message, span, help=help))


_CONDITION = (("NUMBER", "0"), ("COLON", ":"))
_PASS = (("PASS", "pass"), ("NEWLINE", "\n"))


def _harmless_lines(first: str, opens: bool) -> Iterator[tuple[tuple[str, str], ...]]:
    end = (("NEWLINE", "\n"),) if opens else _PASS
    if first == "ELIF":
        yield (("ELIF", "elif"), *_CONDITION, *end)
    if first == "ELSE":
        yield (("ELSE", "else"), ("COLON", ":"), *end)
    if opens or first in ("IF", "ELIF", "ELSE"):
        yield (("IF", "if"), *_CONDITION, *end)
    yield _PASS
