"""Threads that share short work: as many as there are processors, each woken on a processor of its own.

Work of a few milliseconds is over before the scheduler has moved a thread that it woke beside the one that waits for
it. Where the system allows it, a helper therefore sleeps bound to one processor, which is another than the caller's,
and is free to move as soon as it runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

#: Seconds that this thread waits for a helper to wake.
LONGEST_WAKING = 3e-4


def available_threads() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def single_threaded_blas() -> contextlib.AbstractContextManager:
    """A context in which every thread's matrix products are computed by that thread alone."""
    return _blas().limit(limits=1, user_api="blas")


if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def run_shared(worker: Callable, items: Sequence, prepare: Callable, threads: int) -> None:
    """Runs `worker(iterator, prepared)` in threads, this one among them, that take items from one iterator.

    `prepared` is a future of what `prepare()` returns, which this thread runs while the others begin.
    """
    shared, begun = _Shared(items), threading.Event()
    prepared: Future = Future()
    helpers = max(min(threads, len(items)) - 1, 0)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    futures = [_helper(number, cpu).submit(_freed, cpu, allowed, begun, worker, shared, prepared)
               for number, cpu in enumerate(_other_processors(helpers, allowed))]
    if futures:
        _let_begin(begun)
    try:
        prepared.set_result(prepare())
        worker(shared, prepared)
    finally:
        prepared.cancel()  # after a failure, what waits for it
        for future in futures:
            with contextlib.suppress(CancelledError):
                future.result()


def _let_begin(begun: threading.Event) -> None:
    """Gives the interpreter to a helper until it runs: it would get it only after this thread's next long wait."""
    deadline = time.perf_counter() + LONGEST_WAKING
    while not begun.is_set() and time.perf_counter() < deadline:
        time.sleep(0)


class _Shared:
    """An iterator that several threads may use."""

    def __init__(self, items: Sequence) -> None:
        self.items, self.count = items, itertools.count()

    def __iter__(self) -> Iterator:
        while (position := next(self.count)) < len(self.items):
            yield self.items[position]


def _other_processors(count: int, allowed: set[int]) -> list[int | None]:
    """Processors for helpers, the caller's last; None where threads cannot be bound to one."""
    here = _processor()
    if here is None:
        return [None] * count
    return list(itertools.islice(itertools.cycle(sorted(allowed, key=lambda cpu: (cpu == here, cpu))), count))


def _processor() -> int | None:
    """The processor that this thread runs on."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    function = _getcpu()
    return None if function is None else function()


@lru_cache(maxsize=1)
def _getcpu() -> Callable[[], int] | None:
    try:
        return ctypes.CDLL(None).sched_getcpu
    except (OSError, AttributeError):
        return None


@lru_cache(maxsize=256)
def _helper(number: int, cpu: int | None) -> ThreadPoolExecutor:
    name = f"tensorprog-{number}"
    if cpu is None:
        return ThreadPoolExecutor(1, name)
    return ThreadPoolExecutor(1, name, initializer=_bind, initargs=({cpu},))


def _freed(cpu: int | None, allowed: set[int], begun: threading.Event, worker: Callable, shared: _Shared,
           prepared: Future) -> None:
    """The work, free to move; bound to the processor again for the time until the next."""
    if cpu is not None:
        _bind(allowed)
    try:
        begun.set()
        worker(shared, prepared)
    finally:
        if cpu is not None:
            _bind({cpu})


def _bind(processors: set[int]) -> None:
    with contextlib.suppress(OSError):  # a processor that is gone
        os.sched_setaffinity(0, processors)
