"""A transformer on characters, of any width: the block of nanochat, with a number of heads that grows with the width.

    tpc mup examples/character_transformer/model.py:make --optimizer adamw --lint
    tpc mup examples/character_transformer/model.py:make --optimizer adamw --coordcheck

Rotary positions, normalized queries and keys, squared relu, no biases, a readout of its own, logits capped by a tanh.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

LENGTH = 32
HEAD = 16
CHARACTERS = 96


class Block(nn.Module):
    """Attention and a perceptron, each added to what comes in."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(n, 3 * n, bias=False)
        self.proj = nn.Linear(n, n, bias=False)
        self.up = nn.Linear(n, 4 * n, bias=False)
        self.down = nn.Linear(4 * n, n, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """[batch, length, n] -> the same."""
        batch, length, n = x.shape
        heads = self.qkv(F.rms_norm(x, (n,))).view(batch, length, 3, n // HEAD, HEAD)
        q, k, v = (heads[:, :, i].transpose(1, 2) for i in range(3))
        q, k = (F.rms_norm(_turned(z, cos, sin), (HEAD,)) for z in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, length, n))
        return x + self.down(F.relu(self.up(F.rms_norm(x, (n,)))).square())


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Pairs of coordinates rotated by angles that grow with the position."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1)


class Transformer(nn.Module):
    """Characters in, logits of the next ones out."""

    def __init__(self, n: int, blocks: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, n)
        self.blocks = nn.ModuleList(Block(n) for _ in range(blocks))
        self.readout = nn.Linear(n, CHARACTERS, bias=False)
        angles = torch.arange(LENGTH)[:, None] * 100.0 ** (-torch.arange(0, HEAD, 2) / HEAD)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[batch, length] -> [batch, length, characters]."""
        x = self.embedding(ids)
        x = F.rms_norm(x, (x.shape[-1],))
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        x = self.readout(F.rms_norm(x, (x.shape[-1],)))
        return 15 * torch.tanh(x / 15)


def make(n: int) -> nn.Module:
    """The model of width n, a multiple of the heads' size."""
    return Transformer(n)


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy of the next character."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def read(*paths: Path) -> torch.Tensor:
    """The characters of texts: printable ones of ASCII, and 95 for everything else."""
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    codes = torch.tensor([ord(c) - 32 for c in text])
    return torch.where((codes >= 0) & (codes < CHARACTERS - 1), codes, CHARACTERS - 1)


def batch(text: torch.Tensor, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces of a text and what comes after each character, [count, length] both."""
    starts = torch.randint(0, len(text) - LENGTH - 1, (count,), generator=generator)
    pieces = text[starts[:, None] + torch.arange(LENGTH + 1)]
    return pieces[:, :-1], pieces[:, 1:]


_ROOT = Path(__file__).resolve().parents[2]
CORPUS = [*sorted((_ROOT / "docs").glob("*.md")), *sorted((_ROOT / "examples").glob("*/README.md"))]
example_inputs, example_targets = batch(read(*CORPUS), 8, torch.Generator().manual_seed(0))
