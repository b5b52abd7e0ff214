"""The example of a character transformer: its table, its command, and what the command keeps."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from places import EXAMPLES

FOLDER = EXAMPLES / "character_transformer"


@pytest.fixture
def rates(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("character_rates", FOLDER / "rates.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("model", None)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_the_command_draws_the_picture(rates, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(rates, "RATES", {"adamw": np.array([-7.0, -5.0]), "muon": np.array([-6.0, -5.0])})
    picture = tmp_path / "rates.png"
    monkeypatch.setattr(sys, "argv", ["rates.py", "--steps", "2", "--widths", "64", "96", "--rows", "2",
                                      "--threads", "1", "--picture", str(picture)])
    rates.main()
    first = capsys.readouterr().out
    assert first.count("best rate") == 6 and picture.stat().st_size > 10_000
    kept = json.loads(picture.with_suffix(".json").read_text())
    assert len(kept) == 12
    monkeypatch.setattr(rates, "trained", None)
    rates.main()
    assert capsys.readouterr().out == first


def test_rates_of_the_table_move_a_wide_network_as_the_base_does(rates):
    """After a few steps at one rate, losses at widths 64 and 256 are near; with constant settings they are not."""
    text = rates.character.read(*rates.character.CORPUS)
    table = rates.trace(rates.character.make, rates.character.example_inputs).parametrize("adamw", rates.BASE)
    options = type("Options", (), {"steps": 8, "rows": 4})
    losses = {(width, derived): rates.trained(table, text, width, 2.0**-5, options, derived, 0)
              for width, derived in ((64, True), (256, True), (256, False))}
    assert abs(losses[256, True] - losses[64, True]) < 0.15
    assert losses[256, False] > losses[256, True] + 0.25


def test_the_corpus_is_read_as_characters(rates, tmp_path):
    (tmp_path / "a.txt").write_text("ab\n~ä", encoding="utf-8")
    assert rates.character.read(tmp_path / "a.txt").tolist() == [65, 66, 95, 94, 95]
    inputs, targets = rates.character.batch(torch.arange(60), 3, torch.Generator().manual_seed(0))
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
