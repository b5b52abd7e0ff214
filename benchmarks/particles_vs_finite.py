"""Cost of predictions to a given accuracy: particles in the limit against finite networks.

Two hidden tanh layers, 4 points in 3 dimensions, 10 steps of full-batch gradient descent (examples/mlp_mup.tp). The
error is the root mean square, over outputs and seeds, of the final predictions' distance from the limit, which is
known from a long run. Both sides are measured in this run, on one thread; the finite cost at the target accuracy is
extrapolated by the measured laws (error as width**-1/2, time as a power of the width) where it is out of reach.

    python benchmarks/particles_vs_finite.py [--target 2e-3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from figures import note
from threadpoolctl import threadpool_limits

import tensorprog

PROGRAM = Path(__file__).parents[1] / "examples" / "mlp_mup.tp"
STEPS = {"T": 11, "eta": 0.5}
SEEDS = 16


def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"X": rng.normal(size=(4, 3)), "y": np.array([1.0, -1.0, 1.0, -1.0])}


def measure(run: Callable[[int], np.ndarray], truth: np.ndarray, seeds: int) -> tuple[float, float]:
    """Root mean square error and seconds of one run."""
    run(10**6)
    errors, start = [], time.perf_counter()
    for seed in range(seeds):
        errors.append(run(seed) - truth)
    return float(np.sqrt(np.mean(np.square(errors)))), (time.perf_counter() - start) / seeds


def particles(program: tensorprog.CompiledProgram, truth: np.ndarray, target: float) -> tuple[float, float, int]:
    """Error and seconds of the smallest run that reaches the target."""
    for samples in (512, 1024, 2048, 4096, 8192, 16384):
        error, seconds = measure(lambda seed, n=samples: program.run(
            data(), samples=n, replicates=1, seed=seed, **STEPS)["f"][-1], truth, SEEDS)
        print(f"particles {samples:6d}: error {error:.2e}, {seconds:.3f} s a run")
        if error <= target:
            return error, seconds, samples
    raise SystemExit("the target was not reached with 16,384 particles")


def networks(program: tensorprog.CompiledProgram, truth: np.ndarray) -> list[tuple[int, float, float]]:
    """(width, error, seconds of one network) for affordable widths."""
    rows = []
    for width, seeds in ((256, 64), (1024, 24), (4096, 6)):
        error, seconds = measure(lambda seed, n=width: program.simulate(
            data(), width=n, seeds=1, seed=seed, **STEPS)["f"][-1], truth, seeds)
        print(f"network   {width:6d}: error {error:.2e}, {seconds:.3f} s a run")
        rows.append((width, error, seconds))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", type=float, default=2e-3)
    target = parser.parse_args().target
    program = tensorprog.compile(PROGRAM)
    with threadpool_limits(1):
        long = program.run(data(), samples=32768, replicates=16, seed=99, threads=1, **STEPS)
        truth = long["f"][-1]
        print(f"limit: {truth} +- {long.error['f'][-1].max():.1e}")
        error, seconds, samples = particles(program, truth, target)
        rows = networks(program, truth)
    report(target, error, seconds, samples, rows)


def report(target: float, error: float, seconds: float, samples: int, rows: list[tuple[int, float, float]]) -> None:
    widths, errors, times = (np.array(column) for column in zip(*rows))
    constant = float(np.exp(np.mean(np.log(errors) + 0.5 * np.log(widths))))
    growth = float(np.log(times[-1] / times[-2]) / np.log(widths[-1] / widths[-2]))
    needed = (constant / target) ** 2
    cost = times[-1] * (needed / widths[-1]) ** growth
    print(f"law: error {constant:.2f} / sqrt(width); time as width**{growth:.2f} between the two largest widths")
    print(f"one network with error {target:g}: width {needed:,.0f}, {cost:,.1f} s (extrapolated)")
    print(f"particles with error {error:.2e}: {samples}, {seconds:.3f} s")
    print(f"RATIO single network / particles: {cost / seconds:,.0f}")
    note("a single network to particles", cost / seconds, better="more")
    print("Averaging many narrower networks instead (possible while the bias of order 1/width is below the target):")
    for width, own, each in rows:
        count = max(1.0, (own / target) ** 2)
        print(f"  width {width}: {count:,.0f} networks, {count * each:,.1f} s, ratio {count * each / seconds:,.0f}")


if __name__ == "__main__":
    main()
