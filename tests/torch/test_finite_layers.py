"""Layers between axes that do not grow: their weights are numbers, which make kernels random."""

from __future__ import annotations

import torch
from torch import nn

from tensorprog.torch import trace


class Bottle(nn.Module):
    """Two layers of fixed size, then two of the width."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.pre, self.mid = nn.Linear(5, 3), nn.Linear(3, 3, bias=False)
        self.wide, self.out = nn.Linear(3, n), nn.Linear(n, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.wide(torch.tanh(self.mid(torch.tanh(self.pre(x)))))))


ROWS = torch.randn(2, 5, generator=torch.Generator().manual_seed(5))


def test_weights_between_finite_axes_are_declared_as_what_they_are():
    text = trace(Bottle, ROWS).program("kernels").source.text
    assert "matrix mid_weight : [3, 3] ~ uniform(" in text
    assert "vector out_bias : [1] ~ uniform(-sqrt(1/n), sqrt(1/n))" in text


def test_random_kernels_are_those_of_modules():
    found = trace(Bottle, ROWS).verify(widths=(256, 384, 512, 768), seeds=150)
    for name in ("nngp", "theta", "covariance of nngp"):
        assert found.findings[name].verdict != "differs", found
    assert found.limit["covariance of nngp"].max() > 0
