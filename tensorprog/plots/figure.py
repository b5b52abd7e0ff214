"""Figures of panels, and the files and notebooks that they go to."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tensorprog.files import mistake, picture_format
from tensorprog.panels import DPI, grid, save

WIDTH, HEIGHT = 4.2, 3.2

# Distinguishable without colour vision, too (Paul Tol's bright scheme).
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000")


@dataclass(frozen=True)
class Subplot:
    """A title, and what draws into the axes."""

    title: str
    draw: Callable[[Axes], object]


class Picture(Figure):
    """A figure that a notebook displays."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=DPI)
        return file.getvalue()


def picture(panels: Sequence[Subplot], path: str | os.PathLike[str] | None) -> Picture:
    """The panels side by side, written to a file if there is a path.

    Raises:
        ProgramError: TP711, for another kind of file; TP707, when it cannot be written; TP732, without panels.
    """
    if path is not None:
        picture_format(path)  # a mistake is told before anything is drawn
    if not panels:
        raise mistake("TP732", "there is nothing to draw: no output has finite numbers")
    figure, places = grid(Picture, len(panels), lambda columns, rows: (max(WIDTH * columns, 5.6), HEIGHT * rows + 0.3))
    for panel, axes in zip(panels, places, strict=True):
        axes.set_title(panel.title, fontsize="medium")
        panel.draw(axes)
    if path is not None:
        save(figure, path)
    return figure
