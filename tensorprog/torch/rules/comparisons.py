"""Comparisons, choices by them, and the largest of several: masks of the input, gates of experts.

Truth values are 1 and 0 as numbers. An index that is computed, such as that of the largest entry, is a `choice` of truth
values along an axis: what is read may not depend on computed numbers, but sums with these truth values may.
"""

from __future__ import annotations

import torch

from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Both, Lowering, rule
from tensorprog.torch.rules.reductions import reduce
from tensorprog.torch.rules.views import cat

# Below every entry that is compared, and finite, as both sides of a `where` are.
LOWEST = -1e9


@rule("lt", "le", "gt", "ge", "eq", "ne")
def _compared(low: Lowering, x: TracedValue, y: TracedValue | float | Both) -> TracedValue:
    if x.op == "choice":
        return _is_entry(low, x, y)
    return low.map(low.operation, x, y)


@rule("logical_not", "bitwise_not", "logical_and", "bitwise_and", "__and__", "logical_or", "bitwise_or", "__or__")
def _logical(low: Lowering, *args: TracedValue) -> TracedValue:
    return low.map(low.operation.strip("_").split("_")[-1], *args)


@rule("where")
def _where(low: Lowering, mask: TracedValue, x: TracedValue | float, y: TracedValue | float) -> TracedValue:
    return low.map("where", mask, x, y)


@rule("maximum", "minimum")
def _larger(low: Lowering, x: TracedValue, y: TracedValue) -> TracedValue:
    return low.map(low.operation[:3], x, y)


@rule("max", "min")
def _largest(
    low: Lowering, x: TracedValue, dim: int | TracedValue | None = None, keepdim: bool = False
) -> TracedValue | tuple[TracedValue, TracedValue]:
    """Of all entries, of two tensors, or along an axis, where there is an index as well."""
    name = low.operation
    if isinstance(dim, TracedValue):
        return low.map(name, x, dim)
    if dim is None:
        return reduce(low, name, x, None)
    return reduce(low, name, x, (dim,), keepdim), _index_of(low, name, x, dim, keepdim)


@rule("amin")
def _amin(low: Lowering, x: TracedValue, dim: int | list[int] | None = None, keepdim: bool = False) -> TracedValue:
    return reduce(low, "min", x, [dim] if isinstance(dim, int) else dim or None, keepdim)


@rule("argmax", "argmin")
def _argmax(low: Lowering, x: TracedValue, dim: int | None = None, keepdim: bool = False) -> TracedValue:
    if dim is None:
        raise low.refuse(f"`{low.operation}` of a whole tensor has no rule", "give it the axis")
    return _index_of(low, low.operation[3:], x, dim, keepdim)


def _index_of(low: Lowering, fn: str, x: TracedValue, dim: int, keepdim: bool) -> TracedValue:
    """Where the largest (smallest) entry is; of equal ones, all count."""
    chosen = low.map("ge" if fn == "max" else "le", x, reduce(low, fn, x, (dim,), True, fn), suffix="chosen")
    at = dim % len(x.axes)
    axes = (*x.axes[:at], *([()] if keepdim else []), *x.axes[at + 1 :])
    return low.emit("choice", (chosen,), axes, "index", dim=at)


@rule("topk")
def _topk(
    low: Lowering, x: TracedValue, count: int, dim: int = -1, largest: bool = True, *_: object
) -> tuple[TracedValue, TracedValue]:
    """The largest entry, then the largest of the others, and so on."""
    last = len(x.axes) - 1
    if dim % len(x.axes) != last or not largest:
        raise low.refuse("`topk` of anything but the largest along the last axis has no rule")
    rest = x
    tops: list[TracedValue] = []
    masks: list[TracedValue] = []
    for place in range(count):
        tops.append(reduce(low, "max", rest, (last,), True, f"top_{place + 1}"))
        masks.append(low.map("ge", rest, tops[-1], suffix="chosen"))
        rest = low.map("where", masks[-1], LOWEST, rest, suffix="rest")
    # As rows before the axis that is chosen from: [..., count, entries].
    rows = [low.emit("view", (m,), (*m.axes[:-1], (), m.axes[-1])) for m in masks]
    chosen = cat(low, rows, last)
    return cat(low, tops, last), low.emit("choice", (chosen,), chosen.axes[:-1], "index", dim=last + 1)


@rule("one_hot")
def _one_hot(low: Lowering, index: TracedValue, count: int = -1) -> TracedValue:
    """Truth values along a last axis."""
    if index.op != "choice":
        entries = low.buffer(f"{index.name}_entries", (torch.arange(count), torch.arange(count)))
        return low.map("eq", low.emit("view", (index,), (*index.axes, ())), entries)
    chosen = index.args[0]
    if index.dim != len(chosen.axes) - 1 or len(index.axes) == len(chosen.axes):
        raise low.refuse("`one_hot` of an index along another axis than the last has no rule", "transpose before it")
    return chosen


def _is_entry(low: Lowering, index: TracedValue, entry: TracedValue | float | Both) -> TracedValue:
    """Whether a computed index is a given number."""
    if low.operation not in ("eq", "ne") or not isinstance(entry, int):
        raise low.refuse("a computed index may be compared with a number alone, by == and !=")
    chosen = index.args[0]
    kept = len(index.axes) == len(chosen.axes)
    found = low.emit("index", (chosen,), (*chosen.axes[: index.dim], *chosen.axes[index.dim + 1 :]), dim=index.dim, at=entry)
    found = low.emit("view", (found,), index.axes) if kept else found
    return found if low.operation == "eq" else low.map("not", found)


@rule("scatter")
def _scatter(low: Lowering, x: TracedValue, dim: int, index: TracedValue, source: TracedValue | float, **_: object) -> TracedValue:
    """Numbers at computed places of zeros, along the last axis."""
    zeros = x.op == "buffer" and not any(bool(table.any()) for table in x.pair)
    if index.op != "choice" or index.dim != len(x.axes) or dim % len(x.axes) != len(x.axes) - 1 or not zeros:
        raise low.refuse("`scatter` of anything but the results of `topk`, into zeros, has no rule", "write it by `one_hot`")
    chosen = index.args[0]
    if isinstance(source, TracedValue):
        source = low.emit("view", (source,), (*source.axes, ()), "column")
    return reduce(low, "sum", low.map("mul", chosen, source, suffix="placed"), (index.dim - 1,))


@rule("gather", "take_along_dim")
def _gather(low: Lowering, *_: object, **__: object) -> TracedValue:
    raise low.refuse(
        f"`{low.operation}` along an axis has no rule",
        "sum over all entries, times `one_hot` of the index; of a constant index, use `x[:, index]`",
    )
