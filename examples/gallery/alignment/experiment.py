"""How well the tangent kernel of every layer is aligned with the labels: digits 3 and 8."""

from __future__ import annotations

from pathlib import Path

import digits
import numpy as np
from drawing import COLORS, panels
from kernel_measures import alignment
from tables import table

import tensorprog

PANELS = 2
POINTS, LAYERS, DEEPER = 20, 8, (10, 20, 40)
SHOWN = (3, 10, 30)


def experiment(samples: int = 512, replicates: int = 4) -> dict:
    folder = Path(__file__).parent
    images, labels = (array[:POINTS] for array in digits.load())
    initial = tensorprog.compile(folder / "initial.tp")
    exact = {layers: _alignments(initial.run({"X": images}, L=layers)["tangent"], labels)
             for layers in (LAYERS, *DEEPER)}
    trained = tensorprog.compile(folder / "alignment.tp").run({"X": images, "y": labels}, L=LAYERS, T=SHOWN[-1],
                                                              samples=samples, replicates=replicates)
    return {"exact": exact, "trained": {step: _alignments(trained["tangent"][step], labels) for step in SHOWN},
            "loss": trained["loss"]}


def _alignments(kernels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.array([alignment(kernel, labels) for kernel in kernels])


def report(found: dict) -> str:
    rows = [["before training", *found["exact"][LAYERS]],
            *([f"after {step} steps", *values] for step, values in found["trained"].items())]
    return table(["layer", *map(str, range(1, LAYERS + 1))], rows)


def draw(found: dict, figure) -> None:
    left, right = panels(figure, "before training, exact", "in training (muP)")
    for color, (layers, values) in zip(COLORS, found["exact"].items()):
        left.plot((np.arange(layers) + 1) / layers, values, color=color, label=f"{layers} layers")
    right.plot(np.arange(LAYERS) + 1, found["exact"][LAYERS], "o-", color=COLORS[0], label="before")
    for color, (step, values) in zip(COLORS[1:], found["trained"].items()):
        right.plot(np.arange(LAYERS) + 1, values, "o-", color=color, label=f"after {step} steps")
    left.set(xlabel="layer / number of layers", ylabel="alignment with the labels", ylim=(0, 1))
    right.set(xlabel="layer", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize="small")
