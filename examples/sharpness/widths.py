"""The sharpness along training at infinite width, beside networks in muP and in the standard parametrization.

    python examples/sharpness/widths.py          (some ten minutes on two cores; `--widths 128 512` is faster)

Prints eta times the sharpness every eight steps, and draws `out/sharpness.png`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tensorprog

EXAMPLES = Path(__file__).resolve().parents[1]
COLORS = ["#f2b134", "#e8743b", "#c2325b", "#5b2a86", "#2b1b54"]
ETA = {"muP": 0.35, "standard": 0.002}


def main() -> None:
    options = _options()
    with np.load(EXAMPLES / "data" / "random_labels.npz") as file:
        data = dict(file)
    programs = {"muP": tensorprog.compile(EXAMPLES / "sharpness.tp"),
                "standard": tensorprog.compile(EXAMPLES / "sharpness" / "standard.tp")}
    limit = programs["muP"].run(data, T=options.steps, samples=options.samples, replicates=options.replicates)
    _show("muP, limit", ETA["muP"] * limit["sharpness"], ETA["muP"] * limit.error["sharpness"])
    networks = {name: {} for name in programs}
    for width in options.widths:
        for name, program in programs.items():
            found = program.simulate(data, T=options.steps, width=width, seeds=options.seeds)
            networks[name][width] = ETA[name] * found["sharpness"]
            _show(f"{name}, width {width}", networks[name][width], ETA[name] * found.error["sharpness"])
    _draw(limit, networks, options.picture)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--replicates", type=int, default=8)
    parser.add_argument("--picture", type=Path, default=Path("out") / "sharpness.png")
    return parser.parse_args()


def _show(what: str, values: np.ndarray, errors: np.ndarray) -> None:
    print(f"{what:>22}  " + "  ".join(f"{v:.2f} +- {e:.2f}" for v, e in zip(values[::8], errors[::8])), flush=True)


def _draw(limit: tensorprog.Result, networks: dict[str, dict[int, np.ndarray]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, 2), networks.items()):
        for color, (width, values) in zip(COLORS, found.items()):
            axes.plot(values, color=color, label=f"width {width}")
        if name == "muP":
            values, errors = (ETA[name] * np.asarray(x["sharpness"]) for x in (limit, limit.error))
            axes.plot(values, color="black", label="infinite width")
            axes.fill_between(np.arange(len(values)), values - 2 * errors, values + 2 * errors, color="black", alpha=0.15)
        axes.axhline(2, color="#8a8a8a", linestyle="--", linewidth=1)
        axes.set(title=f"{name} parametrization, learning rate {ETA[name]}", xlabel="step",
                 ylabel="learning rate x sharpness")
        if name != "muP":
            axes.set_yscale("log")
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
