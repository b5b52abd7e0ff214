"""Every example: the command in its header works with small settings, the table of examples/README.md is complete, and
the demonstration runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from places import ROOT

from tensorprog.cli import main

PROGRAMS = sorted((ROOT / "examples").glob("*.tp"), key=lambda path: path.stem)
SMALL = {"T": "3", "L": "2"}


def header_command(path: Path) -> list[str]:
    """The arguments of the `tpc run ...` line in the header."""
    found = re.search(r"^#     tpc (run .*)$", path.read_text(encoding="utf-8"), re.M)
    assert found, f"{path.name} does not say how to run it"
    return shlex.split(found.group(1))


def small_settings(path: Path) -> list[str]:
    """`--set` options that make the program small, where it has such a parameter and does not let it tend to infinity."""
    text = path.read_text(encoding="utf-8")
    known = [name for name in SMALL if re.search(rf"^(?:param|size) {name}\b.*=", text, re.M)
             and f"--limit {name}=" not in text]
    return [word for name in known for word in ("--set", f"{name}={SMALL[name]}")]


def without_settings(arguments: list[str]) -> list[str]:
    kept = list(arguments)
    for name in SMALL:
        for at in [i for i, word in enumerate(kept) if word == "--set" and kept[i + 1].startswith(f"{name}=")][::-1]:
            del kept[at:at + 2]
    return kept


@pytest.mark.slow_cases("convolution")
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_example_runs(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = [*without_settings(header_command(path)), *small_settings(path)]
    check_run([*arguments, "--samples", "256", "--replicates", "2", "--json"])


@pytest.mark.slow
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_example_runs_as_its_header_says(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    check_run([*header_command(path), "--json"])


def check_run(arguments: list[str]) -> None:
    """A run succeeds, and all of its values are finite."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)["results"]
    assert shown
    for name, output in shown.items():
        value, error = np.array(output["value"], dtype=float), np.array(output["error"], dtype=float)
        assert value.shape == error.shape
        assert np.isfinite(value).all(), name


def test_every_example_is_in_the_table():
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[(\w+)\.tp\]", text, re.M)) == [path.stem for path in PROGRAMS]


def test_the_demonstration_runs(tmp_path):
    picture = tmp_path / "digits.png"
    done = subprocess.run([sys.executable, ROOT / "examples" / "demo" / "digits_demo.py", "--steps", "3", "--samples", "256",
                           "--replicates", "2", "--widths", "64", "--picture", picture], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "distance of one network" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
