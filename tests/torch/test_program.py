"""Traced modules as programs: the text, and its kernels and training held against the module's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_networks import (
    IMAGES,
    ROWS,
    SEQUENCES,
    TOKENS,
    Block,
    ManyHeads,
    Recurrent,
    Residual,
    cnn,
    mlp,
)

import tensorprog
from tensorprog import ProgramError
from tensorprog.torch import trace
from tensorprog.torch.emit import program_text


def normal(make):
    """Normal weights, so that the first layer is Gaussian."""

    def made(n):
        module = make(n)
        with torch.no_grad():
            for name, p in module.named_parameters():
                if name.endswith("bias"):
                    p.zero_()
                elif p.dim() > 1 and "emb.weight" not in name:
                    nn.init.normal_(p, std=p[0].numel() ** -0.5)
        return module

    return made


def tangent_kernel(make, inputs, n, seeds):
    """That of the first output, divided by the width; mean and standard error over networks."""
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        module = make(n).eval()
        outputs = module(inputs).reshape(len(inputs), -1)[:, 0]
        rows = [
            torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(f, list(module.parameters()), retain_graph=True, allow_unused=True)
                    if g is not None
                ]
            )
            for f in outputs
        ]
        jacobian = torch.stack(rows)
        found.append((jacobian @ jacobian.T).numpy() / n)
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / seeds**0.5


class LastToken(Block):
    """The last token's output of a block whose logits are scaled by 1/d."""

    def __init__(self, n: int) -> None:
        super().__init__(n, power=1.0)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids)[:, -1]


KERNELS = {
    "mlp": (mlp, ROWS[:2]),
    "residual": (lambda n: Residual(n, blocks=1), ROWS[:2]),
    "cnn": (cnn, IMAGES[:2, :, :4, :4]),
    "gru": (Recurrent, SEQUENCES[:2, :2]),
    "block of two heads": (LastToken, TOKENS[:2, :2]),
}


SLOW = ("residual", "gru", "block of two heads")


@pytest.mark.parametrize("name", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in KERNELS])
def test_tangent_kernels_are_those_of_networks(name):
    make, inputs = normal(KERNELS[name][0]), KERNELS[name][1]
    found = trace(make, inputs).program().run({"X": inputs.numpy()}, method="particles", samples=512, replicates=4)
    (small, e), (large, d) = (tangent_kernel(make, inputs, n, 16) for n in (64, 128))
    allowed = 4 * np.sqrt(4 * d**2 + e**2 + found.error["theta"] ** 2) + 0.02 * np.abs(large).max()
    assert np.all(np.abs(found["theta"] - (2 * large - small)) < allowed)
    assert np.all(np.diag(found["nngp"]) > 0)


def test_training_is_that_of_wide_networks():
    make, targets = normal(mlp), torch.randn(4, 2, generator=torch.Generator().manual_seed(7))
    traced = trace(make, ROWS)
    table, steps = traced.parametrize("sgd", base=16), 6
    limit = traced.program("train", base=16).run(
        {"X": ROWS.numpy(), "y": targets.numpy()}, eta=0.3, T=steps, samples=512, replicates=4
    )
    losses = []
    for seed in range(6):
        torch.manual_seed(seed)
        module = table.apply(table.init_(make(1024)))
        optimizer = torch.optim.SGD(table.param_groups(module, lr=0.3))
        losses.append([])
        for _ in range(steps):
            loss = F.mse_loss(module(ROWS), targets) / 2
            losses[-1].append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    mean, error = np.mean(losses, axis=0), np.std(losses, axis=0, ddof=1) / len(losses) ** 0.5
    assert mean[-1] < 0.7 * mean[0]
    assert np.all(np.abs(limit["loss"] - mean) < 4 * (error + limit.error["loss"]) + 0.01 * mean[0])


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
vector layer4_bias[2] : [n] = 0

for a in range(P):
    layer1[a] = tanh(layer0_weight @ X[a] + layer0_bias)
    layer3[a] = tanh(layer2_weight @ layer1[a] + layer2_bias)
    f[a] = dot(layer3[a], layer4_weight[0]) + (sqrt(n) * moment(layer4_bias[0]))

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
