"""The lexer and the LALR parser that lark makes from `grammar/tensorprog.lark`; the parse table is kept on disk."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

from lark import Lark, Token
from lark import __version__ as lark_version
from lark.lark import PostLex

from tensorprog.cache_folder import recall, store
from tensorprog.diagnostics import Source
from tensorprog.syntax.build_tree import TreeBuilder


class _KeepTerminals(PostLex):
    """Makes lark keep the terminals that no rule uses; the layout itself is done on logical lines."""

    always_accept = ("COMMENT", "STRING", "FOREIGN_OPERATOR", "FOREIGN")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@cache
def lark_parser() -> Lark:
    # The name of the kept table holds all that it depends on: lark, Python's pickles, and the grammar.
    grammar = _grammar_text()
    name = f"grammar-{hashlib.sha256(f'{lark_version} {sys.version} {grammar}'.encode()).hexdigest()[:16]}.table"
    return _kept_parser(name) or _new_parser(grammar, name)


# What the kept table goes without.
OWN = {"transformer": TreeBuilder, "postlex": _KeepTerminals}


def _new_parser(grammar: str, name: str) -> Lark:
    parser = Lark(grammar, start="module", parser="lalr", lexer="basic", keep_all_tokens=True,
                  maybe_placeholders=False, **{option: make() for option, make in OWN.items()})
    table = io.BytesIO()
    parser.save(table, exclude_options=OWN)
    store(name, table.getvalue())
    return parser


def _kept_parser(name: str) -> Lark | None:
    table = recall(name)
    if table is None:
        return None
    try:
        return Lark._load_from_dict(**pickle.loads(table), **{option: make() for option, make in OWN.items()})
    except Exception:  # whatever a table of another lark raises; a new one takes a tenth of a second
        return None


def _grammar_text() -> str:
    try:
        file = resources.files("tensorprog.grammar").joinpath("tensorprog.lark")
    except ModuleNotFoundError:  # a checkout that is not installed
        file = Path(__file__).parents[2] / "grammar" / "tensorprog.lark"
    return file.read_text(encoding="utf-8")


def tokenize(source: Source) -> list[Token]:
    """Every token of the text with the comments and the ends of rows, in order."""
    # The lexer alone, without the parser, which is fed line by line.
    session = lark_parser().parse_interactive(source.text)
    return list(session.lexer_thread.lex(session.parser_state))
