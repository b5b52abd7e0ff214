"""Index expressions of array storage under parallel axes.

An index that moves with one parallel axis becomes a slice; anything else that depends on parallel axes (a sum of two of
them, an entry of an integer input) becomes an index array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorprog.codegen.layout import Axis
from tensorprog.codegen.names import int_text, python_name, wide
from tensorprog.ir.integers import IntBin, IntExpr, IntLit, IntLoad, IntSym, int_bin, linear_form, loop_names
from tensorprog.ir.program import Item, Range


@dataclass(frozen=True, slots=True)
class Indexed:
    """An index tuple under parallel axes, which asks for the parallel axes `axes`.

    Attributes:
        text: the tuple.
        order: the axes of what NumPy gives, as far as indices reach; None for a slice, which leaves a finite axis.
        moved: whether NumPy puts the axes of index arrays in front of all others, because a slice stands between two.
        whole: whether it covers everything in order.
    """

    text: str
    order: tuple[str | None, ...]
    moved: bool
    whole: bool

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(a for a in self.order if a is not None)


def index_text(items: tuple[Item, ...], active: list[Axis], extents: tuple[str, ...] | None) -> Indexed:
    """The index of `array[items]` for the active parallel axes. `extents`, where known (as
    source text), allow whole slices `:`."""
    names = [a.var for a in active]
    parts: list[str] = []
    order: list[str | None] = []
    for position, item in enumerate(items):
        extent = extents[position] if extents and position < len(extents) else None
        if isinstance(item, Range):
            parts.append(_range_text(item, extent))
            order.append(None)
            continue
        used = loop_names(item) & set(names)
        if not used:
            parts.append(int_text(item))
            continue
        axis = _moving_axis(item, used, active)
        # A sum of two loops' variables, or a diagonal as x[a, a].
        if axis is None or axis.var in order:
            return _fancy(items, active)
        parts.append(_slice_text(item, axis, extent))
        order.append(axis.var)
    whole = all(p == ":" for p in parts) and len(order) == len(parts) and None not in order
    return Indexed(", ".join(parts), tuple(order), False, whole)


def _range_text(item: Range, extent: str | None) -> str:
    start = "" if item.start is None or item.start == IntLit(0) else int_text(item.start)
    stop = "" if item.stop is None or int_text(item.stop) == extent else int_text(item.stop)
    return f"{start}:{stop}"


def _moving_axis(item: IntExpr, used: set[str], active: list[Axis]) -> Axis | None:
    """The axis that an index `a + constant` moves with."""
    if len(used) != 1:
        return None
    (name,) = used
    form = linear_form(item)
    # x[2*i] would be a slice with a step, and x[-i] one that runs backwards: index arrays do for both.
    if form.get(IntSym(name, "loop")) != 1:
        return None
    # i + order[i] is no slice.
    if any(name in loop_names(atom) for atom in form if atom != IntSym(name, "loop")):
        return None
    return next(a for a in active if a.var == name)


def _slice_text(item: IntExpr, axis: Axis, extent: str | None) -> str:
    offset = int_bin("-", item, IntSym(axis.var, "loop"))
    start, stop = int_bin("+", axis.start, offset), int_bin("+", axis.stop, offset)
    if start == IntLit(0) and int_text(stop) == extent:
        return ":"
    # A negative end would count from the array's own.
    if not _never_negative(stop):
        stop = int_bin("max", stop, IntLit(0))
    return f"{'' if start == IntLit(0) else int_text(start)}:{int_text(stop)}"


def _never_negative(expr: IntExpr) -> bool:
    """Whether an expression is a sum of sizes and of a number that is not negative."""
    return all(c >= 0 and (isinstance(atom, IntLit) or (isinstance(atom, IntSym) and atom.kind == "size"))
               for atom, c in linear_form(expr).items())


def _fancy(items: tuple[Item, ...], active: list[Axis]) -> Indexed:
    """Every index as an array over the axes that any of them uses."""
    # In the order of the loops, as all values have their axes.
    used = [a.var for a in active if any(a.var in loop_names(i) for i in items if not isinstance(i, Range))]
    arrays = [k for k, i in enumerate(items) if not isinstance(i, Range)]
    # NumPy leaves the axes of neighbouring index arrays (numbers are such, too) where these stand, and of others in front.
    moved = arrays[-1] - arrays[0] >= len(arrays)
    slices = [None] * (len(items) - len(arrays))
    before = 0 if moved else arrays[0]
    return Indexed(grids_text(items, used), (*slices[:before], *used, *slices[before:]), moved, False)


def grids_text(items: tuple[Item, ...], axes: Sequence[str]) -> str:
    """Items as index arrays over `axes`, slices as they are."""
    return ", ".join(_range_text(i, None) if isinstance(i, Range) else grid_text(i, axes) for i in items)


def grid_text(expr: IntExpr, axes: Sequence[str]) -> str:
    """An integer expression as an array over `axes`; the grid of axis `a` is the variable `a_grid`."""
    match expr:
        case IntSym(name, "loop") if name in axes:
            behind = len(axes) - 1 - list(axes).index(name)
            return f"{name}_grid" + (f"[:{', None' * behind}]" if behind else "")
        case IntBin("min" | "max" as op, left, right):
            return f"np.{op}imum({grid_text(left, axes)}, {grid_text(right, axes)})"
        case IntBin(op, left, right):
            # Arrays of int8 would wrap around: 100 + 100.
            left_text, right_text = (wide(grid_text(part, axes)) if isinstance(part, IntLoad) else grid_text(part, axes)
                                     for part in (left, right))
            return f"({left_text} {op} {right_text})"
        case IntLoad(name, items):
            return f"{python_name(name)}[{', '.join(grid_text(i, axes) for i in items)}]"
        case _:
            # A choice has no array form: loops whose variable decides one are not parallel (`passes.batch`).
            return int_text(expr)
