"""Coordinate checks: slopes of updates are 0 by the table, and mistakes are found."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_networks import IMAGES, ROWS, SEQUENCES, TOKENS, Block, ManyHeads, Recurrent, cnn, mlp

from tensorprog import ProgramError
from tensorprog.torch import coordcheck, trace
from tensorprog.torch.coordinates import CoordinateCheck, CoordinateSlope, _slope

NUMBERS = torch.randn(4, 2, generator=torch.Generator().manual_seed(5))
LABELS = torch.randint(0, 11, (4, 5), generator=torch.Generator().manual_seed(6))


def cross_entropy(output, labels):
    return F.cross_entropy(output.flatten(0, 1), labels.flatten())


CASES = {
    "mlp": (mlp, ROWS, F.mse_loss, NUMBERS),
    "cnn": (cnn, IMAGES, F.mse_loss, NUMBERS),
    "gru": (Recurrent, SEQUENCES, F.mse_loss, NUMBERS),
    "block": (Block, TOKENS, cross_entropy, LABELS),
    "tied block": (lambda n: Block(n, tied=True), TOKENS, cross_entropy, LABELS),
    "attention layer": (ManyHeads, SEQUENCES, F.mse_loss, NUMBERS),
}


def checked(name, optimizer, **options):
    make, inputs, loss, targets = CASES[name]
    return coordcheck(trace(make, inputs).parametrize(optimizer), loss, (inputs, targets), **options)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *((name, optimizer) for name in ("mlp", "cnn", "gru", "block") for optimizer in ("sgd", "adamw")),
        ("tied block", "adamw"),
    ],
)
def test_updates_stay_of_order_one(name, optimizer):
    found = checked(name, optimizer, lr=0.05 if optimizer == "sgd" else 0.005, seeds=2, steps=3)
    assert found.verdict != "failed", found.table()
    assert all(abs(s.measured) < 0.15 + s.error for s in found.updates.values())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("name", CASES)
def test_updates_stay_of_order_one_up_to_width_1024(name, optimizer):
    if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    lr = {"sgd": 0.05, "adamw": 0.005, "muon": 0.01}[optimizer]
    found = checked(name, optimizer, lr=lr, seeds=6, widths=(64, 128, 256, 512, 1024))
    assert found.verdict != "failed", found
    assert all(abs(s.measured) < 0.15 + 2 * s.error for s in found.updates.values())


def test_logits_that_are_divided_by_the_root_of_the_heads_size_are_found():
    right, wrong = (checked("block", "adamw", lr=0.01, constant=c) for c in ((), ("multiplier",)))
    (name,) = right.logits
    assert abs(right.logits[name].measured) < 0.15 and right.passed
    assert 0.25 < wrong.logits[name].measured < 0.7 and wrong.logits[name].predicted == 0.5
    assert [s.name for s in wrong.mistakes] == [name]


class WrittenOut(Recurrent):
    """Attention as operations, with a softmax of torch's functional module."""

    def __init__(self, n):
        super().__init__(n, nn.GRU)
        self.layer = nn.Linear(3, n)
        self.q, self.k, self.v = (nn.Linear(n, n, bias=False) for _ in range(3))

    def forward(self, x):
        h = torch.tanh(self.layer(x))
        logits = self.q(h) @ self.k(h).transpose(1, 2) / h.shape[-1] ** 0.5
        return self.out((F.softmax(logits, dim=-1) @ self.v(h))[:, -1])


def test_logits_of_a_softmax_of_the_functional_module():
    table = trace(WrittenOut, SEQUENCES).parametrize("adamw")
    right, wrong = (
        table.coordcheck(F.mse_loss, (SEQUENCES, NUMBERS), lr=0.02, seeds=1, widths=(64, 256), constant=c)
        for c in ((), ("multiplier",))
    )
    (name,) = right.logits
    assert wrong.logits[name].measured - right.logits[name].measured == pytest.approx(0.5, abs=0.25)


def test_logits_inside_of_torch_s_own_attention():
    options = {"seeds": 1, "widths": (64, 256)}
    right, wrong = (checked("attention layer", "adamw", constant=c, **options) for c in ((), ("multiplier",)))
    (name,) = right.logits
    assert wrong.logits[name].measured - right.logits[name].measured == pytest.approx(0.5, abs=0.2)


def test_decay_that_does_not_grow_is_found():
    """A constant decay, times a learning rate that goes as 1/n, vanishes."""
    assert not checked("mlp", "adamw", weight_decay=0.1, seeds=1, widths=(64, 128, 256)).mistakes
    wrong = checked("mlp", "adamw", weight_decay=0.1, seeds=1, widths=(64, 128, 256), constant=("weight_decay",))
    assert {s.name for s in wrong.mistakes if s.kind == "decay"} == {"2.weight", "4.weight"}
    assert wrong.decays["2.weight"].measured == pytest.approx(-1, abs=0.1)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_muon(adjust):
    make, inputs, loss, targets = CASES["mlp"]
    table = trace(make, inputs).parametrize("muon", adjust=adjust)
    assert not table.coordcheck(loss, (inputs, targets), widths=(64, 128, 256)).mistakes


def test_a_constant_learning_rate_is_found():
    found = checked("block", "adamw", constant=("lr",), widths=(64, 128, 256))
    wrong = {s.name for s in found.mistakes if s.kind == "update"}
    assert {"qkv.weight", "proj.weight", "gate.weight", "up.weight", "down.weight", "out.weight"} <= wrong
    assert found.updates["up.weight"].predicted == 1.0
    assert "<- not of order one" in found.table()


def test_the_standard_parametrization_of_muon_s_learning_rate_is_found():
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    make, inputs, loss, targets = CASES["mlp"]
    table = trace(make, inputs).parametrize("muon", adjust="match_rms_adamw")
    found = table.coordcheck(loss, (inputs, targets), widths=(64, 128, 256), constant=("lr",))
    assert 0.25 < found.updates["2.weight"].measured < 0.75


def test_eps_that_does_not_shrink_is_found():
    """Gradients are of order 1/n: a constant eps takes over, and updates of hidden weights vanish."""
    found = checked("mlp", "adamw", constant=("eps",), eps=0.1)
    assert found.updates["2.weight"].measured < -0.4
    assert found.updates["2.weight"] in found.mistakes


def test_a_picture(tmp_path):
    found = checked("mlp", "sgd", widths=(64, 128), seeds=1)
    found.plot(tmp_path / "slopes.png")
    assert (tmp_path / "slopes.png").stat().st_size > 10_000


def test_slopes_without_a_known_error_decide_nothing():
    known, unknown = (CoordinateSlope(f"layer.{k}", "update", 0.0, 0.1, error, (1.0, 1.0)) for k, error in enumerate((0.05, float("nan"))))
    assert CoordinateCheck((64, 128), (known,)).verdict == "passed"
    found = CoordinateCheck((64, 128), (known, unknown))
    assert found.verdict == "not resolved" and found.passed and not found.mistakes
    assert "not resolved" in found.table()


def test_a_seed_without_influence_at_one_width_tells_no_slope():
    chosen, never = [[1.0, 2.0, 4.0], [1.0, 0.0, 1.0]], [[0.0, 1.0, 1.0]]
    found = _slope(("update", "x"), chosen, (64, 128, 256), 0.0)
    assert found.measured == pytest.approx(1.0)
    found = _slope(("update", "x"), never, (64, 128, 256), 0.0)
    assert found.unresolved(0.15) and not found.off(0.15)
    assert _slope(("update", "x"), [[0.0, 0.0, 0.0]], (64, 128, 256), 0.0).measured == 0.0


def test_more_networks_are_asked_where_a_mistake_is_not_clear():
    clear, unclear = (CoordinateSlope("x", "update", 0.0, m, 0.05, (1.0, 1.0)) for m in (0.5, 0.3))
    assert not CoordinateCheck((64, 128), (clear,)).doubtful
    found = CoordinateCheck((64, 128), (unclear,))
    assert found.verdict == "failed" and found.doubtful


def test_options_that_make_no_sense():
    with pytest.raises(ProgramError, match="no setting 'sdt'"):
        checked("mlp", "sgd", constant=("sdt",))
    with pytest.raises(ProgramError, match="a slope takes two widths"):
        checked("mlp", "sgd", widths=(64,))
