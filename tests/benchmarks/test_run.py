"""The table of benchmarks: figures are noted, compared with those on record, and recorded whole."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys

import pytest
from places import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("run")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "RECORD", tmp_path / "recorded.json")
    yield module
    for name in ("run", "figures"):
        sys.modules.pop(name, None)


SCRIPT = """
from figures import note
note("a ratio", {ratio}, better="more")
note("seconds", {seconds}, "s")
print("told")
"""


def write(folder, ratio, seconds):
    (folder / "figures.py").write_text((FOLDER / "figures.py").read_text())
    (folder / "one.py").write_text(SCRIPT.format(ratio=ratio, seconds=seconds))


def called(run, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    run.main()


def test_figures_are_compared_with_those_on_record(run, monkeypatch, tmp_path, capfd):
    write(tmp_path, 2.0, 10.0)
    called(run, monkeypatch, "--record")
    assert "new" in capfd.readouterr().out
    assert set(json.loads((tmp_path / "recorded.json").read_text())["one"]) == {"a ratio", "seconds"}
    write(tmp_path, 1.0, 4.0)
    called(run, monkeypatch, "one")
    out = capfd.readouterr().out
    assert "told" in out
    ratio, seconds = (next(line for line in out.splitlines() if key in line) for key in ("a ratio", "seconds"))
    assert ratio.endswith("WORSE") and seconds.endswith("better")


def test_what_fails_is_named_and_the_rest_is_shown(run, monkeypatch, tmp_path, capfd):
    write(tmp_path, 1.0, 1.0)
    (tmp_path / "bad.py").write_text("raise SystemExit(3)")
    with pytest.raises(SystemExit, match="failed: bad"):
        called(run, monkeypatch)
    assert "seconds" in capfd.readouterr().out


def test_names_that_are_none_are_refused(run, monkeypatch, tmp_path, capfd):
    write(tmp_path, 1.0, 1.0)
    with pytest.raises(SystemExit):
        called(run, monkeypatch, "tow")
    assert "there are one" in capfd.readouterr().err


@pytest.mark.parametrize("script", sorted(p.stem for p in FOLDER.glob("*.py")))
def test_every_benchmark_says_how_it_is_run_and_is_imported(script, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location(f"benchmark_{script}", FOLDER / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    sys.modules.pop("figures", None)
    assert f"benchmarks/{script}.py" in module.__doc__ or script == "figures"
