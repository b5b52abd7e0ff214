"""Training in the kernel regime (mean and variance over networks of all outputs at every step) against neural-tangents' kernel
and `predict`, side by side in one run.

    python benchmarks/kernel_regime.py [--peer-python PEER/bin/python] [--points 100] [--steps 200] [--repeats 3]

PEER is an environment of its own, as for `kernels.py`. The network has two hidden tanh layers; the peer integrates tanh with
25 nodes, and follows gradient flow, of which gradient descent with steps of 1/8 is a discretization: `difference` is the largest
one of means, `kernels` that of the tangent kernels off the diagonal, relative to the largest entry. Seconds are medians of
repeated calls on new targets, each of which computes the kernels again; the first call of each side, with compilation, is given
apart. Without a peer, our side alone is timed."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import note

RATE = 0.125
DIMENSION = 20

PROGRAM = """
width n
size P, d
param eta = 1
param T : int = 200
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)

def net(xi):
    return dot(v, tanh(W @ tanh(U @ xi / sqrt(d)) / sqrt(n))) / sqrt(n)

for t in range(T):
    for a in range(P):
        f[t, a] = net(X[a])
    loss = sum((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= eta * grad(loss, U)
    W -= eta * grad(loss, W)
    v -= eta * grad(loss, v)

output f
"""


def problem(points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(points)
    rows = rng.standard_normal((points, DIMENSION))
    return rows, np.sign(rows[:, 0] * rows[:, 1]) + 0.1 * np.random.default_rng(seed).standard_normal(points)


def ours(points: int, steps: int, repeats: int) -> tuple[float, list[float], np.ndarray, np.ndarray]:
    """Seconds of the first call and of the others, and the mean and variance of the last."""
    import tensorprog

    times = []
    program = None
    for seed in range(repeats + 1):
        rows, targets = problem(points, seed)
        begin = time.perf_counter()
        program = program or tensorprog.compile(PROGRAM)
        result = program.run({"X": rows, "y": targets}, eta=RATE / points, T=steps)
        variance = result.spread["f"].variance
        times.append(time.perf_counter() - begin)
    return times[0], times[1:], result["f"], variance


def peer(points: int, steps: int, repeats: int, folder: str) -> None:
    """The peer's side: writes its times and results to a folder."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import neural_tangents as nt
    from neural_tangents import stax

    def tanh() -> object:
        return stax.ElementwiseNumerical(jax.numpy.tanh, deg=25)

    _, _, kernel = stax.serial(stax.Dense(1, W_std=1.0), tanh(), stax.Dense(1, W_std=1.0), tanh(), stax.Dense(1, W_std=1.0))
    kernel = jax.jit(kernel, static_argnames="get")
    moments = np.arange(steps) * RATE
    times = []
    for seed in range(repeats + 1):
        rows, targets = problem(points, seed)
        begin = time.perf_counter()
        predict = nt.predict.gradient_descent_mse_ensemble(kernel, rows, targets[:, None], learning_rate=1.0, diag_reg=0.0)
        found = predict(t=moments, get="ntk", compute_cov=True)
        mean, covariance = (np.asarray(part) for part in (found.mean, found.covariance))
        times.append(time.perf_counter() - begin)
    np.savez(Path(folder) / "peer.npz", times=times, mean=mean[..., 0], variance=np.diagonal(covariance, axis1=-2, axis2=-1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--peer-python")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        peer(chosen.points, chosen.steps, chosen.repeats, chosen.serve)
        return
    first, times, mean, variance = ours(chosen.points, chosen.steps, chosen.repeats)
    print(f"{chosen.points} points, {chosen.steps} steps")
    print(f"tensorprog       first {first:7.2f} s   then {statistics.median(times):7.2f} s")
    note("a call", statistics.median(times), "s")
    if not chosen.peer_python:
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([chosen.peer_python, __file__, "--serve", folder, "--points", str(chosen.points), "--steps",
                        str(chosen.steps), "--repeats", str(chosen.repeats)], check=True,
                       env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
        found = np.load(Path(folder) / "peer.npz")
        peer_first, peer_times = found["times"][0], found["times"][1:]
        print(f"neural-tangents  first {peer_first:7.2f} s   then {statistics.median(peer_times):7.2f} s")
        print(f"ratio            first {peer_first / first:7.2f}     then {statistics.median(peer_times) / statistics.median(times):7.2f}")
        note("neural-tangents to tensorprog", statistics.median(peer_times) / statistics.median(times), better="more")
        print(f"difference: means {np.abs(mean - found['mean']).max():.1e}, variances {np.abs(variance - found['variance']).max():.1e}")


if __name__ == "__main__":
    main()
