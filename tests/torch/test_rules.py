"""The rules of torch's operations: the program of a module computes what the module does, with the same weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_networks import IMAGES, ROWS, SEQUENCES, TOKENS, Block, ManyHeads, Recurrent, Residual, cnn

import tensorprog
from tensorprog import ProgramError
from tensorprog.torch import trace
from tensorprog.torch.declarations import ModuleNames
from tensorprog.torch.emit import program_text

WIDTH = 64


def of_the_program(make, inputs, train=False):
    """The module of width 64, and its first and last output, by torch and by the program."""
    traced = trace(make, inputs, train=train)
    inputs = traced.inputs
    shape = [size for size in traced.module(*inputs).shape[1:] if size > 1]
    for component in ([0] * len(shape), [size - 1 for size in shape]):
        text = program_text(traced, component=component)
        head = text.split("\nfor a in range(P):\n    for c in range(P):")[0]
        module = tensorprog.compile(head + "\noutput f\n").torch_module(WIDTH)
        own = traced.make(WIDTH).train(train)
        fill(module, own, traced)
        wanted = own(*inputs).reshape(len(inputs[0]), *shape)[(slice(None), *component)]
        given = {f"X{k + 1}" if k else "X": x.numpy() for k, x in enumerate(inputs)}
        data = {**given, **traced.tables}
        yield module(**data)["f"].detach().numpy(), wanted.detach().numpy()


def fill(module, own, traced):
    """The program's random objects get the entries of the module's parameters."""
    single = trace(traced.make, tuple(x[:1] for x in traced.inputs), traced.widths, traced.train)
    names = ModuleNames(single)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith("position"):
                parameter.copy_(torch.arange(len(parameter)) / len(parameter))
        for name, value in single.graph.params.items():
            tensor, declared = own.get_parameter(name), names.declared(name)
            if names.is_table(value):
                module.get_parameter(declared).copy_(tensor.T)
                continue
            atoms = [atom for axis in value.leaves() for atom in axis]
            parts = tensor.reshape([atom.sizes[0] for atom in atoms])
            # An array without a width has its last two axes itself; others are families of vectors and matrices.
            own_axes = atoms[-2:] if not value.width_count else [atom for atom in atoms if atom.is_width]
            finite = [(slice(None),) if atom in own_axes else range(atom.sizes[0]) for atom in atoms]
            for index in itertools.product(*finite):
                key = "_".join([declared, *(str(i) for i in index if isinstance(i, int))])
                part = parts[index]
                module.get_parameter(key).copy_(part.reshape(module.get_parameter(key).shape))


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Net(nn.Module):
    """A layer in, something in between, and a readout."""

    def __init__(self, n, forward, middle=None, conv=False, out=None):
        super().__init__()
        self.n = n
        self.inner = nn.Conv2d(1, n, 3, padding=1) if conv else nn.Linear(3, n)
        self.middle = middle(n) if middle else nn.Identity()
        self.gain = nn.Parameter(1 + 0.1 * torch.randn(n))
        self.outer = nn.Linear(out(n) if out else n, 2)
        self.rule = forward

    def forward(self, x):
        h = self.rule(self, self.inner(x))
        return self.outer(h)


def net(forward, middle=None, **options):
    return lambda n: Net(n, forward, middle, **options)


def rotated(net, h, pairs):
    """Rotary positions of a growing head, with halves or with neighbours as pairs."""
    x = net.middle(h)
    angle = torch.linspace(0.1, 1, x.shape[-2])[:, None]
    a, b = (x[..., ::2], x[..., 1::2]) if pairs else x.chunk(2, dim=-1)
    turned = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    z = torch.stack(turned, -1).flatten(-2) if pairs else torch.cat(turned, -1)
    return (F.softmax(z @ z.transpose(-1, -2) / net.n, -1) @ h).mean(1)


def turned(net, h, angles):
    """Rotary positions whose frequencies grow in number with the head."""
    cos, sin = (torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin())
    x = net.middle(h).unflatten(-1, (2, -1)).transpose(1, 2)
    a, b = x.chunk(2, dim=-1)
    z = x * cos + torch.cat([-b, a], -1) * sin
    return (F.softmax(z @ z.transpose(-1, -2) / net.n, -1) @ x).transpose(1, 2).flatten(2).mean(1)


def angles(length, size):
    """Of rotary positions, [length, size/2]."""
    frequencies = 100.0 ** -(torch.arange(0, size, 2).to(torch.get_default_dtype()) / size)
    return torch.outer(torch.arange(length).to(torch.get_default_dtype()), frequencies)


class Kept(nn.Module):
    """A layer beside tables that are computed once: angles of heads, and sines and cosines in turn."""

    def __init__(self, n, length=3):
        super().__init__()
        self.layer = nn.Linear(n, n)
        self.register_buffer("angles", angles(length, n // 2))
        waves = torch.zeros(length, n)
        steps = torch.arange(length)[:, None] * torch.exp(torch.arange(0, n, 2) * (-3.0 / n))
        waves[:, 0::2], waves[:, 1::2] = steps.sin(), steps.cos()
        self.register_buffer("waves", waves)

    def forward(self, x):
        return self.layer(x)


def masked(mask, **options):
    return lambda net, h: net.middle(h, h, h, need_weights=False, **mask(h), **options)[0].mean(1)


def attended(net, h, mask):
    """Attention to itself, but for what a mask of numbers of the module leaves out."""
    return ((h @ h.transpose(1, 2) / net.n).masked_fill(mask(h), float("-inf")).softmax(-1) @ h).sum(1)


def linear(n):
    return nn.Linear(n, n)


def starts(net, h):
    return torch.zeros_like(h[:, 0]), h.new_zeros(len(h), net.n)


TRIANGLE = torch.ones(5, 5, dtype=torch.bool).triu(1)
PADDED = torch.tensor([[False, False, False, True, True]])
SMALL = IMAGES[:2, :, :4, :4]
POOL = {"conv": True}


def pooled(net, h):
    return net.middle(torch.relu(h)).mean((2, 3))


CASES = {
    "residual": (lambda n: Residual(n, blocks=1), ROWS),
    "cnn": (cnn, SMALL),
    "block": (Block, TOKENS),
    "attention layer": (ManyHeads, SEQUENCES),
    "gru": (Recurrent, SEQUENCES),
    "lstm": (lambda n: Recurrent(n, nn.LSTM), SEQUENCES),
    # convolutions
    "groups": (
        net(pooled, lambda n: nn.Conv2d(n, 2 * n, 3, padding="same", groups=4), out=lambda n: 2 * n, **POOL),
        SMALL,
    ),
    "depthwise": (net(pooled, lambda n: nn.Conv2d(n, n, 3, dilation=2, padding=2, groups=n), **POOL), SMALL),
    "growing groups": (net(pooled, lambda n: nn.Conv2d(n, n, 2, groups=n // 8, bias=False), **POOL), SMALL),
    "group norm": (net(pooled, lambda n: nn.GroupNorm(4, n), **POOL), SMALL),
    "instance norm": (net(pooled, lambda n: nn.GroupNorm(n, n), **POOL), SMALL),
    "batch norm": (net(pooled, nn.BatchNorm2d, **POOL), SMALL),
    # recurrent layers
    "both directions": (
        net(
            lambda net, h: net.middle(h)[0][:, 1],
            lambda n: nn.GRU(n, n // 2, bidirectional=True, batch_first=True),
        ),
        SEQUENCES[:2, :3],
    ),
    "last states of both": (
        net(
            lambda net, h: net.middle(h)[1].transpose(0, 1).flatten(1),
            lambda n: nn.RNN(n, n, 2, bidirectional=True, batch_first=True, bias=False),
            out=lambda n: 4 * n,
        ),
        SEQUENCES[:2, :3],
    ),
    "cell": (
        net(
            lambda net, h: net.middle(h[:, 1], net.middle(h[:, 0], starts(net, h)))[0],
            lambda n: nn.LSTMCell(n, n),
        ),
        SEQUENCES[:2, :2],
    ),
    # attention
    "rotary positions": (net(lambda net, h: rotated(net, h, False), linear), SEQUENCES[:2, :3]),
    "rotary positions of pairs": (net(lambda net, h: rotated(net, h, True), linear), SEQUENCES[:2, :3]),
    "angles of growing heads": (
        net(lambda net, h: turned(net, h, angles(h.shape[1], h.shape[-1] // 2)), linear),
        SEQUENCES[:2, :3],
    ),
    "angles in a buffer": (net(lambda net, h: turned(net, h, net.middle.angles), Kept), SEQUENCES[:2, :3]),
    "sinusoidal positions": (
        net(lambda net, h: torch.relu(net.middle(h + net.middle.waves[: h.shape[1]])).mean(1), Kept),
        SEQUENCES[:2, :3],
    ),
    "mask of numbers": (
        net(
            masked(lambda h: {"attn_mask": torch.zeros(5, 5).masked_fill(TRIANGLE, float("-inf"))}),
            lambda n: nn.MultiheadAttention(n, 4, batch_first=True),
        ),
        SEQUENCES,
    ),
    "mask": (
        net(masked(lambda h: {"attn_mask": TRIANGLE}), lambda n: nn.MultiheadAttention(n, n // 16, batch_first=True)),
        SEQUENCES,
    ),
    "mask of one axis": (net(lambda net, h: attended(net, h, lambda h: torch.tensor([False, True, False]))), SEQUENCES[:2, :3]),
    "mask that is transposed": (
        net(lambda net, h: attended(net, h, lambda h: torch.ones(3, 3, dtype=torch.bool).triu(1).T)),
        SEQUENCES[:2, :3].flip(1),
    ),
    "padding": (
        net(
            masked(lambda h: {"key_padding_mask": PADDED.expand(len(h), -1)}),
            lambda n: nn.MultiheadAttention(n, 2, batch_first=True),
        ),
        SEQUENCES,
    ),
    "grouped queries": (
        net(
            lambda net, h: F.scaled_dot_product_attention(
                net.middle(h).unflatten(-1, (4, -1)).transpose(1, 2),
                *(h[..., : net.n // 2].unflatten(-1, (2, -1)).transpose(1, 2) for _ in range(2)),
                enable_gqa=True,
            ).transpose(1, 2).flatten(2)[:, 0],
            linear,
        ),
        SEQUENCES[:2, :3],
    ),
    "repeated heads": (
        net(lambda net, h: net.middle(h.unflatten(-1, (2, -1)).repeat_interleave(2, 1).flatten(1)),
            lambda n: nn.Linear(2 * n, n)),
        ROWS,
    ),
    "prelu": (net(lambda net, h: net.middle(h), nn.PReLU), ROWS),
    "prelu of channels": (net(lambda net, h: net.middle(h).mean((2, 3)), nn.PReLU, **POOL), SMALL),
    # gates, norms
    "glu": (net(lambda net, h: F.glu(net.middle(h)), lambda n: nn.Linear(n, 2 * n)), ROWS),
    "swiglu": (net(lambda net, h: F.silu(net.middle(h)) * h, linear), ROWS),
    "rms_norm": (net(lambda net, h: F.rms_norm(h, (net.n,), net.gain)), ROWS),
    "rms by hand": (net(lambda net, h: h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-3) * net.gain), ROWS),
    "norm": (net(lambda net, h: h / h.norm(dim=-1, keepdim=True) * net.n**0.5 * net.gain), ROWS),
    "normalize": (net(lambda net, h: F.normalize(h, dim=-1) * net.n**0.5), ROWS),
    "variance": (net(lambda net, h: h / (h.var(-1, keepdim=True, unbiased=False) + 0.1).sqrt()), ROWS),
    "deviation over places": (net(lambda net, h: torch.tanh(h).std(1) + h.mean(1)), SEQUENCES),
    # products with a sum
    "addmm": (net(lambda net, h: torch.addmm(h, h, net.middle.weight, beta=0.5, alpha=2.0), linear), ROWS),
    "addmm as a layer": (net(lambda net, h: torch.addmm(net.middle.bias, h, net.middle.weight), linear), ROWS),
    # einsum
    "einsum": (net(lambda net, h: torch.einsum("...n,mn->...m", h, net.middle.weight).relu(), linear), ROWS),
    "einsum of three": (
        net(lambda net, h: torch.einsum("bin,mn,bjk->bm", h, net.middle.weight, torch.sigmoid(h)) / net.n, linear),
        SEQUENCES[:2, :3],
    ),
    "einsum without an output": (net(lambda net, h: torch.einsum("bn,nm", h, net.middle.weight), linear), ROWS),
    **{
        name: (net(lambda net, h, f=f: f(3 * h)), ROWS)
        for name, f in {
            "mish": F.mish,
            "softsign": F.softsign,
            "logsigmoid": F.logsigmoid,
            "relu6": F.relu6,
            "hardswish": F.hardswish,
            "hardsigmoid": F.hardsigmoid,
            "selu": F.selu,
            "elu": F.elu,
            "gelu": F.gelu,
            "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
            "leaky relu": F.leaky_relu,
            "softplus of another slope": lambda x: F.softplus(x, beta=2),
            "log1p": lambda x: torch.log1p(x**2),
            "expm1": lambda x: torch.expm1(torch.sin(x)),
        }.items()
    },
}


@pytest.mark.parametrize("name", CASES)
def test_a_program_computes_what_the_module_does(name):
    make, inputs = CASES[name]
    inputs = inputs.double() if inputs.dtype.is_floating_point else inputs
    for found, wanted in of_the_program(make, inputs):
        assert np.abs(wanted).max() > 1e-3
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("style", [lambda h: F.dropout(h, 0.3), lambda h: F.dropout1d(h[:, :, None], 0.3).squeeze(-1)])
def test_dropout_in_training(style):
    """Of every row, other entries are dropped; the second moment is that of the module."""
    make = net(lambda net, h: style(torch.tanh(h)))
    program = trace(make, ROWS.double()).program()
    assert "~ bernoulli(0.7)" in program.source.text
    own, X = make(4096), ROWS[:2].double()
    found = program.run({"X": X.numpy()}, samples=2048, replicates=4)
    hidden = style(torch.tanh(own.inner(X))).detach()
    second = (hidden @ hidden.T / 4096 / 3).numpy() + 1 / 3 / 4096
    with torch.no_grad():
        law = trace(make, ROWS.double()).laws["outer.weight"]
    assert found["nngp"] == pytest.approx(second * 3 * law.std(4096) ** 2 * 4096, rel=0.1, abs=0.005)


def test_dropout_of_numbers_makes_kernels_random():
    """Of every row, a number is kept or not: 1/keep times the kernel without dropout on the diagonal, in the mean."""
    make = net(lambda net, h: torch.tanh(h) * F.dropout(h.mean(-1, keepdim=True) * 0 + 1, 0.5))
    program = trace(make, ROWS.double()).program()
    assert "~ bernoulli(0.5)" in program.source.text
    found = program.run({"X": ROWS[:2].numpy()}, samples=512, replicates=2)
    plain = trace(net(lambda net, h: torch.tanh(h)), ROWS.double()).program().run({"X": ROWS[:2].numpy()})
    for a, c, factor in ((0, 0, 2), (0, 1, 1)):
        assert abs(found["nngp"][a, c] - factor * plain["nngp"][a, c]) < 4 * found.error["nngp"][a, c] + 0.01


def test_attention_with_dropout():
    """Weights of attention of one head are numbers: the kernel is random, with the mean of many draws of the module."""

    class Attending(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.embed, self.out = nn.Linear(3, n, bias=False), nn.Linear(n, 1, bias=False)

        def forward(self, x):
            h = self.embed(x)
            q = torch.zeros_like(h)
            return self.out(F.scaled_dot_product_attention(q, q, h, dropout_p=0.25)[:, 0])

    program = trace(Attending, SEQUENCES[:2, :3].double(), train=True).program()
    X = SEQUENCES[:1, :3].double().numpy()
    found = program.run({"X": X})
    gram = X[0] @ X[0].T / 9  # of torch's own uniform initialization: variances 1/(3 fan-in)
    mean = gram.mean() + (1 / 0.75 - 1) * np.trace(gram) / 9
    assert abs(found["nngp"][0, 0] - mean / 3) < 4 * found.error["nngp"][0, 0]
    assert found.spread["nngp"].variance[0, 0] > 0


def test_layers_with_dropout_in_both_modes():
    def make(n):
        return nn.Sequential(nn.Linear(3, n), nn.ReLU(), nn.Dropout(0.25), nn.Linear(n, 2))

    assert "bernoulli" not in trace(make, ROWS.double()).program().source.text
    assert "bernoulli(0.75)" in trace(make, ROWS.double(), train=True).program().source.text


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, lambda n: nn.Unflatten(1, (n, 1)), None])
def test_tables_of_what_mixes_rows_and_no_programs(layer):
    """Statistics of a batch are averages over rows, of which a program has one."""

    class Centred(nn.Module):
        def forward(self, h):
            return h - h.mean(0)

    def make(n):
        own = [Centred()] if layer is None else [layer(n)] if layer is nn.BatchNorm1d else \
            [layer(n), nn.BatchNorm1d(n), nn.Flatten()]
        return nn.Sequential(nn.Linear(3, n), *own, nn.ReLU(), nn.Linear(n, 1))

    for rows in (ROWS.double(), ROWS.double()[:2]):
        traced = trace(make, rows, train=True)
        exponents = traced.parametrize("adamw").exponents()
        assert next(e for name, e in exponents.items() if name.endswith("0.weight")).lr == 0
        with pytest.raises(ProgramError, match="TP807.*(one row|mixes the rows)"):
            traced.program()
