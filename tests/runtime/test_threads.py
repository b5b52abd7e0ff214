"""Threads that share short work."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tensorprog.runtime import threads


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_item_is_taken_once(count):
    taken, lock = [], threading.Lock()

    def worker(items, prepared):
        for item in items:
            time.sleep(0.001)
            with lock:
                taken.append(item)

    for _ in range(3):
        taken.clear()
        threads.run_shared(worker, list(range(40)), lambda: None, count)
        assert sorted(taken) == list(range(40))


def test_several_callers_at_once():
    def total(start):
        parts = []
        threads.run_shared(lambda items, _: parts.append(sum(items)), list(range(start, start + 100)), lambda: None, 3)
        return sum(parts)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(total, range(8))) == [sum(range(s, s + 100)) for s in range(8)]


def test_an_error_reaches_the_caller():
    def worker(items, prepared):
        for item in items:
            raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item"):
        threads.run_shared(worker, list(range(10)), lambda: None, 2)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_prepared_reaches_every_thread(count):
    taken, lock = [], threading.Lock()

    def worker(items, prepared):
        for item in items:
            value = prepared.result() + item
            with lock:
                taken.append(value)

    def prepare():
        time.sleep(0.01)
        return 100

    threads.run_shared(worker, list(range(40)), prepare, count)
    assert sorted(taken) == list(range(100, 140))


def test_a_failed_preparation_ends_every_thread():
    def worker(items, prepared):
        for _ in items:
            prepared.result()

    def prepare():
        time.sleep(0.01)
        raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        threads.run_shared(worker, list(range(10)), prepare, 3)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be bound here")
def test_the_caller_stays_free_and_so_does_the_work():
    before, seen = os.sched_getaffinity(0), []

    def worker(items, prepared):
        for _ in items:
            time.sleep(0.002)
            seen.append(os.sched_getaffinity(0))

    threads.run_shared(worker, list(range(20)), lambda: None, 2)
    assert all(s == before for s in seen) and os.sched_getaffinity(0) == before


def test_without_a_way_to_bind(monkeypatch):
    monkeypatch.setattr(threads, "_processor", lambda: None)
    taken = []
    threads.run_shared(lambda items, _: taken.extend(items), list(range(10)), lambda: None, 3)
    assert sorted(taken) == list(range(10))
