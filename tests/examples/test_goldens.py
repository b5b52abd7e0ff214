"""What every stage makes of every example is what it made before; `make goldens` accepts what is new."""

from __future__ import annotations

import difflib

import pytest
from goldens import EXAMPLES, STAGES, name_of, texts
from places import GOLDENS


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_every_stage_is_what_it_was(example):
    folder = GOLDENS / name_of(example)
    changed = []
    for stage, text in texts(example).items():
        file = folder / f"{stage}.txt"
        before = file.read_text() if file.exists() else ""
        changed += difflib.unified_diff(before.splitlines(), text.splitlines(), f"{stage} before", f"{stage} now", lineterm="", n=2)
    assert not changed, "\n".join([*changed[:80], "if this is meant: make goldens"])


def test_there_is_nothing_else():
    assert {p.name for p in GOLDENS.iterdir()} == set(map(name_of, EXAMPLES))
    assert {p.stem for folder in GOLDENS.iterdir() for p in folder.iterdir()} == set(STAGES)
