"""Scrambled Sobol points: those of `scipy.stats.qmc.Sobol`, to the bit, without importing `scipy.stats`, which takes
longer than a small run.

Direction numbers of Joe and Kuo (2008), from the file that SciPy keeps them in; scrambling by a random lower triangular
matrix and a digital shift (Matousek 1998).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

BITS = 30


def sobol_points(dimension: int, log2_count: int, rng: np.random.Generator,
                 chosen: slice | np.ndarray = slice(None)) -> np.ndarray:
    """2**log2_count points in the unit cube, or those of them that are `chosen`, one a column: [dimension, count]."""
    if _direction_numbers() is None:
        return _by_scipy(dimension, log2_count, rng)[:, chosen]
    directions, shift = _scrambled(_directions(dimension), rng.spawn(1)[0])
    points = np.empty((dimension, 1 << log2_count), np.uint32)
    points[:, 0] = shift
    for j in range(log2_count):  # Gray code: the next half is the first one backwards, with one digit changed
        half = 1 << j
        np.bitwise_xor(points[:, half - 1::-1] if j else points[:, :1], directions[:, j, None],
                       out=points[:, half:2 * half])
    return points[:, chosen] * 2.0**-BITS


def _scrambled(directions: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scrambled directions [d, BITS], and the first point [d]; random numbers in SciPy's order."""
    dimension = len(directions)
    place = np.uint32(1) << np.arange(BITS, dtype=np.uint32)
    shift = rng.integers(0, 2, size=(dimension, BITS), dtype=np.uint32) @ place
    lower = np.tril(rng.integers(0, 2, size=(dimension, BITS, BITS), dtype=np.uint32))
    # With ones on the diagonal, scrambling is invertible.
    lower[:, np.arange(BITS), np.arange(BITS)] = 1
    rows = lower @ place[::-1]
    # A product over two elements: the parity of the digits that both have.
    digits = np.bitwise_count(rows[:, None, :] & directions[:, :, None]).astype(np.uint32) & np.uint32(1)
    return digits @ place[::-1], shift


@lru_cache(maxsize=4)
def _directions(dimension: int) -> np.ndarray:
    """Direction numbers [dimension, BITS] as integers of BITS digits (Bratley and Fox 1988, section 2). Kept, because
    they take longer than all that a small replicate draws."""
    found_numbers = _direction_numbers()
    assert found_numbers is not None, "asked only where this SciPy has them"
    polynomials, initial = found_numbers
    # The first dimension is van der Corput's sequence, all of whose numbers are 1.
    found = np.ones((dimension, BITS), np.uint64)
    degrees = np.array([int(p).bit_length() - 1 for p in polynomials[:dimension]])
    for degree in set(degrees[1:].tolist()):
        chosen = np.flatnonzero(degrees == degree)
        chosen = chosen[chosen > 0]
        rows = np.empty((len(chosen), BITS), np.uint64)
        rows[:, :degree] = initial[chosen, :degree]
        for j in range(degree, BITS):
            rows[:, j] = rows[:, j - degree]
            for k in range(degree):
                term = (polynomials[chosen] >> np.uint64(degree - 1 - k)) & np.uint64(1)
                rows[:, j] ^= term * (rows[:, j - k - 1] << np.uint64(k + 1))
        found[chosen] = rows
    return (found << np.arange(BITS - 1, -1, -1, dtype=np.uint64)).astype(np.uint32)


@lru_cache(maxsize=1)
def _direction_numbers() -> tuple[np.ndarray, np.ndarray] | None:
    """Polynomials and initial numbers by dimension; None if this SciPy has them elsewhere."""
    spec = find_spec("scipy")
    for folder in (None if spec is None else spec.submodule_search_locations) or ():
        path = Path(folder, "stats", "_sobol_direction_numbers.npz")
        if path.is_file():
            with np.load(path) as data:
                return data["poly"].astype(np.uint64), data["vinit"].astype(np.uint64)
    return None


def _by_scipy(dimension: int, log2_count: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.stats import qmc

    return qmc.Sobol(dimension, scramble=True, rng=rng).random_base2(log2_count).T
