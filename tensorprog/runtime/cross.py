"""Cross approximation: a matrix as few outer products, from some of its rows and columns.

Coordinates are exchangeable, so that rows are samples of one law and some of them have the principal axes of all; what
multiplies these in each row follows from some columns by least squares (a column and row decomposition: Drineas, Kannan
and Mahoney, "Fast Monte Carlo algorithms for matrices III", 2006).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Rows to begin with, and how many rows and columns are taken for each outer product.
FIRST, OVER = 64, 4
#: Rows by which the result is checked.
CHECKED = 32

Lines = Callable[[np.ndarray], np.ndarray]


def crossed(rows: Lines, columns: Lines, shape: tuple[int, int], tolerance: float,
            most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(left [k, rows], right [k, columns]) with sum_k outer(left[k], right[k]) the matrix, up to `tolerance` times its
    Frobenius norm, as estimated from rows that were not used; None if that takes more than about `most` outer products.

    Args:
        rows: some rows of the matrix by their numbers.
        columns: some columns, each as a row.
    """
    rng = np.random.default_rng(shape)
    order, across = rng.permutation(shape[0]), rng.permutation(shape[1])
    checked, order = order[:CHECKED], order[CHECKED:]
    sample = np.empty((0, shape[1]))
    expected = rows(checked).astype(float)
    whole = float(np.sum(expected**2))
    count = FIRST
    while 0 < whole < np.inf and count <= min(OVER * most, len(order)):
        sample = np.concatenate([sample, rows(order[len(sample):count])])
        right = _axes(sample, tolerance / 2)
        taken = across[: max(FIRST, OVER * len(right))]
        # A sample shows the axes of all rows only if it is several times as large as their number.
        if OVER * len(right) <= count and len(taken) >= OVER * len(right):
            left = np.linalg.pinv(right[:, taken].T) @ columns(taken)
            if np.sum((expected - left[:, checked].T @ right)**2) <= tolerance**2 * whole:
                return left, right
        count *= 2
    return None


def _axes(sample: np.ndarray, tolerance: float) -> np.ndarray:
    """Orthonormal rows [k, N] that leave less than the tolerance of a sample of rows."""
    with np.errstate(invalid="ignore"):
        gram = sample @ sample.T
    if not np.all(np.isfinite(gram)):
        return sample
    sizes, vectors = np.linalg.eigh(gram)
    # Small ones come first: what is dropped adds up to the tolerance's square of the energy.
    kept = np.cumsum(np.maximum(sizes, 0.0)) > tolerance**2 * np.trace(gram)
    return (vectors[:, kept] / np.sqrt(sizes[kept])).T @ sample
