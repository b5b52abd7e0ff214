"""The lexer and the LALR parser that lark makes from `grammar/tensorprog.lark`; the parse table is kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

import platformdirs
from lark import Lark, Token
from lark.lark import PostLex

from tensorprog.diagnostics import Source
from tensorprog.syntax.build_tree import Builder


class _KeepTerminals(PostLex):
    """Makes lark keep the terminals that no rule uses; the layout itself is done on logical lines."""

    always_accept = ("COMMENT", "STRING", "FOREIGN_OPERATOR", "FOREIGN")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@cache
def lark_parser() -> Lark:
    grammar = _grammar_text()
    return Lark(grammar, start="module", parser="lalr", lexer="basic", postlex=_KeepTerminals(),
                transformer=Builder(), keep_all_tokens=True, maybe_placeholders=False, cache=_cache_file(grammar))


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
    session = lark_parser().parse_interactive(source.text)
    return list(session.lexer_thread.lex(session.parser_state))
