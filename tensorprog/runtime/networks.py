"""Random matrices of a network: arrays of entries, where samples are those of a `network` (`sampling.Space`), a coordinate each.

A lazily sampled operator draws what it makes of a direction when it meets it, so that two runs which meet directions in different
order have different matrices. Here a matrix is drawn once, before anything is done with it: runs of two programs with the same
seed have the same matrices, and differ by what the programs do.
"""

from __future__ import annotations

import numpy as np

from tensorprog.runtime.sampling import Space


class NetworkMatrix:
    """A state of a matrix, with the methods of `matrices.Matrix`. Its value never changes.

    Args:
        rows, cols: the spaces, of as many coordinates N each.
        ratio: of both widths to the base width n.
        entries: such that `W @ x` is `entries @ x`: [N, N].
    """

    def __init__(self, rows: Space, cols: Space, ratio: float, entries: np.ndarray):
        self.rows, self.cols, self.ratio, self.entries = rows, cols, ratio, entries

    def zero(self) -> NetworkMatrix:
        """The zero matrix of the same shape."""
        return self._with(np.zeros_like(self.entries))

    def turned(self) -> NetworkMatrix:
        """The transpose."""
        return NetworkMatrix(self.cols, self.rows, self.ratio, self.entries.T)

    def add_outer(self, coef: float, left: np.ndarray, right: np.ndarray) -> NetworkMatrix:
        """self + coef * sum_b outer(left[b], right[b]); left [..., N of rows], right [..., N of cols]. Applied to x, outer(u, v) gives
        `ratio` times <v, x> u, by the mean over coordinates."""
        left, right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
        self.cols.note(len(right), self.cols.samples)
        return self._with(self.entries + (float(coef) * self.ratio / self.cols.samples) * (left.T @ right))

    def add(self, coef: float, other: NetworkMatrix, transposed: bool = False) -> NetworkMatrix:
        """self + coef * other (or its transpose)."""
        return self._with(self.entries + float(coef) * (other.entries.T if transposed else other.entries))

    def apply(self, x: np.ndarray, transposed: bool = False) -> np.ndarray:
        """The matrix (or its transpose) times each vector of x: [..., N] -> [..., N]."""
        space = self.rows if transposed else self.cols
        space.note(x.size // x.shape[-1], space.samples)
        return x @ (self.entries if transposed else self.entries.T)

    def _with(self, entries: np.ndarray) -> NetworkMatrix:
        return NetworkMatrix(self.rows, self.cols, self.ratio, entries)


def are_of_network(rows: Space, cols: Space, ratios: tuple[float, float]) -> bool:
    """Whether a matrix is to be one of a network. Widths that are not equal have other numbers of coordinates than samples."""
    return rows.network and cols.network and ratios[0] == ratios[1]


def normal_network_matrix(rows: Space, cols: Space, variance: float, ratio: float) -> NetworkMatrix:
    """A matrix of normal entries of variance `variance / n`, of N = ratio n rows and columns."""
    entries = rows.numbers((rows.samples, cols.samples))
    entries *= (variance * ratio / cols.samples) ** 0.5
    return NetworkMatrix(rows, cols, ratio, entries)
