"""Modules as people build them, of any width, for tests."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


class ResNet(nn.Module):
    """A stem, a residual block with batch normalization, and a strided layer of twice the width."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, n, 3, padding=1, bias=False)
        self.first, self.second = (nn.Conv2d(n, n, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for _ in range(2))
        self.down = nn.Conv2d(n, 2 * n, 1, stride=2, bias=False)
        self.out = nn.Linear(2 * n, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.norms[1](self.second(F.relu(self.norms[0](self.first(x))))))
        return self.out(F.adaptive_avg_pool2d(F.relu(self.down(x)), 1).flatten(1))


class VisionTransformer(nn.Module):
    """Patches, a token of the class, positions, and torch's encoder layer with heads of size 16."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, n, 2, stride=2)
        self.cls = nn.Parameter(torch.randn(1, 1, n))
        self.pos = nn.Parameter(torch.randn(1, 5, n) * 0.02)
        self.encoder = nn.TransformerEncoderLayer(n, n // 16, 4 * n, activation="gelu", batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(n)
        self.out = nn.Linear(n, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        return self.out(self.norm(self.encoder(x))[:, 0])


class StateSpace(nn.Module):
    """A gated layer with a depthwise causal convolution and a scan whose decay depends on the input."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.embed, self.project = nn.Linear(3, n), nn.Linear(n, 2 * n)
        self.conv = nn.Conv1d(n, n, 3, padding=2, groups=n)
        self.step, self.back, self.out = nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, 2)
        self.decay = nn.Parameter(-torch.rand(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        u, z = self.project(h).chunk(2, -1)
        u = F.silu(self.conv(u.transpose(1, 2))[..., : u.shape[1]].transpose(1, 2))
        dt = F.softplus(self.step(u))
        keep, state, states = torch.exp(dt * self.decay), torch.zeros_like(u[:, 0]), []
        for t in range(u.shape[1]):
            state = keep[:, t] * state + dt[:, t] * u[:, t]
            states.append(state)
        return self.out((h + self.back(torch.stack(states, 1) * F.silu(z))).mean(1))


def rotary(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions, with frequencies for half of the head's size."""
    length, size = x.shape[-2:]
    frequencies = 1 / (100.0 ** (torch.arange(0, size, 2).to(x.dtype) / size))
    angles = torch.outer(torch.arange(length).to(x.dtype), frequencies)
    a, b = x.chunk(2, -1)
    return x * torch.cat([angles, angles], -1).cos() + torch.cat([-b, a], -1) * torch.cat([angles, angles], -1).sin()


class Decoder(nn.Module):
    """A block with RMSNorm, rotary positions and SwiGLU; two heads that grow, or as many of size 16 as there is room for."""

    def __init__(self, n: int, heads: int | None = None, tied: bool = False) -> None:
        super().__init__()
        self.heads = heads or n // 16
        self.emb, self.out = nn.Embedding(7, n), nn.Linear(n, 7, bias=False)
        self.before, self.between = nn.RMSNorm(n), nn.RMSNorm(n)
        self.q, self.k, self.v, self.o = (nn.Linear(n, n, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(n, 2 * n, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * n, n, bias=False)
        if tied:
            self.out.weight = self.emb.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.emb(ids)
        batch, length, n = x.shape
        z = self.before(x)
        q, k, v = (w(z).view(batch, length, self.heads, -1).transpose(1, 2) for w in (self.q, self.k, self.v))
        size = q.shape[-1]
        scale = 1 / size if self.heads == 2 else size**-0.5
        y = F.scaled_dot_product_attention(rotary(q), rotary(k), v, is_causal=True, scale=scale)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, n))
        z = self.between(x)
        return self.out(x + self.down(F.silu(self.gate(z)) * self.up(z)))[:, -1]


class ConvNext(nn.Module):
    """Depthwise convolution, normalization of channels, an inverted bottleneck, and a gain for the branch."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(1, n, 2, stride=2), nn.Conv2d(n, n, 3, padding=1, groups=n)
        self.norm, self.up, self.down = nn.LayerNorm(n), nn.Linear(n, 4 * n), nn.Linear(4 * n, n)
        self.gamma = nn.Parameter(0.1 * torch.ones(n))
        self.out = nn.Linear(n, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.gamma * self.down(F.gelu(self.up(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))))
        return self.out((x + y.permute(0, 3, 1, 2)).mean((-2, -1)))


class LinearBias(nn.Module):
    """Attention whose logits have a slope for each head, and a mask of minus infinities."""

    def __init__(self, n: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.qkv, self.back, self.out = nn.Linear(3, n), nn.Linear(n, 3 * n), nn.Linear(n, n), nn.Linear(n, 2)
        self.register_buffer("slopes", torch.tensor([2 ** (-8 * (k + 1) / heads) for k in range(heads)]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        batch, length, n = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, n // self.heads).permute(2, 0, 3, 1, 4)
        places = torch.arange(length)
        bias = -(places[:, None] - places[None, :]).abs() * self.slopes[:, None, None]
        mask = torch.triu(torch.full((length, length), float("-inf")), 1)
        weights = ((q @ k.transpose(-1, -2)) / q.shape[-1] + bias + mask).softmax(-1)
        return self.out(x + self.back((weights @ v).transpose(1, 2).reshape(batch, length, n))).mean(1)


class Experts(nn.Module):
    """A mixture of three experts, as modules, or as one parameter for all."""

    def __init__(self, n: int, stacked: bool = False) -> None:
        super().__init__()
        self.embed, self.gate, self.out = nn.Linear(3, n), nn.Linear(n, 3, bias=False), nn.Linear(n, 2)
        self.stacked = stacked
        if stacked:
            self.first, self.second = (nn.Parameter(torch.randn(3, n, n) / n**0.5) for _ in range(2))
        else:
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(n, n), nn.GELU(), nn.Linear(n, n)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        weights = self.gate(x).softmax(-1)
        if self.stacked:
            y = torch.einsum("bef,efd->bed", F.silu(torch.einsum("bd,edf->bef", x, self.first)), self.second)
        else:
            y = torch.stack([expert(x) for expert in self.experts], 1)
        return self.out(x + (weights.unsqueeze(-1) * y).sum(1))


class Siamese(nn.Module):
    """One encoder for two inputs; compared by a readout of their distance, or by their angle."""

    def __init__(self, n: int, angle: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, n), nn.Tanh(), nn.Linear(n, n))
        self.out = None if angle else nn.Linear(n, 1)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = self.encoder(a), self.encoder(b)
        return F.cosine_similarity(a, b).unsqueeze(-1) if self.out is None else self.out((a - b).abs())


class Perceiver(nn.Module):
    """Latent vectors that attend to the input."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(2, n))
        self.kv, self.q, self.inner, self.out = nn.Linear(3, 2 * n), nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        k, v = self.kv(x).chunk(2, -1)
        q = self.q(self.latents).unsqueeze(0).expand(x.shape[0], -1, -1)
        weights = torch.bmm(q, k.transpose(1, 2)).div(q.shape[-1]).softmax(-1)
        return self.out(torch.relu(self.inner(self.latents + torch.bmm(weights, v))).mean(1))


class UNet(nn.Module):
    """Down and up again in one dimension, by pooling and repetition or by strides and their transpose."""

    def __init__(self, n: int, strided: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, n, 3, padding=1)
        self.pool = nn.Identity() if strided else nn.MaxPool1d(2)
        self.down = nn.Conv1d(n, 2 * n, 3, padding=1, stride=2 if strided else 1)
        self.up = nn.ConvTranspose1d(2 * n, 2 * n, 4, stride=2, padding=1) if strided else nn.Upsample(scale_factor=2)
        self.joined = nn.Conv1d(3 * n, n, 3, padding=1)
        self.out = nn.Conv1d(n, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.relu(self.first(x))
        b = F.relu(self.down(self.pool(a)))
        return self.out(F.relu(self.joined(torch.cat([self.up(b), a], 1))))


class Deep(nn.Module):
    """Residual branches divided by the root of their number."""

    def __init__(self, n: int, depth: int = 3) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(3, n), nn.Linear(n, 1)
        self.layers = nn.ModuleList(nn.Linear(n, n) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = x + F.relu(layer(x)) / math.sqrt(len(self.layers))
        return self.out(x)


class Mixer(nn.Module):
    """A perceptron over tokens, of a fixed hidden size, and one over channels."""

    def __init__(self, n: int, tokens: int = 3) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(3, n), nn.Linear(n, 2)
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(2))
        self.tokens = nn.Sequential(nn.Linear(tokens, 4), nn.GELU(), nn.Linear(4, tokens))
        self.channels = nn.Sequential(nn.Linear(n, 2 * n), nn.GELU(), nn.Linear(2 * n, n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return self.out((x + self.channels(self.norms[1](x))).mean(1))


def normalized(n: int) -> nn.Module:
    """A perceptron with batch normalization."""
    return nn.Sequential(nn.Linear(3, n), nn.BatchNorm1d(n), nn.ReLU(), nn.Linear(n, n), nn.BatchNorm1d(n), nn.ReLU(),
                         nn.Linear(n, 2))
