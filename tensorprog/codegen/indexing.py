"""Index expressions of array storage under parallel axes.

An index that moves with one parallel axis becomes a slice; anything else that depends on parallel axes (a sum of two of
them, an entry of an integer input) becomes an index array.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.codegen.layout import Axis
from tensorprog.codegen.names import int_text, python_name, wide
from tensorprog.ir.integers import IntBin, IntExpr, IntLit, IntLoad, IntSym, int_bin, linear_form, loop_names
from tensorprog.ir.program import Item, Range


@dataclass(frozen=True, slots=True)
class Indexed:
    """`text` is the index tuple; the result's leading axes are `axes`; `fancy` if index arrays are involved; `whole`
    if it covers everything in order."""

    text: str
    axes: tuple[str, ...]
    fancy: bool
    whole: bool


def index_text(items: tuple[Item, ...], active: list[Axis], extents: tuple[str, ...] | None) -> Indexed:
    """The index of `array[items]` for the active parallel axes. `extents`, where known (as
    source text), allow whole slices `:`."""
    names = [a.var for a in active]
    parts, axes, fancy = [], [], False
    for position, item in enumerate(items):
        extent = extents[position] if extents and position < len(extents) else None
        if isinstance(item, Range):
            parts.append(_range_text(item, extent))
            continue
        used = loop_names(item) & set(names)
        if not used:
            parts.append(int_text(item))
            continue
        axis = _moving_axis(item, used, active)
        # A sum of two loops' variables, or a diagonal as x[a, a].
        if axis is None or axis.var in axes:
            fancy = True
            break
        parts.append(_slice_text(item, axis, extent))
        axes.append(axis.var)
    if fancy:
        return _fancy(items, active)
    whole = all(p == ":" for p in parts) and len(axes) == len(parts)
    return Indexed(", ".join(parts), tuple(axes), False, whole)


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
    if form.get(IntSym(name, "loop")) != 1:
        return None
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
    if any(isinstance(i, Range) for i in items):
        leading = next(p for p, i in enumerate(items) if isinstance(i, Range))
        if any(not isinstance(i, Range) for i in items[leading:]):
            raise NotImplementedError("an index array behind a slice")
    exprs = [i for i in items if not isinstance(i, Range)]
    used = [a.var for a in active if any(a.var in loop_names(e) for e in exprs)]
    parts = [grid_text(e, used) for e in exprs]
    parts += [_range_text(i, None) for i in items if isinstance(i, Range)]
    return Indexed(", ".join(parts), tuple(used), True, False)


def grid_text(expr: IntExpr, axes: list[str] | tuple[str, ...]) -> str:
    """An integer expression as an array over `axes`; the grid of axis `a` is the variable `a_grid`."""
    match expr:
        case IntSym(name, "loop") if name in axes:
            behind = len(axes) - 1 - list(axes).index(name)
            return f"{name}_grid" + (f"[:{', None' * behind}]" if behind else "")
        case IntBin("min" | "max" as op, left, right):
            return f"np.{op}imum({grid_text(left, axes)}, {grid_text(right, axes)})"
        case IntBin(op, left, right):
            left_text, right_text = (wide(grid_text(part, axes)) if isinstance(part, IntLoad) else grid_text(part, axes)
                                     for part in (left, right))
            return f"({left_text} {op} {right_text})"
        case IntLoad(name, items):
            return f"{python_name(name)}[{', '.join(grid_text(i, axes) for i in items)}]"
        case _:
            return int_text(expr)
