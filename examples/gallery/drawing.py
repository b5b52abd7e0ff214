"""What the pictures of the gallery have in common: a row of panels, colours, small files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tensorprog.plots.figure import COLORS

__all__ = ["COLORS", "band", "new_figure", "panels", "save"]


def new_figure(count: int) -> Figure:
    """A figure with room for a row of `count` panels."""
    return Figure(figsize=(4.2 * count, 3.4), layout="constrained", dpi=100)


def panels(figure: Figure, *titles: str) -> list[Axes]:
    """A row of panels with these titles."""
    row = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, title in zip(row, titles, strict=True):
        axes.set_title(title, fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
    return list(row)


def band(axes: Axes, x: np.ndarray, value: np.ndarray, error: np.ndarray, **style: object) -> None:
    """A line with a band of two errors."""
    line, = axes.plot(x, value, **style)
    axes.fill_between(x, value - 2 * error, value + 2 * error, color=line.get_color(), alpha=0.2, linewidth=0)


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
