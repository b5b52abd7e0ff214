"""The effective rank of what a residual network makes of images, against the weight of its last shortcut."""

from __future__ import annotations

from pathlib import Path

import digits
import numpy as np
from drawing import COLORS, panels
from kernel_measures import alignment, effective_rank
from tables import table

import tensorprog

PANELS = 2
POINTS = 16
WEIGHTS = (1.0, 0.8, 0.6)
#: Networks are compared when they have reached this loss: with small weights they learn more slowly.
REACHED = 0.05


def experiment(samples: int = 512, replicates: int = 2) -> dict:
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
    steps = {weight: int(np.argmax(losses < REACHED)) for weight, losses in found["loss"].items()}
    rows = [[f"steps until the loss is {REACHED:g}", *steps.values()]]
    for title, name in (("effective rank", "rank"), ("alignment with the labels", "alignment")):
        rows += [[f"{title} before", *(values[0] for values in found[name].values())],
                 [f"{title} then", *(values[steps[weight]] for weight, values in found[name].items())]]
    return table(["weight of the last shortcut", *(f"{weight:g}" for weight in WEIGHTS)], rows)


def draw(found: dict, figure) -> None:
    titles = ("effective rank of the last layer", "alignment with the labels")
    for axes, name in zip(panels(figure, *titles), ("rank", "alignment")):
        for color, (weight, values) in zip(COLORS, found[name].items()):
            axes.plot(found["loss"][weight], values, ".-", color=color, label=f"shortcuts from 1 to {weight:g}")
        axes.set(xlabel="loss (training goes to the right)", xscale="log")
        axes.invert_xaxis()
    figure.axes[0].legend(frameon=False, fontsize="small")
