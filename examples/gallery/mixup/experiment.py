"""Common and rare features after training on points and on mixtures of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, band, panels
from tables import table

import tensorprog

PANELS = 2
POINTS, RARE, NOISE = 16, 4, 1.5
#: How much of one point is in a mixture with another.
MIXTURES = {"without mixup": None, "mixup, 0.3 and 0.7": 0.3, "midpoint mixup": 0.5}


def data(part: float | None) -> dict[str, np.ndarray]:
    """Points with a common or a rare feature of their class and noise of their own, all orthogonal; and what is mixed."""
    space, points = np.eye(4 + POINTS), np.arange(POINTS)
    label = np.where(points % 2 == 0, 1.0, -1.0)
    feature = np.where(points >= POINTS - RARE, 2, 0) + (label < 0)
    one, two = (points, points) if part is None else np.divmod(np.arange(POINTS**2), POINTS)
    return {"F": space[feature], "N": NOISE * space[4:], "y": label, "one": one, "two": two,
            "part": np.full(len(one), 1.0 if part is None else part), "common": space[:2], "rare": space[2:4]}


def experiment(samples: int = 1024, replicates: int = 2) -> dict:
    program = tensorprog.compile(Path(__file__).with_name("mixup.tp"))
    return {name: program.run(data(part), samples=samples, replicates=replicates) for name, part in MIXTURES.items()}


def report(found: dict) -> str:
    return table(["", "common feature", "rare feature", "error", "rare / common"],
                 [[name, limit["by_common"][-1], limit["by_rare"][-1], limit.error["by_rare"][-1],
                   limit["by_rare"][-1] / limit["by_common"][-1]] for name, limit in found.items()])


def draw(found: dict, figure) -> None:
    for axes, output in zip(panels(figure, "output of the common feature", "output of the rare feature"),
                            ("by_common", "by_rare")):
        for color, (name, limit) in zip(COLORS, found.items()):
            band(axes, np.arange(len(limit[output])), limit[output], limit.error[output], color=color, label=name)
        axes.set(xlabel="step", ylim=(0, 6.5))
    figure.axes[1].legend(frameon=False, fontsize="small", loc="upper left")
