"""Imports inside of functions are exceptions, each of them on record; imports at the top make no circle."""

from __future__ import annotations

from pathlib import Path

import pytest
from imports import LATE, Imports, imports, late_list

#: Circles that stay, by what they are for. A late import closes each of them.
CIRCLES = {
    "the checker descends through expressions, calls and the bodies of functions": {
        ("tensorprog.check.expressions", "tensorprog.check.calls"),
        ("tensorprog.check.integers", "tensorprog.check.expressions"),
        ("tensorprog.check.matrix_functions", "tensorprog.check.expressions"),
        ("tensorprog.check.statements", "tensorprog.check.functions"),
    },
    "an object shows and rewrites itself": {
        ("tensorprog.powers.entries", "tensorprog.powers.rewrite"),
        ("tensorprog.powers.entries", "tensorprog.powers.tables"),
        ("tensorprog.torch.parametrize", "tensorprog.torch.derivation"),
        ("tensorprog.torch.tracing", "tensorprog.torch.emit"),
        ("tensorprog.torch.tracing", "tensorprog.torch.verification"),
    },
    "to verify a program is to run it": {("tensorprog.api", "tensorprog.verify.verify")},
    "an interrupt while modules are read ends as one of a command does": {("tensorprog.start", "tensorprog.cli")},
}


@pytest.fixture(scope="module")
def found() -> Imports:
    return imports()


def test_imports_at_the_top_make_no_circle(found):
    assert not sorted(edge for edge in found.at_once if found.closes_a_circle(edge))


def test_late_imports_that_close_a_circle_are_known(found):
    assert {edge for edge in found.late if found.closes_a_circle(edge)} == set().union(*CIRCLES.values())


def test_late_imports_for_start_up_are_on_record(found):
    assert LATE.read_text() == late_list(found), "`make goldens` writes the list anew"


def test_a_late_import_spares_a_module(found):
    """What is loaded anyway before the function is called is imported at the top."""
    assert not sorted((m, t) for m, t in found.late if t in found.loaded(m) and not found.closes_a_circle((m, t)))


def test_how_imports_are_read(tmp_path: Path):
    package = tmp_path / "tensorprog"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from tensorprog import b\n\ndef f():\n    from tensorprog.c import g\n    return g\n")
    (package / "b.py").write_text("import tensorprog.d\n")
    (package / "c.py").write_text("from tensorprog.a import f\n")
    (package / "d.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tensorprog.a import f\n")
    read = imports(package)
    assert read.at_once == {("tensorprog.a", "tensorprog.b"), ("tensorprog.b", "tensorprog.d"), ("tensorprog.c", "tensorprog.a")}
    assert read.late == {("tensorprog.a", "tensorprog.c")}
    assert read.closes_a_circle(("tensorprog.a", "tensorprog.c"))
    assert not read.closes_a_circle(("tensorprog.a", "tensorprog.b"))
