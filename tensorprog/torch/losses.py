"""Losses: as expressions of the language, and as functions of torch that are the same numbers.

The mean is over rows and over all positions of the output. Classes are the output's last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from tensorprog.torch.errors import module_error

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Loss:
    """`text` is of an element {f} of the output and {y} of the targets; with `classes`, {f} is the last axis, {y} an
    int, and {chosen} that element of the last axis. `total` sums instead of averaging;
    `definition` is a function that `text` uses."""

    text: str
    function: Function
    classes: bool = False
    total: bool = False
    definition: str = ""


def _flat(function: Function) -> Function:
    """Of outputs [..., classes] and targets [...]."""
    return lambda f, y: function(f.flatten(0, -2), y.flatten())


LOSSES: dict[str, Loss] = {
    "mse": Loss("({f} - {y})**2 / 2", lambda f, y: F.mse_loss(f, y) / 2),
    "sum": Loss("({f} - {y})**2 / 2", lambda f, y: ((f - y) ** 2).sum() / 2, total=True),
    "l1": Loss("abs({f} - {y})", F.l1_loss),
    "huber": Loss(
        "huber({f} - {y})",
        F.huber_loss,
        # With u cut to c in [-1, 1]: c (u - c/2) is u**2/2 inside and abs(u) - 1/2 outside.
        definition="def huber(u) = max(min(u, 1), -1) * (u - max(min(u, 1), -1) / 2)",
    ),
    # -y log s(f) - (1 - y) log(1 - s(f)) with the logistic function s.
    "bce_with_logits": Loss("softplus({f}) - {y} * {f}", F.binary_cross_entropy_with_logits),
    "cross_entropy": Loss("cross_entropy({f}, {y})", _flat(F.cross_entropy), classes=True),
    "nll": Loss("-{chosen}", _flat(F.nll_loss), classes=True),
}


def loss_named(name: str) -> Loss:
    """The loss of that name.

    Raises:
        ProgramError: TP805, if there is none.
    """
    if name not in LOSSES:
        raise module_error("TP805", f"there is no loss {name!r}", help=f"there is: {', '.join(LOSSES)}")
    return LOSSES[name]
