"""What is learned of features that say nothing about the label, with and without a relu."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, band, panels
from tables import table

import tensorprog

PANELS = 2
PAIRS, CORE, BACKGROUND = 32, 2, 8
SHIFTS = np.array([0.0, -0.25, -0.5, -0.75, -1.0])
NETWORKS = {"relu": 0.0, "linear": 1.0}


def data() -> dict[str, np.ndarray]:
    """Pairs of points with opposite labels, with the same background: it is uncorrelated with the label exactly."""
    rng = np.random.default_rng(0)
    core, absent = rng.uniform(0, 1, (PAIRS, CORE)), np.zeros((PAIRS, CORE))
    background = rng.uniform(0, 1, (PAIRS, BACKGROUND))
    return {"C": np.block([[core, absent], [absent, core]]), "B": np.tile(background, (2, 1)),
            "y": np.repeat([1.0, -1.0], PAIRS), "shift": SHIFTS}


def experiment(samples: int = 1024, replicates: int = 8) -> dict:
    program = tensorprog.compile(Path(__file__).with_name("contamination.tp"))
    return {name: program.run(data(), samples=samples, replicates=replicates, linear=linear)
            for name, linear in NETWORKS.items()}


def margins(limit) -> np.ndarray:
    """The mean of label times output for every shift of the background."""
    return (limit["g"] * data()["y"]).mean(1)


def report(found: dict) -> str:
    learned = table(["mean square of weights", "core", "background", "background at the start"],
                    [[name, limit["learned"][-1], limit["contaminated"][-1], limit["contaminated"][0]]
                     for name, limit in found.items()])
    shifted = table(["margin, background moved by", *(f"{shift:g}" for shift in SHIFTS)],
                    [[name, *margins(limit)] for name, limit in found.items()])
    return f"{learned}\n{shifted}"


def draw(found: dict, figure) -> None:
    left, right = panels(figure, "weights on background features", "mean margin")
    for color, (name, limit) in zip(COLORS, found.items()):
        band(left, np.arange(len(limit["contaminated"])), limit["contaminated"], limit.error["contaminated"],
             color=color, label=name)
        right.plot(SHIFTS, margins(limit), "o-", color=color, label=name)
    left.set(xlabel="step", yscale="log")
    right.set(xlabel="shift of the background", ylim=(0, None))
    left.legend(frameon=False)
