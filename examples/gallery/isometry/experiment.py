"""Squared singular values of products of L layers: their mean square against the depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawing import COLORS, panels
from tables import table

import tensorprog

DEPTHS = (1, 2, 4, 8, 16, 32)
WIDTH = 256


def experiment(depths: tuple[int, ...] = DEPTHS) -> dict:
    """The limits are exact: there are no samples. Networks of width 256 are beside them."""
    program = tensorprog.compile(Path(__file__).with_name("isometry.tp"))
    limits = [program.run({}, L=depth) for depth in depths]
    networks = [program.simulate({}, width=WIDTH, seeds=8, L=depth) for depth in depths]
    return {"depths": np.array(depths), "limits": limits, "networks": networks}


def report(found: dict) -> str:
    rows = [[law, *(float(limit[f"{law}_second"]) for limit in found["limits"])]
            for law in ("orthogonal", "gaussian")]
    return table(["depth", *map(str, found["depths"])], rows)


def draw(found: dict, figure) -> None:
    axes, = panels(figure, "mean square of the squared singular values")
    for color, law in zip(COLORS, ("gaussian", "orthogonal")):
        name = f"{law}_second"
        axes.plot(found["depths"], [float(limit[name]) for limit in found["limits"]], color=color, label=law)
        axes.errorbar(found["depths"], [float(network[name]) for network in found["networks"]], fmt="o", color=color,
                      yerr=[2 * float(network.error[name]) for network in found["networks"]], label=f"{law}, width {WIDTH}")
    axes.set(xlabel="depth L", xscale="log", yscale="log")
    axes.set_xticks(found["depths"], labels=map(str, found["depths"]))
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize="small")
