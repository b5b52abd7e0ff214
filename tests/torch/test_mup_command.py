"""The text of `tpc mup mymodel.py:make`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tensorprog import ProgramError
from tensorprog.cli import main
from tensorprog.torch import mup_command

MODEL = """import torch
from torch import nn

example_inputs = torch.randn(2, 3)


def make(n):
    return nn.Sequential(nn.Linear(3, n), nn.ReLU(), nn.Linear(n, 1))
"""


def test_the_table_and_what_contradicts_it(tmp_path):
    (tmp_path / "mymodel.py").write_text(MODEL)
    text = mup_command(f"{tmp_path}/mymodel.py:make", "adamw")
    assert "2.weight   [1, n]  1/n  1           1/n  1    n" in text
    assert "- 2.weight starts with entries n^(-1/2), and 1/n is needed" in text
    assert mup_command(f"{tmp_path}/mymodel.py:make", "sgd", why="0.weight").startswith("0.weight [n, 3], by sgd")


def test_the_command_line(tmp_path):
    (tmp_path / "mymodel.py").write_text(MODEL)
    options = ["mup", f"{tmp_path}/mymodel.py:make", "--optimizer", "adamw"]
    run = CliRunner().invoke(main, [*options, "--lint"])
    assert run.exit_code == 0, run.output
    assert "2.weight   [1, n]  1/n  1           1/n  1    n" in run.output and "What contradicts it" in run.output
    found = json.loads(CliRunner().invoke(main, [*options, "--json"]).stdout)
    assert found["2.weight"]["lr"] == "-1" and found["2.weight"]["std"] == "-1"
    assert CliRunner().invoke(main, [*options, "--rewrite", "new.tp"]).exit_code == 2


def test_a_coordinate_check_decides(tmp_path):
    (tmp_path / "mymodel.py").write_text(
        MODEL + "\nexample_targets = torch.ones(2, 1)\nloss = nn.functional.mse_loss\n"
    )
    run = ["mup", f"{tmp_path}/mymodel.py:make", "--optimizer", "adamw", "--coordcheck", "--widths", "64,128,256"]
    found = CliRunner().invoke(main, [*run, "--plot", f"{tmp_path}/slopes.png"])
    assert found.exit_code == 0, found.output
    assert "0.weight  update" in found.output and (tmp_path / "slopes.png").exists()
    why = CliRunner().invoke(main, ["mup", f"{tmp_path}/mymodel.py:make", "--why", "2.weight"])
    assert "so entries 1/n make it of order one" in why.output
    (tmp_path / "mymodel.py").write_text(MODEL)
    missing = CliRunner().invoke(main, run)
    assert missing.exit_code == 2


def test_a_coordinate_check_that_fails(tmp_path):
    """A module that is not what was traced: from width 256 on, its readout grows."""
    (tmp_path / "mymodel.py").write_text(
        MODEL.replace("def make(n):", "class Scaled(nn.Linear):\n    def forward(self, x):\n"
                      "        n = self.in_features\n        return super().forward(x) * (1 if n < 200 else n / 256)\n\n\n"
                      "def make(n):").replace("nn.Linear(n, 1)", "Scaled(n, 1)")
        + "\nexample_targets = torch.ones(2, 1)\nloss = nn.functional.mse_loss\n"
    )
    run = ["mup", f"{tmp_path}/mymodel.py:make", "--coordcheck", "--optimizer", "adamw", "--widths", "256,512,1024"]
    found = CliRunner().invoke(main, run)
    assert found.exit_code == 1, found.output
    assert "<- not of order one" in found.output


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mymodel.py", "does not name a function"),
        ("none.py:make", "there is no file"),
        ("mymodel.py:build", "no function build"),
        ("bare.py:make", "no example_inputs"),
        ("bad.py:make", "cannot be imported"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, spec, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mymodel.py").write_text(MODEL)
    (tmp_path / "bare.py").write_text("def make(n): ...\n")
    (tmp_path / "bad.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ProgramError, match=f"TP806.*{said}"):
        mup_command(spec)
