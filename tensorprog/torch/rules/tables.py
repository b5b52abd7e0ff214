"""Tables of constants along an axis that grows with the width: positions, and writing into a part of a table.

An entry's position is its index divided by the size of the axis. In the limit the positions of all entries are uniform on
[0, 1), whatever their order: `arange(0, n)` is n times them.
"""

from __future__ import annotations

from tensorprog.torch.axes import both, fresh, leaves, unify
from tensorprog.torch.graph import TracedValue
from tensorprog.torch.lowering import Both, Lowering, rule
from tensorprog.torch.rules.views import Bound, _bounds, cat, select, slice_sections

# Beyond every size: bounds are cut off at the axis' end.
END = 2**62


def _number(value: float | Both, width: int) -> float:
    return float((value.first, value.second)[width] if isinstance(value, Both) else value)


def _positions(low: Lowering, start: float | Both, length: tuple[float, float]) -> TracedValue:
    """start + length * position."""
    position = low.emit("position", (), low.out_axes(), "position")
    scaled = low.map("mul", position, Both(*length), suffix="from_start")
    return scaled if start == 0 else low.map("add", scaled, start)


@rule("arange")
def _arange(low: Lowering, *limits: float | Both, **_: object) -> TracedValue:
    start, step = (limits[0] if len(limits) > 1 else 0), (limits[2] if len(limits) > 2 else 1)
    sizes = low.out_sizes[0]
    return _positions(low, start, (_number(step, 0) * sizes[0], _number(step, 1) * sizes[1]))


@rule("linspace")
def _linspace(low: Lowering, start: float | Both, end: float | Both, _steps: object, **__: object) -> TracedValue:
    # The last point is at position 1 - 1/n here and at 1 in torch: the same in the limit.
    return _positions(low, start, (_number(end, 0) - _number(start, 0), _number(end, 1) - _number(start, 1)))


@rule("copy")
def _copy(low: Lowering, x: TracedValue, source: TracedValue, *_: object) -> TracedValue:
    for mine, theirs in zip(x.axes[len(x.axes) - len(source.axes) :], source.axes, strict=True):
        if leaves(theirs):
            unify(mine, theirs)
    return source if len(source.axes) == len(x.axes) else low.emit("expand", (source,), x.axes)


@rule("slice_scatter")
def _slice_scatter(
    low: Lowering, x: TracedValue, source: TracedValue, dim: int = 0, start: Bound = 0, end: Bound = END, step: int = 1
) -> TracedValue:
    """A table with other numbers in a slice of it."""
    dim %= len(x.axes)
    sizes = x.sizes[dim]
    starts, ends = _bounds(start, sizes, 0), _bounds(end, sizes, END)
    if step == 1:
        parts = slice_sections(low, x, dim, starts, ends)
        return cat(low, [source if part is None else part for part in parts], dim)
    # Such as the even and the odd entries of sinusoidal positions, and nothing else that grows.
    if sizes[0] == sizes[1] or starts[0] != starts[1] or starts[0] >= step or ends != sizes:
        raise low.refuse("writing into every so many entries of a part of an axis has no rule")
    rest, inner = fresh(both(size // step for size in sizes)), fresh((step, step))
    unify(x.axes[dim], (*rest, *inner))
    unify(source.axes[dim], rest)
    split = low.emit("view", (x,), (*x.axes[:dim], rest, inner, *x.axes[dim + 1 :]), "turns")
    columns = [source if k == starts[0] else select(low, split, dim + 1, k) for k in range(step)]
    lifted = [low.emit("view", (c,), (*c.axes[: dim + 1], (), *c.axes[dim + 1 :]), "turn") for c in columns]
    joined = cat(low, lifted, dim + 1)
    return low.emit("view", (joined,), (*x.axes[:dim], (*rest, *joined.axes[dim + 1]), *x.axes[dim + 1 :]))
