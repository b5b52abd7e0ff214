"""Training on handwritten digits at infinite width, beside real networks of growing width.

    python examples/demo/digits_demo.py          (or `make demo`; two to four minutes on two cores)

Computes the loss of `examples/digits.tp` in the infinite-width limit with its error, trains finite networks of several
widths on the same data, prints both as a table, and draws `out/digits.png`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tensorprog

EXAMPLES = Path(__file__).resolve().parents[1]
SEEDS = {64: 16, 256: 8, 1024: 4, 4096: 2}  # width -> how many networks
COLORS = {64: "#f2b134", 256: "#e8743b", 1024: "#c2325b", 4096: "#5b2a86"}
FADED = "#8a8a8a"


# --- computing -----------------------------------------------------------------------------------------------


def main() -> None:
    options = _options()
    program = tensorprog.compile(EXAMPLES / "digits.tp")
    with np.load(EXAMPLES / "data" / "digits_0_1.npz") as file:
        data = dict(file)
    images, pixels = data["X"].shape
    print(f"{images} images of {pixels} pixels, zeros against ones; two hidden tanh layers in muP, "
          f"{options.steps} steps of gradient descent\n")

    limit = _timed(f"limit, {options.samples} samples x {options.replicates}", lambda progress: program.run(
        data, T=options.steps, samples=options.samples, replicates=options.replicates, progress=progress))
    finite = {width: _timed(f"width {width}, {_networks(SEEDS[width])}", lambda progress: program.simulate(
        data, T=options.steps, width=width, seeds=SEEDS[width], progress=progress)) for width in options.widths}

    print()
    print(table(limit, finite))
    draw(limit, finite, options.picture)
    print(f"\npicture: {options.picture}")


def distances(limit: tensorprog.Result, result: tensorprog.Result) -> np.ndarray:
    """How far the loss curve of each network is from the limit: the root mean square over steps, relative to the
    limit's own."""
    gaps = result.samples["loss"] - limit["loss"]
    return np.sqrt(np.mean(gaps**2, axis=1) / np.mean(limit["loss"] ** 2))


def typical(each: np.ndarray) -> float:
    """The root mean square over networks."""
    return float(np.sqrt(np.mean(each**2)))


# --- showing -------------------------------------------------------------------------------------------------


def table(limit: tensorprog.Result, finite: dict[int, tensorprog.Result]) -> str:
    """The loss step by step, limit and widths side by side, and the distance of each width."""
    steps = [t for t in (0, 1, 2, 3, 5, 10, 20, 30, 50, 70) if t < len(limit["loss"]) - 1] + [len(limit["loss"]) - 1]
    columns = {"limit": limit} | {f"width {width}": result for width, result in finite.items()}
    head = "loss  " + "".join(f"{name:>22}" for name in columns)
    rows = [f"{t:>4}  " + "".join(f"{_with_error(r, t):>22}" for r in columns.values()) for t in steps]
    away = f"{'distance of one network':<28}" + "".join(
        f"{typical(distances(limit, result)):>22.1%}" for result in finite.values())
    seen = f"{'networks':<28}" + "".join(f"{len(r.samples['loss']):>22}" for r in finite.values())
    notes = ("The error of the limit is from independent randomizations, those of the widths are standard errors of the\n"
             "mean over networks. Distance: between the loss curve of one network and the limit, root mean square over\n"
             "steps, relative to the loss curve.")
    return "\n".join([head, *rows, "", seen, away, "", notes])


def draw(limit: tensorprog.Result, finite: dict[int, tensorprog.Result], path: Path) -> None:
    """Loss against step, its ratio to the limit, and the distance from the limit against width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["loss", "distance"], ["ratio", "distance"]], width_ratios=(1.5, 1),
                                 height_ratios=(1.5, 1))
    _draw_loss(axes["loss"], limit, finite)
    _draw_ratio(axes["ratio"], limit, finite)
    _draw_distance(axes["distance"], limit, finite)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _draw_loss(axes, limit: tensorprog.Result, finite: dict[int, tensorprog.Result]) -> None:
    for width, result in finite.items():
        axes.plot(result["loss"], color=COLORS[width], linewidth=1.8,
                  label=f"width {width}, mean of {_networks(len(result.samples['loss']))}")
    axes.fill_between(range(len(limit["loss"])), *_band(limit), color="black", alpha=0.3, linewidth=0)
    axes.plot(limit["loss"], color="black", linewidth=1.4, linestyle=(0, (5, 2)), label="infinite width")
    axes.set(yscale="log", ylabel="training loss", xlim=(0, len(limit["loss"]) - 1),
             title="Gradient descent on handwritten digits, 0 against 1")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _draw_ratio(axes, limit: tensorprog.Result, finite: dict[int, tensorprog.Result]) -> None:
    for width, result in finite.items():
        axes.plot(result.samples["loss"].T / limit["loss"][:, None], color=COLORS[width], alpha=0.35, linewidth=0.8)
        axes.plot(result["loss"] / limit["loss"], color=COLORS[width], linewidth=1.8)
    low, high = _band(limit)
    axes.fill_between(range(len(low)), low / limit["loss"], high / limit["loss"], color="black", alpha=0.3, linewidth=0,
                      label="infinite width, two errors", zorder=5)
    axes.set(xlabel="step", ylabel="loss / limit", xlim=(0, len(low) - 1), ylim=(0.5, 1.9))
    axes.plot([], [], color="gray", alpha=0.5, linewidth=0.8, label="single networks")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper right")


def _band(limit: tensorprog.Result) -> tuple[np.ndarray, np.ndarray]:
    """Two errors below and above the limit."""
    return limit["loss"] - 2 * limit.error["loss"], limit["loss"] + 2 * limit.error["loss"]


def _draw_distance(axes, limit: tensorprog.Result, finite: dict[int, tensorprog.Result]) -> None:
    widths = np.array(list(finite))
    spread = {width: distances(limit, result) for width, result in finite.items()}
    centre = np.array([typical(each) for each in spread.values()])
    for width, each in spread.items():
        axes.plot(np.full(len(each), width), each, ".", color=COLORS[width], alpha=0.45)
    axes.plot(widths, centre, "o", color="black", markersize=6, label="root mean square over networks")
    axes.plot([], [], ".", color=FADED, label="one network")
    guide = np.exp(np.mean(np.log(centre * np.sqrt(widths)))) / np.sqrt(widths)
    axes.plot(widths, guide, "--", color=FADED, label=r"$\propto n^{-1/2}$")
    axes.set(xscale="log", yscale="log", xlabel="width n", ylabel="root mean square over steps, relative",
             title="Distance of a network's loss curve from the limit")
    axes.set_xticks(widths, [str(w) for w in widths])
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _with_error(result: tensorprog.Result, step: int) -> str:
    return f"{result['loss'][step]:.5f} +- {result.error['loss'][step]:.5f}"


def _networks(count: int) -> str:
    return f"{count} network" + ("s" if count > 1 else "")


# --- progress and options ------------------------------------------------------------------------------------


def _timed(label: str, compute: Callable) -> tensorprog.Result:
    """What `compute(progress)` returns, with a progress bar on a terminal and a line when it is done."""
    start = time.monotonic()

    def show(done: int, total: int) -> None:
        filled = 24 * done // total
        sys.stderr.write(f"\r{label:<28} [{'#' * filled}{' ' * (24 - filled)}] {done}/{total}")
        sys.stderr.flush()

    terminal = sys.stderr.isatty()
    if terminal:
        show(0, 1)
    result = compute(show if terminal else None)
    if terminal:
        sys.stderr.write("\r\x1b[K")
    print(f"{label:<28} {time.monotonic() - start:6.1f} s", flush=True)
    return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=50, help="steps of gradient descent (default: 50)")
    parser.add_argument("--samples", type=int, default=4096, help="particles (default: 4096)")
    parser.add_argument("--replicates", type=int, default=4, help="randomizations (default: 4)")
    parser.add_argument("--widths", type=lambda text: [int(w) for w in text.split(",")], default=list(SEEDS),
                        help=f"some of {','.join(map(str, SEEDS))}")
    parser.add_argument("--picture", type=Path, default=Path("out") / "digits.png", help="default: out/digits.png")
    options = parser.parse_args()
    if unknown := set(options.widths) - set(SEEDS):
        parser.error(f"--widths: {', '.join(map(str, sorted(unknown)))} is not one of {', '.join(map(str, SEEDS))}")
    return options


if __name__ == "__main__":
    main()
