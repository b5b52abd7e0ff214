"""The examples of `tpc explain` for modules of PyTorch: each is run, the bad one gives its code, and the good one does not."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import tensorprog
from tensorprog import ProgramError
from tensorprog.cli import main
from tensorprog.diagnostics.catalog import CATALOG
from tensorprog.torch import trace

ENTRIES = {code: entry for code, entry in CATALOG.items() if code.startswith("TP8")}
FORWARD = ("TP801", "TP802", "TP803", "TP807")
MODULE = """\
import torch
from torch import nn

example_inputs = torch.randn(4, 3)


class Model(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.n, self.layer, self.out = n, nn.Linear(3, n), nn.Linear(n, 1)
        w = self.layer.weight
        {made}

    def forward(self, x):
        h = self.layer(x)
        {forward}


def make(n):
    return Model(n)
"""
PROGRAM = "width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector v : [n] ~ normal(0, 1)\nf = moment(v * tanh(W @ v))\n" \
          "loss = f**2\n{}\noutput loss\n"


def loaded(text, folder):
    path = folder / "mymodel.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("mymodel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def codes_of(code, example, folder):
    """What a user sees."""
    pieces = {"made": "pass", "forward": "return self.out(h)"}
    if code in FORWARD:
        pieces["forward"] = textwrap.indent(example, " " * 8).strip()
    if code == "TP804":
        pieces["made"] = example
    module = loaded(MODULE.format(**pieces), folder)
    if example.startswith("tpc "):
        return CliRunner().invoke(main, [a.replace("mymodel.py", f"{folder}/mymodel.py") for a in example.split()[1:]]).output
    try:
        if code == "TP808":
            tensorprog.compile(PROGRAM.format(example)).torch_module(16)
            return ""
        traced = trace(module.make, torch.randn(4, 3))
        if example.startswith("traced."):
            eval(example, {"traced": traced})
        if code == "TP807":
            traced.program()
        return ""
    except ProgramError as error:
        return str(error)


@pytest.mark.parametrize("code", [code for code in ENTRIES if code != "TP800"])
def test_examples_do_what_their_page_says(code, tmp_path):
    assert f"[{code}]" in codes_of(code, ENTRIES[code].bad, tmp_path)
    good = codes_of(code, ENTRIES[code].good, tmp_path)
    assert "error[" not in good, good


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("tensorprog.torch")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ProgramError, match=r"\[TP800\]"):
        importlib.import_module("tensorprog.torch").trace
    setup = (Path(__file__).parents[2] / "setup.cfg").read_text(encoding="utf-8")
    assert ENTRIES["TP800"].good == "pip install tensorprog[torch]" and "\ntorch =\n" in setup
