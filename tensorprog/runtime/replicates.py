"""Independent randomizations of one limit program, and the error bars that come from them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from tensorprog.runtime.checkpoints import Finished

Values = Mapping[str, np.ndarray]
Tick = Callable[[], None]
# Called with a seed, a function to call after each step, and, if only a part of the particles is to be run, which one.
Replicate = Callable[..., Values]
Progress = Callable[[int, int], None]
# (i, k), the part of the particles that is run: here all of them.
WHOLE = (0, 1)
# A seed and a part.
Unit = tuple[np.random.SeedSequence, tuple[int, int]]
Remote = Callable[..., list[Callable[[], Values]]]
# Threads that wait for results from elsewhere.
WAITING = 16

# What the bias is found from: in one of so many replicates, the particles run once more in so many parts. As four parts
# take the time of one run, or of two where the particles are few, this adds an eighth to a quarter to the time.
REPLICATES_FOR_BIAS = 8
PARTS = 4
# A bias counts as seen if its estimate is so many times what its noise may be, in more than this share of an output's
# elements: measured, noise alone is above in one of 20 runs with 16 particles, and in none of 100 from 256 on.
SEEN, SHARE = 2.0, 0.05


#: What float32 rounds away in a run, relative to a value.
ROUNDED = 1e-6


def part_size(samples: int, parts: int) -> int:
    """The particles of one of so many parts: an even number, because particles may be paired."""
    return samples if parts == 1 else samples // (2 * parts) * 2


def run_replicates(replicate: Replicate, *, replicates: int, seed: int, steps: int = 0, threads: int | None = None,
                   progress: Progress | None = None, samples: int = 0,
                   jumps: Mapping[str, tuple[float, bool]] | None = None,
                   biased: set[str] | None = None, finished: Finished | None = None,
                   remote: Remote | None = None) -> tuple[dict, dict]:
    """Run `replicate` with independent seeds; the mean of its results and their standard errors.

    The standard error is scaled so that two of them cover 95 % also for few replicates (Student's t), and is NaN for a
    single one. The bias, as far as fewer particles show it, is part of it. Results depend on `seed` alone, not on
    `threads`.

    Args:
        replicate: called with a seed, a function to call after each of its `steps`, and for parts with (i, k): then it
            runs the i-th of k parts of the particles.
        progress: called with (steps done, steps in all) over all replicates.
        samples: particles of one replicate; 0 if there are none, and no bias.
        jumps: for outputs with averages of something that jumps: how much, as far as it is known, and whether there are
            others, which then count as twice the output's size.
        biased: gets the names of outputs whose bias is seen and above their standard error.
        finished: where results are kept, so that a run which was stopped goes on from them.
        remote: runs replicates elsewhere: called with (seed, part) of each, gives a function to wait for each result.

    Returns:
        (values, errors): name -> array of the output's shape.
    """
    divided = max(1, replicates // REPLICATES_FOR_BIAS) if replicates > 1 and part_size(samples, PARTS) else 0
    seeds = np.random.SeedSequence(seed).spawn(replicates)
    units: dict[str, Unit] = {f"{r}": (seed, WHOLE) for r, seed in enumerate(seeds)}
    units |= {f"{r}-{i}": (_unspawned(seeds[r]), (i, PARTS)) for r in range(divided) for i in range(PARTS)}
    known: dict[str, Values] = {name: values for name in units if finished is not None
                                and (values := finished.get(name)) is not None}
    missing = {name: unit for name, unit in units.items() if name not in known}
    known |= _run_units(replicate, missing, finished, remote, Counter(len(units), steps, progress), threads)
    results = [known[name] for name in units]
    values, errors = _summary(results[:replicates], results[replicates:], samples, jumps or {},
                              set() if biased is None else biased)
    if getattr(replicate, "keywords", {}).get("dtype") == "float32":
        errors = {name: np.hypot(error, ROUNDED * np.abs(values[name])) for name, error in errors.items()}
    return values, errors


def _run_units(replicate: Replicate, units: Mapping[str, Unit], finished: Finished | None, remote: Remote | None,
               counter: Counter, threads: int | None) -> dict[str, Values]:
    """The results of units by name, each kept when it is there."""
    counter.add(counter.total - len(units) * counter.steps)
    waiting = remote(list(units.values()), **getattr(replicate, "keywords", {})) if remote is not None else None

    def run(name: str, number: int) -> Callable[[Tick], Values]:
        def one(tick: Tick) -> Values:
            seed, part = units[name]
            parts = () if part == WHOLE else (part,)
            values = replicate(seed, tick, *parts) if waiting is None else waiting[number]()
            if finished is not None:
                finished.put(name, values)
            return values
        return one

    runs = [run(name, number) for number, name in enumerate(units)]
    return dict(zip(units, _run_all(runs, counter, threads if waiting is None else WAITING)))


def run_each(replicate: Replicate, *, replicates: int, seed: int, steps: int = 0, threads: int | None = None,
             progress: Progress | None = None) -> list[Values]:
    """The results of `run_replicates`, one by one."""
    seeds = np.random.SeedSequence(seed).spawn(replicates)
    return _run_all([partial(replicate, child) for child in seeds],
                    Counter(len(seeds), steps, progress), threads)


def _run_all(runs: list[Callable[[Tick], Values]], counter: Counter, threads: int | None) -> list[Values]:
    from threadpoolctl import threadpool_limits

    workers = min(threads or os.cpu_count() or 1, len(runs))
    # One BLAS thread a replicate: the replicates are the parallel work, and BLAS rounds differently with other numbers of
    # threads. A replicate that is the only one has all of them.
    blas = threadpool_limits(None if counter.total == counter.steps else 1)
    if workers <= 1:
        with blas:
            return [_counted(run, counter) for run in runs]
    with blas, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_counted, run, counter) for run in runs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            counter.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Stopped(Exception):
    """Ends a replicate whose siblings were interrupted."""


class Counter:
    """Counts the steps of all replicates together, and reports about two hundred times in all."""

    def __init__(self, replicates: int, steps: int, progress: Progress | None):
        self.steps = steps + 1
        self.total = replicates * self.steps
        self.progress = progress
        self.done = 0
        self.stopped = False
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self.stopped:
            raise Stopped
        with self._lock:
            before, self.done = self.done, self.done + count
            if self.progress is not None and before * 200 // self.total != self.done * 200 // self.total:
                self.progress(self.done, self.total)


def _unspawned(seed: np.random.SeedSequence) -> np.random.SeedSequence:
    """The seed as it was before it spawned others, which it remembers."""
    return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)


def _counted(run: Callable[[Tick], Values], counter: Counter) -> Values:
    taken = 0

    def tick() -> None:
        nonlocal taken
        taken += 1
        counter.add(1)

    with np.errstate(all="ignore"):
        values = run(tick)
    counter.add(counter.steps - taken)
    return values


def _summary(results: list[Values], parts: list[Values], samples: int,
             jumps: Mapping[str, tuple[float, bool]], biased: set[str]) -> tuple[dict, dict]:
    values, errors = {}, {}
    factor = coverage_factor(len(results))
    with np.errstate(all="ignore"):
        for name in results[0]:
            stack = _stacked(results, name)
            values[name] = stack.mean(axis=0)
            errors[name] = standard_error(stack, factor)
            if parts:
                bias = _bias(stack, _stacked(parts, name))
                if _dominates(bias, errors[name], stack, values[name], len(parts) // PARTS):
                    biased.add(name)
                errors[name] = np.hypot(errors[name], bias)
            if name in jumps:
                known, others = jumps[name]
                jump = np.maximum(known, 2.0 * others * np.abs(values[name]))
                errors[name] = np.maximum(errors[name], unseen(len(results)) * jump / samples)
    return values, errors


def _stacked(results: list[Values], name: str) -> np.ndarray:
    return np.stack([np.asarray(result[name], dtype=float) for result in results])


def _bias(stack: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """How far the mean is off, from replicates, [replicates, ...], and the parts of the first of them.

    The bias falls with the particles as 1/N. A replicate and the mean over its parts have the same noise, to first
    order, and so differ by `PARTS` - 1 times the bias of the whole. Parts that are not finite, where the whole is, show
    that the particles are too few: then the bias may be as large as the value.
    """
    whole = stack[:len(parts) // PARTS].mean(axis=0)
    bias = np.abs(parts.mean(axis=0) - whole) / (PARTS - 1)
    return np.where(np.isfinite(bias) | ~np.isfinite(whole), bias, np.abs(whole))


def _dominates(bias: np.ndarray, error: np.ndarray, stack: np.ndarray, value: np.ndarray, divided: int) -> bool:
    """Whether the bias of an output is above its standard error, and so far above its own noise, half the deviation of a
    replicate for one that was divided, that it is there."""
    noise = 0.5 * stack.std(axis=0, ddof=1) / np.sqrt(divided)
    seen = (bias > SEEN * noise) & (bias > error) & (bias > 1e-12 * np.abs(value))
    return bool(np.mean(seen) > SHARE)


def standard_error(stack: np.ndarray, factor: float) -> np.ndarray:
    """`factor` times the standard error of the mean over the leading axis; NaN for a single entry."""
    if len(stack) == 1:
        return np.full(stack.shape[1:], np.nan)
    return factor * stack.std(axis=0, ddof=1) / np.sqrt(len(stack))


def unseen(replicates: int) -> float:
    """Half of what an average may be off, in units of its resolution, though all replicates agree.

    Averages over N particles of something with jumps of size 1 are multiples of 1/N. A replicate takes the one above or
    the one below; with probability q it takes the more distant one, and the mean is then q/N off. That all agree has a
    probability (1 - q)**R of at least 1 - `LEVEL` for q up to 1 - (1 - LEVEL)**(1/R).
    """
    return (1.0 - (1.0 - LEVEL) ** (1.0 / replicates)) / 2.0


# The level that two standard errors are scaled to. It is a little above 95 %, because the errors of quasi-Monte Carlo
# are not quite normal: measured over many seeds and programs, two reported errors then cover 91 to 99 %.
LEVEL = 0.965


def coverage_factor(replicates: int) -> float:
    """The factor by which standard errors from few samples must grow for two of them to cover: Student's t over 2."""
    from scipy.special import stdtrit

    return float(stdtrit(replicates - 1, (1 + LEVEL) / 2)) / 2.0 if replicates > 1 else float("nan")
