"""How a module computes its tables while it is made: the operations of `make(n)` on tensors, without side effects.

A table along an axis that grows with the width, as the angles of rotary positions, has another number of entries at every
width: what is the same at all of them is how the entries follow from their position. Where the module computes the table
in its forward pass, `torch.export` records that; where it is a registered buffer, `make(n)` is recorded here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx


def recorded_buffers(make: Callable[[int], nn.Module], width: int) -> GraphModule | None:
    """A graph of ATen operations whose output has all buffers of the module of a width by name; None, where making the module
    cannot be recorded."""

    def buffers() -> dict[str, torch.Tensor]:
        return {name: buffer.clone() for name, buffer in make(width).named_buffers()}

    try:
        # The generator as it was: recording must not change the draws of what is made next.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            # Functionalized: rules are of operations that do not write to their arguments.
            recorded = make_fx(torch.func.functionalize(buffers))()
    except Exception:  # whatever an initializer does that cannot be traced: the table stays one of numbers
        return None
    return recorded
