"""A residual network at several depths, and its limit as the depth tends to infinity as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from tables import table

import tensorprog

PANELS = 2
DEPTHS = (8, 16, 32, 64)
POINTS = np.array([[1.0, 1.0], [1.0, -0.6]])


def experiment(depths: tuple[int, ...] = DEPTHS) -> dict:
    """The limits of width are exact; that of depth is extrapolated from them."""
    program = tensorprog.compile(Path(__file__).with_name("infinite_depth.tp"))
    return {"depths": np.array(depths), "at": [program.run({"X": POINTS}, L=depth) for depth in depths],
            "limit": program.run({"X": POINTS}, limit={"L": list(depths)})}


def report(found: dict) -> str:
    limit = found["limit"]
    rows = [["linear blocks, mean square", *(float(at["square"]) for at in found["at"]), float(limit["square"]),
             float(limit.error["square"])],
            ["relu blocks, kernel of two points", *(at["kernel"][0, 1] for at in found["at"]), limit["kernel"][0, 1],
             limit.error["kernel"][0, 1]]]
    return table(["depth", *map(str, found["depths"]), "infinite", "error"], rows)


def draw(found: dict, figure) -> None:
    inverse = 1 / found["depths"]
    titles = ("linear blocks: mean square", "relu blocks: kernel of two points")
    parts = (lambda array: float(array["square"]), lambda array: float(array["kernel"][0, 1]))
    for axes, part in zip(panels(figure, *titles), parts):
        axes.plot(inverse, [part(at) for at in found["at"]], "o-", color=COLORS[0], label="depth L")
        axes.errorbar([0], [part(found["limit"])], yerr=[2 * part(found["limit"].error)], fmt="s", color=COLORS[1],
                      label="extrapolated")
        axes.set_xlabel("1/L")
    figure.axes[0].axhline(np.e, color="black", linestyle="--", linewidth=1, label="e")
    for axes in figure.axes:
        axes.legend(frameon=False, fontsize="small")
