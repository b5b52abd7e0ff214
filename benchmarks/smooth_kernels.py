"""Kernels (NNGP and NTK) of smooth functions beside the ReLU kernel of the same network, in one run.

    python benchmarks/smooth_kernels.py [--functions tanh silu quick elu clip] [--sizes 500 2000] [--repeats 5]

A perceptron with biases and three hidden layers between the first and the readout, on rows in ten dimensions whose norms
differ by a factor of 7. Times are processor seconds (all threads), the least of some calls; `first` is a program's first
call, with its derivation and, if the caches on disk are empty, compilation. `ratio` is to ReLU.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from figures import note

import tensorprog

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram

NETWORK = """width n
size P, d
size L = 4
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1)
vector b[L] : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def quick(x) = x*sigmoid(1.702*x)
def elu(x) = max(x, 0) + exp(min(x, 0)) - 1
def unit(x) = clip(x, -1, 1)

def net(x):
    h[0] = 1.5*(U @ x) / sqrt(d) + 0.1*b[0]
    for l in range(1, L):
        h[l] = 1.5*(W[l] @ {0}(h[l-1])) / sqrt(n) + 0.1*b[l]
    return dot(v, {0}(h[L-1])) / sqrt(n)
for a in range(P):
    f[a] = net(X[a])
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
        theta[a, c] = ntk(f[a], f[c]; U, W, b, v)
output nngp, theta
"""
FUNCTIONS = {"clip": "unit"}


def rows(size: int) -> np.ndarray:
    rng = np.random.default_rng(size)
    return rng.standard_normal((size, 10)) * np.exp(rng.uniform(-1, 1, (size, 1)))


def seconds(program: CompiledProgram, data: np.ndarray) -> float:
    start = time.process_time()
    program.kernels(data)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", nargs="*", default=["tanh", "silu", "quick", "elu", "clip"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    data = {size: rows(size) for size in options.sizes}
    base: dict[int, float] = {}
    print("function  first s" + "".join(f"   N={size:<5} ms  ratio" for size in options.sizes))
    for name in ["relu", *options.functions]:
        start = time.process_time()
        program = tensorprog.compile(NETWORK.format(FUNCTIONS.get(name, name)))
        program.kernels(rows(3))
        line = f"{name:8} {time.process_time() - start:8.2f}"
        for size in options.sizes:
            program.kernels(data[size])
            least = min(seconds(program, data[size]) for _ in range(options.repeats))
            base.setdefault(size, least)
            if name != "relu":
                note(f"{name} to ReLU, {size} rows", least / base[size])
            line += f"   {1e3 * least:10.1f} {least / base[size]:6.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
