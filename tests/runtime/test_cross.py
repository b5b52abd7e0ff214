"""Cross approximation of functions of entries: accuracy, what is given up, and Adam with and without it."""

from __future__ import annotations

import numpy as np
import pytest
from places import EXAMPLES

import tensorprog
from tensorprog.runtime import updates
from tensorprog.runtime.cross import crossed


def of_array(array: np.ndarray, tolerance: float, most: int):
    return crossed(lambda at: array[at], lambda at: array.T[at], array.shape, tolerance, most)


def kernel(rows: int, cols: int, rank: int, seed: int = 0) -> np.ndarray:
    """A smooth function of entries of low rank: u v.T / sqrt(1 + (u v.T)^2)."""
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, cols))
    return low / np.sqrt(1 + low**2)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("rows, cols, rank, tolerance", [
    (1024, 1024, 1, 0.02), (700, 1500, 2, 0.05), (1500, 700, 4, 0.2)])
def test_smooth_kernels_have_low_rank(scale, rows, cols, rank, tolerance):
    array = (scale * kernel(rows, cols, rank)).astype(np.float32)
    left, right = of_array(array, tolerance, 100)
    assert np.linalg.norm(array - left.T @ right) < 1.3 * tolerance * np.linalg.norm(array)
    sizes = np.linalg.svd(array, compute_uv=False)
    least = int(np.sum(np.cumsum(sizes[::-1]**2)[::-1] > (tolerance * np.linalg.norm(sizes))**2))
    assert least <= len(left) <= 2 * least + 5


def test_mirrored_rows_are_no_obstacle():
    half = kernel(512, 1024, 2)
    left, right = of_array(np.concatenate([half, -half]), 0.03, 64)
    assert len(left) <= 40


@pytest.mark.parametrize("array", [np.random.default_rng(1).standard_normal((512, 512)), np.zeros((512, 512)),
                                   np.full((512, 512), np.nan), np.full((512, 512), np.inf)])
def test_what_has_no_low_rank_is_given_up(array):
    with np.errstate(all="ignore"):
        assert of_array(array, 0.05, 32) is None


STEPS = {"adam": "W -= eta/n * (M/c) / sqrt(S/(1 - 0.99**(t+1)) + eps**2)",
         "rmsprop": "W -= eta/n * G / (sqrt(S) + eps)", "sign": "W -= eta/n * tanh(M / eps)"}


@pytest.mark.parametrize("step", STEPS)
def test_it_leaves_limits_alone(step, monkeypatch):
    """Limits with arrays and with outer products differ by far less than their errors."""
    text = (EXAMPLES / "adam.tp").read_text()
    program = tensorprog.compile(text.replace(STEPS["adam"], STEPS[step]))
    with np.load(EXAMPLES / "data" / "batch.npz") as file:
        data = dict(file)
    found = []
    taken = []
    monkeypatch.setattr(updates, "crossed", lambda *args: taken.append(crossed(*args)) or taken[-1])
    found.append(program.run(data, samples=1024, replicates=4))
    assert taken and all(t is not None and len(t[0]) <= 64 for t in taken)
    monkeypatch.setattr(updates, "crossed", lambda *args: None)
    monkeypatch.setattr(updates, "LIGHT_SHARE", 0.0)
    found.append(program.run(data, samples=1024, replicates=4))
    apart = np.abs(found[0]["f"] - found[1]["f"]).max()
    assert 0 < apart < 0.25 * found[1].error["f"].max()
