"""Layers whose weights are normalized before each use, for which there are no rules: `weight_norm` and the like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

from tensorprog.torch.errors import module_error, place_of_stack

#: The hooks of torch's older functions, and what removes each.
HOOKS = {"WeightNorm": "remove_weight_norm", "SpectralNorm": "remove_spectral_norm"}


def require_plain_weights(module: nn.Module, nodes: Iterable[torch.fx.Node]) -> None:
    """Refuse weights that torch normalizes, at the line of their first use; `nodes` are those of the exported module.

    Raises:
        ProgramError: TP803.
    """
    for path, kind, remedy in _normalized(module):
        users = (node for node in nodes if _is_inside(node, path))
        place = next(filter(None, (place_of_stack(node.meta.get("stack_trace")) for node in users)), None)
        raise module_error(
            "TP803",
            f"weights that are normalized before each use have no rule: {kind} of the module `{path}`",
            place,
            "trace the plain layers: their tables and programs are those of the weights that are used "
            f"({remedy} in the function that makes the module)",
        )


def _normalized(module: nn.Module) -> Iterator[tuple[str, str, str]]:
    """The path of each such layer, the kind of its normalization, and what removes it."""
    for path, layer in module.named_modules():
        for hook in layer._forward_pre_hooks.values():
            kind = type(hook).__name__
            if type(hook).__module__.startswith("torch.nn.utils.") and kind in HOOKS:
                yield path, kind, f"`torch.nn.utils.{HOOKS[kind]}(layer)`"
        if not parametrize.is_parametrized(layer):
            continue
        for name, steps in layer.parametrizations.items():
            # Those that users write are plain operations, and are traced as such.
            own = [s for s in steps if type(s).__module__ == "torch.nn.utils.parametrizations"]
            if own:
                remedy = f"`torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})`"
                yield path, type(own[0]).__name__.lstrip("_"), remedy


def _is_inside(node: torch.fx.Node, path: str) -> bool:
    stack = node.meta.get("nn_module_stack") or {}
    return any(entry[0] == path or entry[0].startswith(f"{path}.") for entry in stack.values())
