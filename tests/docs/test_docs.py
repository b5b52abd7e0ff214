"""README, docs and examples/README.md: every program, Python block and command line in them is executed.

Conventions of the documents: a `tp` block begins with a comment that names its file; `python` blocks of one document
share their names and run in order; a `console` block holds `$ command` lines with the output, in which `...` stands for
anything, and numbers need to agree only roughly; `sh` blocks are about installing.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from places import ROOT

import tensorprog
from tensorprog.cli import main
from tensorprog.registry import REGISTERED

DOCUMENTS = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")
                                   if not {"_build", "generated", "node_modules"} & set(path.parts)
                                   and path.name != "language.md"), "examples/README.md")
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.M | re.S)
WRITTEN_FROM_CODE = ("generated/diagnostics.md",)  # by docs/generated_pages.py
LAYOUT = ("{toctree}", "{image}", "{eval-rst}")
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")
INSTALLATION = {"pip install .", 'pip install -e ".[test]"'}


def blocks(document: str) -> list[tuple[str, str]]:
    return FENCE.findall((ROOT / document).read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder with the examples, from which modules can be imported."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = list(REGISTERED)
    yield tmp_path
    sys.modules.pop("first_limit", None)
    for extension in [e for e in REGISTERED if e not in before]:
        tensorprog.unregister(extension)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_run(document, folder):
    if document == "docs/torch.md":
        pytest.importorskip("torch.nn")
    namespace: dict[str, object] = {"__name__": "__document__"}
    for language, text in blocks(document):
        match language:
            case "tp":
                Path(text.split()[1].rstrip(":")).write_text(text, encoding="utf-8")
            case "python" | "{code-cell} python":
                exec(compile(text, document, "exec"), namespace)
            case "console":
                run_console(text)
            case "ipython":
                pass  # by tests/extras
            case _ if language.startswith(LAYOUT):
                pass  # by Sphinx
            case "sh":
                assert set(text.strip().split("\n")) <= INSTALLATION
            case _:
                assert language == "text", f"what is a `{language}` block in {document}?"


def run_console(text: str) -> None:
    """Run the `$` lines and compare what they print."""
    for session in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, expected = session.partition("\n")
        program, *arguments = shlex.split(command)
        assert program == "tpc"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == (2 if "error[" in expected else 0), result.output
        printed = result.output if result.exit_code else result.stdout
        assert same_text(expected, printed), f"{command}\n{printed}"


def same_text(expected: str, found: str) -> bool:
    """Equal but for `...` lines, the digits of numbers, and spaces."""
    pattern = "".join(r"(?s:.*)" if line.strip() == "..." else shape(line) + r"\s*" for line in expected.splitlines())
    match = re.fullmatch(pattern, "\n".join(found.splitlines()) + "\n" if found else "")
    if match is None:
        return False
    if "..." in expected.split("\n"):
        return True
    return np.allclose(numbers(expected), numbers(found), rtol=0.02, atol=0.005)


def shape(line: str) -> str:
    """A pattern for the line with any number in the place of each."""
    words = NUMBER.split(line.strip())
    return r"\s*" + NUMBER.pattern.join(re.escape(word).replace(r"\ ", r"\s") for word in words)


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]


def test_comparison_of_outputs():
    assert same_text("f = 0.1234\n", "f = 0.1236\n")
    assert same_text("f [3]\n...\n", "f [3]\n  1 2 3\nloss\n")
    assert not same_text("f = 0.12\n", "f = 0.22\n")
    assert not same_text("f = 0.12\n", "g = 0.12\n")
    assert not same_text("f = 0.12\n", "")


# --- the language reference ----------------------------------------------------------------------------------


COMPLETE = [text for language, text in blocks("docs/language.md") if "\noutput " in text and text.startswith("width")]


def test_the_reference_has_complete_programs():
    assert len(COMPLETE) >= 2
    assert not {language for language, _ in blocks("docs/language.md")} - {""}


@pytest.mark.parametrize("text", COMPLETE, ids=range(len(COMPLETE)))
def test_programs_of_the_reference_run(text):
    program = tensorprog.compile(text)
    names = {declared.name for declared in program.program.inputs}
    data = {"X": np.array([[1.0, 0.5], [-0.3, 1.2]]), "y": np.array([1.0, -1.0])}
    settings = {"T": 2} if "param T" in text else {}
    result = program.run({name: data[name] for name in names}, samples=256, replicates=2, **settings)
    assert all(np.isfinite(result[name]).all() for name in result)


def test_links_lead_somewhere():
    for document in (*DOCUMENTS, "docs/language.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text(encoding="utf-8")):
            if "://" not in target and target not in WRITTEN_FROM_CODE:
                assert ((ROOT / document).parent / target).exists(), f"{document}: {target}"


def test_files_named_in_the_documents_exist():
    for document in ("README.md", "docs/architecture.md", "docs/derivations.md", "docs/theory.md"):
        text = FENCE.sub("", (ROOT / document).read_text(encoding="utf-8"))
        for path in re.findall(r"`((?:[a-z]\w+/)+\w*(?:\.\w+)?)`", text):
            if path.startswith("out/"):
                continue
            assert (ROOT / path).exists() or (ROOT / "tensorprog" / path).exists(), f"{document}: {path}"
