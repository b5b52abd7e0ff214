"""What users are told about their mistakes.

`bad_programs/<name>.tp` are small programs with one or a few mistakes, `bad_programs/<name>.expected` the text that the
compiler prints about each. After a change of messages, read the differences and pin them:

    PYTHONPATH=tests/helpers python tests/check/test_bad_programs.py --update
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from places import BAD_PROGRAMS, ROOT

from tensorprog.check import front
from tensorprog.diagnostics import Diagnostic, ProgramError, Reporter, Source, render
from tensorprog.diagnostics.catalog import CATALOG
from tensorprog.pipeline import compile_program
from tensorprog.syntax import parse

PROGRAMS = sorted(BAD_PROGRAMS.glob("*.tp"))
STAGES = r"TP[1-5]\d\d"


def diagnose(source: Source) -> tuple[Diagnostic, ...]:
    """All that the front end and the passes say about a program; any exception but `ProgramError` escapes."""
    reporter = Reporter(source)
    try:
        compile_program(front(source, reporter), None, reporter)
    except ProgramError as error:
        return error.diagnostics
    return tuple(reporter.found)


def read(path: Path) -> Source:
    return Source(path.name, path.read_text(encoding="utf-8"))


def rendered(path: Path) -> str:
    source = read(path)
    return render(diagnose(source), source) + "\n"


def update() -> None:
    """Pin what the compiler says now, and forget programs that are gone."""
    for path in PROGRAMS:
        path.with_suffix(".expected").write_text(rendered(path), encoding="utf-8")
    for path in PROGRAMS[0].parent.glob("*.expected"):
        if path.with_suffix(".tp") not in PROGRAMS:
            path.unlink()


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_message(path):
    assert rendered(path) == path.with_suffix(".expected").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_diagnostics_have_a_place_inside_the_text(path):
    source = read(path)
    found = diagnose(source)
    assert found
    for diagnostic in found:
        for span in (diagnostic.span, *(note.span for note in diagnostic.notes)):
            if span is not None:
                assert 1 <= span.column <= len(source.line(span.line)) + 1


def test_every_code_has_a_bad_program():
    codes = {diagnostic.code for path in PROGRAMS for diagnostic in diagnose(read(path))}
    assert {code for code in CATALOG if re.fullmatch(STAGES, code)} == codes


# --- the statements that helps tell users to write -----------------------------------------------------------

DECLARATION = r"(?:width|size|param|input|matrix|vector|output|return|def|for|if)\s.*"
ASSIGNMENT = r"[^\W\d][\w\[\], ]* [-+*/]?= .+"


def statements(help: str) -> list[str]:
    """The complete statements among the backquoted pieces of a help, with something in the place of `...`."""
    pieces = [p for p in re.findall(r"`([^`]+)`", help) if re.fullmatch(f"{DECLARATION}|{ASSIGNMENT}", p)]
    pieces = [re.sub(r"(?<=\()\.\.\.(?= for)|\.\.\.", "x", p) for p in pieces]
    return [p + " pass" if p.endswith(":") else p for p in pieces]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_helps_parse(path):
    for diagnostic in diagnose(read(path)):
        for statement in statements(diagnostic.help or ""):
            if not re.fullmatch(r"(for|if) [^:]*", statement):
                parse(Source("help.tp", statement + "\n"))


# --- the catalog of `tpc explain` ----------------------------------------------------------------------------

PRELUDE = """\
width n
size P, d
size K = 3
param eta = 0.1
param T : int = 3
input X : [P, d]
input y : [P]
input ids : [T] int
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
vector w[K] : [n] ~ normal(0, 1)
"""
ENTRIES = {code: entry for code, entry in CATALOG.items() if re.fullmatch(STAGES, code)}


def completed(fragment: str) -> Source:
    """A fragment with declarations before it and an output after it, unless it has its own."""
    before = "" if fragment.startswith("width n") else PRELUDE
    wants_output = before and not re.search("^output", fragment, re.M)
    after = "output moment(v*v) as second_moment\n" if wants_output else ""
    return Source("fragment.tp", f"{before}{fragment}\n{after}")


def test_catalog_has_every_code_of_the_source():
    files = [f for f in (ROOT / "tensorprog").rglob("*.py") if not f.name.startswith("catalog")]
    codes = {code for f in files for code in re.findall(STAGES, f.read_text(encoding="utf-8"))}
    assert codes == set(ENTRIES)


@pytest.mark.parametrize("code", ENTRIES)
def test_bad_fragment_gives_its_code(code):
    assert code in {diagnostic.code for diagnostic in diagnose(completed(ENTRIES[code].bad))}


@pytest.mark.parametrize("code", ENTRIES)
def test_good_fragment_compiles(code):
    source = completed(ENTRIES[code].good)
    found = diagnose(source)
    assert not found, render(found, source)


if __name__ == "__main__" and "--update" in sys.argv:
    update()
