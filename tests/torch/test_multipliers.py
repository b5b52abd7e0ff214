"""Multipliers go to the uses that need them, and to no others: modules beside the same with the multipliers written into them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_networks import ROWS, SEQUENCES, TOKENS

from tensorprog import ProgramError
from tensorprog.torch import trace
from tensorprog.torch.multipliers import _summed_by, products_scaled

#: Four times the base width, and the power of it that is half of its n^(-1/2): 1/n from n = 64 on.
WIDTH, BY_HAND = 256, 0.5 + math.log(2, 256)


def of_width(make, inputs, **options):
    """A module with its multipliers, and another of the same parameters."""
    model, reference = make(WIDTH, **options), make(WIDTH, **options)
    reference.load_state_dict(model.state_dict())
    return trace(lambda n: make(n, **options), inputs).parametrize("adamw").apply(model), reference


class Autoencoder(nn.Module):
    """One matrix, there and back."""

    def __init__(self, n: int, spelling: str = "linear") -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(n, 3))
        self.spelling = spelling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(F.linear(x, self.w))
        match self.spelling:
            case "linear":
                return F.linear(h, self.w.t())
            case "keyword":
                return F.linear(h, weight=self.w.T)
            case "matmul":
                return torch.matmul(h, self.w)
            case "einsum":
                return torch.einsum("bn,nd->bd", h, self.w)
            case "temperature":
                return h @ self.w / 2
            case "sum":
                return (h.unsqueeze(-1) * self.w).sum(1)
        raise AssertionError(self.spelling)


@pytest.mark.parametrize("spelling", ["linear", "keyword", "matmul", "einsum", "temperature"])
def test_the_decoder_of_a_tied_autoencoder(spelling):
    model, reference = of_width(Autoencoder, ROWS, spelling=spelling)
    assert torch.allclose(model(ROWS), reference(ROWS) / 4, atol=1e-5)
    # As parts of a module run that are run by themselves: the mode is there twice.
    with products_scaled(model):
        assert torch.allclose(model(ROWS), reference(ROWS) / 4, atol=1e-5)


def test_a_sum_that_is_no_product_is_refused():
    with pytest.raises(ProgramError, match="cannot be inserted from outside"):
        of_width(Autoencoder, ROWS, spelling="sum")


class TwoLayers(nn.Module):
    """Two layers of attention in one forward pass, and a softmax of something else between them."""

    def __init__(self, n: int, spelling: str = "softmax") -> None:
        super().__init__()
        self.embed, self.gate, self.out = nn.Linear(3, n), nn.Linear(n, 2), nn.Linear(n, 2)
        self.q, self.k = (nn.ModuleList(nn.Linear(n, n, bias=False) for _ in range(2)) for _ in range(2))
        self.spelling, self.power = spelling, 0.5

    def attended(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scale = q.shape[-1] ** -self.power
        if self.spelling == "keywords":
            return F.scaled_dot_product_attention(query=q, key=k, value=v, scale=scale)
        logits = q @ k.transpose(1, 2) * scale
        match self.spelling:
            case "mask":
                logits = logits + torch.triu(torch.full((5, 5), -1e9), 1)
            case "stable":
                logits = logits - logits.amax(-1, keepdim=True)
            case "bias":
                logits = logits + torch.arange(5.0)
            case "cap":
                logits = 3 * torch.tanh(logits / 3)
        return F.softmax(input=logits, dim=-1) @ v

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        h = h + self.attended(self.q[0](h), self.k[0](h), h)
        h = h * self.gate(h).softmax(-1)[..., :1]
        h = h + self.attended(self.q[1](h), self.k[1](h), h)
        return self.out(h)


@pytest.mark.parametrize("spelling", ["softmax", "keywords", "mask", "stable"])
def test_every_softmax_of_a_module_has_its_own_multiplier(spelling):
    model, reference = of_width(TwoLayers, SEQUENCES, spelling=spelling)
    reference.power = BY_HAND
    assert torch.allclose(model(SEQUENCES), reference(SEQUENCES), atol=1e-5)
    reference.power = 0.5
    assert not torch.allclose(model(SEQUENCES), reference(SEQUENCES), atol=1e-3)


@pytest.mark.parametrize("spelling", ["bias", "cap"])
def test_what_a_softmax_cannot_undo_is_refused(spelling):
    """What is added to the logits, or bends them, would be multiplied as well."""
    with pytest.raises(ProgramError, match="cannot be inserted from outside"):
        of_width(TwoLayers, SEQUENCES, spelling=spelling)


def test_another_number_of_softmaxes_than_traced_is_refused():
    model, _ = of_width(TwoLayers, SEQUENCES)
    model.k = nn.ModuleList([nn.Sequential(model.k[0], nn.Softmax(-1)), model.k[1]])
    with pytest.raises(ProgramError, match="had 3 softmaxes when it was traced, and calls 4 now"):
        model(SEQUENCES)


class TiedText(nn.Module):
    """A tied readout with a bias, as an einsum, and an embedding that is looked up."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.emb, self.bias = nn.Embedding(11, n), nn.Parameter(torch.randn(11))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.einsum("btd,vd->btv", torch.tanh(self.emb(ids)), self.emb.weight) + self.bias


def test_a_tied_readout_as_an_einsum_with_a_bias():
    model, reference = of_width(TiedText, TOKENS)
    assert torch.allclose(model(TOKENS) - model.bias, (reference(TOKENS) - reference.bias) / 4, atol=1e-5)


def test_what_an_einsum_sums_over():
    assert _summed_by("bd, vd -> bv") == (1, 1)
    assert _summed_by("...d,vd->...v") == (None, 1)
    assert _summed_by("bij,jk->b") == (None, None)
    assert _summed_by("bd,vd") == (None, None)
