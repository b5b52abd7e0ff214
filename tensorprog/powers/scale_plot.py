"""The picture of a coordinate check: a panel a name, sizes against the width, inferred slopes beside measured ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.files import picture_format
from tensorprog.panels import grid, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tensorprog.powers.measure import Slope
    from tensorprog.powers.scale import InferredSize, NamedSizes, Scale

COLORS = {"init": "#4477aa", "one step": "#228833", "later": "#ccbb44", "change, one step": "#ee6677",
          "change, later": "#aa3377"}
WRONG = "#cc3311"


def plot(scale: Scale, path: str | os.PathLike[str]) -> None:
    """Write the picture of a measured scale, whole or not at all.

    Raises:
        ProgramError: TP711, for an unknown kind of picture; TP707, if it cannot be written.
    """
    from matplotlib.figure import Figure

    picture_format(path)  # a mistake is told before anything is drawn
    names = list(scale.names.values())
    figure, panels = grid(Figure, len(names), lambda columns, rows: (4.6 * columns, 4.4 * rows))
    for name, axes in zip(names, panels, strict=True):
        _panel(axes, scale, name)
    save(figure, path)


def _panel(axes: Axes, scale: Scale, name: NamedSizes) -> None:
    sizes = {**name.sizes, **{f"change, {stage}": size for stage, size in name.changes.items()}}
    wrong = any(size.agrees is False for size in sizes.values())
    axes.set_title(name.name, fontsize="medium", color=WRONG if wrong else "black")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(scale.measured, [str(width) for width in scale.measured])
    axes.set_xlabel("width n")
    for label, size in sizes.items():
        if size.slope is not None and size.slope.exponent is not None:
            _sizes(axes, label, size, size.slope)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", title="slope", title_fontsize="x-small", frameon=False, loc="upper center",
                    bbox_to_anchor=(0.5, -0.2))


def _sizes(axes: Axes, label: str, size: InferredSize, slope: Slope) -> None:
    """Measured sizes, and a line of the inferred slope through their middle."""
    widths, values = np.array(slope.widths, dtype=float), np.array(slope.sizes)
    color = COLORS[label]
    inferred = "" if size.power is None else f", inferred {size.power}"
    axes.errorbar(widths, values, yerr=values * np.array(slope.scatter), fmt="o", markersize=3, color=color,
                  label=f"{label}: {slope.text()}{inferred}")
    if size.power is not None:
        middle = np.exp(np.mean(np.log(values) - float(size.power) * np.log(widths)))
        axes.plot(widths, middle * widths**float(size.power), color=WRONG if size.agrees is False else color,
                  linewidth=1, linestyle=":" if size.agrees is False else "-")
