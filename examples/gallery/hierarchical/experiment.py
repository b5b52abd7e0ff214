"""A square of a quadratic as target: errors on new points, and what the hidden layer has of the quadratic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from kernel_measures import alignment, prediction
from tables import table

import tensorprog

PANELS = 2
DIMENSION, TRAINED, HELD = 4, 120, 40


def data() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The inputs of the program, the targets of the points held out, and their quadratic feature."""
    X = np.random.default_rng(0).standard_normal((TRAINED + HELD, DIMENSION))
    X *= np.sqrt(DIMENSION) / np.linalg.norm(X, axis=1, keepdims=True)
    feature = X[:, 0] * X[:, 1] + X[:, 2] * X[:, 3]
    target = feature**2
    target = (target - target.mean()) / target.std()
    return {"X": X[:TRAINED], "y": target[:TRAINED], "Z": X[TRAINED:]}, target[TRAINED:], feature[TRAINED:]


def experiment(samples: int = 512, replicates: int = 2, steps: int = 300) -> dict:
    folder = Path(__file__).parent
    program = tensorprog.compile(folder / "hierarchical.tp")
    given, target, feature = data()
    limits = [program.run(given, samples=samples, replicates=replicates, T=T) for T in (1, steps)]
    tangent = tensorprog.compile(folder / "kernel.tp").kernels(np.concatenate([given["X"], given["Z"]]))["theta"]
    lazy = prediction(tangent, given["y"])
    return {"loss": limits[1]["loss"], "error": ((limits[1]["g"] - target)**2).mean(1),
            "kernel regime": float(((lazy - target)**2).mean()),
            "feature": [alignment(limit["kernel"], feature) for limit in limits],
            "random": alignment(tangent[TRAINED:, TRAINED:], feature)}


def report(found: dict) -> str:
    errors = table(["mean squared error on new points", "muP, three layers", "kernel regime"],
                   [["", found["error"][-1], found["kernel regime"]]])
    return errors + "\n" + table(["alignment with the quadratic feature", "before", "after", "tangent kernel"],
                                 [["", *found["feature"], found["random"]]])


def draw(found: dict, figure) -> None:
    left, right = panels(figure, "mean squared error", "alignment with the quadratic")
    steps = np.arange(1, len(found["error"]))
    left.plot(steps, found["error"][1:], color=COLORS[0], label="new points")
    left.plot(steps, 2 * found["loss"][1:], color=COLORS[1], label="trained on")
    left.axhline(found["kernel regime"], color="black", linestyle="--", label="kernel regime, new points")
    left.set(xlabel="step", xscale="log", yscale="log")
    left.legend(frameon=False, fontsize="small")
    right.bar(["last layer,\nbefore", "last layer,\nafter", "tangent\nkernel"], [*found["feature"], found["random"]],
              color=COLORS[:3])
