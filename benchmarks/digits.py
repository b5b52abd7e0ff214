"""Time and memory of the main job: 100 digits, two hidden layers, 100 steps of gradient descent, 4,096 particles.

Also the time of each tenth of the run, which must not keep growing: the operator's rank saturates.

    python benchmarks/digits.py
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
from figures import note

import tensorprog

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    program = tensorprog.compile(EXAMPLES / "digits.tp")
    data = dict(np.load(EXAMPLES / "data" / "digits_0_1.npz"))
    program.run(data, samples=64, replicates=1, T=2)
    before = 0.0
    for steps in range(20, 101, 20):
        start = time.perf_counter()
        result = program.run(data, replicates=2, T=steps)
        seconds = time.perf_counter() - start
        step = (seconds - before) / 20
        print(f"{steps:4d} steps, 2 replicates: {seconds:6.1f} s ({step:.3f} s a step since the last row)")
        before = seconds
    start = time.perf_counter()
    result = program.run(data)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f" 100 steps, 8 replicates: {seconds:.1f} s, final loss {result['loss'][-1]:.6f} "
          f"+- {result.error['loss'][-1]:.1e}, peak memory {memory:.2f} GB")
    note("100 steps, 8 replicates", seconds, "s")
    note("its error of the final loss", result.error["loss"][-1])
    note("its memory", memory, "GB")


if __name__ == "__main__":
    main()
