"""A figure cut into panels, and its file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tensorprog.files import picture_format, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = TypeVar("Kind", bound="Figure")

COLUMNS = 3
DPI = 150


def grid(kind: type[Kind], count: int, size: Callable[[int, int], tuple[float, float]]) -> tuple[Kind, list[Axes]]:
    """A figure of a class with so many panels, at most `COLUMNS` side by side, and their axes; `size` gives width and height in
    inches, from the numbers of columns and rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    columns = max(1, min(COLUMNS, count))
    rows = max(1, math.ceil(count / columns))
    figure = kind(figsize=size(columns, rows), layout="constrained")
    FigureCanvasAgg(figure)
    places = list(figure.subplots(rows, columns, squeeze=False).reshape(-1))
    for axes in places[count:]:
        axes.set_axis_off()
    return figure, places[:count]


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture, whole or not at all.

    Raises:
        ProgramError: TP711, for another kind of file; TP707, when it cannot be written.
    """
    kind = picture_format(path)
    write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=DPI))
