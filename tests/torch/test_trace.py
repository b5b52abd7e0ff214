"""Tracing: axes, initial laws, and what is told about a module that cannot be traced."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch_networks import ROWS, TOKENS, Block, mlp

from tensorprog import ProgramError
from tensorprog.torch import trace
from tensorprog.torch.axes import (
    AxisError,
    describe,
    fresh,
    leaves,
    split_blocks,
    unify,
)


def test_torch_is_not_imported():
    code = (
        "import sys, tensorprog, tensorprog.torch; tensorprog.compile('width n\\nvector v : [n] ~ normal(0, 1)\\n"
        "output moment(v*v) as q\\n'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- axes ----------------------------------------------------------------------------------------------------


def test_heads_split_a_width():
    n = fresh((64, 128))
    other = n
    unify(n, (*fresh((2, 2)), *fresh((32, 64))))
    assert describe(other) == "2x(32|64)"


def test_the_number_of_heads_can_be_the_width():
    n = fresh((64, 128))
    unify(n, (*fresh((4, 8)), *fresh((16, 16))))
    assert describe(n) == "(4|8)x16"


def test_factors_are_split_on_either_side():
    a, b = (*fresh((2, 2)), *fresh((6, 6))), (*fresh((4, 4)), *fresh((3, 3)))
    unify(a, b)
    assert describe(a) == describe(b) == "2x2x3"


def test_factors_that_cut_across():
    with pytest.raises(AxisError, match="cut across"):
        unify((*fresh((3, 3)), *fresh((2, 2))), (*fresh((2, 2)), *fresh((3, 3))))
    with pytest.raises(AxisError, match="meets"):
        unify(fresh((64, 128)), fresh((64, 64)))


def test_blocks_of_a_stacked_axis():
    axis = fresh((96, 192))
    assert split_blocks(axis, [(64, 128), (16, 32), (16, 32)]) == (4, 1, 1)
    assert [atom.sizes for atom in leaves(axis)] == [(6, 6), (16, 32)]


def test_axes_of_a_block():
    traced = trace(Block, TOKENS)
    shapes = {name: [describe(axis) for axis in value.axes] for name, value in traced.graph.params.items()}
    assert shapes["qkv.weight"] == ["3x2x(32|64)", "(64|128)"]
    assert shapes["proj.weight"] == ["(64|128)", "2x(32|64)"]


# --- laws ----------------------------------------------------------------------------------------------------


def laws_of(initialize):
    def make(n):
        layer = nn.Linear(n, n)
        with torch.no_grad():
            initialize(layer.weight, n)
        return nn.Sequential(nn.Linear(3, n), layer, nn.Linear(n, 1))

    traced = trace(make, ROWS)
    return traced.laws["1.weight"], traced.warnings


@pytest.mark.parametrize(
    ("initialize", "kind", "power"),
    [
        (lambda w, n: None, "uniform", Fraction(-1, 2)),
        (lambda w, n: w.normal_(0, 0.02), "normal", 0),
        (lambda w, n: nn.init.xavier_normal_(w), "normal", Fraction(-1, 2)),
        (lambda w, n: nn.init.kaiming_uniform_(w).mul_(n**-0.25), "uniform", Fraction(-3, 4)),
        (lambda w, n: w.copy_(torch.randn(n, n) / n), "normal", -1),
        (lambda w, n: w.zero_(), "constant", 0),
        (lambda w, n: (w.normal_().mul_(torch.tensor(2.0).sqrt_() / n), w[:2].sum()), "normal", -1),
    ],
)
def test_initializers_are_watched(initialize, kind, power):
    law, warnings = laws_of(initialize)
    assert (law.law.kind, law.power, warnings) == (kind, power, ())


@pytest.mark.parametrize(
    "initialize",
    [
        lambda w, n: nn.init.trunc_normal_(w, std=n**-0.5, a=-(n**-0.5), b=n**-0.5),
        lambda w, n: nn.init.orthogonal_(w),
        # Numbers that are other ones in every network are no law.
        lambda w, n: w.normal_().div_(w.norm()).mul_(n**0.5),
        lambda w, n: w.copy_(torch.randn(n, n) / torch.randn(n, n).square().sum().sqrt() * n**0.5),
        lambda w, n: w.normal_().div_(2 * torch.linalg.matrix_norm(w, 2)),
    ],
)
def test_laws_that_are_not_known_are_sampled(initialize):
    law, warnings = laws_of(initialize)
    assert (law.law.kind, law.power) == ("sampled", Fraction(-1, 2))
    assert "TP804" in str(warnings[0])


def test_the_caller_s_random_numbers_stay():
    torch.manual_seed(3)
    first = torch.rand(2)
    torch.manual_seed(3)
    trace(mlp, ROWS)
    assert torch.equal(first, torch.rand(2))


# --- mistakes ------------------------------------------------------------------------------------------------


class Wrong(nn.Module):
    def __init__(self, n, forward):
        super().__init__()
        self.layer, self.rule = nn.Linear(3, n), forward

    def forward(self, x):
        return self.rule(self.layer(x))


@pytest.mark.parametrize(
    ("forward", "code", "said"),
    [
        (lambda h: h + torch.ones(64), "TP801", "does not run at width 128"),
        (lambda h: h if h.sum() > 0 else -h, "TP801", "torch.export cannot follow"),
        (lambda h: torch.cumsum(h, -1), "TP803", "no rule for the operation `cumsum`"),
        (lambda h: h[:, :10], "TP802", "do not keep their proportions"),
        (lambda h: h[:, 3], "TP802", "an element of an axis that grows"),
        (lambda h: torch.tanh(h) if h.shape[1] == 64 else torch.relu(h), "TP802", "something else at the other width"),
        (lambda h: torch.view_as_complex(h.unflatten(-1, (-1, 2))), "TP803", "complex numbers"),
    ],
)
def test_mistakes_are_shown_at_the_module_s_line(forward, code, said):
    with pytest.raises(ProgramError) as caught:
        trace(lambda n: Wrong(n, forward), ROWS)
    found = caught.value.diagnostics[0]
    assert (found.code, caught.value.source.name) == (code, __file__)
    assert said in found.message
    line = caught.value.source.line(found.span.line)
    assert "lambda h" in line or "self.rule(self.layer(x))" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((nn.Linear(3, 3), ROWS), "a function of the width, not a Linear"),
        ((mlp, [1.0, 2.0]), "not a float"),
        ((mlp, ()), "not nothing"),
        ((mlp, ROWS, (64, 64)), r"two widths, not at \(64, 64\)"),
    ],
)
def test_arguments_that_make_no_sense(arguments, said):
    with pytest.raises(ProgramError, match=f"TP805.*{said}"):
        trace(*arguments)


def test_what_is_no_module():
    with pytest.raises(ProgramError, match="returns no torch.nn.Module but int"):
        trace(lambda n: n, ROWS)
