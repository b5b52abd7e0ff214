"""The plain optimizers of torch for the groups of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tensorprog.torch.errors import module_error

if TYPE_CHECKING:
    from tensorprog.torch.parametrize import MuTable

Group = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What optimizers take besides the learning rate, at the base width; `muon_...` are those of torch.optim.Muon."""

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    muon_momentum: float = 0.95
    muon_nesterov: bool = True


def settings_of(given: dict[str, Any]) -> Settings:
    """The settings.

    Raises:
        ProgramError: TP805, for a name that there is not.
    """
    known = list(Settings.__dataclass_fields__)
    for name in given:
        if name not in known:
            raise module_error("TP805", f"there is no setting {name!r}", help=f"there is: {', '.join(known)}")
    betas = given.get("betas", (0.9, 0.999))
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise module_error("TP805", f"betas are two numbers, not {betas!r}", help="pass `betas=(0.9, 0.95)`")
    return Settings(**given)


def optimizers(
    table: MuTable, model: nn.Module, lr: float, settings: Settings, change: Callable[[Group], Group] = lambda g: g
) -> Iterator[torch.optim.Optimizer]:
    """Those of all parameters; `change` gets every group before it is used."""
    # In the order of the rows, each once: Muon leaves some parameters to AdamW.
    for part in dict.fromkeys(row.optimizer for row in table.trained):
        groups = table.param_groups(model, lr, settings.weight_decay, settings.eps, part)
        yield _MAKERS[part](table, [change(group) for group in groups], lr, settings)


def _sgd(table: MuTable, groups: list[Group], lr: float, settings: Settings) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr, momentum=settings.momentum, nesterov=settings.nesterov)


def _adamw(table: MuTable, groups: list[Group], lr: float, settings: Settings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr, betas=settings.betas)


def _muon(table: MuTable, groups: list[Group], lr: float, settings: Settings) -> torch.optim.Optimizer:
    if not hasattr(torch.optim, "Muon"):
        raise module_error("TP805", "this torch has no Muon", help="install torch 2.9 or later")
    adjust = table.adjust if table.adjust != "none" else "original"
    if table.adjust == "none":
        groups = [_unadjusted(group, p) for group in groups for p in group["params"]]
    return torch.optim.Muon(
        groups, lr, momentum=settings.muon_momentum, nesterov=settings.muon_nesterov, adjust_lr_fn=adjust
    )


def _unadjusted(group: Group, parameter: nn.Parameter) -> Group:
    """A group of one parameter whose learning rate cancels the adjustment that torch makes; decay stays as it was."""
    rows, columns = parameter.shape
    # What adjust_lr_fn="original" multiplies by.
    factor = max(1.0, rows / columns) ** 0.5
    # torch decays by lr * decay with the rate before its adjustment: what the rate lost, decay gets.
    decay = group["weight_decay"] * factor
    return group | {"params": [parameter], "lr": group["lr"] / factor, "weight_decay": decay}


_MAKERS = {"sgd": _sgd, "adamw": _adamw, "muon": _muon}
