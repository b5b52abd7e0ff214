"""Compiled loops: a loop of the program as one Numba function, run in chunks by a team of threads.

The function goes through its iterations with vectors split among the threads: each has the coordinates `low:high` of
all of them, and computes every scalar itself. They meet where a moment is summed (`team_sum`), always in the same
order, so that a result does not depend on chance. Between chunks progress is reported, a checkpoint written, and
Ctrl-C obeyed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import overload

from tensorprog.runtime.compiling import intrinsic, njit

# Fewer iterations than this run faster than they compile.
FEW = 200
# A thread gets at least this many coordinates.
SHARE = 512
# Seconds that a chunk should take.
CHUNK = 0.5
# How often a thread looks for the others before it lets something else run.
PATIENCE = 300
# Slots of one thread, so that threads do not write to the same cache line.
STRIDE = 16


def worth_compiling(iterations: range) -> bool:
    """Whether a loop is long enough to be compiled."""
    return len(iterations) >= FEW


# --- what compiled loops call ---------------------------------------------------------------------------------


def cast(value: float, like: float) -> float:
    """`value` in the floating type of `like`."""
    return type(like)(value)


@overload(cast, inline="always")
def _cast(value, like):
    if like == types.float32:
        return lambda value, like: np.float32(value)
    return lambda value, like: np.float64(value)


@intrinsic
def _arrive(typing, counter):
    """Add one to counter[0], atomically."""
    def generate(context, builder, signature, args):
        pointer = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0]).data
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", pointer, one, "seq_cst")
    return types.int64(counter), generate


@intrinsic
def _arrived(typing, counter):
    """counter[0], as the other threads see it now."""
    def generate(context, builder, signature, args):
        pointer = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0]).data
        return builder.load_atomic(pointer, "seq_cst", 8)
    return types.int64(counter), generate


if sys.platform == "win32":
    @njit
    def _give_way():
        return 0
else:
    _give_way = types.ExternalFunction("sched_yield", types.int32())


@njit(nogil=True, cache=True)
def team_sum(counter, slots, threads, rank, phase, value):
    """The sum of every thread's `value`; `phase` counts the sums so far."""
    if threads == 1:
        return value
    # Two rows in turn: a thread may be on its way to the next sum while others still read this one.
    row = slots[phase & 1]
    row[rank * STRIDE] = value
    _arrive(counter)
    goal = (phase + 1) * threads
    looks = 0
    while _arrived(counter) < goal:
        looks += 1
        if looks > PATIENCE:
            _give_way()
    total = 0.0
    for thread in range(threads):
        total += row[thread * STRIDE]
    return total


# --- running ---------------------------------------------------------------------------------------------------


def real_vector(value: float | np.ndarray, samples: int, dtype: np.dtype) -> np.ndarray:
    """A vector that a compiled loop may change, from an array or a number."""
    return np.array(np.broadcast_to(value, (samples,)), dtype=dtype)


class LoopMonitor(Protocol):
    """What is told of the iterations of a compiled loop (`basis.Monitor`)."""

    def resume(self, state: tuple[np.ndarray, ...]) -> int: ...

    def keep(self, done: int, state: tuple[np.ndarray, ...], *, now: bool = False) -> None: ...

    def advance(self, count: int, outputs: Mapping[str, np.ndarray], interrupted: bool) -> None: ...


class LoopRun:
    """One run of a compiled loop.

    Args:
        kernel: the function; `_member` shows what it is called with.
        iterations: of the loop.
        samples: the length of a vector.
        dtype: of vectors.
        fixed: sizes, parameters and inputs.
        vectors: arrays of vectors, shared by the threads.
        scalars: arrays of numbers, of which every thread has a copy; the first thread's is the array given.
        scratch: how many vectors the kernel needs for itself.
        outputs: those of `scalars` that are outputs, by name.
    """

    def __init__(self, kernel: Callable, iterations: range, samples: int, dtype: np.dtype, *, fixed: Sequence,
                 vectors: Sequence[np.ndarray], scalars: Sequence[np.ndarray], scratch: int, threads: int | None,
                 outputs: Mapping[str, np.ndarray]):
        self.kernel, self.iterations = kernel, iterations
        self.vectors, self.scalars = tuple(vectors), tuple(scalars)
        self.outputs = outputs
        self.threads = max(1, min(threads or os.cpu_count() or 1, samples // SHARE))
        self.zero = np.dtype(dtype).type(0)
        own = np.empty((scratch, samples), dtype)
        edges = [samples * i // self.threads // 16 * 16 for i in range(self.threads)] + [samples]
        self._parts = list(zip(edges[:-1], edges[1:]))
        self._fixed, self._own = tuple(fixed), own
        self._copies: list[tuple[np.ndarray, ...]] = []

    def run(self, monitor: LoopMonitor) -> None:
        """All iterations, in chunks; `monitor` is told of each (`basis.Monitor`)."""
        state = (*self.vectors, *self.scalars)
        done = monitor.resume(state)
        self._copies = [self.scalars, *(tuple(a.copy() for a in self.scalars) for _ in range(1, self.threads))]
        size = 16
        with ThreadPoolExecutor(self.threads + 1) as pool:
            while done < len(self.iterations):
                start = time.perf_counter()
                count = min(size, len(self.iterations) - done)
                # A thread of its own starts the team, so that Ctrl-C cannot come between.
                chunk = pool.submit(self._chunk, pool, self.iterations[done:done + count])
                interrupted = _finish(chunk)
                done += count
                size = _next_size(count, time.perf_counter() - start)
                try:
                    monitor.advance(count, self.outputs, interrupted)
                    monitor.keep(done, state)
                except KeyboardInterrupt:
                    monitor.keep(done, state, now=True)
                    raise
                if done == len(self.iterations):
                    monitor.keep(done, state, now=True)

    def _chunk(self, pool: ThreadPoolExecutor, part: range) -> None:
        counter, slots = np.zeros(STRIDE, np.int64), np.zeros((2, self.threads * STRIDE))
        team = [pool.submit(self._member, rank, part, counter, slots) for rank in range(1, self.threads)]
        self._member(0, part, counter, slots)
        for member in team:
            member.result()

    def _member(self, rank: int, part: range, counter: np.ndarray, slots: np.ndarray) -> None:
        low, high = self._parts[rank]
        self.kernel(part.start, part.stop, part.step, low, high, float(self._own.shape[1]),
                    self.zero, counter, slots, self.threads,
                    rank, self._own, *self._fixed, *self.vectors, *self._copies[rank])


def _finish(chunk) -> bool:
    """Wait for a chunk; whether Ctrl-C came meanwhile."""
    interrupted = False
    while True:
        try:
            chunk.result()
            return interrupted
        except KeyboardInterrupt:
            interrupted = True


def _next_size(count: int, seconds: float) -> int:
    """The length of the next chunk, from the time that one of `count` iterations took."""
    return max(1, min(4 * count, int(count * CHUNK / max(seconds, 1e-6))))
