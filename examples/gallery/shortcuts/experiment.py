"""The effective rank of what a residual network makes of images, against the weight of its last shortcut."""

from __future__ import annotations

from pathlib import Path

import digits
import numpy as np
import tensorprog
from drawing import COLORS, panels
from kernel_measures import alignment, effective_rank
from tables import table

PANELS = 2
POINTS = 20
WEIGHTS = (1.0, 0.8, 0.6, 0.4)


def experiment(samples: int = 512, replicates: int = 4) -> dict:
    program = tensorprog.compile(Path(__file__).with_name("shortcuts.tp"))
    images, labels = (array[:POINTS] for array in digits.load())
    found: dict = {"loss": {}, "rank": {}, "alignment": {}}
    for weight in WEIGHTS:
        limit = program.run({"X": images, "y": labels}, last=weight, samples=samples, replicates=replicates)
        found["loss"][weight] = limit["loss"]
        found["rank"][weight] = np.array([effective_rank(kernel) for kernel in limit["kernel"]])
        found["alignment"][weight] = np.array([alignment(kernel, labels) for kernel in limit["kernel"]])
    return found


def report(found: dict) -> str:
    rows = [["loss after training", *(values[-1] for values in found["loss"].values())],
            ["effective rank before", *(values[0] for values in found["rank"].values())],
            ["effective rank after", *(values[-1] for values in found["rank"].values())],
            ["alignment with the labels before", *(values[0] for values in found["alignment"].values())],
            ["alignment with the labels after", *(values[-1] for values in found["alignment"].values())]]
    return table(["weight of the last shortcut", *(f"{weight:g}" for weight in WEIGHTS)], rows)


def draw(found: dict, figure) -> None:
    left, right = panels(figure, "effective rank of the last layer", "alignment with the labels")
    for axes, name in ((left, "rank"), (right, "alignment")):
        for color, (weight, values) in zip(COLORS, found[name].items()):
            axes.plot(values, color=color, label=f"shortcuts from 1 to {weight:g}")
        axes.set_xlabel("step")
    right.legend(frameon=False, fontsize="small")
