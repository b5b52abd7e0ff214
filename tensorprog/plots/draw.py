"""What is drawn into one panel: numbers, lines with bands, heat maps, histograms, scatter plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator

from tensorprog.plots.figure import COLORS

#: Two errors cover 95 %.
ERRORS = 2.0
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v")
BINS = 60
MOST_POINTS = 1500
#: The ratio of values of a sweep from which their axis is logarithmic.
WIDE = 16.0
#: The share of draws at either end that a picture leaves out.
TAIL = 0.001

Draws = Sequence[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Curve:
    """Values over an index, or over what varies in a sweep: of which element, of which result."""

    element: str
    result: str
    at: np.ndarray
    values: np.ndarray
    error: np.ndarray


def numbers(axes: Axes, names: Sequence[str], results: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> None:
    """Values with bars of two errors, side by side for the results."""
    for k, (result, found) in enumerate(results):
        shift = 0.18 * (k - (len(results) - 1) / 2)
        values, errors = np.array(found).T
        axes.errorbar(np.arange(len(names)) + shift, values, ERRORS * np.nan_to_num(errors), fmt=MARKERS[k % len(MARKERS)],
                      color=_color(k), capsize=3, label=result)
    axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=30 if len(names) > 2 else 0,
                    ha="right" if len(names) > 2 else "center")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.margins(y=0.25)
    axes.grid(axis="y", alpha=0.3)
    if len(results) > 1:
        axes.legend(fontsize="small")


def lines(axes: Axes, lines: Sequence[Curve], index: str) -> None:
    """Lines with bands of two errors; a colour for each element, or for each result if there is one element."""
    elements = list(dict.fromkeys(line.element for line in lines))
    results = list(dict.fromkeys(line.result for line in lines))
    for line in lines:
        e, r = elements.index(line.element), results.index(line.result)
        color = _color(e if len(elements) > 1 else r)
        _line(axes, line, color, STYLES[r % len(STYLES)])
    axes.set_xlabel(index)
    axes.grid(alpha=0.3)
    at = lines[0].at
    if (at > 0).all() and at.max() >= WIDE * at.min():
        axes.set_xscale("log")
    elif (at == np.round(at)).all():
        _mark_integers(axes.xaxis)
    _key(axes, elements, results)


def _mark_integers(axis: Axis) -> None:
    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)


def _line(axes: Axes, line: Curve, color: str, style: str) -> None:
    at = line.at
    (curve,) = axes.plot(at, line.values, style, color=color, linewidth=1.4)
    if len(at) <= 15:
        curve.set_marker("o")
        curve.set_markersize(3.5)
    band = ERRORS * np.nan_to_num(line.error)
    if band.any():
        axes.fill_between(at, line.values - band, line.values + band, color=color, alpha=0.2, linewidth=0)


def _key(axes: Axes, elements: Sequence[str], results: Sequence[str]) -> None:
    """The names of colours and of styles."""
    several = len(elements) > 1
    handles = [axes.plot([], [], color=_color(i), label=element)[0] for i, element in enumerate(elements)] if several else []
    if len(results) > 1:
        handles += [axes.plot([], [], STYLES[i % len(STYLES)], color="black" if several else _color(i), label=result)[0]
                    for i, result in enumerate(results)]
    if handles:
        axes.legend(handles=handles, fontsize="x-small", ncols=math.ceil(len(handles) / 6))


def heat_map(axes: Axes, values: np.ndarray, ends: tuple[float, float], names: Sequence[str] = ()) -> None:
    """A matrix in colours, diverging around zero if it has both signs."""
    low, high = ends
    both = low < 0 < high and min(-low, high) > 0.05 * max(-low, high)
    largest = max(-low, high)
    colors, bottom, top = ("RdBu_r", -largest, largest) if both else ("viridis", low, high)
    image = axes.imshow(values, interpolation="nearest", aspect="equal" if _nearly_square(values) else "auto", cmap=colors,
                        vmin=bottom, vmax=top)
    axes.figure.colorbar(image, ax=axes, shrink=0.85)
    for axis in (axes.xaxis, axes.yaxis):
        _mark_integers(axis)
    if names:
        axes.set_ylabel(names[0])
        axes.set_xlabel(names[1])


def _nearly_square(values: np.ndarray) -> bool:
    return max(values.shape) <= 3 * min(values.shape)


def histograms(axes: Axes, draws: Draws, name: str) -> None:
    """Densities of draws: the first result filled, the others as outlines."""
    low, high = _range([drawn for _, drawn in draws])
    edges = np.linspace(low, high, BINS + 1)
    for k, (result, drawn) in enumerate(draws):
        finite = drawn[np.isfinite(drawn)]
        weights = np.full(len(finite), 1.0 / (len(drawn) * (edges[1] - edges[0])))
        axes.hist(finite, edges.tolist(), weights=weights, color=_color(k), label=result, alpha=0.35 if k == 0 else 1.0,
                  histtype="stepfilled" if k == 0 else "step", linewidth=1.3)
    axes.set_xlabel(name)
    axes.set_ylabel("density")
    axes.set_xlim(low, high)
    if len(draws) > 1:
        axes.legend(fontsize="small")


def scatter(axes: Axes, draws: Draws, names: tuple[str, str]) -> None:
    """Joint draws of two vectors."""
    for k, (result, drawn) in enumerate(draws):
        some = drawn[:: max(1, len(drawn) // MOST_POINTS)]
        axes.plot(some[:, 0], some[:, 1], MARKERS[k % len(MARKERS)], color=_color(k), label=result, markersize=2.5,
                  alpha=0.45, markeredgewidth=0)
    axes.set_xlim(*_range([drawn[:, 0] for _, drawn in draws]))
    axes.set_ylim(*_range([drawn[:, 1] for _, drawn in draws]))
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.grid(alpha=0.3)
    if len(draws) > 1:
        axes.legend(fontsize="small", markerscale=2.5)


def _range(draws: Sequence[np.ndarray]) -> tuple[float, float]:
    """Where nearly all draws are, with a margin."""
    ends = [np.quantile(d[np.isfinite(d)], (TAIL, 1 - TAIL)) for d in draws if np.isfinite(d).any()]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    margin = 0.06 * (high - low) or max(abs(low), 1.0) * 0.1
    return low - margin, high + margin


def _color(k: int) -> str:
    return COLORS[k % len(COLORS)]


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[:most - 1]}…"
