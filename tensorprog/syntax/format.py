"""The canonical layout of a program's text, for `tpc fmt`: indentation, spacing and blank lines; comments stay.

    rows       the tokens of each row of the text that is not blank; line breaks inside brackets are the user's
    depths     how deep each row is indented, from blocks, open brackets and, for comments, the rows around them
    spacing    the text of each row
    comments   two spaces before a trailing comment; comments in one column on successive rows keep a common column

`* / // % @`, and inside brackets also `+ -`, stay without spaces where they were written so on both sides
(`eta/n * outer(u, v)`, `x[t-1]`). The syntax tree stays as it was; this is checked on the result, since a formatter
that damages a program is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lark import Token

from tensorprog.diagnostics import Source
from tensorprog.syntax.grammar import tokenize
from tensorprog.syntax.parser import parse
from tensorprog.syntax.tokens import token_span

INDENT = "    "
MAX_BLANK_ROWS = 2
COMMENT_GAP = 2

OPENERS = frozenset(("LPAR", "LSQB"))
CLOSERS = frozenset(("RPAR", "RSQB"))
SIGNS = frozenset(("PLUS", "MINUS"))
PRODUCTS = frozenset("STAR SLASH DOUBLESLASH PERCENT AT".split())
CALLED = frozenset("NAME PRIMED RANGE".split())
OPERAND_ENDS = frozenset("NAME NUMBER RPAR RSQB".split())
HEADERS = frozenset("IF ELIF ELSE FOR DEF".split())


def format_text(source: Source) -> str:
    """The program's text in canonical layout; raises `ProgramError` if it does not parse."""
    module = parse(source)
    rows = _rows(tokenize(source))
    _indent(rows, source)
    _space(rows)
    text = _join(rows)
    if parse(Source(source.name, text)) != module:
        raise AssertionError("formatting would change the program: this is a bug of tpc, the text was left alone")
    return text


@dataclass(slots=True)
class _Row:
    """A row of the text: its tokens without the comment, and what the stages find out about it."""

    number: int
    tokens: list[Token]
    comment: Token | None
    continues: bool = False
    depth: int = 0
    text: str = ""

    @property
    def column(self) -> int | None:
        """Where the trailing comment was, None without one."""
        return self.comment.column if self.comment and self.tokens else None


def _rows(tokens: list[Token]) -> list[_Row]:
    rows: dict[int, _Row] = {}
    for token in tokens:
        if token.type == "NEWLINE":
            continue
        line = token_span(token).line
        row = rows.setdefault(line, _Row(line, [], None))
        if token.type == "COMMENT":
            row.comment = token
        else:
            row.tokens.append(token)
    return list(rows.values())


# --- depths --------------------------------------------------------------------------------------------------


def _indent(rows: list[_Row], source: Source) -> None:
    """Find the depth of each row."""
    # Not `splitlines`, which breaks at more characters than the lexer counts rows by.
    texts = source.text.split("\n")
    widths = [_indent_width(texts[row.number - 1]) for row in rows]
    _indent_brackets(rows)
    _indent_blocks(rows, widths)
    _indent_comments(rows, widths)


def _indent_width(text: str) -> int:
    text = text.replace("\ufeff", "").expandtabs(8)
    return len(text) - len(text.lstrip())


def _indent_brackets(rows: list[_Row]) -> None:
    """Depth of the rows inside brackets under the first row of their line: one more for each row that left one open."""
    opened: list[int] = []
    for row in rows:
        row.continues = bool(opened)
        leading = True
        row.depth = len(set(opened))
        for token in row.tokens:
            if token.type in OPENERS:
                opened.append(row.number)
            elif token.type in CLOSERS:
                opened.pop()
            leading = leading and token.type in CLOSERS
            # Closing brackets at the beginning of a row stand as far out as the row that opened them.
            if leading:
                row.depth = len(set(opened))


def _indent_blocks(rows: list[_Row], widths: list[int]) -> None:
    levels = [0]
    for row, width in zip(rows, widths, strict=True):
        if row.tokens and not row.continues:
            # By the user's own widths, whatever they are: only which rows belong together matters.
            while levels[-1] > width:
                levels.pop()
            if width > levels[-1]:
                levels.append(width)
        row.depth += len(levels) - 1


def _indent_comments(rows: list[_Row], widths: list[int]) -> None:
    """A comment on its own goes with the block that it is indented like, and is no shallower than the next line."""
    levels = [0]
    following = _following_depths(rows)
    for row, width, minimum in zip(rows, widths, following, strict=True):
        if row.tokens and not row.continues:
            levels = [*levels[:row.depth], width]
        elif not row.tokens and not row.continues:
            inside = sum(level <= width for level in levels) - 1
            row.depth = max(minimum, inside)


def _following_depths(rows: list[_Row]) -> list[int]:
    """For each row the depth of the next one that starts a line, 0 at the end."""
    depths, depth = [], 0
    for row in reversed(rows):
        if row.tokens and not row.continues:
            depth = row.depth
        depths.append(depth)
    return depths[::-1]


# --- spacing -------------------------------------------------------------------------------------------------


def _space(rows: list[_Row]) -> None:
    """Write the text of each row."""
    spacer = _Spacer()
    for row in rows:
        if not row.continues:
            spacer = _Spacer()
        row.text = INDENT * row.depth + "".join(spacer.pieces(row.tokens))


class _Spacer:
    """Spaces between the tokens of one logical line."""

    def __init__(self) -> None:
        self.depth = 0
        self.header = False
        self.before: Token | None = None
        self.tight = False

    def pieces(self, tokens: list[Token]) -> Iterator[str]:
        for number, token in enumerate(tokens):
            follower = tokens[number + 1] if number + 1 < len(tokens) else None
            tight_left, tight_right = self.sides(token, follower)
            if number and not tight_left and not self.tight:
                yield " "
            yield str(token)
            self.before, self.tight = token, tight_right

    def sides(self, token: Token, follower: Token | None) -> tuple[bool, bool]:
        """Whether no space stands before a token, and after it."""
        before = self.before
        if before is None:
            self.header = token.type in HEADERS
        if token.type in OPENERS:
            self.depth += 1
            indexes = token.type == "LSQB" and before is not None and before.type in OPERAND_ENDS
            return indexes or (before is not None and before.type in CALLED), True
        if token.type in CLOSERS:
            self.depth -= 1
            return True, False
        if token.type in ("COMMA", "SEMICOLON"):
            return True, False
        if token.type in ("DOT", "DOUBLESTAR"):
            return True, True
        if token.type == "COLON":
            return self.colon()
        # A sign, and no difference: after an operator, an opening bracket, a comma, or a word.
        if token.type in SIGNS and (before is None or before.type not in OPERAND_ENDS):
            return False, True
        if token.type in PRODUCTS or (token.type in SIGNS and self.depth):
            # As the user wrote it, so that eta/n * outer(u, v) keeps its grouping; on one side only it is spaced.
            return (_touches(before, token) and _touches(token, follower),) * 2
        return False, False

    def colon(self) -> tuple[bool, bool]:
        """A colon stands in a slice, after a header, or in a declaration."""
        if self.depth:
            assert self.before is not None
            return self.before.type != "COMMA", True
        header, self.header = self.header, False
        return header, False


def _touches(left: Token | None, right: Token | None) -> bool:
    return left is not None and right is not None and left.end_pos == right.start_pos


# --- comments and blank rows ---------------------------------------------------------------------------------


def _join(rows: list[_Row]) -> str:
    lines: list[str] = []
    previous = rows[0].number - 1 if rows else 0
    for group in _comment_groups(rows):
        column = max((len(row.text) for row in group if row.column), default=0) + COMMENT_GAP
        for row in group:
            lines += [""] * min(row.number - previous - 1, MAX_BLANK_ROWS)
            lines.append(_with_comment(row, column))
            previous = row.number
    return "".join(line + "\n" for line in lines)


def _comment_groups(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Runs of rows without a blank row between them whose trailing comments, where they have one, share a column."""
    group: list[_Row] = []
    column = None
    for row in rows:
        # Comments that did not stand in one column were not meant to.
        moved = None not in (column, row.column) and row.column != column
        if group and (moved or row.number != group[-1].number + 1):
            yield group
            group, column = [], None
        group.append(row)
        column = column or row.column
    if group:
        yield group


def _with_comment(row: _Row, column: int) -> str:
    if row.comment is None:
        return row.text
    comment = row.comment.rstrip()
    return row.text.ljust(column) + comment if row.tokens else row.text + comment
