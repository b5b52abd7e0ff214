"""Gram products of tiles against NumPy's, for every shape of their edges and every kind of processor."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tensorprog.runtime import gram
from tensorprog.runtime.pairs import mirror

SHAPES = [(1, 1, 1), (3, 5, 7), (4, 12, 784), (9, 25, 513), (37, 41, 1100), (64, 96, 20), (13, 8, 0)]

#: Runs the tests below with the vectors of another processor, which the compiler takes apart where there are none.
AS_IF = """
import platform, sys
import numba
numba.njit("int64()")(lambda: 1)  # makes the compiler, for this processor
from llvmlite import binding
kept = binding.get_host_cpu_features, platform.machine
binding.get_host_cpu_features, platform.machine = lambda: {features}, lambda: {machine!r}
from tensorprog.runtime import gram
binding.get_host_cpu_features, platform.machine = kept
assert (gram.VECTOR_BYTES, gram.ROWS) == {expected}
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "agrees and float64 or upper", {file!r}]))
"""


def product(x, y, rows, columns, upper=False):
    """The product of x[rows] and y[columns], in a buffer of NaN."""
    out, packed = gram.buffer(len(x[rows]), len(y[columns]), x.dtype), gram.panel(x.shape[1], x.dtype)
    out[:] = packed[:] = np.nan
    gram.product(x, y, out, packed, rows.start, rows.stop, columns.start, columns.stop, upper)
    return out[:, :columns.stop - columns.start]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("height", "width", "depth"), SHAPES)
def test_product_agrees_with_matmul(height, width, depth, dtype):
    rng = np.random.default_rng(height)
    x, y = rng.standard_normal((height + 5, depth)).astype(dtype), rng.standard_normal((width + 3, depth)).astype(dtype)
    found = product(x, y, slice(5, 5 + height), slice(3, 3 + width))
    expected = x[5:].astype(float) @ y[3:].astype(float).T
    assert np.allclose(found, expected, rtol=0, atol=10 * np.finfo(dtype).eps * max(depth, 1))


@pytest.mark.parametrize("height", [1, 6, 24, 31, 50])
def test_upper_triangle_of_a_tile_at_the_diagonal(height):
    x = np.random.default_rng(height).standard_normal((height + 20, 30))
    rows = slice(20, 20 + height)
    above = np.triu_indices(height)
    found = product(x, x, rows, rows, upper=True)
    assert np.allclose(found[above], (x[rows] @ x[rows].T)[above], rtol=0, atol=1e-13)


def test_an_entry_does_not_depend_on_its_tile():
    x = np.random.default_rng(0).standard_normal((70, 600))
    whole = product(x, x, slice(0, 70), slice(0, 70))
    part = product(x, x, slice(17, 70), slice(29, 40))
    assert np.array_equal(whole[17:, 29:40], part)


def test_what_is_not_a_number_stays_in_its_row_and_column():
    x = np.ones((11, 5))
    x[7, 2] = np.nan
    found = np.isnan(product(x, x, slice(0, 11), slice(0, 11)))
    expected = np.zeros((11, 11), bool)
    expected[7], expected[:, 7] = True, True
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("r0", "r1", "c0", "c1"), [(0, 16, 16, 40), (0, 13, 13, 30), (8, 29, 8, 29), (3, 9, 20, 21)])
def test_mirror_copies_what_is_above_the_diagonal(r0, r1, c0, c1):
    before = np.random.default_rng(0).standard_normal((40, 40))
    after = before.copy()
    mirror(after, r0, r1, c0, c1)
    for i in range(40):
        for j in range(40):
            copied = r0 <= j < r1 and c0 <= i < c1 and j < i
            assert after[i, j] == (before[j, i] if copied else before[i, j])


@pytest.mark.parametrize(("features", "machine", "expected"), [
    ({"avx512f": True, "avx": True}, "x86_64", (64, 8)), ({}, "x86_64", (16, 4)), ({"neon": True}, "aarch64", (16, 8))])
def test_vectors_of_other_processors(features, machine, expected, tmp_path):
    script = AS_IF.format(features=features, machine=machine, expected=expected, file=__file__)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
