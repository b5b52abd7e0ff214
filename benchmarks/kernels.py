"""Infinite-width kernels of perceptrons (NNGP and NTK in one call) against neural-tangents, side by side in one run.

    python benchmarks/kernels.py [--peer-python PEER/bin/python] [--sizes 500 2000 4000] [--depths 1 3 10] [--repeats 5]

PEER is an environment of its own: `pip install neural-tangents==0.6.5 jax==0.5.3 jaxlib==0.5.3 tf2jax==0.3.7`. Peer
and compiler take turns on the same inputs; in a turn, calls of the first tenth of a second do not count, since a
processor that comes from a pause is slow for about that time; times are medians of the others. `difference` is the
largest of both kernels off the diagonal (the peer's ReLU diagonal carries the rounding of arccos(1)); where the peer
has no closed form and integrates with 25 nodes, it is the peer's error. `memory` is the peak of what a call allocates
beyond its outputs. `mixed` is a network with two activations in turn, biases, and a readout of every layer, beside a
perceptron's: the cost of an activation should be about the same. Our programs are the texts below, compiled."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from figures import note

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram

DIMENSION = 784
WEIGHT, BIAS = 2.0, 0.01
WAKING, CALLS = 0.1, 3  #: seconds of a turn that do not count, and calls that do
CLOSED = ("relu", "erf", "gelu")
SERIES = ("tanh", "sigmoid", "swish")


def inputs(size: int) -> np.ndarray:
    return np.random.default_rng(size).standard_normal((size, DIMENSION))


class PeerDied(Exception):
    """The peer's process ended, for want of memory."""


class Peer:
    """neural-tangents in its own interpreter, which answers one request a line."""

    def __init__(self, python: str, folder: Path) -> None:
        self.folder = folder
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen([python, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment, stderr=subprocess.DEVNULL)

    def ask(self, activation: str, depth: int, size: int, save: bool = False) -> float:
        """The seconds of one call; with `save` the kernels go to the folder, and the call is not a measurement."""
        request = {"activation": activation, "depth": depth, "size": size, "folder": str(self.folder) if save else None}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise PeerDied
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve() -> None:
    """The peer's side."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from neural_tangents import stax

    layers = {"relu": stax.Relu, "erf": stax.Erf, "gelu": stax.Gelu}
    functions = {"tanh": jax.numpy.tanh, "sigmoid": jax.nn.sigmoid, "swish": jax.nn.silu}
    compiled, data = {}, {}
    for line in sys.stdin:
        request = json.loads(line)
        activation, depth, size = request["activation"], request["depth"], request["size"]
        if (activation, depth) not in compiled:
            closed = layers.get(activation)
            layer = closed() if closed else stax.ElementwiseNumerical(functions[activation], deg=25)
            dense = stax.Dense(1, W_std=WEIGHT**0.5, b_std=BIAS**0.5)
            kernel = stax.serial(*[dense, layer] * depth, dense)[2]
            compiled[activation, depth] = jax.jit(kernel, static_argnums=(1, 2))
        data[size] = data[size] if size in data else inputs(size)
        start = time.perf_counter()
        result = compiled[activation, depth](data[size], None, ("nngp", "ntk"))
        jax.block_until_ready(result)
        elapsed = time.perf_counter() - start
        if request["folder"]:
            np.save(Path(request["folder"]) / "nngp.npy", result.nngp)
            np.save(Path(request["folder"]) / "ntk.npy", result.ntk)
        del result
        print(json.dumps(elapsed), flush=True)


MLP = """width n
size P, d, L
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1)
vector b[L] : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)

def net(x):
    h[0] = sqrt(2/d) * (U @ x) + 0.1*b[0]
    for l in range(1, L):
        h[l] = sqrt(2) * (W[l] @ {0}(h[l-1])) / sqrt(n) + 0.1*b[l]
    return sqrt(2) * dot(v, {0}(h[L-1])) / sqrt(n)
"""
MIXED = """width n
size P, d, L
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1)
matrix M[L] : [n, n] ~ normal(0, 1)
vector b[L] : [n] ~ normal(0, 1)
vector v[L] : [n] ~ normal(0, 1)

def net(x):
    h[0] = sqrt(2/d) * (U @ x)
    f = 0.0
    for l in range(L):
        h[l+1] = M[l] @ relu(sqrt(2) * (W[l] @ erf(h[l])) / sqrt(n) + 0.1*b[l]) / sqrt(n)
        f += dot(v[l], relu(h[l+1])) / sqrt(n)
    return f
"""
KERNELS = """
for a in range(P):
    f[a] = net(X[a])
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c]) + 0.01
        ntk_[a, c] = ntk(f[a], f[c]; {}) + 0.01
output nngp, ntk_ as ntk
"""


def network(activation: str) -> CompiledProgram:
    """The peer's perceptron; `mixed` has two activations in turn, and a readout of every layer."""
    import tensorprog

    activation = {"swish": "silu"}.get(activation, activation)
    if activation == "mixed":
        return tensorprog.compile(MIXED + KERNELS.format("U, W, M, b, v"))
    return tensorprog.compile(MLP.format(activation) + KERNELS.format("U, W, b, v"))


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(program: CompiledProgram, peer: Peer, activation: str, depth: int, size: int,
            repeats: int) -> dict[str, float]:
    """One case: median seconds of the peer, a call and a call with `out`; difference; megabytes beyond the outputs."""
    data = inputs(size)
    program.kernels(data, L=depth)
    tracemalloc.start()
    out = program.kernels(data, L=depth)
    peak = tracemalloc.get_traced_memory()[1] - sum(array.nbytes for array in out.values())
    tracemalloc.stop()
    peer.ask(activation, depth, size, save=True)
    difference = 0.0
    for name, array in out.items():
        gap = np.abs(array - np.load(peer.folder / f"{name}.npy"))
        np.fill_diagonal(gap, 0.0)
        difference = max(difference, gap.max())
    calls = {"peer": lambda: peer.ask(activation, depth, size),
             "fresh": lambda: timed(lambda: program.kernels(data, L=depth)),
             "out": lambda: timed(lambda: program.kernels(data, L=depth, out=out))}
    times = {name: [] for name in calls}
    for name in [*calls] * repeats:
        time.sleep(0.1)  # the other's threads come to rest
        waking = time.perf_counter() + WAKING
        calls[name]()
        while time.perf_counter() < waking:
            calls[name]()
        times[name] += [calls[name]() for _ in range(CALLS)]
    medians = {name: statistics.median(values) for name, values in times.items()}
    return medians | {"difference": difference, "memory": peak / 1e6}


def compare_mixed(depth: int, size: int, repeats: int) -> str:
    """Nanoseconds for a pair and activation: of `mixed` (two activations a layer), beside a plain relu network's."""
    data, costs = inputs(size), {}
    programs = {"mixed": (network("mixed"), 2 * depth + 1), "relu": (network("relu"), depth)}
    outputs = {name: program.kernels(data, L=depth) for name, (program, _) in programs.items()}
    for name, (program, count) in programs.items():
        times = [timed(lambda: program.kernels(data, L=depth, out=outputs[name])) for _ in range(repeats)]
        costs[name] = 1e9 * statistics.median(times) / (count * size * (size + 1) / 2)
    note(f"mixed to relu, depth {depth}, {size} rows", costs["mixed"] / costs["relu"])
    return f"mixed      {depth:5} {size:5} {costs['mixed']:11.2f} {costs['relu']:10.2f}"


def run_peer(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(options.peer_python, Path(folder))
        print("activation depth     N     peer ms      ms  ms out=   ratio  ratio out=  difference  memory MB")
        for activation in options.activations:
            program = network(activation)
            for depth, size in itertools.product(options.depths, options.sizes):
                try:
                    r = compare(program, peer, activation, depth, size, options.repeats)
                except PeerDied:
                    print(f"{activation:10} {depth:5} {size:5}   the peer ran out of memory", flush=True)
                    peer = Peer(options.peer_python, Path(folder))
                    continue
                note(f"peer to {activation}, depth {depth}, {size} rows", r["peer"] / r["fresh"], better="more")
                print(f"{activation:10} {depth:5} {size:5} {1e3 * r['peer']:11.1f} {1e3 * r['fresh']:7.1f} "
                      f"{1e3 * r['out']:8.1f} {r['peer'] / r['fresh']:7.1f} {r['peer'] / r['out']:11.1f} "
                      f"{r['difference']:11.1e} {r['memory']:10.1f}", flush=True)
        peer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000, 4000])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--activations", nargs="*", default=CLOSED + SERIES, choices=CLOSED + SERIES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve()
    from tensorprog.runtime.gram import ROWS, VECTOR_BYTES

    print(f"products of rows in vectors of {VECTOR_BYTES} bytes, {ROWS} rows at a time")
    if options.peer_python:
        run_peer(options)
    print("case       depth     N    ns mixed    ns relu   (a pair and activation, with out=)")
    for depth, size in itertools.product(options.depths, options.sizes):
        print(compare_mixed(depth, size, options.repeats), flush=True)


if __name__ == "__main__":
    main()
