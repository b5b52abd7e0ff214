"""Adam in the limit: cost against particles, steps and examples, and 100 steps on 100 digits.

A hidden matrix's moments are functions of entries: an array over pairs of particles each, so that a step costs a multiple
of the particles squared (and of the examples), whatever the step. Its updates are outer products by cross approximation.
Networks of the same widths stand beside it.

    python benchmarks/adam.py
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
from figures import note

import tensorprog

DATA = Path(__file__).parents[1] / "examples" / "data" / "digits_0_1.npz"

ADAM = """
width n
size P, d
param eta = 0.01
param eps = 0.1
param T : int = 100
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
matrix MU : [n, d] = 0
matrix SU : [n, d] = 0
matrix MW : [n, n] = 0
matrix SW : [n, n] = 0
vector mv : [n] = 0
vector sv : [n] = 0
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    GU = n * grad(loss[t], U)
    GW = n * grad(loss[t], W)
    gv = n * grad(loss[t], v)
    MU = 0.9*MU + 0.1*GU
    SU = 0.99*SU + 0.01*GU**2
    MW = 0.9*MW + 0.1*GW
    SW = 0.99*SW + 0.01*GW**2
    mv = 0.9*mv + 0.1*gv
    sv = 0.99*sv + 0.01*gv**2
    c = 1 - 0.9**(t+1)
    s = 1 - 0.99**(t+1)
    U -= eta * (MU/c) / (sqrt(SU/s) + eps)
    W -= eta/n * (MW/c) / (sqrt(SW/s) + eps)
    v -= eta * (mv/c) / (sqrt(sv/s) + eps)
output f, loss
"""


def timed(run, *args: object, **options: object) -> tuple[float, object]:
    start = time.perf_counter()
    found = run(*args, **options)
    return time.perf_counter() - start, found


def main() -> None:
    program = tensorprog.compile(ADAM)
    with np.load(DATA) as file:
        digits = {"X": file["X"], "y": file["y"]}
    program.run(digits, samples=128, replicates=1, T=2)
    print("seconds of 10 steps, one replicate        limit   network")
    for count in (4, 100):
        some = {name: values[:: len(values) // count] for name, values in digits.items()}
        for size in (512, 1024, 2048):
            seconds, _ = timed(program.run, some, samples=size, replicates=1, T=10)
            network, _ = timed(program.simulate, some, width=size, seeds=1, T=10)
            print(f"  {count:3d} examples, {size:5d} particles or neurons {seconds:7.2f} {network:8.2f}")
    print("seconds by steps, 100 examples, 1024 particles")
    for steps in (10, 20, 40, 80):
        seconds, _ = timed(program.run, digits, samples=1024, replicates=1, T=steps)
        print(f"  {steps:3d} steps {seconds:7.2f}")
    for size, replicates in ((1024, 8), (2048, 4)):
        seconds, found = timed(program.run, digits, samples=size, replicates=replicates)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"100 steps on 100 digits, {replicates} x {size} particles: {seconds:.0f} s, peak memory {memory:.2f} GB, "
              f"errors of the loss up to {found.error['loss'].max():.1e}, of f up to {found.error['f'].max():.1e}")
        note(f"100 digits, {replicates} x {size}", seconds, "s")
        note(f"100 digits, {replicates} x {size}: error of f", found.error["f"].max())


if __name__ == "__main__":
    main()
