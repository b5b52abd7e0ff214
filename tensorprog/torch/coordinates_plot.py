"""The picture of a coordinate check: sizes against the width, updates and activations side by side."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorprog.torch.coordinates import CoordinateCheck


def plot(found: CoordinateCheck, path: str | os.PathLike[str]) -> None:
    """Draw the sizes on logarithmic axes; mistakes are thick.

    Raises:
        ProgramError: TP711, for another kind of file; TP707, when it cannot be written.
    """
    from matplotlib.figure import Figure

    from tensorprog.panels import save

    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("update", "activation"), strict=True):
        for slope in found.slopes:
            # What is exactly zero was raised to `TINY`, which would stretch the axis.
            if slope.kind == kind and max(slope.sizes) > 1e-20:
                wrong = slope in found.mistakes
                axes.loglog(
                    found.widths,
                    slope.sizes,
                    marker=".",
                    linewidth=2.5 if wrong else 1,
                    linestyle="-" if wrong else "--",
                    label=f"{slope.name} {slope.measured:+.2f}",
                )
        axes.set_xscale("log", base=2)
        axes.set_xlabel("width")
        axes.set_title("change by a parameter's own update" if kind == "update" else "size of a module's output")
        axes.legend(fontsize="x-small")
    save(figure, path)
