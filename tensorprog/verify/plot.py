"""The picture of a verification: for every output, how far networks of each width are from the limit."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.files import picture_format
from tensorprog.panels import grid, save
from tensorprog.verify.statistics import ROUNDING, PowerFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tensorprog.verify.report import Verification

NETWORK, MEAN, LIMIT = "#4477aa", "#ee6677", "#777777"


def plot(verification: Verification, path: str | os.PathLike[str]) -> None:
    """Write the picture, whole or not at all."""
    from matplotlib.figure import Figure

    picture_format(path)  # a mistake is told before anything is drawn
    names = list(verification.findings)
    figure, panels = grid(Figure, len(names), lambda columns, rows: (max(4.2 * columns, 5.6), 3.4 * rows + 0.6))
    for name, axes in zip(names, panels, strict=True):
        _panel(axes, verification, name)
    handles = {label: handle for axes in panels
               for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 4) or 1,
                  frameon=False, fontsize="small")
    save(figure, path)


def _panel(axes: Axes, verification: Verification, name: str) -> None:
    """Root mean squares over the elements of one output, against the width."""
    finding = verification.findings[name]
    widths = np.array(verification.widths)
    axes.set_title(f"{name}: {finding.verdict}", fontsize="medium",
                   color="black" if verification.agrees(name) else "#cc3311")
    if finding.deviation is None:
        axes.set_axis_off()
        return
    limit = verification.limit
    networks = np.array([_size(r.samples[name] - limit[name]) for r in verification.networks])
    means = np.array([_size(r[name] - limit[name]) for r in verification.networks])
    noise = np.array([_size(r.samples[name].std(axis=0, ddof=1)) / math.sqrt(len(r.samples[name]))
                      for r in verification.networks])
    # Rounding on a logarithmic scale would look like a trend.
    if networks.max() <= ROUNDING[0] * max(1.0, _size(limit[name])):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "equal at every width", transform=axes.transAxes, ha="center")
        return
    axes.set_yscale("log")
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_xlabel("width n")
    axes.set_ylabel("distance from the limit")
    axes.plot(widths, networks, "o", color=NETWORK, label="one network")
    axes.plot(widths, means, "s", color=MEAN, label="the mean over networks")
    axes.plot(widths, noise, "--", color=MEAN, linewidth=1, label="expected of the mean from noise alone")
    _line(axes, widths, finding.network_power, NETWORK, height=0.95)
    _line(axes, widths, finding.mean_power, MEAN, height=0.86)
    axes.margins(y=0.15)
    if _size(limit.error[name]) > 0:
        axes.axhline(_size(limit.error[name]), color=LIMIT, linestyle=":", label="the limit's own error")


def _line(axes: Axes, widths: np.ndarray, power: PowerFit | None, color: str, height: float) -> None:
    """A fitted power law, and its exponent in the upper right corner at a height between 0 and 1."""
    if power is None:
        return
    heights = power.size * widths.astype(float) ** power.exponent
    axes.plot(widths, heights, color=color, linewidth=1)
    label = f"$n^{{{power.exponent:.2f}}}$"
    axes.text(0.97, height, label, transform=axes.transAxes, ha="right", va="top", color=color)


def _size(values: np.ndarray) -> float:
    """The root mean square of what is finite: elements that are never assigned are not."""
    return float(np.sqrt(np.nanmean(np.square(values))))
