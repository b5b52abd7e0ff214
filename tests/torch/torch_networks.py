"""Modules of any width, for tests."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def mlp(n: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(), nn.Linear(n, 2))


class Residual(nn.Module):
    """Layer normalization and a residual branch of twice the width, used in two blocks."""

    def __init__(self, n: int, blocks: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(3, n)
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(blocks))
        self.ups = nn.ModuleList(nn.Linear(n, 2 * n) for _ in range(blocks))
        self.downs = nn.ModuleList(nn.Linear(2 * n, n) for _ in range(blocks))
        self.out = nn.Linear(n, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            h = h + down(F.gelu(up(norm(h))))
        return self.out(h)


def cnn(n: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, n, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(n, n, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(n, 2),
    )


class Block(nn.Module):
    """A transformer block on tokens, with or without a tied readout; `heads=None`: their number grows, of size 16
    each."""

    def __init__(self, n: int, tied: bool = False, heads: int | None = 2, power: float = 0.5) -> None:
        super().__init__()
        self.emb = nn.Embedding(11, n)
        self.ln = nn.LayerNorm(n)
        self.qkv = nn.Linear(n, 3 * n, bias=False)
        self.proj = nn.Linear(n, n)
        self.norm = nn.RMSNorm(n)
        self.gate = nn.Linear(n, 2 * n, bias=False)
        self.up = nn.Linear(n, 2 * n, bias=False)
        self.down = nn.Linear(2 * n, n, bias=False)
        self.out = nn.Linear(n, 11, bias=False)
        self.heads, self.power = heads or n // 16, power
        if tied:
            self.out.weight = self.emb.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.emb(ids)
        batch, length, n = x.shape
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in self.qkv(self.ln(x)).split(n, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=q.shape[-1] ** -self.power)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, length, n))
        z = self.norm(x)
        return self.out(x + self.down(F.silu(self.gate(z)) * self.up(z)))


class Recurrent(nn.Module):
    """A recurrent layer and a readout of its last state."""

    def __init__(self, n: int, kind: type[nn.Module] = nn.GRU) -> None:
        super().__init__()
        self.layer = kind(3, n, batch_first=True)
        self.out = nn.Linear(n, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(x)[0][:, -1])


class ManyHeads(nn.Module):
    """torch's own attention layer."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.embed = nn.Linear(3, n)
        self.attention = nn.MultiheadAttention(n, 2, batch_first=True)
        self.out = nn.Linear(n, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        return self.out(self.attention(h, h, h, need_weights=False)[0].mean(1))


ROWS = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
SEQUENCES = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(2))
IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(3))
TOKENS = torch.randint(0, 11, (4, 5), generator=torch.Generator().manual_seed(4))
