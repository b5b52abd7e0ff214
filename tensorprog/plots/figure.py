"""Figures of panels, and the files and notebooks that they go to."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tensorprog.files import mistake, picture_format, write_whole

COLUMNS = 3
WIDTH, HEIGHT = 4.2, 3.2
DPI = 150

# Distinguishable without colour vision, too (Paul Tol's bright scheme).
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000")


@dataclass(frozen=True)
class Panel:
    """A title, and what draws into the axes."""

    title: str
    draw: Callable[[Axes], object]


class Picture(Figure):
    """A figure that a notebook displays."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=DPI)
        return file.getvalue()


def picture(panels: Sequence[Panel], path: str | os.PathLike[str] | None) -> Picture:
    """The panels side by side, written to a file if there is a path.

    Raises:
        ProgramError: TP711, for another kind of file; TP707, when it cannot be written; TP732, without panels.
    """
    kind = None if path is None else picture_format(path)
    if not panels:
        raise mistake("TP732", "there is nothing to draw: no output has finite numbers")
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Picture(figsize=(max(WIDTH * columns, 5.6), HEIGHT * rows + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in places[len(panels):]:
        axes.set_axis_off()
    for panel, axes in zip(panels, places, strict=False):
        axes.set_title(panel.title, fontsize="medium")
        panel.draw(axes)
    if path is not None:
        write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=DPI))
    return figure
