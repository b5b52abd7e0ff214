"""Entries of an axis of fixed size by constant or given indices, and padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Lowering, rule
from tensorprog.torch.rules.linear import contract, letters
from tensorprog.torch.rules.views import cat, part, permuted


@rule("index")
def _index(low: Lowering, x: TracedValue, indices: Sequence[TracedValue | None]) -> TracedValue:
    given = [k for k, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        raise low.refuse("indices along more than one axis at once have no rule", "take one axis after the other")
    index = indices[given[0]]
    assert index is not None
    return picked(low, x, given[0], index)


@rule("index_select")
def _index_select(low: Lowering, x: TracedValue, dim: int, index: TracedValue) -> TracedValue:
    return picked(low, x, dim % len(x.axes), index)


def picked(low: Lowering, x: TracedValue, dim: int, index: TracedValue) -> TracedValue:
    """The entries at the indices, whose axes stand where the axis was."""
    sizes = x.sizes[dim]
    if sizes[0] != sizes[1]:
        raise low.refuse("entries of an axis that grows with the width are picked, for which there is no rule")
    rank, own = len(x.axes), len(index.axes)
    front = permuted(low, x, [dim, *(k for k in range(rank) if k != dim)])
    found = low.emit("gather", (front, index), (*index.axes, *front.axes[1:]), "picked")
    return permuted(low, found, [*range(own, own + dim), *range(own), *range(own + dim, own + rank - 1)])


@rule("index_add", "index_add_")
def _index_add(
    low: Lowering, x: TracedValue, dim: int, index: TracedValue, source: TracedValue, *, alpha: float = 1
) -> TracedValue:
    """A sum over the entries that go to each place, by a table of which do."""
    dim %= len(x.axes)
    if index.op != "buffer" or x.sizes[dim][0] != x.sizes[dim][1]:
        raise low.refuse("`index_add` has a rule for constant indices along an axis of fixed size alone")
    goes = (torch.arange(x.sizes[dim][0])[:, None] == index.pair[0]).to(torch.get_default_dtype())
    table = low.buffer(f"{index.name}_incidence", (goes, goes))
    axes = letters(len(x.axes))
    summed = contract(low, source, table, axes.replace(axes[dim], "z"), axes[dim] + "z", axes, "gathered")
    return low.map("add", x, summed if alpha == 1 else low.map("mul", summed, alpha))


@rule("pad", "constant_pad_nd")
def _pad(
    low: Lowering, x: TracedValue, pads: Sequence[int], mode: str | float = "constant", value: float | None = None
) -> TracedValue:
    """From the last axis on, how many entries are added before and behind; fewer than none are cut off."""
    kind, fill = (mode, value or 0.0) if isinstance(mode, str) else ("constant", float(mode))
    for k in range(len(pads) // 2):
        dim, before, behind = len(x.axes) - 1 - k, pads[2 * k], pads[2 * k + 1]
        if before or behind:
            x = _padded(low, x, dim, before, behind, kind, fill)
    return x


def _padded(low: Lowering, x: TracedValue, dim: int, before: int, behind: int, mode: str, value: float) -> TracedValue:
    size = x.sizes[dim][0]
    if size != x.sizes[dim][1]:
        raise low.refuse("an axis that grows with the width is padded, for which there is no rule")
    if mode == "constant":
        fills = [[_constant(low, x, dim, count, value)] if count > 0 else [] for count in (before, behind)]
        cut = max(-before, 0), size - max(-behind, 0)
        inner = x if cut == (0, size) else part(low, x, dim, cut[0], cut[1] - cut[0], 1)
    else:
        places = _places(mode, size, before, behind)
        fills = [[part(low, x, dim, at, 1, 1) for at in side] for side in places]
        inner = x
    parts = [*fills[0], inner, *fills[1]]
    return parts[0] if len(parts) == 1 else cat(low, parts, dim)


def _constant(low: Lowering, x: TracedValue, dim: int, count: int, value: float) -> TracedValue:
    shapes = zip(*(sizes if k != dim else (count, count) for k, sizes in enumerate(x.sizes)), strict=True)
    first, second = (torch.full(tuple(shape), value) for shape in shapes)
    return low.buffer(f"{x.name}_padding_{len(low.graph.values)}", (first, second))


def _places(mode: str, size: int, before: int, behind: int) -> tuple[list[int], list[int]]:
    """Which entries are repeated before and behind."""
    match mode:
        case "reflect":
            return list(range(before, 0, -1)), [size - 2 - k for k in range(behind)]
        case "replicate":
            return [0] * before, [size - 1] * behind
    return list(range(size - before, size)), list(range(behind))
