"""The loss after training against the learning rate, at several widths and at infinite width, in three parametrizations.

    python examples/learning_rate_transfer/rates.py          (some minutes on two cores)

Prints the best learning rate of every width, and draws `out/learning_rates.png`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tensorprog

FOLDER = Path(__file__).resolve().parent
COLORS = ["#f2b134", "#e8743b", "#c2325b", "#5b2a86", "#2b1b54"]
#: Learning rates, as powers of two.
RATES = {"mup": np.arange(-2, 3.25, 0.5), "ntk": np.arange(-2, 3.25, 0.5), "standard": np.arange(-11, 0.25, 1)}
TITLES = {"mup": "muP", "ntk": "NTK parametrization", "standard": "standard parametrization"}


def main() -> None:
    options = _options()
    with np.load(FOLDER.parent / "data" / "batch10.npz") as file:
        data = dict(file)
    found = {}
    for name, powers in RATES.items():
        program = tensorprog.compile(FOLDER / f"{name}.tp")
        curves = {}
        for width in options.widths:
            curves[f"width {width}"] = _curve(powers, lambda eta: program.simulate(
                data, width=width, seeds=options.seeds, eta=eta, T=options.steps))
        if name != "standard":
            curves["infinite width"] = _curve(powers, lambda eta: program.run(
                data, samples=options.samples, replicates=4, eta=eta, T=options.steps))
        for label, losses in curves.items():
            best = int(np.nanargmin(losses))
            print(f"{TITLES[name]:>24}, {label:>14}: best rate 2^{powers[best]:g}, loss {losses[best]:.3g}", flush=True)
        found[name] = curves
    _draw(found, options.picture)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--picture", type=Path, default=Path("out") / "learning_rates.png")
    return parser.parse_args()


def _curve(powers: np.ndarray, run) -> np.ndarray:
    """The last loss at every learning rate; NaN where it diverges."""
    losses = np.array([run(float(2.0**power))["loss"][-1] for power in powers])
    return np.where(losses < 10.0, losses, np.nan)


def _draw(found: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, (name, curves) in zip(figure.subplots(1, len(found)), found.items()):
        for color, (label, losses) in zip([*COLORS[: len(curves) - ("infinite width" in curves)], "black"], curves.items()):
            axes.plot(2.0 ** RATES[name], losses, ".-", color=color, label=label)
        axes.set(title=TITLES[name], xlabel="learning rate", xscale="log", yscale="log")
        axes.set_xscale("log", base=2)
        axes.legend(frameon=False, fontsize="small")
    figure.axes[0].set_ylabel("loss after training")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
