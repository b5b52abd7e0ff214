"""How a value lies in an array of the emitted module: [parallel axes..., finite axes..., particles].

Axes on which a value does not depend are left out where possible; `aligned` inserts them again as length-1 axes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.codegen.names import int_text
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin


@dataclass(frozen=True, slots=True)
class Axis:
    """A parallel loop that runs as an array axis."""

    var: str
    start: IntExpr
    stop: IntExpr

    @property
    def length(self) -> IntExpr:
        """The number of iterations, 0 for an empty range."""
        # A size is not negative, and its name alone is what people read.
        if self.start == IntLit(0) and isinstance(self.stop, IntSym) and self.stop.kind == "size":
            return self.stop  # a parameter may be below zero
        return int_bin("max", int_bin("-", self.stop, self.start), IntLit(0))


@dataclass(frozen=True, slots=True)
class Layout:
    """The axes that an array has: parallel axes (outermost loop first), the number of finite axes, particles or not."""

    axes: tuple[str, ...] = ()
    finite: int = 0
    width: bool = False

    @property
    def dims(self) -> int:
        return len(self.axes) + self.finite + self.width


@dataclass(slots=True)
class CellStorage:
    """How a cell is kept.

    `axes` are parallel loops whose iterations each have their own. `full`: it is written in several ways, so it has
    every axis that it can have. `named`: a family that one statement fills as a whole, so that the array stored there
    is the family.
    """

    axes: tuple[str, ...]
    full: bool
    named: bool = False


def union(layouts: list[Layout], order: list[str]) -> Layout:
    """The layout of a coordinatewise operation; `order` lists the active parallel axes, outermost first."""
    named = {a for layout in layouts for a in layout.axes}
    # Axes of loops are told apart by their names, finite ones by their number alone: operands have the same or none.
    return Layout(tuple(a for a in order if a in named), max((p.finite for p in layouts), default=0),
                  any(p.width for p in layouts))


def aligned(text: str, layout: Layout, target: Layout) -> str:
    """`text` indexed so that NumPy broadcasting lines its axes up with `target`."""
    if layout.dims == 0:
        return text
    parts = [":" if a in layout.axes else "None" for a in target.axes]
    # A value has all of the finite axes of its type or, as a number that is the same in all entries, none.
    parts += [":" if layout.finite else "None"] * target.finite
    parts += [":" if layout.width else "None"] * target.width
    # NumPy adds leading axes by itself.
    while parts and parts[0] == "None":
        parts.pop(0)
    return text if all(p == ":" for p in parts) else f"{text}[{', '.join(parts)}]"


def shape_parts(layout: Layout, axes: dict[str, Axis], finite: tuple[IntExpr, ...], samples: str) -> list[str]:
    """The shape of an array with a layout, as source text."""
    parts = [int_text(axes[a].length) for a in layout.axes]
    parts += [int_text(s) for s in finite]
    return parts + ([samples] if layout.width else [])


def tuple_text(parts: list[str]) -> str:
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def lengths_text(shape: str) -> str:
    """The text of a shape whose lengths may be below zero, as integer parameters may: loops up to them are empty, and so is what
    they store."""
    return f"rt.lengths{shape}" if shape != "()" else shape
