"""Replicates, networks and points of sweeps by workers of dask.distributed: processes of their own on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

import tensorprog
from tensorprog.diagnostics import ProgramError

distributed = pytest.importorskip("distributed")

PROGRAM = """width n
param eta = 0.5
param T : int = 4
vector x : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
for t in range(T):
    f[t] = moment(v * tanh(W @ tanh(x)))
    c = (f[t] - 1)**2 / 2
    W -= eta * grad(c, W)
output f
"""
OPTIONS = {"samples": 1024, "replicates": 4, "method": "particles"}


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made:
        yield made


@pytest.fixture(scope="module")
def program():
    return tensorprog.compile(PROGRAM)


def same(one, other):
    return all(np.array_equal(one[k], other[k]) and np.array_equal(one.error[k], other.error[k]) for k in other)


def test_replicates(cluster, program):
    here = program.run(**OPTIONS)
    steps = []
    there = program.run(**OPTIONS, scheduler=cluster.scheduler_address, progress=lambda *done: steps.append(done))
    assert same(there, here) and steps[-1][0] == steps[-1][1]
    with distributed.Client(cluster) as client:
        assert same(program.run(**OPTIONS, scheduler=client), here)
        assert program.run(**OPTIONS, error=0.05, scheduler=client).accuracy.reached


def test_networks(cluster, program):
    here, there = (program.simulate(width=32, seeds=5, scheduler=s) for s in (None, cluster.scheduler_address))
    assert np.array_equal(here.samples["f"], there.samples["f"])


def test_points_of_a_sweep(cluster, program, tmp_path):
    options = {"eta": [0.1, 0.5], "T": [2, 3], "samples": 256, "replicates": 2, "method": "particles"}
    here = program.sweep(**options)
    there = program.sweep(**options, keep=tmp_path, scheduler=cluster.scheduler_address)
    assert np.array_equal(here["f"], there["f"], equal_nan=True) and len(list(tmp_path.glob("*.npz"))) == 4
    assert np.array_equal(program.sweep(**options, keep=tmp_path)["f"], here["f"], equal_nan=True)


def test_verification(cluster, program):
    options = {"widths": [16, 24, 32, 48], "seeds": 8, "samples": 256, "replicates": 4, "method": "particles"}
    here, there = (program.verify(**options, scheduler=s) for s in (None, cluster.scheduler_address))
    assert here.to_json() == there.to_json()


def test_a_worker_that_is_killed_loses_its_unit_only(program):
    here = program.run(**OPTIONS | {"replicates": 16}, T=40)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        killed = []

        def kill(done, total):
            if done > 2 and not killed:
                killed.append(cluster.workers[0].pid)
                os.kill(killed[0], signal.SIGKILL)

        found = program.run(**OPTIONS | {"replicates": 16}, T=40, scheduler=cluster.scheduler_address, progress=kill)
    assert killed and same(found, here)


def test_after_an_interruption_nothing_goes_on(cluster, program):
    def stop(done, total):
        raise KeyboardInterrupt

    with distributed.Client(cluster) as client:
        with pytest.raises(KeyboardInterrupt):
            program.run(**OPTIONS | {"replicates": 40}, T=60, scheduler=client, progress=stop)
        deadline = time.monotonic() + 30
        while any(client.processing().values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(client.processing().values())
    assert threading.active_count() < 60


def test_mistakes_of_workers_are_those_of_the_program(cluster, program):
    with pytest.raises(ProgramError, match="'eta'"):
        program.sweep(eta=[0.1, "fast"], samples=64, scheduler=cluster.scheduler_address)


def test_schedulers_that_are_not_there(program, monkeypatch):
    monkeypatch.setattr("tensorprog.scheduler.PATIENCE", 1)
    for scheduler in ("tcp://127.0.0.1:1", 8786):
        with pytest.raises(ProgramError, match="TP736"):
            program.run(**OPTIONS, scheduler=scheduler)
