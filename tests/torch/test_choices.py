"""Masks of the input, experts that are chosen, padding and picked entries: programs compute what modules do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_rules import net, of_the_program
from torch import nn
from torch.nn import functional as F
from torch_networks import IMAGES, ROWS, SEQUENCES

from tensorprog import ProgramError
from tensorprog.torch import trace
from tensorprog.torch.emit import program_text

IDS = torch.tensor([[3, 1, 0, 0], [2, 5, 4, 0]])
SHORT = SEQUENCES[:2, :4]
SMALL = IMAGES[:2, :, :4, :4]


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Experts(nn.Module):
    """Three experts, of which weights choose."""

    def __init__(self, n, choose):
        super().__init__()
        self.embed, self.gate, self.out = nn.Linear(3, n), nn.Linear(n, 3, bias=False), nn.Linear(n, 2)
        self.experts = nn.ModuleList(nn.Linear(n, n, bias=False) for _ in range(3))
        self.choose = choose

    def forward(self, x):
        h = self.embed(x)
        weights = self.choose(self.gate(h).softmax(-1))
        return self.out(h + sum(weights[:, k : k + 1] * torch.relu(e(h)) for k, e in enumerate(self.experts)))


def only(weights, count):
    """The largest so many, by their indices."""
    top, index = weights.topk(count, -1)
    return (F.one_hot(index, 3) * top[..., None]).sum(-2)


CHOICES = {
    "the largest": lambda w: torch.where(w >= w.max(-1, keepdim=True)[0], w, torch.zeros_like(w)),
    "by index": lambda w: w * F.one_hot(w.argmax(-1), 3).to(w.dtype),
    "two of three": lambda w: only(w, 2),
    "scattered": lambda w: torch.zeros_like(w).scatter(-1, w.topk(2, -1)[1], w.topk(2, -1)[0]),
    "index of each": lambda w: torch.stack([(w.argmin(-1) != k) * w[:, k] for k in range(3)], -1),
    "a threshold": lambda w: w.masked_fill(w < 0.33, 0.25),
    "two conditions": lambda w: torch.where((w > 0.3) & ~(w >= 0.36), torch.maximum(w, 0.34 * torch.ones_like(w)), w.amin(-1, True)),
}


class Masked(nn.Module):
    """torch's encoder layer on tokens, of which some are padding."""

    def __init__(self, n, heads=2):
        super().__init__()
        self.emb = nn.Embedding(6, n)
        self.layer = nn.TransformerEncoderLayer(n, heads, n, batch_first=True)
        self.out = nn.Linear(n, 2)

    def forward(self, ids, padded=None):
        length = ids.shape[1]
        causal = nn.Transformer.generate_square_subsequent_mask(length, dtype=torch.float64)
        padded = ids == 0 if padded is None else padded
        return self.out(self.layer(self.emb(ids), src_mask=causal, src_key_padding_mask=padded))[:, 1]


class Attending(nn.Module):
    """Attention to tokens that are real and not behind, by truth values."""

    def __init__(self, n):
        super().__init__()
        self.emb, self.out = nn.Embedding(6, n), nn.Linear(n, 2)

    def forward(self, ids):
        h = self.emb(ids).unsqueeze(1)
        seen = (ids != 0)[:, None, None, :] & torch.ones(4, 4, dtype=torch.bool).tril()
        return self.out(F.scaled_dot_product_attention(h, h, h, attn_mask=seen)[:, 0].mean(1))


class Translator(nn.Module):
    """torch's own encoder and decoder."""

    def __init__(self, n):
        super().__init__()
        self.emb, self.out = nn.Embedding(6, n), nn.Linear(n, 2)
        self.layers = nn.Transformer(n, 2, 1, 1, n, batch_first=True, bias=False)

    def forward(self, source, target):
        mask = self.layers.generate_square_subsequent_mask(target.shape[1], dtype=torch.float64)
        return self.out(self.layers(self.emb(source), self.emb(target), tgt_mask=mask)[:, 1])


class Tokens(nn.Module):
    """A layer of one-hot tokens."""

    def __init__(self, n):
        super().__init__()
        self.first, self.out = nn.Linear(6, n), nn.Linear(n, 2)

    def forward(self, ids):
        return self.out(torch.relu(self.first(F.one_hot(ids, 6).to(torch.float64))).mean(1))


def padded(*pads, **options):
    return net(lambda net, h: (F.pad(net.middle(h), pads, **options) ** 2).flatten(2).mean(-1), lambda n: nn.Conv2d(n, n, 1),
               conv=True)


SOURCE, TARGET = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([1, 2, 3, 0, 0])
CASES = {
    **{f"experts: {name}": (lambda n, c=c: Experts(n, c), ROWS) for name, c in CHOICES.items()},
    "padding of the input": (Masked, IDS),
    "padding as an input": (Masked, (IDS, IDS == 0)),
    "truth values of the input": (Attending, IDS),
    "encoder and decoder": (Translator, (IDS[:, :2], IDS[:, :2].flip(1))),
    "one-hot tokens": (Tokens, IDS),
    "padded": (padded(1, 0, 2, 1, value=0.5), SMALL),
    "cut": (padded(-1, 1, 0, -2), SMALL),
    "reflected": (padded(2, 1, 0, 1, mode="reflect"), SMALL),
    "replicated": (padded(1, 2, 1, 0, mode="replicate"), SMALL),
    "circular": (net(lambda net, h: torch.relu(net.middle(h)).mean((2, 3)),
                     lambda n: nn.Conv2d(n, n, 3, padding=1, padding_mode="circular"), conv=True), SMALL),
    "causal convolution": (net(lambda net, h: net.middle(F.pad(h.transpose(1, 2), (2, 0)))[..., -1],
                               lambda n: nn.Conv1d(n, n, 2, dilation=2)), SHORT),
    "edges": (net(lambda net, h: torch.relu(h.index_add(1, TARGET, net.middle(h)[:, SOURCE])).mean(1),
                  lambda n: nn.Linear(n, n)), SHORT),
    "selected": (net(lambda net, h: torch.relu(h.index_select(1, torch.tensor([3, 0, 3]))).sum(1)), SHORT),
    "minimum over places": (net(lambda net, h: h.min(1)[0] + h.max(1).values), SHORT),
}


# Those that take seconds, and whose rules others test as well.
SLOW = ("encoder and decoder", "padding as an input", "replicated", "circular", "experts: index of each", "experts: scattered",
        "experts: by index", "experts: a threshold")


@pytest.mark.parametrize("name", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in CASES])
def test_a_program_computes_what_the_module_does(name):
    make, inputs = CASES[name]
    several = inputs if isinstance(inputs, tuple) else (inputs,)
    wide = tuple(x.double() if x.is_floating_point() else x for x in several)
    for found, wanted in of_the_program(make, wide):
        assert np.abs(wanted).max() > 1e-3
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-11)


def test_masks_of_the_input_are_filters():
    text = program_text(trace(Masked, IDS), "train")
    assert "if X[a, l] != 0" in text and "if l <= j" in text


def test_experts_that_are_chosen_have_a_table():
    table = trace(lambda n: Experts(n, CHOICES["two of three"]), ROWS.double()).parametrize("adamw").exponents()
    assert {table[f"experts.{k}.weight"].lr for k in range(3)} == {-1} and table["gate.weight"].lr == -1


@pytest.mark.parametrize(
    ("choose", "said"),
    [
        (lambda w: w.masked_fill(w < 0.3, float("-inf")).softmax(-1), "minus infinities that depends on computed numbers"),
        (lambda w: w * w.topk(1, -1)[1], "what is read may not depend on computed numbers"),
        (lambda w: w.gather(1, w.argmax(-1, keepdim=True)) * w, "`gather` along an axis has no rule(.|\n)*one_hot"),
    ],
)
def test_what_has_no_place_in_a_program_is_told(choose, said):
    with pytest.raises(ProgramError, match=said) as caught:
        trace(lambda n: Experts(n, choose), ROWS.double()).program()
    assert caught.value.source.name.endswith("test_choices.py")


class Summed(nn.Module):
    """The mean of embeddings, of which those of padding are zero."""

    def __init__(self, n):
        super().__init__()
        self.emb, self.out = nn.Embedding(5, n, padding_idx=0), nn.Linear(n, 1, bias=False)

    def forward(self, ids):
        return self.out(3 * self.emb(ids).mean(1))


def test_embeddings_of_padding_are_zero():
    """Kernels count pairs of equal tokens, but for padding; so do tangent kernels, as padding has no gradient."""
    ids = torch.tensor([[0, 0, 1, 2], [0, 1, 1, 3], [0, 0, 0, 0]])
    traced = trace(Summed, ids)
    found = traced.program().run({"X": ids.numpy()})
    pairs = np.array([[2, 2, 0], [2, 5, 0], [0, 0, 0]])
    for kernel in (found["nngp"], found["theta"]):
        assert kernel == pytest.approx(kernel[0, 0] / 2 * pairs, rel=1e-9, abs=1e-12) and kernel[0, 0] > 0
    table = traced.parametrize("adamw").exponents()
    assert (table["emb.weight"].std, table["emb.weight"].lr, table["out.weight"].lr) == (0, 0, -1)


class Tied(nn.Module):
    """Logits by the table of embeddings, whose row of padding is zero at the start, and is trained by them."""

    def __init__(self, n, read):
        super().__init__()
        self.emb, self.read = nn.Embedding(5, n, padding_idx=0), read

    def forward(self, ids):
        return self.read(torch.tanh(self.emb(ids)).mean(1), self.emb.weight)


@pytest.mark.parametrize("read", [
    lambda h, w: h @ w.T, lambda h, w: nn.functional.linear(h, w), lambda h, w: (h[:, None] * w[None, 1:]).sum(-1),
    lambda h, w: (h * nn.functional.embedding(torch.tensor([0]), w)).sum(-1, keepdim=True)],
    ids=["product", "linear", "part", "looked up as it is"])
def test_tables_with_padding_are_for_embeddings_alone(read):
    with pytest.raises(ProgramError, match="row of padding") as caught:
        trace(lambda n: Tied(n, read), torch.tensor([[0, 1, 2], [3, 4, 0]])).program(nngp=False)
    assert caught.value.source.name.endswith("test_choices.py")
