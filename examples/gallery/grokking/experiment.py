"""Accuracies on sums that were trained on, and on the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from tables import table

import tensorprog

PANELS = 2
MODULUS, SHARE = 11, 0.7


def data(p: int = MODULUS, share: float = SHARE) -> dict[str, np.ndarray]:
    """All pairs of numbers modulo p as two one-hot codes of squared norm 2p, a share of them to be trained on."""
    pairs = np.random.default_rng(0).permutation([(i, j) for i in range(p) for j in range(p)])
    codes = np.sqrt(p) * np.eye(p)[pairs].reshape(len(pairs), 2 * p)
    label = pairs.sum(1) % p
    known = int(share * len(pairs))
    return {"X": codes[:known], "Y": np.eye(p)[label[:known]], "label": label[:known],
            "held": codes[known:], "held_label": label[known:]}


def experiment(samples: int = 512, replicates: int = 4, steps: int = 600) -> dict[str, np.ndarray]:
    program = tensorprog.compile(Path(__file__).with_name("grokking.tp"))
    given = data()
    labels = {name: given.pop(name) for name in ("label", "held_label")}
    limit = program.run(given, samples=samples, replicates=replicates, T=steps)
    return {"trained on": (limit["f"].argmax(-1) == labels["label"]).mean(1),
            "held out": (limit["g"].argmax(-1) == labels["held_label"]).mean(1), "loss": limit["loss"]}


def report(found: dict[str, np.ndarray]) -> str:
    steps = [20, 50, 100, 200, 300, 400, len(found["loss"]) - 1]
    return table(["step", *map(str, steps)], [[name, *values[steps]] for name, values in found.items()])


def draw(found: dict[str, np.ndarray], figure) -> None:
    left, right = panels(figure, f"addition modulo {MODULUS}: accuracy", "loss")
    for color, name in zip(COLORS, ("trained on", "held out")):
        left.plot(np.arange(1, len(found[name])), found[name][1:], color=color, label=name)
    right.plot(np.arange(1, len(found["loss"])), found["loss"][1:], color=COLORS[0])
    left.legend(frameon=False)
    right.set(yscale="log")
    for axes in (left, right):
        axes.set(xlabel="step", xscale="log")
