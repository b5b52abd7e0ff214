"""The loss after training against the learning rate, at several depths, with and without blocks scaled by 1/sqrt(L)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from tables import table

import tensorprog

PANELS = 2
POWERS = np.arange(-9, 0.5, 1)
DEPTHS = (2, 4, 8, 16)
SCALES = {"blocks scaled by 1/sqrt(L)": 0.5, "blocks not scaled": 0.0}


def experiment(samples: int = 512, replicates: int = 2, depths: tuple[int, ...] = DEPTHS) -> dict:
    program = tensorprog.compile(Path(__file__).with_name("depth_transfer.tp"))
    with np.load(Path(__file__).parents[2] / "data" / "batch.npz") as file:
        data = dict(file)
    losses = {name: {depth: np.array([program.run(data, L=depth, power=power, eta=float(2.0**rate), samples=samples,
                                                  replicates=replicates)["loss"][-1] for rate in POWERS])
                     for depth in depths} for name, power in SCALES.items()}
    # Where training diverges there is no loss to speak of.
    return {name: {depth: np.where(values < 1, values, np.nan) for depth, values in curves.items()}
            for name, curves in losses.items()}


def best(curve: np.ndarray) -> float:
    """The best learning rate, as a power of two."""
    return float(POWERS[np.nanargmin(curve)])


def report(found: dict) -> str:
    depths = list(next(iter(found.values())))
    return table(["best learning rate at depth", *map(str, depths)],
                 [[name, *(f"2^{best(curve):g}" for curve in curves.values())] for name, curves in found.items()])


def draw(found: dict, figure) -> None:
    for axes, curves in zip(panels(figure, *found), found.values()):
        for color, (depth, losses) in zip(COLORS, curves.items()):
            axes.plot(2.0**POWERS, losses, ".-", color=color, label=f"L = {depth}")
        axes.set(xlabel="learning rate", yscale="log", ylim=(2e-3, 0.7))
        axes.set_xscale("log", base=2)
    figure.axes[0].set_ylabel("loss after training")
    figure.axes[0].legend(frameon=False, fontsize="small")
