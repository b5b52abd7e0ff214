"""Operations that move numbers: views, transposes, slices, joins."""

from __future__ import annotations

from typing import Any

from tensorprog.torch.axes import (
    Axis,
    AxisError,
    both,
    fresh,
    leaves,
    sizes_of,
    split_blocks,
    unify,
)
from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Both, Lowering, rule

Bound = int | Both | None

END = 2**62


@rule("view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "_unsafe_view", "view_as", "ravel")
def regroup(low: Lowering, x: TracedValue, *_: object, **__: object) -> TracedValue:
    """The same factors in other groups."""
    axes = low.out_axes()
    unify([a for axis in x.axes for a in axis], [a for axis in axes for a in axis])
    return low.emit("view", (x,), axes)


@rule("view_as_complex", "view_as_real")
def _complex(low: Lowering, x: TracedValue) -> TracedValue:
    raise low.refuse("complex numbers have no rule", "write rotations with cosines and sines")


@rule("permute")
def _permute(low: Lowering, x: TracedValue, order: list[int]) -> TracedValue:
    return permuted(low, x, [k % len(x.axes) for k in order])


@rule("transpose", "swapaxes")
def _transpose(low: Lowering, x: TracedValue, a: int, b: int) -> TracedValue:
    order = list(range(len(x.axes)))
    order[a], order[b] = order[b], order[a]
    return permuted(low, x, order)


@rule("t", "numpy_T", "mT")
def _t(low: Lowering, x: TracedValue) -> TracedValue:
    return permuted(low, x, [*range(len(x.axes) - 2), *reversed(range(len(x.axes))[-2:])])


@rule("movedim")
def _movedim(low: Lowering, x: TracedValue, source: int, destination: int) -> TracedValue:
    order = [k for k in range(len(x.axes)) if k != source % len(x.axes)]
    order.insert(destination % len(x.axes), source % len(x.axes))
    return permuted(low, x, order)


def permuted(low: Lowering, x: TracedValue, order: list[int]) -> TracedValue:
    """Axes in another order."""
    return low.emit("permute", (x,), [x.axes[k] for k in order], order=tuple(order))


@rule("select")
def select(low: Lowering, x: TracedValue, dim: int, index: int | Both) -> TracedValue:
    """One element of an axis."""
    dim %= len(x.axes)
    size = sizes_of(x.axes[dim])
    if size[0] != size[1] or isinstance(index, Both):
        raise AxisError("an element of an axis that grows with the width is taken")
    return low.emit("index", (x,), x.axes[:dim] + x.axes[dim + 1 :], dim=dim, at=index % size[0])


@rule("unbind")
def _unbind(low: Lowering, x: TracedValue, dim: int = 0) -> tuple[TracedValue, ...]:
    return tuple(select(low, x, dim, k) for k in range(x.sizes[dim][0]))


@rule("slice")
def _slice(low: Lowering, x: TracedValue, dim: int = 0, start: Bound = 0, end: Bound = END, step: int = 1) -> TracedValue:
    dim %= len(x.axes)
    sizes = x.sizes[dim]
    starts, ends = _bounds(start, sizes, 0), _bounds(end, sizes, END)
    if (starts, ends, step) == ((0, 0), sizes, 1):
        return x
    if sizes[0] == sizes[1]:
        return part(low, x, dim, starts[0], len(range(starts[0], ends[0], step)), step)
    if step != 1:
        return _every(low, x, dim, (starts, ends, sizes), step)
    cuts = ((0, 0), starts, ends, sizes)
    sections = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(cuts, cuts[1:], strict=False)]
    return _section(low, x, dim, sections, 1)


def slice_sections(
    low: Lowering, x: TracedValue, dim: int, starts: tuple[int, int], ends: tuple[int, int]
) -> list[TracedValue | None]:
    """What is before a slice, None for the slice itself, and what is behind it; what is empty is left out."""
    sizes = x.sizes[dim]
    cuts = ((0, 0), starts, ends, sizes)
    sections = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(cuts, cuts[1:], strict=False)]
    whole = [k for k, section in enumerate(sections) if section != (0, 0)]
    return [None if k == 1 else _section(low, x, dim, sections, k) for k in whole]


def _every(low: Lowering, x: TracedValue, dim: int, cut: tuple, step: int) -> TracedValue:
    """Every `step`-th element of a growing axis, which becomes [the rest, step]."""
    starts, ends, sizes = cut
    if starts[0] != starts[1] or starts[0] >= step or ends != sizes or any(size % step for size in sizes):
        raise AxisError("an axis that grows with the width is cut with a step that does not divide it")
    rest = fresh(both(size // step for size in sizes))
    inner = fresh((step, step))
    unify(x.axes[dim], (*rest, *inner))
    split = low.emit("view", (x,), (*x.axes[:dim], rest, inner, *x.axes[dim + 1 :]), "pairs")
    return select(low, split, dim + 1, starts[0])


def _bounds(at: Bound, sizes: tuple[int, int], missing: int) -> tuple[int, int]:
    pair: tuple[int | None, int | None] = (at.first, at.second) if isinstance(at, Both) else (at, at)
    found = [missing if v is None else v for v in pair]
    return both(max(0, min(v + size if v < 0 else v, size)) for v, size in zip(found, sizes, strict=True))


def _section(low: Lowering, x: TracedValue, dim: int, sections: list[tuple[int, int]], which: int) -> TracedValue:
    counts = iter(split_blocks(x.axes[dim], [s for s in sections if s != (0, 0)]))
    every = [0 if s == (0, 0) else next(counts) for s in sections]
    return part(low, x, dim, sum(every[:which]), every[which], 1, sum(every))


def part(
    low: Lowering, x: TracedValue, dim: int, start: int, count: int, step: int, blocks: int | None = None
) -> TracedValue:
    """`count` of the leading finite factor, the others whole."""
    rest: Axis = ()
    if blocks is not None and blocks > 1:
        rest = _after_blocks(x.axes[dim], blocks)
    if blocks == 1:
        return x
    axis = (*fresh((count, count)), *rest)
    return low.emit(
        "slice",
        (x,),
        (*x.axes[:dim], axis, *x.axes[dim + 1 :]),
        dim=dim,
        start=start,
        step=step,
        blocks=blocks or sizes_of(x.axes[dim])[0],
    )


def _after_blocks(axis: Axis, blocks: int) -> Axis:
    found = leaves(axis)
    count = 0
    size = 1
    while size < blocks:
        size *= found[count].sizes[0]
        count += 1
    return found[count:]


@rule("split", "split_with_sizes", "chunk", "tensor_split")
def _split(low: Lowering, x: TracedValue, *args: Any, dim: int = 0) -> tuple[TracedValue, ...]:
    dim = (args[1] if len(args) > 1 else dim) % len(x.axes)
    # From the results: the arguments are a size, a number of parts, or a list of either.
    sections = low.parts(dim)
    return tuple(_section(low, x, dim, sections, k) for k in range(len(sections)))


@rule("glu")
def _glu(low: Lowering, x: TracedValue, dim: int = -1) -> TracedValue:
    """The first half, times the sigmoid of the second."""
    dim %= len(x.axes)
    half = both(size // 2 for size in x.sizes[dim])
    first, second = (_section(low, x, dim, [half, half], k) for k in range(2))
    return low.map("mul", first, low.map("sigmoid", second, suffix="gate"))


@rule("cat", "concat", "concatenate")
def cat(low: Lowering, parts: list[TracedValue], dim: int = 0) -> TracedValue:
    """Parts one after another along an axis, that are whole numbers of one block if the axis grows with the width."""
    rank = max(len(p.axes) for p in parts)
    # torch skips empty tensors of one axis, with which lists of parts are begun.
    parts = [p for p in parts if len(p.axes) == rank]
    dim %= rank
    sections = [p.sizes[dim] for p in parts]
    axis = fresh((sum(s[0] for s in sections), sum(s[1] for s in sections)))
    counts = split_blocks(axis, sections)
    rest = _after_blocks(axis, sum(counts))
    for part, count in zip(parts, counts, strict=True):
        unify(part.axes[dim], (*fresh((count, count)), *rest))
        for k in range(rank):
            if k != dim:
                unify(parts[0].axes[k], part.axes[k])
    return low.emit("cat", parts, (*parts[0].axes[:dim], axis, *parts[0].axes[dim + 1 :]), dim=dim, counts=counts)


@rule("stack")
def _stack(low: Lowering, parts: list[TracedValue], dim: int = 0) -> TracedValue:
    dim %= len(parts[0].axes) + 1
    lifted = [low.emit("view", (p,), (*p.axes[:dim], (), *p.axes[dim:])) for p in parts]
    return cat(low, lifted, dim)


@rule("expand", "expand_as", "broadcast_to")
def _expand(low: Lowering, x: TracedValue, *_: object, **__: object) -> TracedValue:
    axes = list(low.out_axes())
    for k in range(1, len(x.axes) + 1):
        # An axis that is not repeated stays the same one, with its factors.
        if sizes_of(x.axes[-k]) == sizes_of(axes[-k]):
            axes[-k] = x.axes[-k]
    return low.emit("expand", (x,), axes)


@rule("repeat_interleave")
def _repeat_interleave(low: Lowering, x: TracedValue, count: int, dim: int | None = None, **__: object) -> TracedValue:
    if not isinstance(count, int) or dim is None:
        raise low.refuse("`repeat_interleave` by anything but a number along one axis has no rule", "use `expand`")
    return repeated(low, x, dim % len(x.axes), (count, count))


def repeated(low: Lowering, x: TracedValue, dim: int, counts: tuple[int, int]) -> TracedValue:
    """Every element of an axis so many times, one after another."""
    before, axis, after = x.axes[:dim], x.axes[dim], x.axes[dim + 1 :]
    lifted = low.emit("view", (x,), (*before, axis, (), *after), "lifted")
    copies = fresh(counts)
    many = low.emit("expand", (lifted,), (*before, axis, copies, *after), "copies")
    return low.emit("view", (many,), (*before, (*axis, *copies), *after), "repeated")


@rule("upsample_nearest1d", "upsample_nearest2d")
def _upsample(low: Lowering, x: TracedValue, *_: object) -> TracedValue:
    """Every place several times."""
    rank = int(low.operation[-2])
    for dim in range(len(x.axes) - rank, len(x.axes)):
        old, new = x.sizes[dim][0], low.out_sizes[dim][0]
        if x.sizes[dim] != (old, old) or new % old:
            raise low.refuse("upsampling by anything but a whole number has no rule")
        x = repeated(low, x, dim, (new // old,) * 2)
    return x


@rule("repeat")
def _repeat(low: Lowering, x: TracedValue, *_: object) -> TracedValue:
    if x.sizes and any(o != s and s != (1, 1) for o, s in zip(low.out_sizes[-len(x.sizes) :], x.sizes, strict=True)):
        raise low.refuse("`repeat` of an axis that is not of size 1 has no rule", "use `expand`")
    return _expand(low, x)
