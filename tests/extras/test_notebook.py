"""The cell magic."""

from __future__ import annotations

import numpy as np
import pytest
from result_example import PROGRAM, X

pytest.importorskip("IPython")


@pytest.fixture
def shell():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_cell("%load_ext tensorprog")
    shell.push({"X": X, "rate": 0.25})
    return shell


def test_data_come_from_the_notebook(shell):
    from tensorprog.results import Result

    found = shell.run_cell("%%tp net --run --set eta=rate --samples 64 --replicates 2 --to limit\n" + PROGRAM)
    assert found.success and isinstance(found.result, Result)
    assert shell.user_ns["limit"] is found.result
    assert found.result.settings["eta"] == 0.25
    again = shell.user_ns["net"].run({"X": X}, eta=0.25, samples=64, replicates=2)
    np.testing.assert_array_equal(found.result["f"], again["f"])


def test_networks_and_programs(shell):
    assert shell.run_cell("%%tp\n" + PROGRAM).result is shell.user_ns["program"]
    found = shell.run_cell("%%tp net --width 32 --seeds 2\n" + PROGRAM)
    assert found.result.settings["width"] == 32 and found.result.samples["loss"].shape == (2, 3)


def test_options_of_a_run_ask_for_one(shell):
    found = shell.run_cell("%%tp net --samples 64 --replicates 2\n" + PROGRAM)
    assert set(found.result) == set(shell.run_cell("%%tp --set eta=rate --to limit --samples 64\n" + PROGRAM).result)
    assert shell.user_ns["limit"].settings["eta"] == 0.25


@pytest.mark.parametrize("cell", ["%%tp --seeds 2\nwidth n\nvector v : [n] ~ normal(0, 1)\noutput moment(v*v) as q",
                                  "%%tp\nwidth n\noutput q", "%%tp --run\nwidth n\nsize P\ninput y : [P]\nvector v : [n] "
                                  "~ normal(0, 1)\noutput moment(v*v)*y[0] as q", "%%tp net --run --set eta\nwidth n",
                                  "%%tp net --run --set eta=nothing\n" + PROGRAM, "%%tp net --width 0x\n" + PROGRAM])
def test_mistakes_are_messages(shell, capsys, cell):
    assert not shell.run_cell(cell).success
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said and "UsageError" in said
