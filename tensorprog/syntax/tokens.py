"""What the stages of the parser know of tokens: reserved words, brackets, numbers, spelling and places."""

from __future__ import annotations

import re
import unicodedata

from lark import Token

from tensorprog.diagnostics import Span

KEYWORDS = frozenset("width size param input matrix vector for in range if elif else def return output as and or not "
                     "pass int real".split())

CLOSERS = {"LPAR": "RPAR", "LSQB": "RSQB"}
SIGNS = {"LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]"}

DIGITS = "[0-9](?:_?[0-9])*"
# As in Python: underscores between digits, and no zeros in front.
INTEGER = re.compile(r"0+|[1-9](?:_?[0-9])*")
FLOAT = re.compile(rf"(?:{DIGITS}\.(?:{DIGITS})?|\.{DIGITS})(?:[eE][+-]?{DIGITS})?|{DIGITS}[eE][+-]?{DIGITS}")


def token_span(token: Token) -> Span:
    """Where a token is; those of this lexer all have a place."""
    assert token.line is not None and token.column is not None and token.end_line is not None \
        and token.end_column is not None, f"{token!r} has no place"
    return Span(token.line, token.column, token.end_line, token.end_column)


def end_of(token: Token) -> Span:
    """The empty span just after a token, where something is missing."""
    span = token_span(token)
    return Span(span.end_line, span.end_column, span.end_line, span.end_column)


def inserted(kind: str, text: str, place: Token) -> Token:
    """A token that is not in the text, placed just after another."""
    return Token(kind, text, line=place.end_line, column=place.end_column, end_line=place.end_line,
                 end_column=place.end_column)


def spelled(token: str) -> str:
    """A name without its primes, in the one form that all its spellings share (Python's rule, so µ is μ)."""
    return unicodedata.normalize("NFKC", token.rstrip("'"))
