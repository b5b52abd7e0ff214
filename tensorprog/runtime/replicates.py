"""Independent randomizations of one limit program, and the error bars that come from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

Values = Mapping[str, np.ndarray]
Replicate = Callable[[np.random.SeedSequence], Values]


def run_replicates(replicate: Replicate, *, replicates: int, seed: int, threads: int | None = None,
                   progress: Callable[[int, int], None] | None = None) -> tuple[dict, dict]:
    """Run `replicate` with independent seeds; the mean of its results and their standard errors.

    The standard error is scaled so that two of them cover 95.45 % also for few replicates (Student's t), and is NaN for a
    single one. Results depend on `seed` alone, not on `threads`.

    Returns:
        (values, errors): name -> array of the output's shape.
    """
    from threadpoolctl import threadpool_limits

    workers = min(threads or os.cpu_count() or 1, replicates)
    seeds = np.random.SeedSequence(seed).spawn(replicates)
    results: list[Values | None] = [None] * replicates
    with np.errstate(all="ignore"):
        if workers == 1:
            for index, child in enumerate(seeds):
                results[index] = replicate(child)
                _report(progress, index + 1, replicates)
        else:
            # One BLAS thread a replicate: the replicates are the parallel work.
            with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
                _gather(pool, replicate, seeds, results, progress)
    return _summary(results)


def _gather(pool: ThreadPoolExecutor, replicate: Replicate, seeds: list, results: list, progress) -> None:
    futures = {pool.submit(_quietly, replicate, child): index for index, child in enumerate(seeds)}
    try:
        for done, future in enumerate(as_completed(futures), 1):
            results[futures[future]] = future.result()
            _report(progress, done, len(seeds))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _quietly(replicate: Replicate, seed: np.random.SeedSequence) -> Values:
    with np.errstate(all="ignore"):
        return replicate(seed)


def _report(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _summary(results: list[Values]) -> tuple[dict, dict]:
    values, errors = {}, {}
    factor = coverage_factor(len(results))
    with np.errstate(all="ignore"):
        for name in results[0]:
            stack = np.stack([np.asarray(r[name], dtype=float) for r in results])
            values[name] = stack.mean(axis=0)
            errors[name] = _standard_error(stack, factor)
    return values, errors


def _standard_error(stack: np.ndarray, factor: float) -> np.ndarray:
    if len(stack) == 1:
        return np.full(stack.shape[1:], np.nan)
    return factor * stack.std(axis=0, ddof=1) / np.sqrt(len(stack))


def coverage_factor(replicates: int) -> float:
    """The factor by which two standard errors from few samples must grow to cover 95.45 %: Student's t over 2."""
    from scipy.special import stdtrit

    return float(stdtrit(replicates - 1, 0.97725)) / 2.0 if replicates > 1 else float("nan")
