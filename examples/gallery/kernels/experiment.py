"""Digits 3 and 8 by the three limits of one network: NNGP, NTK and muP."""

from __future__ import annotations

from pathlib import Path

import digits
import numpy as np
from drawing import panels
from kernel_measures import alignment, prediction
from tables import table

import tensorprog

PANELS = 3
TRAINED = 40
NAMES = {"NNGP": "nngp", "NTK": "theta"}


def experiment(samples: int = 1024, replicates: int = 4) -> dict:
    folder = Path(__file__).parent
    images, labels = digits.load()
    known = labels[:TRAINED]
    kernels = tensorprog.compile(folder / "kernels.tp").kernels(images)
    muP = tensorprog.compile(folder / "features.tp").run(
        {"X": images[:TRAINED], "y": known, "Z": images[TRAINED:]}, samples=samples, replicates=replicates)
    said = {name: prediction(kernels[output], known) for name, output in NAMES.items()} | {"muP": muP["g"]}
    learned = {name: kernels[output][:TRAINED, :TRAINED] for name, output in NAMES.items()}
    learned["muP"] = muP["kernel_after"]
    return {"said": said, "kernels": learned, "labels": labels,
            "right": {name: float((np.sign(values) == labels[TRAINED:]).mean()) for name, values in said.items()},
            "error": {name: float(((values - labels[TRAINED:])**2).mean()) for name, values in said.items()},
            "alignment": {name: alignment(kernel, known) for name, kernel in learned.items()}
            | {"muP, before training": alignment(muP["kernel_before"], known)}}


def report(found: dict) -> str:
    rows = [["right on new digits", *found["right"].values()], ["mean squared error on them", *found["error"].values()],
            ["alignment of the kernel with the labels", *(found["alignment"][name] for name in found["said"])]]
    return (table(["", *found["said"]], rows)
            + f"\nalignment of the features before training: {found['alignment']['muP, before training']:.3g}")


def draw(found: dict, figure) -> None:
    order = np.argsort(found["labels"][:TRAINED], kind="stable")
    titles = [f"{name} kernel: {100 * found['right'][name]:.0f} % right" for name in found["kernels"]]
    titles[-1] = titles[-1].replace("kernel", "features' kernel")
    for axes, kernel in zip(panels(figure, *titles), found["kernels"].values()):
        scale = np.sqrt(np.diag(kernel))
        image = axes.imshow((kernel / scale / scale[:, None])[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=1)
        axes.set(xlabel="digits: 3, then 8", xticks=[], yticks=[])
    figure.colorbar(image, ax=figure.axes, shrink=0.8, label="correlation")
