"""Highlighting: the Pygments lexer and the TextMate grammar know the language's words, and every program that there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from places import ROOT
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, Text

from tensorprog import highlighting
from tensorprog.check.declarations import builtin_names, law_parameters
from tensorprog.check.library import PARAMETERS
from tensorprog.highlighting import TensorProgramLexer
from tensorprog.syntax.tokens import KEYWORDS

PROGRAMS = sorted((ROOT / "examples").rglob("*.tp"))
VSCODE = ROOT / "docs" / "editors" / "vscode"
WORDS = builtin_names() | set(PARAMETERS) | {"where", "len", "norm", "polar", "sample"}


def tokens(text: str) -> list[tuple[object, str]]:
    return [(kind, value) for kind, value in TensorProgramLexer().get_tokens(text) if value.strip()]


def patterns() -> dict[str, list[str]]:
    grammar = json.loads((VSCODE / "syntaxes" / "tp.tmLanguage.json").read_text())
    found: dict[str, list[str]] = {}
    for pattern in grammar["patterns"]:
        found.setdefault(pattern.get("name", "definition"), []).append(pattern["match"])
    return found


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_programs_are_lexed_whole(path):
    text = path.read_text(encoding="utf-8")
    found = list(TensorProgramLexer(stripnl=False).get_tokens(text))
    assert "".join(value for _, value in found) == text
    assert not [value for kind, value in found if kind in Error or kind is Text]


def test_kinds_of_tokens():
    found = tokens("matrix W[L] : [n, n] ~ normal(0, 1e-3/n)   # weights\ndef net(x) = tanh'(W.T @ x) + 2\nfor t in range(10):\n"
                   "    input_size = μ**2")
    for token in ((Keyword.Declaration, "matrix"), (Name.Class, "normal"), (Number.Float, "1e-3"), (Comment.Single, "# weights"),
                  (Keyword, "def"), (Name.Function, "net"), (Name.Builtin, "tanh'"), (Name.Attribute, "T"), (Number.Integer, "2"),
                  (Keyword, "for"), (Name.Builtin, "range"), (Name, "input_size"), (Name, "μ"), (Operator, "**")):
        assert token in found


def test_the_words_are_those_of_the_language():
    listed = {*highlighting.DECLARATIONS, *highlighting.CONTROL, *highlighting.LOGIC, *highlighting.TYPES}
    assert listed == KEYWORDS - {"range"}
    assert WORDS <= set(highlighting.FUNCTIONS)
    assert set(highlighting.LAWS) == set(law_parameters())


def test_the_grammar_has_the_same_words():
    grammar = patterns()
    for name, words in (("storage.type.tp", highlighting.DECLARATIONS), ("keyword.control.tp", highlighting.CONTROL),
                        ("keyword.operator.logical.tp", highlighting.LOGIC), ("storage.modifier.tp", highlighting.TYPES),
                        ("support.class.tp", highlighting.LAWS), ("support.function.tp", highlighting.FUNCTIONS)):
        (match,) = grammar[name]
        assert set(re.search(r"\(\?:([\w|]+)\)", match)[1].split("|")) == set(words), name


@pytest.mark.parametrize(("name", "text", "found"), [
    ("storage.type.tp", "  param eta = 1", "  param"), ("support.function.tp", "h = tanh''(x)", "tanh''"),
    ("constant.numeric.tp", "x = 1e-3*y", "1e-3"), ("constant.numeric.tp", "x = .5", ".5"), ("constant.numeric.tp", "h2 = y", None),
    ("comment.line.number-sign.tp", "x = 1 # two", "# two"), ("support.function.tp", "tanhx(x)", None),
    ("keyword.control.tp", "format = 1", None)])
def test_patterns(name, text, found):
    (match,) = patterns()[name]
    hit = re.search(match, text)
    assert (hit and hit.group()) == found


def test_the_extension_is_whole():
    package = json.loads((VSCODE / "package.json").read_text())
    json.loads((VSCODE / "language-configuration.json").read_text())
    for path in (package["main"], package["contributes"]["languages"][0]["configuration"], package["contributes"]["grammars"][0]["path"]):
        assert (VSCODE / path).is_file()
    assert package["contributes"]["configuration"]["properties"]["tensorprog.command"]["default"] == ["tpc", "lsp"]
    node = shutil.which("node")
    if node:
        subprocess.run([node, "--check", VSCODE / "extension.js"], check=True)


def test_the_lexer_is_found_by_pygments():
    from importlib.metadata import entry_points

    found = [e for e in entry_points(group="pygments.lexers") if e.value.startswith("tensorprog")]
    if not found:
        pytest.skip("tensorprog is not installed here")
    from pygments.lexers import get_lexer_by_name, get_lexer_for_filename

    assert isinstance(get_lexer_by_name("tp"), TensorProgramLexer)
    assert isinstance(get_lexer_for_filename("model.tp"), TensorProgramLexer)
