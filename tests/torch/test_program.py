"""Traced modules as programs: the text, and its kernels and training held against the module's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_module_verify import normal
from torch import nn
from torch.nn import functional as F
from torch_networks import ROWS, SEQUENCES, TOKENS, Block, ManyHeads, Recurrent, mlp

import tensorprog
from tensorprog import ProgramError
from tensorprog.torch import trace
from tensorprog.torch.emit import program_text


def test_the_text_is_readable():
    text = program_text(trace(normal(mlp), ROWS))
    assert text == TEXT
    loops = program_text(trace(Recurrent, SEQUENCES), "train")
    assert "layer_state[t, a, h + 1] = layer_new[t, a, h] + " in loops
    assert "for h in range(5):" in loops


TEXT = """width n
size P
input X : [P, 3]
matrix layer0_weight : [n, 3] ~ normal(0, 1/3)
vector layer0_bias : [n] = 0
matrix layer2_weight : [n, n] ~ normal(0, 1/n)
vector layer2_bias : [n] = 0
vector layer4_weight[2] : [n] ~ normal(0, 1/n)
vector layer4_bias : [2] = 0

for a in range(P):
    layer1[a] = tanh(layer0_weight @ X[a] + layer0_bias)
    layer3[a] = tanh(layer2_weight @ layer1[a] + layer2_bias)
    f[a] = dot(layer3[a], layer4_weight[0]) + layer4_bias[0]

for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
        theta[a, c] = ntk(f[a], f[c]; layer0_weight, layer0_bias, layer2_weight, layer2_bias, layer4_weight,
                          layer4_bias)

output nngp, theta
"""


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda n: Block(n, power=1.0), TOKENS),
        (lambda n: Block(n, tied=True), TOKENS),
        (ManyHeads, SEQUENCES),
        (lambda n: Recurrent(n, nn.RNN), SEQUENCES),
        (lambda n: Recurrent(n, nn.LSTM), SEQUENCES),
    ],
)
@pytest.mark.parametrize("kind", ["kernels", "train"])
def test_programs_are_well_formed(make, inputs, kind):
    tensorprog.compile(program_text(trace(make, inputs), kind))


def test_what_has_no_place_in_a_program():
    with pytest.raises(ProgramError, match="TP805.*no kind of program"):
        trace(mlp, ROWS).program("kernel")
    with pytest.raises(ProgramError, match="has 1 indices, and `component` 2"):
        trace(mlp, ROWS).program(component=(0, 0))
    with pytest.raises(ProgramError, match="TP807.*the output grows with the width"):
        trace(lambda n: nn.Linear(3, n), ROWS).program()


@pytest.mark.parametrize(
    ("make", "inputs", "said"),
    [
        (ManyHeads, SEQUENCES, r"TP502.*softmax grows as n\^\(1/2\)(.|\n)*scale logits by 1/d"),
        (Recurrent, SEQUENCES, r"TP502.*vanishes(.|\n)*layer.weight_ih_l0 starts with entries n\^\(-1/2\)"),
        (lambda n: Block(n, tied=True, power=1.0), TOKENS, "TP427.*linear in no parameter(.|\n)*nngp=False"),
    ],
)
def test_what_has_no_kernel_is_told_at_the_module_s_line(make, inputs, said):
    with pytest.raises(ProgramError, match=said) as caught:
        trace(make, inputs[:2]).program()
    assert caught.value.source.name.endswith("torch_networks.py")


class Shared(nn.Module):
    """An autoencoder whose decoder is its encoder."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(torch.tanh(F.linear(x, self.weight)), self.weight.t())


def test_the_tangent_kernel_alone():
    found = trace(Shared, ROWS[:2]).verify(nngp=False, seeds=12, samples=1024)
    assert list(found.limit) == ["theta"]
    assert found.passed, found
    assert found.extrapolated["theta"] == pytest.approx(found.limit["theta"], rel=0.1)


class Masked(nn.Module):
    """Attention with rotated positions and a mask of its own."""

    def __init__(self, n: int, mask: torch.Tensor) -> None:
        super().__init__()
        self.embed = nn.Linear(3, n)
        self.out = nn.Linear(n, 2)
        self.register_buffer("mask", mask)
        self.register_buffer("cos", torch.rand(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x).unflatten(-1, (-1, 4))
        a, b = h.chunk(2, dim=-1)
        q = h * self.cos[:, None] + torch.cat([-b, a], dim=-1) * (1 - self.cos[:, None])
        y = F.scaled_dot_product_attention(q.transpose(1, 2), q.transpose(1, 2), h.transpose(1, 2), attn_mask=self.mask)
        return self.out(y.transpose(1, 2).flatten(2).mean(1))


@pytest.mark.parametrize("additive", [False, True])
def test_tables_of_constants_are_inputs(additive):
    kept = torch.tensor([[True, False, True], [True, True, False], [False, True, True]])
    mask = torch.zeros(3, 3).masked_fill(~kept, float("-inf")) if additive else kept
    traced = trace(lambda n: Masked(n, mask), SEQUENCES[:2, :3])
    program = traced.program()
    assert len(traced.tables) >= 2
    assert any(np.array_equal(table, ~kept.numpy()) for table in traced.tables.values())
    assert "[i, j] == 0" in program.source.text or "[j, l] == 0" in program.source.text
