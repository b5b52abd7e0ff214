"""Sweeps: every point as a run of its own, one result, points kept on disk."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from result_example import PROGRAM, X

import tensorprog
from tensorprog.api import CompiledProgram, Interrupted
from tensorprog.cli import main
from tensorprog.diagnostics import ProgramError
from tensorprog.results import Result

FEW = {"samples": 64, "replicates": 2}


@pytest.fixture(scope="module")
def program() -> CompiledProgram:
    return tensorprog.compile(PROGRAM)


def test_every_point_is_that_of_a_run(program):
    sweep = program.sweep({"X": X}, eta=[0.1, 0.5, 2.0], T=[2, 3], **FEW)
    assert sweep.axes == {"f": ("eta", "T", "t", "a"), "loss": ("eta", "T", "t"), "q": ("eta", "T")}
    assert sweep.coordinates == {"eta": (0.1, 0.5, 2.0), "T": (2, 3)}
    for i, eta in enumerate((0.1, 0.5, 2.0)):
        for j, steps in enumerate((2, 3)):
            run = program.run({"X": X}, eta=eta, T=steps, **FEW)
            np.testing.assert_array_equal(sweep["f"][i, j, :steps], run["f"])
            np.testing.assert_array_equal(sweep.error["f"][i, j, :steps], run.error["f"])
            assert np.isnan(sweep["f"][i, j, steps:]).all()
            assert sweep["q"][i, j] == run["q"]
    assert sweep.settings["samples"] == 64 and "eta" not in sweep.settings


def test_widths(program):
    sweep = program.sweep({"X": X}, width=[8, 16], eta=(0.1, 0.2), seeds=3, seed=5)
    assert sweep.axes["loss"] == ("eta", "width", "t")
    one = program.simulate({"X": X}, width=16, eta=0.2, seeds=3, seed=5)
    np.testing.assert_array_equal(sweep["loss"][1, 1], one["loss"])
    alone = program.sweep({"X": X}, width=16, eta=[0.2], seeds=3, seed=5)
    np.testing.assert_array_equal(alone["loss"][0], one["loss"])


def test_points_are_kept(program, tmp_path, monkeypatch):
    folder = tmp_path / "a" / "points"
    first = program.sweep({"X": X}, eta=[0.1, 0.5], keep=folder, **FEW)
    files = set(folder.iterdir())
    runs = []
    original = CompiledProgram.run_with
    monkeypatch.setattr(CompiledProgram, "run_with", lambda self, *a, **k: runs.append(a[1]) or original(self, *a, **k))
    again = program.sweep({"X": X}, eta=[0.1, 0.5, 1.0], keep=folder, **FEW)
    assert runs == [{"eta": 1.0}] and set(folder.iterdir()) > files
    np.testing.assert_array_equal(again["f"][:2], first["f"])
    for changed in ({"samples": 128}, {"seed": 1}, {"T": 2}):
        program.sweep({"X": X}, eta=[0.1], keep=folder, **{**FEW, **changed})
    program.sweep({"X": X + 1}, eta=[0.1], keep=folder, **FEW)
    tensorprog.compile(PROGRAM + "\n# another\n").sweep({"X": X}, eta=[0.1], keep=folder, **FEW)
    assert len(runs) == 6
    damaged = next(iter(files))
    damaged.write_bytes(b"PK")
    np.testing.assert_array_equal(program.sweep({"X": X}, eta=[0.1, 0.5], keep=folder, **FEW)["f"], first["f"])
    assert len(runs) == 7


def test_an_interrupted_sweep_keeps_what_was_finished(program, tmp_path, monkeypatch):
    original, runs = CompiledProgram.run_with, []

    def run_with(self, *args, **options):
        if len(runs) == 2:
            raise KeyboardInterrupt
        runs.append(args[1])
        return original(self, *args, **options)

    monkeypatch.setattr(CompiledProgram, "run_with", run_with)
    with pytest.raises(Interrupted) as stopped:
        program.sweep({"X": X}, eta=[0.1, 0.2, 0.3], keep=tmp_path, **FEW)
    assert not stopped.value.result.finished
    partial = stopped.value.result.result()
    assert np.isfinite(partial["q"][:2]).all() and np.isnan(partial["q"][2])
    monkeypatch.setattr(CompiledProgram, "run_with", original)
    whole = program.sweep({"X": X}, eta=[0.1, 0.2, 0.3], keep=tmp_path, **FEW)
    np.testing.assert_array_equal(whole["f"][:2], partial["f"][:2])


@pytest.mark.parametrize(("settings", "code"), [({"eta": []}, "TP734"), ({"eta": [0.1, 0.1]}, "TP734"), ({"et": [1, 2]}, "TP631"),
                                                ({"eta": [0.1, "x"]}, "TP628"), ({"P": [1, 2]}, "TP6"), ({"T": [0.5, 1]}, "TP6")])
def test_mistakes(program, settings, code):
    with pytest.raises(ProgramError, match=code):
        program.sweep({"X": X}, **settings, **FEW)


def test_a_kept_result_is_what_it_was(program, tmp_path):
    for result in (program.run({"X": X}, **FEW), program.simulate({"X": X}, width=8, seeds=2),
                   program.sweep({"X": X}, eta=[0.1, 0.2], **FEW)):
        result.save(tmp_path / "r.npz")
        again = Result.load(tmp_path / "r.npz")
        assert again.to_json() == result.to_json() or result.warnings
        for name in result:
            np.testing.assert_array_equal(again[name], result[name])
            np.testing.assert_array_equal(again.error[name], result.error[name])
        assert (again.axes, again.columns, again.coordinates, again.method, again.settings) == (
            result.axes, result.columns, result.coordinates, result.method, result.settings)
        assert {n: v.tolist() for n, v in again.samples.items()} == {n: v.tolist() for n, v in result.samples.items()}
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    (tmp_path / "text.npz").write_text("no")
    for name, code in (("other.npz", "TP611"), ("text.npz", "TP611"), ("none.npz", "TP610")):
        with pytest.raises(ProgramError, match=code):
            Result.load(tmp_path / name)


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.tp").write_text(PROGRAM)
    np.savez("data.npz", X=X)
    few = ("--samples", "64", "--replicates", "2")

    def tpc(*arguments: str):
        return CliRunner().invoke(main, arguments)

    found = tpc("run", "model.tp", "data.npz", *few, "--set", "eta=0.1,0.5", "--show", "loss[-1]", "--keep", "points", "-o",
                "out.csv", "--plot", "out.png")
    assert found.exit_code == 0, found.output
    assert [line.split("  ")[1] for line in found.stdout.splitlines()[1:]] == ["eta = 0.1", "eta = 0.5"]
    rows = [r for r in csv.DictReader(Path("out.csv").open()) if r["output"] == "q"]
    program = tensorprog.compile("model.tp")
    assert [(float(r["eta"]), float(r["value"])) for r in rows] == [
        (eta, float(program.run({"X": X}, eta=eta, **FEW)["q"])) for eta in (0.1, 0.5)]
    assert len(list(Path("points").iterdir())) == 2 and Path("out.png").stat().st_size > 1000
    found = tpc("simulate", "model.tp", "data.npz", "--width", "8,16", "--set", "T=1,2", "--json")
    assert json.loads(found.stdout)["coordinates"] == {"T": [1, 2], "width": [8, 16]}
    assert tpc("compile", "model.tp", "--set", "eta=1,2").exit_code == 2
    assert "TP628" in tpc("compile", "model.tp", "--set", "eta=x").stderr
    assert tpc("run", "model.tp", "data.npz", "--set", "eta=1,2", "--checkpoint", "c").exit_code == 2


def test_the_picture_of_a_sweep(program):
    sweep = program.sweep({"X": X}, eta=[0.01, 0.1, 1.0], **FEW)
    figure = sweep.plot()
    numbers = next(a for a in figure.axes if a.get_title() == "q")
    assert numbers.get_xlabel() == "eta" and numbers.get_xscale() == "log"
    np.testing.assert_array_equal(numbers.lines[0].get_xdata(), [0.01, 0.1, 1.0])
    losses = next(a for a in figure.axes if a.get_title() == "loss")
    assert losses.get_xlabel() == "t" and len(losses.get_legend().get_texts()) == 3
