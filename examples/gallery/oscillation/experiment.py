"""The strong and the weak feature after the same training time with small and with large learning rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from tables import table

import tensorprog

PANELS = 2
POINTS, WITHOUT_STRONG, STRONG, WEAK, NOISE, TIME = 16, 4, 1.0, 0.3, 0.3, 40.0
RATES = (0.05, 0.2, 0.5, 1.0)


def data(steps: int) -> dict[str, np.ndarray]:
    """Features and the noise of every point are orthogonal to each other."""
    space = np.eye(4 + POINTS)
    label = np.where(np.arange(POINTS) % 2 == 0, 1.0, -1.0)
    kind = (label < 0).astype(int)
    strong = STRONG * space[kind] * (np.arange(POINTS) < POINTS - WITHOUT_STRONG)[:, None]
    return {"S": strong, "W": WEAK * space[2 + kind], "N": NOISE * space[4:], "y": label,
            "order": np.random.default_rng(0).integers(0, POINTS, steps),
            "strong": STRONG * space[:2], "weak": WEAK * space[2:4]}


def experiment(samples: int = 2048, replicates: int = 4) -> dict:
    program = tensorprog.compile(Path(__file__).with_name("oscillation.tp"))
    found = {}
    for rate in RATES:
        steps = round(TIME / rate)
        found[rate] = program.run(data(steps), samples=samples, replicates=replicates, eta=rate, T=steps)
    return found


def report(found: dict) -> str:
    return table(["learning rate", "weak feature", "error", "strong feature", "last residuals"],
                 [[f"{rate:g}", limit["by_weak"][-1], limit.error["by_weak"][-1], limit["by_strong"][-1],
                   np.abs(limit["residual"][-10:]).mean()] for rate, limit in found.items()])


def draw(found: dict, figure) -> None:
    left, right = panels(figure, "output of the strong feature", "output of the weak feature")
    for color, (rate, limit) in zip(COLORS, found.items()):
        time = rate * np.arange(len(limit["by_weak"]))
        left.plot(time, limit["by_strong"], color=color, linewidth=1)
        right.plot(time, limit["by_weak"], color=color, label=f"learning rate {rate:g}")
    for axes in (left, right):
        axes.set_xlabel("learning rate times steps")
    right.legend(frameon=False, fontsize="small")
