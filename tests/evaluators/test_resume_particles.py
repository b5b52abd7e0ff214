"""Runs by particles that were stopped go on from the replicates they had finished, to the same numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tensorprog
from tensorprog.diagnostics import ProgramError
from tensorprog.runtime.checkpoints import Finished

PROGRAM = """width n
param eta = 0.5
param T : int = 10
vector x : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
for t in range(T):
    f[t] = moment(v * tanh(W @ tanh(x)))
    c = (f[t] - 1)**2 / 2
    W -= eta * grad(c, W)
output f
"""
OPTIONS = {"samples": 256, "replicates": 6, "method": "particles"}


def files(path):
    return sorted(Path(f"{path}.replicates").glob("*/*.npz"))


class Stop:
    """Ctrl-C after some of the steps of a run."""

    def __init__(self, after):
        self.after = after

    def __call__(self, done, total):
        if done > self.after * total:
            raise KeyboardInterrupt

    def stage(self, text):
        pass


@pytest.mark.parametrize("after", [0.3, 0.8])
def test_after_an_interruption(tmp_path, after):
    program = tensorprog.compile(PROGRAM)
    right, path = program.run(**OPTIONS), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        program.run(**OPTIONS, checkpoint=path, progress=Stop(after), threads=1)
    before = {file: file.stat().st_mtime_ns for file in files(path)}
    assert before and len(before) < 10  # six replicates, and four parts of the first
    found = program.run(**OPTIONS, checkpoint=path)
    assert np.array_equal(found["f"], right["f"]) and np.array_equal(found.error["f"], right.error["f"])
    assert {file: file.stat().st_mtime_ns for file in before} == before and len(files(path)) == 10


def test_after_a_kill(tmp_path):
    """SIGKILL in the middle: what is on disk is whole."""
    (tmp_path / "model.tp").write_text(PROGRAM)
    command = [sys.executable, "-m", "tensorprog", "run", "model.tp", "--samples", "1024", "--replicates", "40", "--method",
               "particles", "--set", "T=60", "--threads", "1", "--json"]
    running = subprocess.Popen([*command, "--checkpoint", "run"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(files(tmp_path / "run")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert 2 <= len(files(tmp_path / "run")) < 60
    again, anew = (subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
                   for more in (["--checkpoint", "run"], []))
    assert again == anew


def test_more_replicates_use_those_that_there_are(tmp_path):
    program, path = tensorprog.compile(PROGRAM), tmp_path / "run"
    program.run(**OPTIONS | {"replicates": 4}, checkpoint=path)
    before = {file: file.stat().st_mtime_ns for file in files(path)}
    found = program.run(**OPTIONS, checkpoint=path)
    assert np.array_equal(found["f"], program.run(**OPTIONS)["f"])
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize("change", [{"seed": 1}, {"samples": 512}, {"dtype": "float64"}, {"tolerance": 0.3}])
def test_other_runs_do_not_share(tmp_path, change):
    program, path = tensorprog.compile(PROGRAM), tmp_path / "run"
    program.run(**OPTIONS, checkpoint=path)
    found, right = program.run(**OPTIONS | change, checkpoint=path), program.run(**OPTIONS | change)
    assert np.array_equal(found["f"], right["f"])


def test_other_programs_and_data_are_refused(tmp_path):
    path = tmp_path / "run"
    tensorprog.compile(PROGRAM).run(**OPTIONS, checkpoint=path)
    with pytest.raises(ProgramError, match="TP714"):
        tensorprog.compile(PROGRAM).run(**OPTIONS, checkpoint=path, eta=0.1)


def test_damaged_files_are_computed_again(tmp_path):
    kept = Finished(tmp_path / "folder", "run").of("this")
    kept.put("0", {"f": np.arange(3.0)})
    assert np.array_equal(kept.get("0")["f"], np.arange(3.0))
    file = next((tmp_path / "folder").glob("*/0.npz"))
    file.write_bytes(file.read_bytes()[:40])
    assert kept.get("0") is None and kept.get("1") is None
