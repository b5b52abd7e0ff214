"""Differentials of the polar factor of every order, against finite differences of truncated singular value decompositions, in arrays
and in particles."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tensorprog.finite.operations import polar, polar_differential
from tensorprog.runtime.sampling import Space
from tensorprog.runtime.updates import Updates
from tensorprog.runtime.updates import polar_differential as of_updates

#: Steps of differences of each order, and how close they come.
STEPS = {1: (1e-5, 1e-7), 2: (1e-4, 1e-5), 3: (2e-3, 5e-3)}


def polar_of_rank(m: np.ndarray, rank: int) -> np.ndarray:
    u, _, vh = np.linalg.svd(m, full_matrices=False)
    return u[:, :rank] @ vh[:rank]


def differences(m: np.ndarray, rank: int, directions: list[np.ndarray], step: float) -> np.ndarray:
    total = np.zeros(m.shape)
    for signs in product((1, -1), repeat=len(directions)):
        moved = m + step * sum(s * b for s, b in zip(signs, directions))
        total += np.prod(signs) * polar_of_rank(moved, rank)
    return total / (2 * step)**len(directions)


@pytest.mark.parametrize("order", STEPS)
@pytest.mark.parametrize("shape, rank", [((7, 5), 3), ((5, 5), 5), ((4, 8), 4), ((20, 30), 2)])
def test_of_arrays(shape, rank, order):
    rng = np.random.default_rng(0)
    m = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    directions = [rng.standard_normal(shape) for _ in range(order)]
    step, allowed = STEPS[order]
    found = polar_differential(m, *directions)
    expected = differences(m, rank, directions, step)
    assert np.abs(found - expected).max() < allowed * np.abs(expected).max()
    assert np.allclose(polar(m), polar_of_rank(m, rank))


@pytest.mark.parametrize("ratios", [(1.0, 1.0), (2.0, 0.5)])
def test_of_particles(ratios):
    """Rows of particles are arrays, but for the scale of inner products."""
    rng = np.random.default_rng(1)
    spaces = [Space(32, np.random.SeedSequence(k)) for k in range(2)]
    samples = spaces[0].samples
    rows, cols = (np.sqrt(ratio / samples) for ratio in ratios)
    pairs = [[rng.standard_normal((2, samples)) for _ in range(2)] for _ in range(3)]
    matrix, *directions = (Updates(*spaces, ratios).add_outer(1.0, *pair) for pair in pairs)
    arrays = [(rows * left).T @ (cols * right) for left, right in pairs]
    found = of_updates(matrix, *directions).factors()
    array = (rows * found.left).T @ (cols * found.right)
    assert np.allclose(array, polar_differential(*arrays), atol=1e-8 * np.abs(array).max())
