"""Text to syntax tree: `parse(source)` gives the `tree.Module` or raises `ProgramError` with every syntax error found.

    tokens          lark's lexer; it never fails, characters foreign to the language become FOREIGN tokens
    logical lines   rows joined inside brackets; brackets that do not match are TP102
    layout          INDENT and DEDENT between logical lines, from the indentation; TP101
    grammar         lark's LALR parser is fed line by line, the callbacks of `_Builder` make the tree
    explanation     the first token of a line that does not fit becomes a TP1xx diagnostic

After an error the parser goes back to the start of the line, takes a harmless line in its place (a header if a block
follows) and goes on, so that one run reports the errors of several lines. No name is looked up and no value has a
kind here: that is the checker's work.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import platformdirs
from lark import Lark, Token
from lark.exceptions import UnexpectedToken
from lark.lark import PostLex
from lark.parsers.lalr_interactive_parser import InteractiveParser

from tensorprog.diagnostics import Diagnostic, Note, ProgramError, Reporter, Source, Span
from tensorprog.diagnostics.report import MAX_ERRORS
from tensorprog.syntax import tree

MAX_DEPTH = 100
MAX_BLOCKS = 50

KEYWORDS = frozenset("width size param input matrix vector for in range if elif else def return output as and or not "
                     "pass int real".split())


def parse(source: Source) -> tree.Module:
    """The syntax tree of a program; raises `ProgramError` with its syntax errors."""
    reporter = _Reporter(source)
    lines = list(_logical_lines(tokenize(source), source, reporter))
    module = _LineParser(reporter).run(lines)
    reporter.raise_errors()
    return module


class _Reporter(Reporter):
    """Gives up at the number of errors that are shown anyway, which also bounds the work on hopeless text."""

    def add(self, diagnostic: Diagnostic) -> None:
        self.found.append(diagnostic)
        if len(self.found) >= MAX_ERRORS:
            self.raise_errors()


# --- grammar and tokens --------------------------------------------------------------------------------------


class _KeepTerminals(PostLex):
    """Makes lark keep the terminals that no rule uses; the layout itself is done on logical lines."""

    always_accept = ("COMMENT", "STRING", "FOREIGN_OPERATOR", "FOREIGN")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@cache
def _lark() -> Lark:
    grammar = _grammar_text()
    return Lark(grammar, start="module", parser="lalr", lexer="basic", postlex=_KeepTerminals(),
                transformer=_Builder(), keep_all_tokens=True, maybe_placeholders=False, cache=_cache_file(grammar))


def _grammar_text() -> str:
    try:
        file = resources.files("tensorprog.grammar").joinpath("tensorprog.lark")
    except ModuleNotFoundError:  # a checkout that is not installed
        file = Path(__file__).parents[2] / "grammar" / "tensorprog.lark"
    return file.read_text(encoding="utf-8")


def _cache_file(grammar: str) -> str | bool:
    """Where lark keeps the parse table; False if there is no place for it (lark ignores a file it cannot use)."""
    folder = Path(platformdirs.user_cache_dir("tensorprog", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return str(folder / f"grammar-{hashlib.sha256(grammar.encode()).hexdigest()[:16]}.table")


def tokenize(source: Source) -> list[Token]:
    """Every token of the text with the comments and the ends of rows, in order."""
    session = _lark().parse_interactive(source.text)
    return list(session.lexer_thread.lex(session.parser_state))


def token_span(token: Token) -> Span:
    return Span(token.line, token.column, token.end_line, token.end_column)


def _end_of(token: Token) -> Span:
    """The empty span just after a token, where something is missing."""
    return Span(token.end_line, token.end_column, token.end_line, token.end_column)


def _inserted(kind: str, text: str, place: Token) -> Token:
    """A token that is not in the text, placed just after another."""
    return Token(kind, text, line=place.end_line, column=place.end_column, end_line=place.end_line,
                 end_column=place.end_column)


# --- logical lines -------------------------------------------------------------------------------------------

CLOSERS = {"LPAR": "RPAR", "LSQB": "RSQB"}
SIGNS = {"LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]"}
ONLY_AT_START = frozenset("WIDTH SIZE PARAM INPUT MATRIX VECTOR DEF RETURN OUTPUT PASS ELIF".split())


@dataclass(slots=True)
class _Line:
    """One statement or block header; the last token is its NEWLINE. `broken` if an error was reported already."""

    tokens: list[Token]
    indent: str
    broken: bool = False

    @property
    def first(self) -> Token:
        return self.tokens[0]


def _logical_lines(tokens: Iterable[Token], source: Source, reporter: _Reporter) -> Iterator[_Line]:
    rows = _rows(tokens)
    texts = source.text.split("\n")
    indents = [texts[row[0].line - 1][:row[0].column - 1].replace("\ufeff", "") for row in rows]
    start = 0
    while start < len(rows):
        end, problem = _line_end(rows, indents, start)
        body = [token for row in rows[start:end] for token in row]
        if problem:
            reporter.add(problem)
        yield _Line([*body, _inserted("NEWLINE", "\n", body[-1])], indents[start], problem is not None)
        start = end


def _rows(tokens: Iterable[Token]) -> list[list[Token]]:
    """The significant tokens of each row of the text that has some."""
    rows: dict[int, list[Token]] = {}
    for token in tokens:
        if token.type not in ("NEWLINE", "COMMENT"):
            rows.setdefault(token.line, []).append(token)
    return list(rows.values())


def _line_end(rows: list[list[Token]], indents: list[str], start: int) -> tuple[int, Diagnostic | None]:
    """The row after the logical line that starts at `start`, and what is wrong with its brackets."""
    opened: list[Token] = []
    problem = None
    for end in range(start, len(rows)):
        if opened and _starts_statement(rows[end], indented=len(indents[end]) > len(indents[start])):
            return _guess_end(rows[:end], indents, start, opened[-1]), problem or _unclosed(opened[-1])
        for token in rows[end]:
            problem = _track_bracket(opened, token) or problem
        if not opened and rows[end][-1] != "\\":
            return end + 1, problem
    if not opened:
        return len(rows), problem
    return _guess_end(rows, indents, start, opened[-1]), problem or _unclosed(opened[-1])


def _starts_statement(row: list[Token], indented: bool) -> bool:
    """Whether a row inside brackets is a new statement, so that a bracket was not closed."""
    assigns = any(token.type in ("EQUAL", "AUGMENTED") for token in row)
    return row[0].type in ONLY_AT_START or (assigns and not indented)


def _track_bracket(opened: list[Token], token: Token) -> Diagnostic | None:
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
        if rows[end][0].line > opener.line and len(indents[end]) <= len(indents[start]):
            return end
    return len(rows)


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
        self.parser: InteractiveParser = _lark().parse_interactive()
        self.levels = [_Level("")]
        self.mixed = False

    def run(self, lines: list[_Line]) -> tree.Module:
        previous: _Line | None = None
        for number, line in enumerate(lines):
            self.layout(line, previous)
            follower = lines[number + 1] if number + 1 < len(lines) else None
            self.statement(line, follower is not None and _deeper(follower.indent, line.indent))
            previous = line
        return self.finish(previous)

    def finish(self, last: _Line | None) -> tree.Module:
        place = last.tokens[-1] if last else Token("NEWLINE", "", line=1, column=1, end_line=1, end_column=1)
        if last and self.wants_block():
            self.missing_block(last, _end_of(place))
        while len(self.levels) > 1:
            self.close_level(place)
        return self.parser.feed_token(Token.new_borrow_pos("$END", "", place))

    # indentation

    def layout(self, line: _Line, previous: _Line | None) -> None:
        """Feed the INDENT or the DEDENTs between two lines."""
        top = self.levels[-1]
        deeper = _deeper(line.indent, top.indent)
        if not self.mixed and not _consistent(line.indent, top.indent):
            self.mixed = True
            self.report("TP101", "the indentation mixes tabs and spaces", _indent_span(line),
                        "indent every line of a block with the same characters, four spaces for each level")
        if self.wants_block() and previous is not None:
            if deeper:
                self.open_level(line, block=True)
                return
            self.missing_block(previous, token_span(line.first))
        elif deeper:
            self.report("TP101", "unexpected indentation", _indent_span(line),
                        "start the line in the same column as the line before it")
            self.open_level(line, block=False)
            return
        self.dedent(line)

    def dedent(self, line: _Line) -> None:
        while len(self.levels) > 1 and _deeper(self.levels[-1].indent, line.indent):
            self.close_level(line.first)
        if _deeper(line.indent, self.levels[-1].indent):
            self.report("TP101", "this indentation matches no earlier line", _indent_span(line),
                        "start the line in the same column as the block that it belongs to")
            self.open_level(line, block=False)

    def open_level(self, line: _Line, block: bool) -> None:
        if len(self.levels) > MAX_BLOCKS:
            self.report("TP109", f"blocks are nested more than {MAX_BLOCKS} deep", token_span(line.first),
                        "move the inner loops into a function")
            self.reporter.raise_errors()
        self.levels.append(_Level(line.indent, block))
        if block:
            self.parser.feed_token(_inserted("INDENT", "", line.first))

    def close_level(self, place: Token) -> None:
        if self.levels.pop().block:
            self.parser.feed_token(_inserted("DEDENT", "", place))

    def wants_block(self) -> bool:
        return "INDENT" in self.parser.choices()

    def missing_block(self, header: _Line, span: Span) -> None:
        what = f"an indented block is missing after the `{header.first}` of line {header.first.line}"
        self.report("TP101", what, span,
                    "indent the lines of the block by four spaces, or write `pass` if it is empty")
        place = header.tokens[-1]
        self.feed((("INDENT", ""), ("PASS", "pass"), ("NEWLINE", "\n"), ("DEDENT", "")), place)

    # statements

    def statement(self, line: _Line, opens: bool) -> None:
        """Feed one line; report what is wrong with it and feed a harmless line instead."""
        state = self.parser.parser_state
        start = state.state_stack.copy(), state.value_stack.copy()
        problem = None if line.broken else self.try_line(line)
        if problem or line.broken:
            if problem:
                self.reporter.add(problem)
            self.replace_line(line, opens, start)

    def try_line(self, line: _Line) -> Diagnostic | None:
        problem = _bad_token(line.tokens) or _too_deep(line.tokens)
        if problem:
            return _foreign_statement(line.tokens) or problem
        for index, token in enumerate(line.tokens):
            try:
                self.parser.feed_token(token)
            except UnexpectedToken:
                return _explain(_Failure(line.tokens, index, frozenset(self.parser.accepts())))
            except _Mistake as mistake:
                return _foreign_statement(line.tokens) or mistake.diagnostic
        return None

    def replace_line(self, line: _Line, opens: bool, start: tuple[list[Any], list[Any]]) -> None:
        """Feed a line that does nothing, with a header if a block follows and a branch if the line is one."""
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
            self.parser.feed_token(_inserted(kind, text, place))

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


def _width(indent: str) -> int:
    return len(indent.expandtabs(8))


def _deeper(indent: str, other: str) -> bool:
    return _width(indent) > _width(other)


def _consistent(indent: str, other: str) -> bool:
    """Whether two indentations compare the same way for every width of a tab."""
    wide, narrow = _width(indent) - _width(other), len(indent) - len(other)
    return (wide > 0) == (narrow > 0) and (wide < 0) == (narrow < 0)


def _indent_span(line: _Line) -> Span:
    row, column = line.first.line, line.first.column
    return Span(row, 1, row, column) if column > 1 else token_span(line.first)


# --- tokens that are wrong wherever they stand ---------------------------------------------------------------

_DIGITS = "[0-9](?:_?[0-9])*"
INTEGER = re.compile(r"0+|[1-9](?:_?[0-9])*")
FLOAT = re.compile(rf"(?:{_DIGITS}\.(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?|{_DIGITS}[eE][+-]?{_DIGITS}")
MAX_DIGITS = 300

WRITE_INSTEAD = {
    "**=": "write `x = x**y`", "//=": "write `x = x // y`", "%=": "write `x = x % y`", "@=": "write `x = W @ x`",
    "&=": "write `x = x and y`", "|=": "write `x = x or y`", "^=": "write `x = x**y`",
    ":=": "write the assignment `name = value` on a line of its own", "->": "a function has no declared result, "
    "remove it", "&&": "write `and`", "||": "write `or`", "<>": "write `!=`", "!": "write `not`, or `!=`",
    "&": "write `and`", "|": "write `or`; the absolute value is `abs(x)`", "^": "write `**` for a power",
    "{": "blocks are made by `:` and indentation, indices by `[` and `]`", "}": "blocks are made by `:` and "
    "indentation, indices by `[` and `]`", "\\": "put the expression in parentheses to continue it on the next line",
    "'": "a prime stands directly after the name of a function, as in `tanh'(h)`", "\u2019": "write the prime as `'`",
    "\u2032": "write the prime as `'`", "\u2212": "write `-`", "\u2013": "write `-`", "\u2014": "write `-`",
    "\u00d7": "write `*`", "\u00b7": "write `*`", "\u22c5": "write `*`", "\u2217": "write `*`", "\u00f7": "write `/`",
    "\u2264": "write `<=`", "\u2265": "write `>=`", "\u2260": "write `!=`", "\u2208": "write `in`",
    "\u223c": "write `~`", "\u2211": "write `sum(... for a in range(P))`", "\u221a": "write `sqrt(x)`",
    "\u2202": "write `grad(s, v)`", "\u2207": "write `grad(s, v)`", "\u1d40": "write `W.T`", "\u22a4": "write `W.T`",
    "\u201c": "remove it, there are no strings", "\u201d": "remove it, there are no strings",
    "\u2297": "write `outer(u, v)`", "\u00a0": "replace the no-break space by a space",
}


def _bad_token(tokens: Sequence[Token]) -> Diagnostic | None:
    return next((problem for i, token in enumerate(tokens)
                 if (problem := _quoted(token, tokens[i + 1:]) or _token_problem(token))), None)


def _quoted(token: Token, rest: Sequence[Token]) -> Diagnostic | None:
    """A string in single quotes, which are primes to the lexer."""
    end = next((t for t in rest if t.endswith("'")), None)
    if token != "'" or end is None or end.line != token.line:
        return None
    return Diagnostic("TP103", "there are no strings in the language", token_span(token).to(token_span(end)),
                      help="remove it, or make it a comment with `#`")


def _token_problem(token: Token) -> Diagnostic | None:
    match token.type:
        case "FOREIGN" | "FOREIGN_OPERATOR":
            return Diagnostic("TP103", f"{_shown(token)} is not part of the language", token_span(token),
                              help=WRITE_INSTEAD.get(token, "remove it"))
        case "STRING":
            return Diagnostic("TP103", "there are no strings in the language", token_span(token),
                              help="remove it, or make it a comment with `#`")
        case "NUMBER":
            return _number_problem(token)
        case "NAME" | "PRIMED":
            return _name_problem(token)
    return None


def _shown(text: str) -> str:
    return f"`{text}`" if text.isprintable() else f"the character U+{ord(text[0]):04X}"


def _number_problem(token: Token) -> Diagnostic | None:
    if INTEGER.fullmatch(token):
        too_large = len(token) > MAX_DIGITS
    elif FLOAT.fullmatch(token):
        too_large = float(token) == float("inf")
    else:
        return Diagnostic("TP106", f"`{_shortened(token)}` is not a number", token_span(token),
                          help=_number_help(token))
    if not too_large:
        return None
    return Diagnostic("TP106", f"the number `{_shortened(token)}` is too large", token_span(token),
                      help="write a number below 1e308")


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else text[:20] + "..."


def _number_help(text: str) -> str:
    product = re.fullmatch(rf"({_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})([^\W\d]\w*)", text)
    if re.fullmatch(r"0[0-9]+", text):
        return f"write `{text.lstrip('0')}`"
    if re.match(r"0[xXbBoO]", text) or re.fullmatch(r"[0-9._]+[eE]", text) or product is None:
        return "write numbers as `12`, `0.5` or `1e-3`"
    return f"write `{product[1]}*{product[2]}` for a product"


def _name_problem(token: Token) -> Diagnostic | None:
    name = _spelled(token)
    if name in KEYWORDS:
        return Diagnostic("TP107", f"`{name}` is a reserved word", token_span(token), help=f"write `{name}_`, say")
    bad = next((i for i in range(len(token)) if not ("a" + token[i]).isidentifier() and token[i] != "'"), None)
    if bad is None and name.isidentifier():
        return None
    at = bad or 0
    span = Span(token.line, token.column + at, token.line, token.column + at + 1)
    power = unicodedata.normalize("NFKC", token[at])
    help = f"write `**{power}` for a power" if power.isdecimal() else "write names with letters, digits and `_`"
    return Diagnostic("TP103", f"{_shown(token[at])} cannot be part of a name", span, help=help)


def _spelled(token: str) -> str:
    """A name without its primes, in the one form that all its spellings share (Python's rule, so µ is μ)."""
    return unicodedata.normalize("NFKC", token.rstrip("'"))


ADDING = frozenset("PLUS MINUS NOT IF".split())
MULTIPLYING = frozenset("STAR SLASH DOUBLESLASH PERCENT AT DOUBLESTAR DOT LSQB LPAR".split())
SEPARATING = frozenset("COMMA COLON SEMICOLON FOR AND OR COMPARISON EQUAL AUGMENTED".split())


@dataclass(slots=True)
class _Depth:
    """A bound on the depth of the tree between two brackets: sums outside, products and what they hold inside."""

    sums: int = 0
    products: int = 0
    deepest_product: int = 0
    deepest: int = 0

    def bound(self) -> int:
        return max(self.deepest, self.sums + self.deepest_product)

    def take(self, kind: str, inner: int = 0) -> None:
        if kind in ADDING:
            self.sums, self.products = self.sums + 1, 0
        elif kind in MULTIPLYING:
            self.products += 1
            self.deepest_product = max(self.deepest_product, self.products + inner)
        elif kind in SEPARATING:
            self.deepest = self.bound()
            self.sums = self.products = self.deepest_product = 0


def _too_deep(tokens: Sequence[Token]) -> Diagnostic | None:
    """A bound on the depth of every tree, so that the recursive stages that follow are safe."""
    if len(tokens) <= MAX_DEPTH:
        return None
    stack, total = [_Depth()], 0
    for token in tokens:
        if token.type in CLOSERS:
            stack.append(_Depth())
        elif token.type in CLOSERS.values() and len(stack) > 1:
            inner = stack.pop().bound()
            stack[-1].take("LPAR", inner)
        else:
            stack[-1].take(token.type)
        total = len(stack) + stack[-1].bound()
        if total > MAX_DEPTH:
            return Diagnostic("TP109", "this expression is nested too deeply, or too long", token_span(token),
                              help="assign a part of it to a name on a line of its own")
    return None


# --- explanation of a token that does not fit ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Failure:
    """The token `tokens[index]` of a line does not fit; the kinds in `expected` would."""

    tokens: list[Token]
    index: int
    expected: frozenset[str]

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def first(self) -> Token:
        return self.tokens[0]

    @property
    def previous(self) -> Token | None:
        return self.tokens[self.index - 1] if self.index else None

    @property
    def next(self) -> Token | None:
        return self.tokens[self.index + 1] if self.index + 1 < len(self.tokens) else None

    @property
    def bracket(self) -> Token | None:
        """The innermost bracket that is open before the token."""
        opened: list[Token] = []
        for token in self.tokens[:self.index]:
            _track_bracket(opened, token)
        return opened[-1] if opened else None

    def after(self, *kinds: str) -> bool:
        return self.previous is not None and self.previous.type in kinds

    def error(self, code: str, message: str, help: str, at: Token | None = None) -> Diagnostic:
        token = at or self.token
        span = _end_of(self.tokens[-2]) if token.type == "NEWLINE" else token_span(token)
        return Diagnostic(code, message, span, help=help)


FOREIGN_STATEMENTS = {
    **dict.fromkeys(("while", "do", "repeat", "until", "loop"), "write `for t in range(T):`, loops run over a range"),
    **dict.fromkeys(("break", "continue"), "write an `if` around the statements, or a shorter `range`"),
    **dict.fromkeys(("import", "from", "using", "include"), "remove it, the functions are there without imports"),
    **dict.fromkeys(("let", "var", "const", "auto", "local"), "write `name = value`"),
    **dict.fromkeys(("float", "double", "scalar", "array"), "write `name = value`, names have no declared type"),
    **dict.fromkeys(("function", "func", "fn", "fun"), "write `def f(x):`"),
    **dict.fromkeys(("switch", "match", "case"), "write `if`, `elif` and `else`"),
    **dict.fromkeys(("print", "yield", "show", "display", "plot"), "write `output f` for a result"),
    **dict.fromkeys(("class", "struct", "type"), "write a `def` for each function"),
    **dict.fromkeys(("try", "except", "finally", "with", "raise", "assert", "global", "nonlocal", "del", "async",
                     "await", "end"), "remove it"),
    "elseif": "write `elif`", "elsif": "write `elif`", "lambda": "write `def phi(u) = ...`",
    "given": "write `input X : [P, d]`",
}


def _foreign_statement(tokens: Sequence[Token]) -> Diagnostic | None:
    """A statement of another language, recognised by its first word."""
    word = tokens[0]
    if word.type != "NAME" or word not in FOREIGN_STATEMENTS:
        return None
    if tokens[1].type in ("EQUAL", "AUGMENTED", "LSQB", "COMMA", "DOT"):
        return None
    return Diagnostic("TP108", f"there is no `{word}` statement", token_span(word), help=FOREIGN_STATEMENTS[word])


def _explain(failure: _Failure) -> Diagnostic:
    foreign = _foreign_statement(failure.tokens)
    if foreign:
        return foreign
    return next(problem for rule in _EXPLANATIONS if (problem := rule(failure)))


def _else_without_if(f: _Failure) -> Diagnostic | None:
    if f.index == 0 and f.token.type in ("ELSE", "ELIF"):
        return f.error("TP100", f"`{f.token}` without an `if` before it",
                       "indent it like the `if` that it belongs to, with nothing between their blocks")
    if f.token.type == "IF" and f.after("ELSE") and f.index == 1:
        return f.error("TP108", "`else if` is written `elif`", "write `elif condition:`")
    return None


def _loop_over_range(f: _Failure) -> Diagnostic | None:
    if f.expected == {"RANGE"}:
        variable = f.tokens[f.index - 2]
        return f.error("TP110", "a loop runs over a `range` only",
                       f"write `for {variable} in range(T)`, and index with `{variable}` inside")
    if f.expected == {"IN"} and f.token.type == "COMMA":
        return f.error("TP110", "a loop has one variable", "write one `for` for each variable")
    return None


def _equality(f: _Failure) -> Diagnostic | None:
    if f.token.type != "EQUAL":
        return None
    if f.first.type == "DEF" and f.bracket:
        return f.error("TP100", "a parameter cannot have a default", "pass the value in every call")
    if f.after("NAME") and f.bracket and f.tokens[f.index - 2].type in ("LPAR", "COMMA", "SEMICOLON"):
        return f.error("TP100", "arguments are given by position, not by name",
                       f"remove `{f.previous} =`")
    if f.first.type in ("IF", "ELIF") or f.bracket:
        return f.error("TP105", "`=` assigns, it does not compare", "write `==` to compare")
    if "NEWLINE" in f.expected and f.first.type != "DEF":
        return f.error("TP100", "only one assignment can stand on a line", "write each assignment on a line of its own")
    return None


NAME_LIKE = frozenset("WIDTH SIZE PARAM INPUT MATRIX VECTOR RANGE INT REAL OUTPUT AS PASS DEF IN RETURN".split())
NAMING = ("WIDTH", "SIZE", "PARAM", "INPUT", "MATRIX", "VECTOR", "FOR", "DEF", "AS", "DOT")


def _reserved_word(f: _Failure) -> Diagnostic | None:
    reserved = None
    if "NAME" in f.expected and f.token in KEYWORDS and (f.token.type in NAME_LIKE or f.after(*NAMING)):
        reserved = f.token
    elif f.index == 1 and f.first.type in NAME_LIKE and f.token.type in ("EQUAL", "AUGMENTED", "LSQB"):
        reserved = f.first
    if reserved is None:
        return None
    return f.error("TP107", f"`{reserved}` is a reserved word and cannot be a name",
                   f"write another name, such as `{reserved}_`", at=reserved)


DECLARATION_HELP = {
    "INPUT": "write `input X : [P, d]`",
    "MATRIX": "write `matrix W : [n, n] ~ normal(0, 1/n)`, or `matrix W : [n, n] = 0`",
    "VECTOR": "write `vector v : [n] ~ normal(0, 1)`, or `vector v : [n] = 0`",
    "PARAM": "write `param eta = 0.1` or `param T : int = 20`",
    "SIZE": "write `size P, d` or `size K = 10`",
    "WIDTH": "write `width n` or `width m = 2*n`, each width on a line of its own",
    "OUTPUT": "write `output f, loss` or `output expression as name`",
    "DEF": "write `def f(x, y):`, or `def f(x) = expression`",
    "RETURN": "write `return value`",
}
HEADER_HELP = {
    **dict.fromkeys(("IF", "ELIF", "FOR"), "write `:` at the end of the line"),
    "ELSE": "write `else:`, or `elif condition:`",
    "DEF": "write `:` and a block, or `= expression`, after the parameters",
}


def _missing_colon(f: _Failure) -> Diagnostic | None:
    if "COLON" not in f.expected or f.bracket or f.previous is None:
        return None
    ends = f.token.type == "NEWLINE" or f.token in ("then", "do") or f.expected <= {"COLON", "EQUAL"}
    if f.first.type in HEADER_HELP and ends:
        return Diagnostic("TP104", f"`:` is missing after the `{f.first}`", _end_of(f.previous),
                          help=HEADER_HELP[f.first.type])
    if f.first.type in ("INPUT", "MATRIX", "VECTOR", "PARAM") and f.token.type in ("LSQB", "TILDE", "INT", "REAL"):
        # `matrix W [n, n] ~ ...` reads as a family until the `~`.
        apart = f.token.type == "TILDE" and f.after("RSQB") and f.tokens[1].end_column < f.tokens[2].column
        if f.token.type == "TILDE" and not apart:
            return f.error("TP104", f"the shape of the {f.first} is missing before the `~`",
                           DECLARATION_HELP[f.first.type])
        where = "between the name and the shape" if apart else "after the name"
        return Diagnostic("TP104", f"`:` is missing {where} of the {f.first}", _end_of(f.previous),
                          help=DECLARATION_HELP[f.first.type])
    return None


def _statement_separator(f: _Failure) -> Diagnostic | None:
    if f.token.type != "SEMICOLON":
        return None
    if f.bracket:
        return f.error("TP100", "`;` cannot stand here", "write `,`; a `;` stands once, as in `ntk(f, g; U, W)`")
    return f.error("TP100", "`;` does not separate statements", "write each statement on a line of its own")


def _unfinished(f: _Failure) -> Diagnostic | None:
    if f.token.type != "NEWLINE":
        return None
    help = DECLARATION_HELP.get(f.first.type) or _wanted(f.expected)
    return f.error("TP100", f"the line ends too early after `{f.previous}`", help)


def _random_without_declaration(f: _Failure) -> Diagnostic | None:
    if f.token.type != "TILDE" or f.first.type in DECLARATION_HELP:
        return None
    return f.error("TP100", "`~` stands in declarations only",
                   f"write `vector {f.first} : [n] ~ normal(0, 1)`, or `matrix {f.first} : [n, n] ~ normal(0, 1/n)`")


def _annotation(f: _Failure) -> Diagnostic | None:
    if f.token.type != "COLON" or f.index != 1 or f.first.type != "NAME":
        return None
    return f.error("TP100", "a name has no declared type",
                   f"write `{f.first} = value`; declarations begin with `param`, `input`, `matrix` or `vector`")


def _slice_step(f: _Failure) -> Diagnostic | None:
    if f.token.type != "COLON" or f.bracket is None or f.bracket.type != "LSQB":
        return None
    return f.error("TP100", "a slice has no step", "write `X[a:b]`")


def _tuple_inside(f: _Failure) -> Diagnostic | None:
    if f.token.type != "COMMA" or f.bracket is None or f.bracket.type != "LPAR" or "NAME" in f.expected:
        return None
    return f.error("TP100", "a tuple cannot be part of an expression",
                   "assign or return the values as `a, b`, without nesting")


def _list_display(f: _Failure) -> Diagnostic | None:
    if f.token.type != "LSQB" or "NAME" not in f.expected:
        return None
    return f.error("TP100", "there are no lists", "assign the elements of a family, as in `f[a] = ...`")


METHOD_HELP = {
    **dict.fromkeys(("mean", "sum"), "write `moment(h)` for the average over the coordinates of a vector, "
                    "`sum(... for a in range(P))` over an index"),
    **dict.fromkeys(("append", "extend", "insert"), "assign the elements of a family, as in `h[l + 1] = ...`"),
    **dict.fromkeys(("dot", "matmul", "mm"), "write `W @ x`, or `dot(u, v)` for vectors"),
    **dict.fromkeys(("copy", "clone", "detach", "numpy", "item"), "remove it, a plain assignment copies"),
    **dict.fromkeys(("reshape", "view", "flatten", "squeeze"), "remove it, values have the shape of their declaration"),
    **dict.fromkeys(("backward", "grad"), "write `grad(loss, v)`"),
    **dict.fromkeys(("randn", "zeros", "ones", "normal"), "declare it, as in `vector v : [n] ~ normal(0, 1)`"),
    "transpose": "write `W.T`", "maximum": "write `max(x, y)`", "minimum": "write `min(x, y)`",
    "norm": "write `sqrt(moment(x*x))`",
}


def _method_call(f: _Failure) -> Diagnostic | None:
    if f.token.type != "LPAR" or not f.after("NAME", "RPAR", "RSQB", "NUMBER"):
        return None
    if f.index > 1 and f.tokens[f.index - 2].type == "DOT":
        help = METHOD_HELP.get(f.previous, f"write `{f.previous}(...)`")
        return f.error("TP100", "there are no modules or methods", help, at=f.previous)
    return f.error("TP100", "only a name can be called", "write `f(x)`, or `*` for a product")


def _prime_without_call(f: _Failure) -> Diagnostic | None:
    if not f.after("PRIMED") and not (f.token.type == "PRIMED" and "NAME" in f.expected):
        return None
    primed = f.previous if f.after("PRIMED") else f.token
    return f.error("TP100", f"the derivative `{primed}` must be applied to an argument",
                   f"write `{primed}(h)`", at=primed)


OPERATORS = frozenset("PLUS STAR AT".split())
OPERAND_STARTS = frozenset("NAME PRIMED NUMBER LPAR".split())


def _missing_operator(f: _Failure) -> Diagnostic | None:
    if f.token.type not in OPERAND_STARTS or not OPERATORS <= f.expected:
        return None
    if f.token == "is":
        return f.error("TP100", "there is no `is`", "write `==`")
    if f.previous == "lambda":
        return f.error("TP108", "there is no `lambda`", "write `def phi(u) = ...` above", at=f.previous)
    return f.error("TP100", f"an operator is missing between `{f.previous}` and `{f.token}`",
                   f"write `{f.previous} * {f.token}` for a product, `@` for one with a matrix")


def _anything_else(f: _Failure) -> Diagnostic:
    if f.first.type == "DEF" and f.token.type == "COMMA" and not f.bracket:
        return f.error("TP100", "a function of one line has one value", "write a block that ends with `return a, b`")
    help = DECLARATION_HELP.get(f.first.type) if not f.bracket else None
    return f.error("TP100", f"unexpected `{f.token}`", help or _wanted(f.expected))


TERMINAL_TEXT = {"AUGMENTED": "+=", "COLON": ":", "COMMA": ",", "EQUAL": "=", "TILDE": "~", "SEMICOLON": ";", **SIGNS}


def _wanted(expected: frozenset[str]) -> str:
    """What to write where a token does not fit, from the kinds that would."""
    if {"NAME", "NUMBER"} <= expected:
        return "write a value here: a name, a number or an expression"
    if "NAME" in expected:
        return "write a name here"
    if OPERATORS <= expected and len(expected) > 3:
        closers = sorted(TERMINAL_TEXT[k] for k in expected if k in CLOSERS.values())
        return "write an operator here" + "".join(f", or `{c}`" for c in closers) + ", or remove it"
    words = sorted(TERMINAL_TEXT.get(kind, kind.lower()) for kind in expected if kind != "NEWLINE")
    return "write " + " or ".join(f"`{word}`" for word in words) + " here" if words else "end the line here"


_EXPLANATIONS = (
    _else_without_if, _loop_over_range, _equality, _reserved_word, _missing_colon, _statement_separator,
    _prime_without_call, _random_without_declaration, _annotation, _unfinished, _slice_step, _tuple_inside,
    _list_display, _method_call, _missing_operator, _anything_else,
)


# --- tree building -------------------------------------------------------------------------------------------


ATTRIBUTE_HELP = {
    **dict.fromkeys(("shape", "size", "ndim"), "sizes have names: declare `size P`"),
    "grad": "write `grad(loss, v)`", "pi": "write `3.141592653589793`", "e": "write `exp(1)`",
    "inf": "write a large number", "t": "write `W.T` for the transpose",
}


class _Mistake(Exception):
    """Something that the grammar accepts in order to be explained here."""

    def __init__(self, code: str, message: str, span: Span | None, help: str):
        self.diagnostic = Diagnostic(code, message, span, help=help)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a statement that is no node of its own."""

    value: Any
    span: Span


Child = Token | tree.Node | _Part


def _span_of(child: Child) -> Span:
    span = token_span(child) if isinstance(child, Token) else child.span
    assert span is not None
    return span


def _span(children: Sequence[Child]) -> Span:
    return _span_of(children[0]).to(_span_of(children[-1]))


def _nodes(children: Iterable[Child]) -> tuple[Any, ...]:
    return tuple(child for child in children if not isinstance(child, Token))


def _only(nodes: tuple[Any, ...]) -> Any:
    return nodes[0] if nodes else None


def _kinds(children: Iterable[Child]) -> list[str]:
    return [child.type if isinstance(child, Token) else "" for child in children]


class _Builder:
    """One method for each rule or alias of the grammar; the children are all tokens and nodes of the rule."""

    # lists of statements, kept as pairs (rest, last) while lines are read

    def module(self, c: list[Any]) -> tree.Module:
        statements = _statements(c[0])
        return tree.Module(statements, span=_span(statements) if statements else None)

    def no_statements(self, c: list[Any]) -> None:
        return None

    def more_statements(self, c: list[Any]) -> tuple[Any, tree.Statement]:
        return c[0], c[1]

    def statement(self, c: list[Any]) -> tree.Statement:
        return c[0]

    def inline_suite(self, c: list[Any]) -> _Part:
        return _Part((c[1],), c[1].span)

    def block_suite(self, c: list[Any]) -> _Part:
        body = _statements(c[3])
        return _Part(body, body[0].span.to(body[-1].span))

    # declarations

    def declared_name(self, c: list[Any]) -> tree.Declared:
        return tree.Declared(_spelled(c[0]), span=token_span(c[0]))

    def declared(self, c: list[Any]) -> tree.Declared:
        return tree.Declared(_spelled(c[0]), _nodes(c), span=_span(c))

    def width_decl(self, c: list[Any]) -> tree.WidthDecl:
        return tree.WidthDecl(c[1], _only(_nodes(c[2:])), span=_span(c))

    def size_decl(self, c: list[Any]) -> tree.SizeDecl:
        names = tuple(node for node in c if isinstance(node, tree.Declared))
        default = c[-1] if "EQUAL" in _kinds(c) else None
        if default and len(names) > 1:
            raise _Mistake("TP100", "a default belongs to a single size", _span(c),
                           f"write `size {names[-1].name} = ...` on a line of its own")
        return tree.SizeDecl(names, default, span=_span(c))

    def param_decl(self, c: list[Any]) -> tree.ParamDecl:
        kind = "int" if "INT" in _kinds(c) else "real"
        return tree.ParamDecl(c[1], kind, _only(_nodes(c[2:])), span=_span(c))

    def input_decl(self, c: list[Any]) -> tree.InputDecl:
        kind = str(c[4]) if len(c) == 5 else "real"
        return tree.InputDecl(c[1], c[3].value, kind, span=_span(c))

    def matrix_decl(self, c: list[Any]) -> tree.MatrixDecl:
        return tree.MatrixDecl(c[1], c[3].value, c[4].value, span=_span(c))

    def vector_decl(self, c: list[Any]) -> tree.VectorDecl:
        return tree.VectorDecl(c[1], c[3].value, c[4].value, span=_span(c))

    def shape(self, c: list[Any]) -> _Part:
        return _Part(_nodes(c), _span(c))

    def random_law(self, c: list[Any]) -> _Part:
        return _Part(tree.Law(_spelled(c[1]), _nodes(c[2:]), span=_span(c[1:])), _span(c))

    def zero_law(self, c: list[Any]) -> _Part:
        if not isinstance(c[1], tree.Number) or c[1].value != 0:
            raise _Mistake("TP100", "a matrix or vector starts at random or at zero", c[1].span,
                           "write `= 0`, or a law such as `~ normal(0, 1)`")
        return _Part(None, _span(c))

    # statements

    def assign(self, c: list[Any]) -> tree.Assign:
        target, op, value = c
        _check_target(target, op, value)
        return tree.Assign(target, str(op), value, span=_span(c))

    def bare_value(self, c: list[Any]) -> tree.Statement:
        if isinstance(c[0], tree.Compare) and c[0].ops == ("==",):
            raise _Mistake("TP105", "`==` compares, it does not assign", c[0].span, "write `=` to assign")
        if isinstance(c[0], tree.Name) and c[0].id in FOREIGN_STATEMENTS:
            raise _Mistake("TP108", f"there is no `{c[0].id}` statement", c[0].span, FOREIGN_STATEMENTS[c[0].id])
        raise _Mistake("TP100", "this value is not used", c[0].span,
                       "write `name = ...` to keep it, or `output ...` for a result")

    def return_(self, c: list[Any]) -> tree.Return:
        return tree.Return(c[1], span=_span(c))

    def output(self, c: list[Any]) -> tree.Output:
        return tree.Output(tuple(part.value for part in _nodes(c)), span=_span(c))

    def output_item(self, c: list[Any]) -> _Part:
        return _Part((c[0], c[2] if len(c) == 3 else None), _span(c))

    def pass_(self, c: list[Any]) -> tree.Pass:
        return tree.Pass(span=_span(c))

    def for_header(self, c: list[Any]) -> _Part:
        return _Part((c[1], _range_arguments(c[3:])), _span(c))

    def for_loop(self, c: list[Any]) -> tree.For:
        variable, arguments = c[0].value
        return tree.For(_spelled(variable), arguments, c[1].value, span=_span(c), var_span=token_span(variable))

    def first_branch(self, c: list[Any]) -> _Part:
        return _Part((None, (c[1], c[2].value)), _span(c))

    def next_branch(self, c: list[Any]) -> _Part:
        return _Part((c[0].value, (c[2], c[3].value)), _span(c))

    def if_only(self, c: list[Any]) -> tree.If:
        return tree.If(_statements(c[0].value), (), span=_span(c))

    def if_else(self, c: list[Any]) -> tree.If:
        return tree.If(_statements(c[0].value), c[2].value, span=_span(c))

    def parameters(self, c: list[Any]) -> _Part:
        return _Part(_nodes(c), _span(c))

    def func_block(self, c: list[Any]) -> tree.FuncDef:
        return tree.FuncDef(c[1], c[2].value, c[3].value, None, span=_span(c))

    def func_line(self, c: list[Any]) -> tree.FuncDef:
        return tree.FuncDef(c[1], c[2].value, (), c[4], span=_span(c))

    # expressions

    def tuple_expr(self, c: list[Any]) -> tree.TupleExpr:
        return tree.TupleExpr(_nodes(c), span=_span(c))

    def if_exp(self, c: list[Any]) -> tree.IfExp:
        return tree.IfExp(c[2], c[0], c[4], span=_span(c))

    def bool_op(self, c: list[Any]) -> tree.BoolOp:
        return tree.BoolOp(str(c[1]), _nodes(c), span=_span(c))

    def not_(self, c: list[Any]) -> tree.Not:
        return tree.Not(c[1], span=_span(c))

    def compare(self, c: list[Any]) -> tree.Compare:
        return tree.Compare(_nodes(c), tuple(str(op) for op in c[1::2]), span=_span(c))

    def binary(self, c: list[Any]) -> tree.Binary:
        return tree.Binary(str(c[1]), c[0], c[2], span=_span(c))

    def unary(self, c: list[Any]) -> tree.Unary:
        return tree.Unary(str(c[0]), c[1], span=_span(c))

    def index(self, c: list[Any]) -> tree.Index:
        return tree.Index(c[0], _nodes(c[1:]), span=_span(c))

    def slice(self, c: list[Any]) -> tree.Slice:
        colon = _kinds(c).index("COLON")
        return tree.Slice(_only(tuple(c[:colon])), _only(tuple(c[colon + 1:])), span=_span(c))

    def attribute(self, c: list[Any]) -> tree.Transpose:
        if c[2] != "T":
            raise _Mistake("TP100", f"there is no `.{c[2]}`", _span(c[1:]),
                           ATTRIBUTE_HELP.get(c[2], "write `W.T` for the transpose"))
        if isinstance(c[0], tree.Number):
            raise _Mistake("TP100", "a number has no transpose", _span(c), "write `W.T` for a matrix `W`")
        return tree.Transpose(c[0], span=_span(c))

    def name(self, c: list[Any]) -> tree.Name:
        return tree.Name(_spelled(c[0]), span=_span(c))

    def number(self, c: list[Any]) -> tree.Number:
        value = int(c[0]) if INTEGER.fullmatch(c[0]) else float(c[0])
        return tree.Number(value, span=_span(c))

    def parenthesized(self, c: list[Any]) -> tree.Expr:
        return replace(c[1], span=_span(c))

    def call(self, c: list[Any]) -> tree.Call:
        kinds = _kinds(c)
        end = kinds.index("SEMICOLON") if "SEMICOLON" in kinds else len(c)
        return tree.Call(_spelled(c[0]), c[0].count("'"), _nodes(c[:end]), _nodes(c[end:]), span=_span(c),
                         func_span=token_span(c[0]))

    def comprehension(self, c: list[Any]) -> tree.Comprehension:
        if c[0].type == "PRIMED":
            raise _Mistake("TP100", "a derivative is not taken of a sum over indices", token_span(c[0]),
                           f"write `{_spelled(c[0])}(...)`")
        return tree.Comprehension(_spelled(c[0]), c[2], tuple(c[3:-1]), span=_span(c))

    def clause(self, c: list[Any]) -> tree.Clause:
        end = _kinds(c).index("IF") if "IF" in _kinds(c) else len(c)
        return tree.Clause(_spelled(c[1]), _range_arguments(c[3:end]), _nodes(c[end:]), span=_span(c),
                           var_span=token_span(c[1]))


def _statements(pairs: tuple[Any, Any] | None) -> tuple[Any, ...]:
    """The tuple that nested pairs ((None, a), b) stand for."""
    items = []
    while pairs is not None:
        pairs, last = pairs
        items.append(last)
    return tuple(reversed(items))


def _range_arguments(children: Sequence[Child]) -> tuple[Any, ...]:
    arguments = _nodes(children)
    if len(arguments) > 3:
        raise _Mistake("TP110", "`range` takes one to three arguments", _span(children),
                       "write `range(stop)`, `range(start, stop)` or `range(start, stop, step)`")
    return arguments


def _check_target(target: tree.Expr, op: Token, value: tree.Expr) -> None:
    targets = target.items if isinstance(target, tree.TupleExpr) else (target,)
    for item in targets:
        if isinstance(item, tree.Call):
            raise _Mistake("TP111", "a call cannot be assigned to", item.span,
                           f"write `def {item.func}(x) = ...` for a function, `{item.func}[a] = ...` for a family")
        if not isinstance(item, tree.Name | tree.Index):
            raise _Mistake("TP111", "this cannot be assigned to", item.span,
                           "assign to a name `h`, an element `h[t, a]` or several, `a, b`")
    if op != "=" and isinstance(target, tree.TupleExpr):
        raise _Mistake("TP111", f"`{op}` updates one value at a time", target.span,
                       f"write one `{op}` for each value")
    if op != "=" and isinstance(value, tree.TupleExpr):
        raise _Mistake("TP111", f"`{op}` takes a single value", value.span, f"write one `{op}` for each value")
