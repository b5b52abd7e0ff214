"""Kernels of a recurrent network that reads an input of d entries at each of T times (NNGP and NTK in one call).

    python benchmarks/recurrent.py [--rows 60] [--times 10] [--axes 4 32 256] [--repeats 5]

`as it stands` is the same compiler without the passes that carry out sums over the axes of inputs first and name common
expectations once (`covariance/contraction.py`, `naming.py`): everything under a sum over the d gradients of `U @ x[t]`
is then computed d times. Both sides take turns on the same data; times are medians, after the modules are compiled."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from unittest import mock

import numpy as np
from figures import note

import tensorprog
from tensorprog.covariance import emit

PROGRAM = """width n
size P, T, d
input X : [P, T, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1)
vector b : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)

def net(x):
    h[0] = U @ x[0] / sqrt(d)
    for t in range(1, T):
        h[t] = W @ relu(h[t-1]) / sqrt(n) + U @ x[t] / sqrt(d) + 0.1*b
    return dot(v, relu(h[T-1])) / sqrt(n)

for a in range(P):
    f[a] = net(X[a])
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
        ntk_[a, c] = ntk(f[a], f[c]; U, W, b, v)
output nngp, ntk_ as ntk
"""


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    os.environ["TENSORPROG_NO_CACHE"] = "1"  # else both would read the module that the first one wrote
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--axes", type=int, nargs="+", default=[4, 32, 256])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    data = {d: np.random.default_rng(d).standard_normal((options.rows, options.times, d)) for d in options.axes}
    first = data[options.axes[0]]
    program, plain = tensorprog.compile(PROGRAM), tensorprog.compile(PROGRAM)
    with mock.patch.object(emit, "contracted", lambda system: system), mock.patch.object(emit, "named", lambda s, every: s):
        plain.kernels(first)  # its module is written now
    program.kernels(first)
    print("    d  as it stands ms        ms   ratio  difference")
    for d, values in data.items():
        found, expected = program.kernels(values), plain.kernels(values)
        difference = max(np.abs(found[name] - expected[name]).max() for name in found)
        pairs = [(timed(lambda: plain.kernels(values)), timed(lambda: program.kernels(values)))
                 for _ in range(options.repeats)]
        slow, fast = (1e3 * statistics.median(times) for times in zip(*pairs))
        note(f"as it stands to contracted, d = {d}", slow / fast, better="more")
        print(f"{d:5} {slow:16.1f} {fast:9.1f} {slow / fast:7.1f} {difference:11.1e}", flush=True)


if __name__ == "__main__":
    main()
