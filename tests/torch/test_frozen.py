"""Parameters without a gradient: they have no rates, their tangent kernel is none, and training leaves them alone."""

from __future__ import annotations

import json

import pytest
import torch
from test_module_verify import normal
from torch import nn
from torch_networks import ROWS

from tensorprog import ProgramError
from tensorprog.torch import mup_command, trace


class Adapted(nn.Module):
    """A frozen network with an adapter of rank 2 beside its hidden layer."""

    def __init__(self, n, start=torch.zeros):
        super().__init__()
        self.first, self.base, self.out = nn.Linear(3, n), nn.Linear(n, n), nn.Linear(n, 2)
        self.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(2, n) / n**0.5)
        self.up = nn.Parameter(start(n, 2))

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return self.out(torch.tanh(self.base(h) + h @ self.down.T @ self.up.T))


def probe(n):
    """A readout of frozen features."""
    module = nn.Sequential(nn.Linear(3, n), nn.Tanh(), nn.Linear(n, 2))
    module[0].requires_grad_(False)
    return module


FROZEN = {"first.weight", "first.bias", "base.weight", "base.bias", "out.weight", "out.bias"}


def test_frozen_parameters_have_no_rates():
    traced = trace(Adapted, ROWS)
    assert traced.frozen == FROZEN
    for optimizer in ("sgd", "adamw", "muon"):
        table = traced.parametrize(optimizer)
        assert {row.name for row in table.trained} == {"down", "up"}
        assert not any("constant" in line and "base.weight" in line for line in table.lint())
        parts = {row.optimizer for row in table.trained}
        model = traced.make(128)
        groups = [g for part in parts for g in table.param_groups(model, 0.1, part=part)]
        assert {id(p) for g in groups for p in g["params"]} == {id(model.down), id(model.up)}
    assert "base.weight   [n, n]  frozen  n^(-1/2)  1           -         -" in str(table)
    assert "requires_grad is False" in table.why("base.weight")


def test_rates_of_frozen_parameters_are_null_in_json(tmp_path):
    (tmp_path / "mymodel.py").write_text(
        "import torch\nfrom torch import nn\nexample_inputs = torch.randn(2, 3)\n\n\ndef make(n):\n"
        "    m = nn.Sequential(nn.Linear(3, n), nn.Tanh(), nn.Linear(n, 1))\n"
        "    m[0].requires_grad_(False)\n    return m\n"
    )
    found = json.loads(mup_command(f"{tmp_path}/mymodel.py:make", "adamw", format="json"))
    assert found["0.weight"]["lr"] is None and found["0.weight"]["std"] == "0"
    assert found["2.weight"]["lr"] == "-1"


def test_a_tangent_kernel_is_of_what_is_trained():
    """Of a readout of frozen features, it is the kernel of the features."""
    found = trace(normal(probe), ROWS[:2]).program().run({"X": ROWS[:2].numpy()})
    # The readout has variance 1/n and gradients tanh(h): both are averages of the same products.
    assert found["theta"] == pytest.approx(found["nngp"], abs=1e-9)
    assert found["theta"][0, 0] > 0.01
    text = trace(probe, ROWS[:2]).program().source.text
    assert "; layer2_weight, layer2_bias)" in text


@pytest.mark.slow
def test_limits_of_frozen_modules_are_those_of_modules():
    assert trace(Adapted, ROWS).verify(widths=(64, 128, 256, 512), seeds=12, samples=512).passed
    y = torch.randn(4, 2, generator=torch.Generator().manual_seed(7))
    # From zero, Adam would begin with the sign of a gradient that vanishes with the width.
    found = trace(lambda n: Adapted(n, torch.randn), ROWS).verify("train", {"y": y}, optimizer="adamw", eta=0.02, T=4, seeds=8, samples=512)
    assert found.passed and found.findings["loss"].verdict == "agrees", found


def test_training_leaves_frozen_parameters_alone():
    text = trace(Adapted, ROWS).program("train", optimizer="adamw").source.text
    assert "grad(loss[t], down" in text and "grad(loss[t], base" not in text


def test_nothing_to_train():
    with pytest.raises(ProgramError, match="TP805.*no parameter of the module is trained"):
        trace(lambda n: probe(n).requires_grad_(False), ROWS).program()
