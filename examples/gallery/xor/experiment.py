"""The directions of neurons before and after training on four clusters with flipped labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from tables import table

import tensorprog

PANELS = 3
DIMENSION, POINTS, DISTANCE, NOISE, FLIPPED = 10, 40, 3.0, 0.5, 0.1


def data() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The inputs of the program, and the labels before some of them were flipped."""
    rng = np.random.default_rng(0)
    first, second = np.eye(DIMENSION)[:2]
    cluster = rng.integers(0, 4, POINTS)
    centres = DISTANCE * np.array([first, -first, second, -second])
    points = centres[cluster] + NOISE * rng.standard_normal((POINTS, DIMENSION))
    clean = np.where(cluster < 2, 1.0, -1.0)
    labels = np.where(rng.random(POINTS) < FLIPPED, -clean, clean)
    return {"X": points, "y": labels, "first": first, "second": second}, clean


def experiment(samples: int = 4096, replicates: int = 4, width: int = 1024) -> dict:
    program = tensorprog.compile(Path(__file__).with_name("xor.tp"))
    given, clean = data()
    limit = program.run(given, samples=samples, replicates=replicates)
    network = program.simulate(given, width=width, seeds=1)
    return {"limit": limit, "network": network, "right": float((np.sign(limit["f"]) == clean).mean()),
            "fitted": float((np.sign(limit["f"]) == given["y"]).mean())}


def concentration(neurons: np.ndarray) -> np.ndarray:
    """The mean over neurons of cos(2 angle)**2 in the plane of the features, weighted by their squares, before and
    after training: 1/2 for uniform angles, 1 if every neuron has one feature only."""
    plane = neurons[:, :4].reshape(-1, 2, 2)
    squares = plane**2
    size = squares.sum(-1)
    return ((squares[..., 0] - squares[..., 1])**2 / size).mean(0) / size.mean(0)


def report(found: dict) -> str:
    limit, network = found["limit"], found["network"]
    rows = [["part in the plane of the features", *limit["inside"][[0, -1]], network["inside"][-1]],
            ["concentration on the features", *concentration(limit["neurons"]), concentration(network["neurons"])[1]]]
    return "\n".join([table(["", "before", "after", "width 1024"], rows),
                      f"right labels: {found['right']:.3g}, labels with flips: {found['fitted']:.3g}"])


def draw(found: dict, figure) -> None:
    titles = ("neurons before training", "after training", "a network of width 1024")
    shown = (found["limit"], found["limit"], found["network"])
    for k, (axes, result) in enumerate(zip(panels(figure, *titles), shown)):
        neurons = result["neurons"][:1024]
        first, second = (neurons[:, :2] if k == 0 else neurons[:, 2:4]).T
        for sign, color in ((1, COLORS[0]), (-1, COLORS[1])):
            chosen = neurons[:, 4] == sign
            axes.plot(first[chosen], second[chosen], ".", markersize=2, color=color, label=f"readout {sign:+d}")
        axes.set(xlabel="along the first feature", aspect="equal", xlim=(-5, 5), ylim=(-5, 5))
    figure.axes[0].set_ylabel("along the second")
    figure.axes[0].legend(frameon=False, fontsize="small")
