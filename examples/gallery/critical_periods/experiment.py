"""How much the first pathway is used at the end, against when its view was missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from tables import table

import tensorprog

PANELS = 2
WINDOW, RECOVERY = 50, 75
ONSETS = (0, 25, 40, 50, 60, 75)
#: How much is trained, and the learning rate with which this takes about the same time.
DEPTHS = {"deep": {"deep": 1, "eta": 0.1, "spread": 0.25}, "first layers alone": {"deep": 0, "eta": 0.2, "spread": 0.5}}


def data(steps: int, onset: int | None, points: int = 8, noise: float = 0.5) -> dict[str, np.ndarray]:
    """Two noisy views of one signal; the label is its first coordinate."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((points, 2))
    gate = np.ones(steps)
    if onset is not None:
        gate[onset: onset + WINDOW] = 0
    view = [signal + noise * rng.standard_normal(signal.shape) for _ in range(2)]
    return {"A": view[0], "B": view[1], "y": signal[:, 0], "gate": gate}


def experiment(onsets: tuple[int, ...] = ONSETS) -> dict:
    """The limits are exact: there are no samples."""
    program = tensorprog.compile(Path(__file__).with_name("critical_periods.tp"))
    found: dict = {"onsets": np.array(onsets), "relative": {}, "courses": {}}
    for name, settings in DEPTHS.items():
        whole = program.run(data(max(onsets) + WINDOW + RECOVERY, None), **settings)["use"]
        courses = [program.run(data(onset + WINDOW + RECOVERY, onset), **settings)["use"] for onset in onsets]
        found["relative"][name] = np.array([course[-1] / whole[len(course) - 1] for course in courses])
        found["courses"][name] = {"never": whole, **{f"from step {onset}": courses[k] for k, onset in
                                                     enumerate(onsets) if onset in (onsets[0], onsets[-1])}}
    return found


def report(found: dict) -> str:
    return table([f"missing for {WINDOW} steps from step", *map(str, found["onsets"])],
                 [[name, *values] for name, values in found["relative"].items()])


def draw(found: dict, figure) -> None:
    left, right = panels(figure, "use of the first view (deep)", "use at the end, relative to no deficit")
    for color, (name, course) in zip(COLORS, found["courses"]["deep"].items()):
        left.plot(course, color=color, label=f"missing: {name}")
    for color, (name, values) in zip(COLORS, found["relative"].items()):
        right.plot(found["onsets"], values, "o-", color=color, label=name)
    left.set(xlabel="step")
    right.set(xlabel="step from which the view is missing", ylim=(0, 1.05))
    left.legend(frameon=False, fontsize="small", loc="lower right")
    right.legend(frameon=False, fontsize="small", loc="center left")
