"""How large features are before and behind a projection head, when augmentations disturb some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from tables import table

import tensorprog

#: The correlation of each feature between the two views.
KEPT = (1.0, 0.5, 0.0)


def data() -> dict[str, np.ndarray]:
    """All combinations of three signs, and a second view in which the second keeps its sign in three of four
    points, and the third in two of four, independently of all features."""
    bits = np.array([[1 - 2 * (point >> k & 1) for k in range(5)] for point in range(32)], dtype=float)
    views = bits[:, :3].copy()
    views[:, 1] *= np.where((bits[:, 3] < 0) & (bits[:, 4] < 0), -1, 1)
    views[:, 2] *= bits[:, 3] * bits[:, 4]
    return {"X": bits[:, :3], "Z": views}


def experiment(steps: int = 200) -> dict[str, np.ndarray]:
    """The limit is exact: there are no samples."""
    program = tensorprog.compile(Path(__file__).with_name("projection_head.tp"))
    limit = program.run(data(), T=steps)
    return {"before the head": limit["before"], "behind the head": limit["behind"]}


def report(found: dict[str, np.ndarray]) -> str:
    return table(["kept by the augmentation", *(f"{kept:g}" for kept in KEPT)],
                 [[f"size {place}", *values[-1]] for place, values in found.items()])


def draw(found: dict[str, np.ndarray], figure) -> None:
    axes, = panels(figure, "size of three features")
    for values, style in zip(found.values(), ("--", "-")):
        for k, color in enumerate(COLORS[:3]):
            axes.plot(values[:, k], style, color=color)
    for k, color in enumerate(COLORS[:3]):
        axes.plot([], [], color=color, label=f"correlation of views {KEPT[k]:g}")
    axes.plot([], [], "k--", label="before the head")
    axes.plot([], [], "k-", label="behind the head")
    axes.set(xlabel="step", ylim=(0, 1.4))
    axes.legend(frameon=False, fontsize="x-small", ncols=2, loc="upper left")
