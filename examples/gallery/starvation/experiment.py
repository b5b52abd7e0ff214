"""What a network makes of a feature that takes effort, with and without an easy one beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, band, panels
from tables import table

import tensorprog

PANELS = 2
POINTS, NOISE, HARD, EASY = 32, 0.3, 0.5, 2.0
#: The strength of the easy feature, and that of the penalty on outputs.
CASES = {"alone": (0.0, 0.0), "beside an easy one": (EASY, 0.0), "the same, with the penalty": (EASY, 0.1)}


def data(easy: float) -> dict[str, np.ndarray]:
    """Two noisy coordinates that have the sign of the label, of which the first is missing if `easy` is 0."""
    y = np.where(np.arange(POINTS) % 2, 1.0, -1.0)
    noise = NOISE * np.random.default_rng(1).standard_normal((POINTS, 2))
    X = np.stack([easy * y, HARD * y], axis=1) + noise * [easy > 0, 1]
    return {"X": X, "y": y, "easy": np.array([easy, 0.0]), "hard": np.array([0.0, HARD])}


def experiment(samples: int = 1024, replicates: int = 8) -> dict:
    program = tensorprog.compile(Path(__file__).with_name("starvation.tp"))
    return {name: program.run(data(easy), samples=samples, replicates=replicates, decoupling=penalty)
            for name, (easy, penalty) in CASES.items()}


def report(found: dict) -> str:
    return table(["the feature that takes effort", "its output at the end", "error", "that of the easy one"],
                 [[name, limit["margin_hard"][-1], limit.error["margin_hard"][-1], limit["margin_easy"][-1]]
                  for name, limit in found.items()])


def draw(found: dict, figure) -> None:
    left, right = panels(figure, "output of the hard feature", "mean gradient of the points")
    for color, (name, limit) in zip(COLORS, found.items()):
        for axes, output in ((left, "margin_hard"), (right, "starved")):
            band(axes, np.arange(len(limit[output])), limit[output], limit.error[output], color=color, label=name)
            axes.set_xlabel("step")
    right.legend(frameon=False, fontsize="small")
