"""Sums of products: linear layers, matrix products, convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from tensorprog.torch.axes import both, fresh, unify
from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Both, Lowering, rule
from tensorprog.torch.rules.pointwise import added
from tensorprog.torch.rules.reductions import reduce
from tensorprog.torch.rules.views import permuted

# One number for all axes, or one for each.
PerAxis = int | Sequence[int]


def contract(low: Lowering, x: TracedValue, w: TracedValue, x_labels: str, w_labels: str, out: str, suffix: str = "") -> TracedValue:
    """An einsum of two tensors, one letter an axis; axes of one letter are made the same."""
    axes: dict[str, tuple] = {}
    for label, axis in zip(x_labels + w_labels, (*x.axes, *w.axes), strict=True):
        # An axis of size 1 is broadcast.
        if axes.get(label) and axis:
            unify(axes[label], axis)
        axes[label] = axes.get(label) or axis
    return low.emit("contract", (x, w), [axes[label] for label in out], suffix, labels=(x_labels, w_labels, out))


def letters(count: int, first: str = "a") -> str:
    """So many different labels."""
    return "".join(chr(ord(first) + k) for k in range(count))


@rule("linear")
def linear(low: Lowering, x: TracedValue, w: TracedValue, bias: TracedValue | None = None, suffix: str = "") -> TracedValue:
    """x W^T + b."""
    batch = letters(len(x.axes) - 1)
    if len(w.axes) == 1:
        out = contract(low, x, w, batch + "z", "z", batch, suffix)
    else:
        out = contract(low, x, w, batch + "z", "yz", batch + "y", suffix)
    return out if bias is None else low.map("add", out, bias, suffix=suffix)


@rule("matmul", "mm", "bmm", "mv", "dot")
def matmul(low: Lowering, x: TracedValue, w: TracedValue) -> TracedValue:
    """The matrix product, with broadcasting of leading axes."""
    if len(w.axes) == 1:
        batch = letters(len(x.axes) - 1)
        return contract(low, x, w, batch + "z", "z", batch)
    if len(x.axes) == 1:
        batch = letters(len(w.axes) - 2)
        return contract(low, x, w, "z", batch + "zy", batch + "y")
    batch = letters(max(len(x.axes), len(w.axes)) - 2)
    mine = batch[len(batch) - len(x.axes) + 2 :]
    theirs = batch[len(batch) - len(w.axes) + 2 :]
    return contract(low, x, w, mine + "xz", theirs + "zy", batch + "xy")


@rule("outer", "ger")
def _outer(low: Lowering, x: TracedValue, y: TracedValue) -> TracedValue:
    return contract(low, x, y, "a", "b", "ab")


@rule("addmm", "baddbmm")
def _product_and_bias(
    low: Lowering, bias: TracedValue, x: TracedValue, w: TracedValue, *, beta: float = 1, alpha: float = 1
) -> TracedValue:
    product = matmul(low, x, w)
    product = product if alpha == 1 else low.map("mul", product, alpha)
    return added(low, product, bias if beta == 1 else low.map("mul", bias, beta))


@rule("einsum")
def _einsum(low: Lowering, equation: str, operands: list[TracedValue], *_: object, **__: object) -> TracedValue:
    """From the left, two tensors at a time; an axis of one tensor alone is summed before."""
    inputs, out = _labels(low, equation, operands)
    found, labels = operands[0], inputs[0]
    for k in range(len(operands)):
        rest = "".join(inputs[k + 1 :]) + out
        if k == 0:
            found, labels = _without(low, found, labels, rest)
            continue
        other, theirs = _without(low, operands[k], inputs[k], labels + rest)
        found, labels = _without(low, found, labels, theirs + rest)
        kept = "".join(dict.fromkeys(c for c in labels + theirs if c in rest))
        found, labels = contract(low, found, other, labels, theirs, kept), kept
    return found if labels == out else permuted(low, found, [labels.index(c) for c in out])


def _labels(low: Lowering, equation: str, operands: list[TracedValue]) -> tuple[list[str], str]:
    """One letter an axis, of all inputs and of the output: `...` and a missing output are written out."""
    sides, arrow, out = equation.replace(" ", "").partition("->")
    terms = sides.split(",")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    ranks = [len(x.axes) - len(term.replace("...", "")) for term, x in zip(terms, operands, strict=True)]
    most = max([rank for term, rank in zip(terms, ranks, strict=True) if "..." in term], default=0)
    shared = "".join(spare[:most])
    inputs = [t.replace("...", shared[most - rank :]) for t, rank in zip(terms, ranks, strict=True)]
    if any(len(set(labels)) < len(labels) for labels in inputs):
        raise low.refuse(f"einsum `{equation}` has no rule", "write diagonals by other operations")
    together = "".join(inputs)
    alone = "".join(sorted(c for c in set(together) - set(shared) if together.count(c) == 1))
    return inputs, out.replace("...", shared) if arrow else shared + alone


def _without(low: Lowering, x: TracedValue, labels: str, needed: str) -> tuple[TracedValue, str]:
    """A tensor summed over the axes that nothing else needs."""
    dims = [k for k, c in enumerate(labels) if c not in needed]
    return (reduce(low, "sum", x, dims), "".join(c for c in labels if c in needed)) if dims else (x, labels)


@rule("conv1d", "conv2d")
def _conv(
    low: Lowering,
    x: TracedValue,
    w: TracedValue,
    bias: TracedValue | None = None,
    stride: PerAxis = 1,
    padding: str | PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int | Both = 1,
) -> TracedValue:
    """A window for each tap, then a linear layer over the channels of a group and taps."""
    rank = len(w.axes) - 2
    batched = len(x.axes) == rank + 2
    if isinstance(padding, str):
        padding = [_same(w.sizes[2 + k][0], _nth(dilation, k)) if padding == "same" else 0 for k in range(rank)]
    windows = _windows(low, x, w, stride, padding, dilation)
    batch = "b" if batched else ""
    places, taps = letters(rank, "p"), letters(rank, "t")
    if groups == 1:
        out = contract(low, windows, w, batch + "c" + places + taps, "o" + "c" + taps, batch + "o" + places)
    else:
        out = _in_groups(low, windows, w, groups, batch, places, taps)
    return _with_bias(low, out, bias, rank)


@rule("conv_transpose1d", "conv_transpose2d")
def _conv_transpose(
    low: Lowering,
    x: TracedValue,
    w: TracedValue,
    bias: TracedValue | None = None,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    _output_padding: PerAxis = 0,
    groups: int | Both = 1,
    dilation: PerAxis = 1,
) -> TracedValue:
    """The transpose of a convolution: each place gathers from those whose taps reach it."""
    rank = len(w.axes) - 2
    if groups != 1:
        raise low.refuse("a transposed convolution in groups has no rule", "write it as one for each group")
    windows = _windows(low, x, w, stride, padding, dilation, transposed=True)
    batch = "b" if len(x.axes) == rank + 2 else ""
    places, taps = letters(rank, "p"), letters(rank, "t")
    out = contract(low, windows, w, batch + "c" + places + taps, "co" + taps, batch + "o" + places)
    return _with_bias(low, out, bias, rank)


def _windows(low: Lowering, x: TracedValue, w: TracedValue, stride: PerAxis, padding: PerAxis, dilation: PerAxis,
             transposed: bool = False) -> TracedValue:
    """A window for each tap of a kernel, with an axis of taps for each axis of places."""
    rank = len(w.axes) - 2
    found = x
    for k in range(rank):
        found = window(low, found, len(x.axes) - rank + k, low.out_sizes[k - rank], w.sizes[2 + k], _nth(stride, k),
                       _nth(padding, k), _nth(dilation, k), transposed=transposed)
    return found


def _with_bias(low: Lowering, out: TracedValue, bias: TracedValue | None, rank: int) -> TracedValue:
    """One number more for each channel, at all places."""
    if bias is None:
        return out
    return low.map("add", out, low.emit("view", (bias,), (*bias.axes, *((),) * rank), "bias"))


def _same(taps: int, dilation: int) -> int:
    """How much padding="same" adds in front."""
    # Of an odd number, torch adds the larger half behind.
    return dilation * (taps - 1) // 2


def _in_groups(
    low: Lowering, windows: TracedValue, w: TracedValue, groups: int | Both, batch: str, places: str, taps: str
) -> TracedValue:
    """Channels are [groups, channels of a group], on both sides; depthwise, the number of groups is the width."""
    count = (groups.first, groups.second) if isinstance(groups, Both) else (groups, groups)
    channel, group = len(batch), fresh(count)
    inner = fresh(w.sizes[1])
    outer = fresh(both(size // g for size, g in zip(w.sizes[0], count, strict=True)))
    unify(windows.axes[channel], (*group, *inner))
    unify(w.axes[0], (*group, *outer))
    x_axes = (*windows.axes[:channel], group, inner, *windows.axes[channel + 1 :])
    x = low.emit("view", (windows,), x_axes, "groups")
    kernel = low.emit("view", (w,), (group, outer, w.axes[1], *w.axes[2:]), "kernel")
    found = contract(low, x, kernel, batch + "gc" + places + taps, "goc" + taps, batch + "go" + places)
    axes = (*found.axes[:channel], (*found.axes[channel], *found.axes[channel + 1]), *found.axes[channel + 2 :])
    return low.emit("view", (found,), axes, "channels")


def _nth(value: PerAxis, k: int) -> int:
    return value[min(k, len(value) - 1)] if isinstance(value, Sequence) else value


def window(
    low: Lowering,
    x: TracedValue,
    dim: int,
    places: tuple[int, int],
    taps: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int = 1,
    transposed: bool = False,
) -> TracedValue:
    """An axis as places, and a last axis of taps; outside of it there are zeros. Transposed, a place has the entries that reach
    it by a tap."""
    if places[0] != places[1] or taps[0] != taps[1]:
        raise low.refuse("a convolution along an axis that grows with the width has no rule")
    axes = (*x.axes[:dim], fresh(places), *x.axes[dim + 1 :], fresh(taps))
    return low.emit(
        "window", (x,), axes, "window", dim=dim, stride=stride, padding=padding, dilation=dilation, size=x.sizes[dim][0],
        transposed=transposed,
    )


def transposed(low: Lowering, x: TracedValue) -> TracedValue:
    """The last two axes exchanged."""
    rank = len(x.axes)
    return permuted(low, x, [*range(rank - 2), rank - 1, rank - 2])
