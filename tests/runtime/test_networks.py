"""Matrices of networks, against arrays."""

from __future__ import annotations

import numpy as np
import pytest

from tensorprog import runtime as rt
from tensorprog.runtime.networks import NetworkMatrix

N = 40


@pytest.fixture
def spaces():
    return [rt.Space(N, seed, plain="network") for seed in np.random.SeedSequence(3).spawn(2)]


def test_states_are_arrays(spaces):
    """Updates, multiples, transposes, and products from both sides."""
    rng = np.random.default_rng(0)
    left, right, x = (rng.normal(size=(count, N)) for count in (3, 3, 5))
    first = rt.gaussian_matrix(*spaces, 2.0, (1.0, 1.0), None)
    update = rt.zero_matrix(*spaces, (1.0, 1.0), None).add_outer(0.5, left, right)
    state = first.zero().add(1.0, first).add(-3.0, update)
    turned = state.turned().add(2.0, first, transposed=True)
    array = first.entries - 1.5 * left.T @ right / N
    np.testing.assert_allclose(state.apply(x), x @ array.T, atol=1e-12)
    np.testing.assert_allclose(state.apply(x, transposed=True), x @ array, atol=1e-12)
    np.testing.assert_allclose(turned.apply(x[None]), (x @ (array + 2 * first.entries))[None], atol=1e-12)
    np.testing.assert_allclose(first.entries.var(), 2.0 / N, rtol=0.15)


def test_the_same_seed_makes_the_same_matrix_in_any_order():
    """A lazily sampled one would depend on what it was applied to first."""
    made = []
    for order in ((0, 1), (1, 0)):
        rows, cols = (rt.Space(N, seed, plain="network") for seed in np.random.SeedSequence(3).spawn(2))
        x = np.random.default_rng(1).normal(size=(2, N))
        matrix = rt.gaussian_matrix(rows, cols, 1.0, (1.0, 1.0), None)
        found = {k: matrix.apply(x[k]) for k in order}
        made.append(np.stack([found[0], found[1]]))
    np.testing.assert_array_equal(*made)


def test_only_plain_samples_of_equal_widths_are_networks(spaces):
    sampled = [rt.Space(N, seed) for seed in np.random.SeedSequence(3).spawn(2)]
    assert isinstance(rt.gaussian_matrix(*spaces, 1.0, (2.0, 2.0), None), NetworkMatrix)
    assert not isinstance(rt.gaussian_matrix(*spaces, 1.0, (2.0, 1.0), None), NetworkMatrix)
    assert not isinstance(rt.zero_matrix(*sampled, (1.0, 1.0), None), NetworkMatrix)
