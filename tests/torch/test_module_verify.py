"""Limits held against the modules themselves: kernels, and training by torch's optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch_networks import IMAGES, ROWS, SEQUENCES, TOKENS, Block, Recurrent, Residual, cnn, mlp

import tensorprog
from tensorprog import ProgramError
from tensorprog.torch import trace
from tensorprog.torch.losses import LOSSES


def normal(make, scale=1.0):
    """Normal weights of variance 1/fan-in, and no biases."""

    def made(n):
        module = make(n)
        with torch.no_grad():
            for name, p in module.named_parameters():
                if name.endswith("bias"):
                    p.zero_()
                elif p.dim() > 1 and "emb.weight" not in name:
                    nn.init.normal_(p, std=scale * p[0].numel() ** -0.5)
        return module

    return made


class LastToken(Block):
    """The last token's output of a block whose logits are scaled by 1/d."""

    def __init__(self, n: int) -> None:
        super().__init__(n, power=1.0)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids)[:, -1]


def flat_cnn(n: int) -> nn.Module:
    """All places of the image go into the readout."""
    return nn.Sequential(
        nn.Conv2d(1, n, 3, padding=1), nn.ReLU(), nn.Conv2d(n, n, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(n, 2)
    )


KERNELS = {
    "mlp": (mlp, ROWS[:2]),
    "cnn": (cnn, IMAGES[:2, :, :4, :4]),
    "flat cnn": (flat_cnn, IMAGES[:2, :, :4, :4]),
    "residual": (lambda n: Residual(n, blocks=1), ROWS[:2]),
    "gru": (Recurrent, SEQUENCES[:2, :2]),
    "block of two heads": (LastToken, TOKENS[:2, :2]),
}
SLOW = ("residual", "gru", "block of two heads")


@pytest.mark.parametrize(
    ("name", "wide"),
    [*((k, False) for k in KERNELS if k not in SLOW), *(pytest.param(k, True, marks=pytest.mark.slow) for k in KERNELS)],
)
def test_kernels_are_those_of_modules(name, wide):
    make, inputs = normal(KERNELS[name][0]), KERNELS[name][1]
    widths = (256, 512, 1024, 2048) if wide else (64, 128, 256, 512)
    found = trace(make, inputs).verify(
        widths=widths, seeds=16 if wide else 32, samples=1024, component=(0,) if name != "mlp" else (1,)
    )
    assert found.passed, found
    for kernel in ("nngp", "theta"):
        limit, beyond, error = found.limit[kernel], found.extrapolated[kernel], found.extrapolated.error[kernel]
        assert np.all(np.abs(beyond - limit) < 4 * error + 0.03 * np.abs(limit).max())
        assert error.max() < 0.12 * np.abs(limit).max()


def test_kernels_of_torch_s_own_initialization():
    assert trace(mlp, ROWS[:2]).verify(seeds=12, samples=1024).passed


def test_a_module_that_is_another_one_at_other_widths_is_found_out():
    found = trace(lambda n: normal(mlp, scale=1.0 if n < 200 else 1.3)(n), ROWS[:2]).verify(
        widths=(256, 384, 512, 768), seeds=16, samples=1024
    )
    assert not found.passed
    assert {f.verdict for f in found.findings.values()} == {"differs"}


# --- training ------------------------------------------------------------------------------------------------

TARGETS = torch.randn(4, 2, generator=torch.Generator().manual_seed(7))
CLASSES = torch.tensor([0, 1, 1, 0])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_torch_s(name):
    """The expression of a loss, and torch's function, of the same numbers."""
    loss, f = LOSSES[name], 3 * torch.randn(4, 3, 5, dtype=torch.float64)
    y = torch.randint(0, 5, (4, 3)) if loss.classes else torch.randn(4, 3, 5, dtype=torch.float64)
    inner = "" if loss.classes else ", k"
    value = loss.text.format(f=f"X[a, j{inner}]", y=f"y[a, j{inner}]", chosen="X[a, j, y[a, j]]")
    loops = "for a in range(4) for j in range(3)" + ("" if loss.classes else " for k in range(5)")
    kind = "input y : [4, 3] int" if loss.classes else "input y : [4, 3, 5]"
    text = (
        f"width n\ninput X : [4, 3, 5]\n{kind}\nvector v : [n] ~ normal(0, 1)\n{loss.definition}\n"
        f"loss = {'sum' if loss.total else 'mean'}({value} {loops})\noutput loss, moment(v * v) as unit\n"
    )
    found = tensorprog.compile(text).run({"X": f.numpy(), "y": y.numpy()})["loss"]
    assert found == pytest.approx(loss.function(f, y).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "loss", "eta", "options"),
    [
        ("sgd", "mse", 0.3, {}),
        ("sgd", "huber", 0.05, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.3}),
        ("adamw", "cross_entropy", 0.01, {"weight_decay": 2.0}),
        pytest.param("adamw", "bce_with_logits", 0.01, {"betas": (0.5, 0.8), "eps": 1e-2}, marks=pytest.mark.slow),
        ("muon", "cross_entropy", 0.02, {"adjust": "match_rms_adamw", "weight_decay": 1.0}),
        pytest.param("muon", "mse", 0.02, {"adamw": ["4.*"], "muon_momentum": 0.5}, marks=pytest.mark.slow),
        pytest.param("muon", "mse", 0.02, {"adjust": "none", "muon_nesterov": False}, marks=pytest.mark.slow),
    ],
)
def test_training_is_that_of_torch_s_optimizers(optimizer, loss, eta, options):
    if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    y = CLASSES if LOSSES[loss].classes else TARGETS.sigmoid() if loss == "bce_with_logits" else TARGETS
    widths = (64, 128, 256, 512) if optimizer == "muon" else (128, 256, 512, 1024)
    found = trace(mlp, ROWS).verify(
        "train", {"y": y}, loss=loss, optimizer=optimizer, eta=eta, T=4, seeds=12, samples=1024, widths=widths,
        **options,
    )
    assert found.passed and found.findings["loss"].verdict == "agrees", found
    limit, widest = found.limit["loss"], found.networks[-1]
    allowed = 4 * (widest.error["loss"] + found.limit.error["loss"]) + 0.02 * limit[0]
    assert np.all(np.abs(widest["loss"] - limit) < allowed)
    assert abs(limit[-1] - limit[0]) > 0.03 * limit[0]


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "eta"), [("sgd", 0.3), ("adamw", 0.002), ("muon", 0.002)])
@pytest.mark.parametrize("tied", [False, True])
def test_training_of_a_block(optimizer, eta, tied):
    """Stacked projections are cut into heads, and a shared weight is used twice."""

    def make(n):
        module = Block(n, tied=tied)
        with torch.no_grad():
            module.emb.weight.mul_(0.2)
        return module

    ids, labels = TOKENS[:2, :3], torch.tensor([[3, 1, 4], [1, 5, 9]])
    found = trace(make, ids).verify(
        "train", {"y": labels}, loss="cross_entropy", optimizer=optimizer, eta=eta, T=3, samples=1024, seeds=8,
        widths=(128, 256, 512, 1024) if optimizer == "muon" else (256, 512, 1024, 2048),
    )
    assert found.passed, found
    assert np.allclose(found.networks[-1]["loss"], found.limit["loss"], rtol=0.1)


def test_the_same_program_by_hand():
    """Numbers that do not grow are inputs of the program, and the same text is run."""
    traced = trace(mlp, ROWS)
    program = traced.program("train", optimizer="adamw", loss="l1")
    assert traced.tables.keys() == {"layer4_bias_start"}
    data = {"X": ROWS.numpy(), "y": TARGETS.numpy(), **traced.tables}
    limit = program.run(data, eta=0.01, T=2, samples=512, replicates=2)
    assert limit["f"][0] == pytest.approx(np.broadcast_to(traced.tables["layer4_bias_start"], (4, 2)), abs=5e-3)
    assert limit["loss"][1] < limit["loss"][0]


def test_options_that_make_no_sense():
    traced = trace(mlp, ROWS)
    for call, said in (
        (lambda: traced.verify("training"), "no kind of program"),
        (lambda: traced.verify("train"), "takes the targets"),
        (lambda: traced.verify(widths=(64, 128)), "at least 4 widths"),
        (lambda: traced.program("train", loss="cross"), "no loss 'cross'"),
        (lambda: traced.program("train", momentun=0.9), "no setting 'momentun'"),
        (lambda: traced.program("kernels", momentum=0.9), "kernels have no setting"),
        (lambda: traced.program("train", betas=0.9), "betas are two numbers"),
        (lambda: traced.program("train", base=0), "a positive integer"),
        (lambda: trace(lambda n: nn.Linear(3, 1), ROWS).program("train", loss="nll"), "an axis of classes"),
    ):
        with pytest.raises(ProgramError, match=f"TP805.*{said}"):
            call()
