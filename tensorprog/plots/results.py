"""Pictures of results: which panels an output gets.

    numbers                          one panel for all of them, with error bars
    f[t]                             over its index, with a band of two errors
    f[t, a], and more indices        over the first index, a line for each of the others; or a heat map, if they are many
    K[a, c], symmetric               a heat map; with indices before these, one for some of them
    draws                            a histogram of each vector, and a scatter plot of each pair
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.plots import draw
from tensorprog.plots.draw import Curve
from tensorprog.plots.figure import Picture, Subplot, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tensorprog.kernels import Kernels
    from tensorprog.results import Result

MOST_LINES = 8
MOST_KERNELS = 3
MOST_VECTORS = 4

#: How far a kernel may be from symmetric, relative to its largest value, or in its errors.
SYMMETRIC = 1e-6


def plot_results(results: Sequence[Result], path: str | os.PathLike[str] | None = None) -> Picture:
    """Draw the outputs of the first result, and those of the others beside them. See `Result.plot`."""
    return picture(list(_panels(results)), path)


def plot_kernels(kernels: Kernels, path: str | os.PathLike[str] | None = None) -> Picture:
    """Draw kernels as heat maps. See `Kernels.plot`."""
    return picture([panel for name, value in kernels.items() for panel in _heat_maps(name, [("", value)])], path)


def label(result: Result) -> str:
    """What a result is called beside others."""
    return f"width {result.settings['width']}" if "width" in result.settings else "limit"


def _panels(results: Sequence[Result]) -> Iterator[Subplot]:
    numbers = [name for name in results[0] if results[0][name].ndim == 0 and np.isfinite(results[0][name])]
    if numbers:
        yield Subplot("numbers" if len(numbers) > 1 else numbers[0], partial(_draw_numbers, numbers, results))
    for name in results[0]:
        having = [r for r in results if name in r]
        if results[0][name].ndim and np.isfinite(results[0][name]).any():
            yield from _draws(name, having) if name in results[0].columns else _array(name, having)


def _draw_numbers(names: list[str], results: Sequence[Result], axes: Axes) -> None:
    draw.numbers(axes, names, [(label(r), [(float(r[n]), float(r.error[n])) for n in names]) for r in results])


def _array(name: str, results: Sequence[Result]) -> Iterator[Subplot]:
    value = results[0][name]
    if value.ndim >= 2 and _is_kernel(value, results[0].error[name]):
        yield from _heat_maps(name, [(label(r), r[name]) for r in results], results[0].axes[name])
        return
    alike = [r for r in results if r[name].shape == value.shape]
    over = _first_axis(results[0], name)
    others = math.prod(value.shape) // value.shape[over]
    if value.ndim == 2 and not results[0].coordinates and others > MOST_LINES:
        if len(value) > MOST_LINES and others > 4 * MOST_LINES:
            yield from _heat_maps(name, [(label(r), r[name]) for r in alike], results[0].axes[name])
            return
        if len(value) <= MOST_LINES:
            over, others = 1, len(value)
    shown = f" ({MOST_LINES} of {others})" if others > MOST_LINES else ""
    yield Subplot(name + shown, partial(draw.lines, lines=_lines(name, alike, over), index=results[0].axes[name][over]))


def _first_axis(result: Result, name: str) -> int:
    """The index that lines run over: the output's own first one, and of numbers in a sweep the first that varies."""
    swept = sum(axis in result.coordinates for axis in result.axes[name])
    return swept if swept < result[name].ndim else 0


def _is_kernel(value: np.ndarray, error: np.ndarray) -> bool:
    """Whether the last two indices run over the same things, and the array is symmetric in them."""
    if value.shape[-1] != value.shape[-2] or value.shape[-1] < 2:
        return False
    apart = np.abs(value - np.swapaxes(value, -1, -2))
    return bool((apart <= SYMMETRIC * np.nanmax(np.abs(value)) + 4 * np.nan_to_num(error)).all())


def _lines(name: str, results: Sequence[Result], over: int = 0) -> list[Curve]:
    """A line for each of the first elements over the index that the panel has, of every result."""
    found = []
    for result in results:
        value, error = (np.moveaxis(part, over, 0) for part in (result[name], result.error[name]))
        first, *names = (result.axes[name][over], *result.axes[name][:over], *result.axes[name][over + 1:])
        at = np.array(result.coordinates.get(first, range(len(value))), dtype=float)
        for index in itertools.islice(np.ndindex(value.shape[1:]), MOST_LINES):
            places = (f"{axis} = {result.coordinates[axis][i]:g}" if axis in result.coordinates else f"{axis} = {i}"
                      for axis, i in zip(names, index, strict=True))
            found.append(Curve(", ".join(places), label(result), at, value[:, *index], error[:, *index]))
    return found


def _heat_maps(name: str, arrays: Sequence[tuple[str, np.ndarray]], axes: Sequence[str] = ()) -> Iterator[Subplot]:
    """A heat map for each array, and for some of the indices before the last two. All have one scale of colours."""
    finite = np.concatenate([a[np.isfinite(a)] for _, a in arrays])
    ends = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    for index in _some(arrays[0][1].shape[:-2]):
        for what, array in arrays:
            title = f"{name}[{', '.join([*map(str, index), ':', ':'])}]" if index else name
            title += f", {what}" if len(arrays) > 1 else ""
            yield Subplot(title, partial(draw.heat_map, values=array[index], ends=ends, names=tuple(axes[-2:])))


def _some(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Some indices, the first and the last one among them."""
    flat = np.unique(np.linspace(0, max(math.prod(shape) - 1, 0), MOST_KERNELS).astype(int))
    return [tuple(int(i) for i in np.unravel_index(k, shape)) for k in flat] if shape else [()]


def _draws(name: str, results: Sequence[Result]) -> Iterator[Subplot]:
    columns = results[0].columns[name][:MOST_VECTORS]
    for i, column in enumerate(columns):
        yield Subplot(f"{name}: {column}" if len(columns) > 1 else name,
                    partial(draw.histograms, draws=[(label(r), r[name][:, i]) for r in results], name=column))
    for i, j in itertools.combinations(range(len(columns)), 2):
        yield Subplot(name, partial(draw.scatter, draws=[(label(r), r[name][:, [i, j]]) for r in results],
                                  names=(columns[i], columns[j])))
