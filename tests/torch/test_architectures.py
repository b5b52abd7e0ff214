"""Modules as people build them: tables beside the rules of microsoft/mup, and programs that compute what they do."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from test_module_verify import normal
from test_rules import of_the_program
from torch import nn
from torch.nn.utils import parametrizations
from torch_architectures import (
    ConvNext,
    Decoder,
    Deep,
    Experts,
    LinearBias,
    Mixer,
    Perceiver,
    ResNet,
    Siamese,
    StateSpace,
    UNet,
    VisionTransformer,
    normalized,
)
from torch_networks import ROWS, SEQUENCES, TOKENS

from tensorprog import ProgramError
from tensorprog.torch import trace

PAIRS = (ROWS[:2], ROWS[2:])
SHORT = SEQUENCES[:2, :3]
IDS = TOKENS[:2, :3] % 7
IMAGES = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(5))
COLOURS = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(6))
SIGNALS = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(7))
CASES = {
    "resnet": (ResNet, COLOURS),
    "vision transformer": (VisionTransformer, IMAGES),
    "state space": (StateSpace, SHORT),
    "decoder": (Decoder, IDS),
    "decoder of two heads": (lambda n: Decoder(n, heads=2), IDS),
    "tied decoder": (lambda n: Decoder(n, tied=True), IDS),
    "convnext": (ConvNext, IMAGES),
    "linear bias": (LinearBias, SHORT),
    "experts": (Experts, ROWS[:2]),
    "stacked experts": (lambda n: Experts(n, stacked=True), ROWS[:2]),
    "siamese": (Siamese, PAIRS),
    "angle": (lambda n: Siamese(n, angle=True), PAIRS),
    "perceiver": (Perceiver, SHORT),
    "u-net": (UNet, SIGNALS),
    "u-net with strides": (lambda n: UNet(n, strided=True), SIGNALS),
    "deep": (Deep, ROWS[:2]),
    "mixer": (Mixer, SHORT),
    "batch norm": (normalized, ROWS[:2]),
}
# Parameters that are looked up or added: they have no fan-in, whatever their shape.
ADDED = ("emb.weight", "cls", "pos", "latents")


def kind(make, name: str, width: int = 64) -> str:
    """As microsoft/mup sorts parameters: by which of their axes grow."""
    shapes = [make(n).get_parameter(name).shape for n in (width, 2 * width)]
    grown = [k for k, (a, b) in enumerate(zip(*shapes, strict=True)) if a != b]
    if len(grown) == 2:
        return "hidden"
    return "readout" if grown == [1] and not name.endswith(ADDED) else "vector" if grown else "finite"


#: std, lr of Adam, lr of SGD.
RULES = {"hidden": (Fraction(-1, 2), -1, 0), "readout": (-1, -1, -1), "vector": (0, 0, 1), "finite": (0, 0, 0)}


@pytest.mark.parametrize("name", CASES)
def test_tables_are_those_of_mup(name):
    make, inputs = CASES[name]
    traced = trace(make, inputs)
    adam, sgd = (traced.parametrize(optimizer).exponents() for optimizer in ("adamw", "sgd"))
    assert adam.keys() == {traced.aliases[p] for p in traced.aliases}
    for parameter, found in adam.items():
        std, rate, slow = RULES[kind(make, parameter)]
        assert (found.std, found.lr, found.weight_decay) == (std, rate, -rate), parameter
        if name != "angle" and "tied" not in name and "q" not in parameter.split(".") and "gate" not in parameter:
            assert sgd[parameter].lr == slow, parameter


@pytest.mark.parametrize("name", CASES)
def test_programs_compute_what_modules_do(name):
    make, inputs = CASES[name]
    torch.set_default_dtype(torch.float64)
    try:
        several = inputs if isinstance(inputs, tuple) else (inputs,)
        wide = tuple(x.double() if x.is_floating_point() else x for x in several)
        for found, wanted in of_the_program(make, wide):
            assert np.abs(wanted).max() > 1e-3
            assert found == pytest.approx(wanted, rel=1e-9, abs=1e-11)
    finally:
        torch.set_default_dtype(torch.float32)


# Those whose kernels no other test compares with modules'.
KERNELS = ["decoder of two heads", "vision transformer", "state space", "linear bias", "perceiver", "u-net with strides"]


def gaussian(make):
    """Normal weights, and what is added of order one."""

    def made(n):
        module = normal(make)(n)
        for name, parameter in module.named_parameters():
            if name.endswith(ADDED):
                nn.init.normal_(parameter)
        return module

    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_those_of_modules_as_people_build_them(name):
    make, inputs = CASES[name]
    found = trace(gaussian(make), inputs).verify(widths=(64, 128, 256, 512), seeds=16, samples=1024)
    assert found.passed, found


def test_gates_of_random_numbers():
    """Softmax weights of a draw: the kernel is random, and runs."""
    limit = trace(gaussian(lambda n: Experts(n)), ROWS[:2]).program().run(
        {"X": ROWS[:2].numpy()}, samples=64, replicates=2, draws=4
    )
    assert np.isfinite(limit["theta"]).all()


class Normalized(nn.Module):
    """A layer whose weights are normalized before each use."""

    def __init__(self, n, normalize):
        super().__init__()
        self.embed, self.layer, self.out = nn.Linear(3, n), normalize(nn.Linear(n, n)), nn.Linear(n, 2)

    def forward(self, x):
        h = torch.relu(self.embed(x))
        return self.out(self.layer(h))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize(
    ("normalize", "kind", "remedy"),
    [
        (parametrizations.weight_norm, "WeightNorm", "remove_parametrizations"),
        (parametrizations.spectral_norm, "SpectralNorm", "remove_parametrizations"),
        (parametrizations.orthogonal, "Orthogonal", "remove_parametrizations"),
        (nn.utils.weight_norm, "WeightNorm", "remove_weight_norm"),
        (nn.utils.spectral_norm, "SpectralNorm", "remove_spectral_norm"),
    ],
)
def test_normalized_weights_are_told_what_to_trace(normalize, kind, remedy):
    with pytest.raises(ProgramError, match=f"TP803.*{kind} of the module `layer`(.|\n)*{remedy}") as caught:
        trace(lambda n: Normalized(n, normalize), ROWS)
    assert "return self.out(self.layer(h))" in str(caught.value)


class Doubled(nn.Module):
    """A parametrization of a user's own, which is plain operations."""

    def forward(self, weight):
        return 2 * weight


def test_parametrizations_of_users_are_traced():
    def make(n):
        layer = nn.Linear(n, 2)
        nn.utils.parametrize.register_parametrization(layer, "weight", Doubled())
        return nn.Sequential(nn.Linear(3, n), nn.Tanh(), layer)

    assert trace(make, ROWS).parametrize("adamw").exponents()["2.parametrizations.weight.original"].lr == -1


class WideMixer(nn.Module):
    """A perceptron over tokens whose hidden size grows: a matrix of the input, [n, n]."""

    def __init__(self, n):
        super().__init__()
        self.embed, self.up, self.down, self.out = nn.Linear(3, n), nn.Linear(3, n), nn.Linear(n, 3), nn.Linear(n, 2)

    def forward(self, x):
        return self.out(self.down(torch.relu(self.up(self.embed(x).transpose(1, 2)))).transpose(1, 2).mean(1))


class SmallToken(nn.Module):
    """A token of the class that is smaller than what it is joined to."""

    def __init__(self, n):
        super().__init__()
        self.embed, self.out = nn.Linear(3, n), nn.Linear(n, 2)
        self.token = nn.Parameter(torch.randn(1, 1, n) * n**-0.5)

    def forward(self, x):
        joined = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1)
        return self.out(torch.relu(joined).mean(1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (WideMixer, "TP807.*product of matrices that depend on the input(.|\n)*two axes that grow"),
        (SmallToken, r"TP510.*parts of order .* joined here(.|\n)*token starts with entries n\^\(-1/2\)"),
    ],
)
def test_what_has_no_kernel_is_told_with_its_reason(make, said):
    traced = trace(make, SHORT)
    assert traced.parametrize("adamw").exponents()
    with pytest.raises(ProgramError, match=said) as caught:
        traced.program()
    assert caught.value.source.name.endswith("test_architectures.py")
