"""Tables of powers of n, held against microsoft/mup's rules and against those of Muon."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import nn
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

from tensorprog import ProgramError
from tensorprog.torch import trace
from tensorprog.torch.lint import starred

HALF = Fraction(1, 2)
MODELS = {
    "mlp": (mlp, ROWS),
    "residual": (Residual, ROWS),
    "cnn": (cnn, IMAGES),
    "block": (Block, TOKENS),
    "many heads": (lambda n: Block(n, heads=None), TOKENS),
    "tied block": (lambda n: Block(n, tied=True), TOKENS),
    "gru": (Recurrent, SEQUENCES),
    "rnn": (lambda n: Recurrent(n, nn.RNN), SEQUENCES),
    "lstm": (lambda n: Recurrent(n, nn.LSTM), SEQUENCES),
    "attention layer": (ManyHeads, SEQUENCES),
}


@pytest.fixture(scope="module")
def traced():
    """Every model, traced once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = trace(*MODELS[name])
        return made[name]

    return get


def mup_rules(make, optimizer):
    """microsoft/mup: which axes grow decides. Its readout multiplies by 1/n, which is moved into std and learning rate
    here:
    std by n^-1, SGD's learning rate by n^-2, Adam's by n^-1. A shared readout keeps the multiplier."""
    small, large = make(64), make(128)
    shared = {
        name
        for name, p in large.named_parameters()
        if sum(p is q for _, q in large.named_parameters(remove_duplicate=False)) > 1
    }
    rules = {}
    for (name, a), b in zip(small.named_parameters(), large.parameters(), strict=True):
        grows = [p != q for p, q in zip(a.shape, b.shape, strict=True)]
        readout = (
            a.dim() == 2 and grows == [False, True] and name.startswith(("out", "4.", "7.")) and name not in shared
        )
        ninf = sum(grows)
        lr = {"sgd": {0: 0, 1: 1, 2: 0}, "adamw": {0: 0, 1: 0, 2: -1}}[optimizer][ninf]
        std = Fraction(-1, 2) if ninf == 2 else Fraction(0)
        rules[name] = (std - readout, lr - readout * (2 if optimizer == "sgd" else 1), -1 if name in shared else 0)
    return rules


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", MODELS)
def test_exponents_are_those_of_mup(traced, name, optimizer):
    found = traced(name).parametrize(optimizer).exponents()
    assert {n: (e.std, e.lr, e.multiplier) for n, e in found.items()} == mup_rules(MODELS[name][0], optimizer)


def test_eps_and_decay_of_adamw(traced):
    found = traced("mlp").parametrize("adamw").exponents()
    assert [found[name].eps for name in ("0.weight", "0.bias", "2.weight", "4.weight", "4.bias")] == [-1, -1, -1, 0, 0]
    assert [found[name].weight_decay for name in ("0.weight", "2.weight", "4.weight", "4.bias")] == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("adjust", "expected"),
    [("none", (HALF, 0, -HALF)), ("original", (0, 0, -HALF)), ("match_rms_adamw", (0, -HALF, -1))],
)
def test_muon(traced, adjust, expected):
    found = traced("mlp").parametrize("muon", adjust=adjust).exponents()
    assert tuple(found[name].lr for name in ("0.weight", "2.weight", "4.weight")) == expected
    assert found["2.bias"] == traced("mlp").parametrize("adamw").exponents()["2.bias"]


def test_muon_of_an_embedding(traced):
    lr = [
        traced("tied block").parametrize("muon", adjust=a).exponents()["emb.weight"].lr
        for a in ("none", "original", "match_rms_adamw")
    ]
    assert lr == [HALF, HALF, 0]
    left = traced("tied block").parametrize("muon", adamw=["emb*"])
    assert {row.name: row.optimizer for row in left.rows}["emb.weight"] == "adamw"


# Tensor Programs IVb, and spectral norms for Muon: for every kind of parameter the powers of std, of the learning rates of
# SGD, AdamW and Muon ("none", "original", "match_rms_adamw"), and of eps and decay of AdamW.
KINDS = {
    "input": (0, 1, 0, (HALF, 0, 0), -1, 0),
    "embedding": (0, 1, 0, (HALF, HALF, 0), -1, 0),
    "hidden": (-HALF, 0, -1, (0, 0, -HALF), -1, 1),
    "readout": (-1, -1, -1, (-HALF, -HALF, -1), 0, 1),
    "bias or gain": (0, 1, 0, None, -1, 0),
    "output bias": (0, 0, 0, None, 0, 0),
}
EXAMPLES = [
    *(("mlp", name, kind) for name, kind in (
        ("0.weight", "input"), ("0.bias", "bias or gain"), ("2.weight", "hidden"), ("4.weight", "readout"),
        ("4.bias", "output bias"),
    )),
    *(("residual", name, kind) for name, kind in (
        ("embed.weight", "input"), ("norms.1.weight", "bias or gain"), ("norms.0.bias", "bias or gain"),
        ("ups.0.weight", "hidden"), ("downs.1.weight", "hidden"), ("out.weight", "readout"),
    )),
    *(("block", name, kind) for name, kind in (
        ("emb.weight", "embedding"), ("ln.weight", "bias or gain"), ("qkv.weight", "hidden"), ("proj.weight", "hidden"),
        ("norm.weight", "bias or gain"), ("gate.weight", "hidden"), ("down.weight", "hidden"), ("out.weight", "readout"),
    )),
    *(("tied block", name, kind) for name, kind in (("emb.weight", "embedding"), ("up.weight", "hidden"))),
]  # fmt: skip


@pytest.mark.parametrize(("model", "name", "kind"), EXAMPLES)
def test_every_kind_of_parameter(traced, model, name, kind):
    std, sgd, adamw, muon, eps, decay = KINDS[kind]
    by_adamw = traced(model).parametrize("adamw").exponents()[name]
    assert (by_adamw.std, by_adamw.lr, by_adamw.eps, by_adamw.weight_decay) == (std, adamw, eps, decay)
    assert traced(model).parametrize("sgd").exponents()[name].lr == sgd
    if muon is not None:
        tables = [traced(model).parametrize("muon", adjust=a) for a in ("none", "original", "match_rms_adamw")]
        assert tuple(table.exponents()[name].lr for table in tables) == muon


def test_muon_that_matches_adamw_needs_a_smaller_rate(traced):
    lines = "\n".join(traced("residual").parametrize("muon", adjust="match_rms_adamw").lint())
    assert "constant learning rate is too large at large widths for ups.*.weight" in lines
    assert "n^(-1/2)" in lines


def test_clipping(traced):
    assert traced("block").parametrize("sgd").clipping == HALF
    assert traced("tied block").parametrize("sgd").clipping == 0


def test_logits_need_1_over_d_where_the_size_of_heads_grows(traced):
    sites = traced("block").parametrize("sgd").sites
    assert [(site.exponent, site.params) for site in sites] == [(-HALF, ())]
    assert sites[0].value.place.file.endswith("torch_networks.py")
    assert traced("many heads").parametrize("sgd").sites == ()
    assert trace(lambda n: Block(n, power=1.0), TOKENS).parametrize("sgd").sites == ()


def test_numbers_in_the_module_count():
    class NTK(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.n = n
            self.U, self.W, self.v = (nn.Parameter(torch.randn(*s)) for s in ((3, n), (n, n), (n,)))

        def forward(self, x):
            h = torch.tanh(x @ self.U)
            h = torch.tanh(h @ self.W / self.n**0.5)
            return h @ self.v / self.n**0.5

    traced = trace(NTK, ROWS)
    found = traced.parametrize("sgd").exponents()
    assert [(e.std, e.lr) for e in found.values()] == [(0, 1), (0, 1), (-HALF, 0)]
    assert [law.power for law in traced.laws.values()] == [0, 0, 0]
    assert traced.warnings == ()


def test_an_embedding_that_is_multiplied_by_the_root_of_the_width():
    class Scaled(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.emb, self.hidden, self.out, self.n = nn.Embedding(11, n), nn.Linear(n, n), nn.Linear(n, 2), n

        def forward(self, ids):
            return self.out(torch.relu(self.hidden(self.emb(ids) * self.n**0.5)))

    found = trace(Scaled, TOKENS).parametrize("adamw").exponents()
    assert [(found[name].std, found[name].lr) for name in ("emb.weight", "hidden.weight")] == [
        (-HALF, -HALF),
        (-HALF, -1),
    ]


def test_why_can_be_followed(traced):
    text = traced("tied block").parametrize("adamw").why("out.weight")
    assert text.startswith("emb.weight [11, n], by adamw")
    assert "torch_networks.py:" in text
    assert "a multiplier 1/n is needed here" in text
    assert "so eps 1/n" in text


def test_tables(traced):
    table = traced("block").parametrize("muon")
    assert "qkv.weight   [3n, n]  muon" in table.table()
    assert table.table("markdown").startswith("| parameter | shape | by | std |")
    with pytest.raises(ProgramError, match="TP805.*no format"):
        table.table("html")


def test_what_contradicts_the_table(traced):
    lines = "\n".join(traced("tied block").parametrize("adamw").lint())
    for said in (
        "needs 1/d",
        "emb.weight is used for a second time, and needs a multiplier 1/n",
        "a constant eps is too large",
        "a constant weight decay has to grow",
    ):
        assert said in lines
    assert "layer.weight_ih_l0 starts with entries n^(-1/2)" in "\n".join(
        traced("rnn").parametrize("sgd").lint(constant=())
    )
    assert "clips the gradient's norm has to grow as n^(1/2)" in "\n".join(traced("mlp").parametrize("sgd").lint())


# --- on modules ----------------------------------------------------------------------------------------------


def test_initial_spreads_and_groups(traced):
    table = traced("mlp").parametrize("adamw", base=64)
    model = table.init_(mlp(256))
    assert table.width_of(model) == 256
    assert model[4].weight.std().item() == pytest.approx(1 / (3 * 64) ** 0.5 / 4, rel=0.1)
    assert model[2].weight.std().item() == pytest.approx(1 / (3 * 256) ** 0.5, rel=0.1)
    groups = table.param_groups(model, lr=0.1, weight_decay=0.2, eps=1e-6)
    settings = {id(p): g for g in groups for p in g["params"]}
    assert settings[id(model[2].weight)]["lr"] == pytest.approx(0.025)
    assert settings[id(model[2].weight)]["weight_decay"] == pytest.approx(0.8)
    assert settings[id(model[0].weight)]["eps"] == pytest.approx(2.5e-7)
    assert sum(len(g["params"]) for g in groups) == 6
    torch.optim.AdamW(groups)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_groups_of_muon_and_the_rest(traced):
    table, model = traced("mlp").parametrize("muon"), mlp(64)
    torch.optim.Muon(table.param_groups(model, 0.1))
    rest = table.param_groups(model, 0.1, part="adamw")
    assert {id(p) for g in rest for p in g["params"]} == {id(model[k].bias) for k in (0, 2, 4)}


def test_multipliers_are_inserted():
    table = trace(lambda n: Block(n, tied=True), TOKENS).parametrize("sgd")
    model, by_hand = Block(256, tied=True), Block(256, tied=True)
    by_hand.load_state_dict(model.state_dict())
    by_hand.power = 0.5 + math.log(2, 128)  # heads of size 128, four times those of the base width
    assert not torch.allclose(model(TOKENS), by_hand(TOKENS), atol=1e-3)
    table.apply(table.apply(model))
    assert torch.allclose(model(TOKENS), by_hand(TOKENS) / 4, atol=1e-4)


def test_multipliers_in_torch_s_own_attention():
    table = trace(ManyHeads, SEQUENCES).parametrize("adamw")
    model = ManyHeads(256)
    reference = ManyHeads(256)
    reference.load_state_dict(model.state_dict())
    with torch.no_grad():
        reference.attention.in_proj_weight[:256] /= 2
        table.apply(model)
        assert torch.allclose(model(SEQUENCES), reference(SEQUENCES), atol=1e-5)


def test_another_module_is_refused(traced):
    table = traced("mlp").parametrize("sgd")
    with pytest.raises(ProgramError, match="no parameter 0.weight"):
        table.init_(nn.Linear(2, 2))
    with pytest.raises(ProgramError, match=r"did you mean 4\.bias"):
        table.why("4.bais")


def test_parameters_of_layers_that_are_alike_have_one_name():
    among = ["h.0.ln.weight", "h.1.ln.weight", "h.0.fc.weight", "h.1.fc.weight", "0.weight", "2.weight"]
    assert starred(among, among) == ["h.*.ln.weight", "h.*.fc.weight", "0.weight", "2.weight"]
    assert starred(["h.0.ln.weight", "h.1.fc.weight", "h.0.fc.weight"], among) == ["h.0.ln.weight", "h.*.fc.weight"]
