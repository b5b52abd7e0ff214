"""The example of learning rates: its programs have the limits that it speaks of, and its command draws the picture."""

import importlib.util
import sys

import numpy as np
import pytest
from places import EXAMPLES

import tensorprog
from tensorprog import ProgramError

FOLDER = EXAMPLES / "learning_rate_transfer"


@pytest.fixture
def rates():
    spec = importlib.util.spec_from_file_location("rates", FOLDER / "rates.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_draws_the_picture(rates, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(rates, "RATES", {"mup": np.array([-1.0, 0.0]), "standard": np.array([-6.0, -5.0])})
    picture = tmp_path / "rates.png"
    monkeypatch.setattr(sys, "argv", ["rates.py", "--steps", "2", "--widths", "16", "32", "--seeds", "2", "--samples", "64",
                                      "--picture", str(picture)])
    rates.main()
    said = capsys.readouterr().out
    assert said.count("best rate") == 5 and picture.stat().st_size > 10_000


def test_kernel_gradient_descent_is_the_limit_in_the_ntk_parametrization():
    plan = tensorprog.compile(FOLDER / "ntk.tp").emit("plan")
    assert "kernel gradient descent" in plan


def test_there_is_no_limit_in_the_standard_parametrization():
    with pytest.raises(ProgramError, match="after the first step"):
        tensorprog.compile(FOLDER / "standard.tp").compiled
