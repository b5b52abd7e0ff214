"""Gram products of pairs of rows, which a tape does not go through entry by entry: BLAS computes them for a block of
pairs, as products of some rows of the inputs with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tensorprog.runtime.compiling import njit

#: Of an axis of an input that is summed over, in place of the position in a key.
SUMMED = -1


@dataclass(frozen=True)
class Factor:
    """An input's entry under a sum: the input's place in the environment, and of each of its axes the position in a key
    that holds the index, or SUMMED; `row` is the axis of rows."""

    place: int
    axes: tuple[int, ...]
    row: int

    def is_of(self, row: int, key: np.ndarray) -> bool:
        """Whether the entry is of the first (0) or second (1) row of a pair."""
        return bool(key[self.axes[self.row]] == row)

    def fixed(self, key: np.ndarray) -> tuple[int, ...]:
        """The indices of the other axes."""
        return tuple(int(key[axis]) for k, axis in enumerate(self.axes) if axis != SUMMED and k != self.row)

    def matrix(self, env: Sequence, rows: np.ndarray, fixed: tuple[int, ...]) -> np.ndarray:
        """The entries [rows, summed] at some indices of the other axes."""
        others = iter(fixed)
        index = tuple(slice(None) if axis == SUMMED or k == self.row else next(others)
                      for k, axis in enumerate(self.axes))
        values = env[self.place][index]
        # Rows first, the summed axis last.
        if self.axes.index(SUMMED) < self.row:
            values = values.T
        return np.ascontiguousarray(values[rows])


class Products:
    """The Gram products of some keys, for rows and columns.

    Attributes:
        order: the numbers of the keys, in the order in which `block` returns their products.
    """

    def __init__(self, grams: Mapping[int, tuple[Factor, Factor]], keys: np.ndarray, env: Sequence, rows: np.ndarray,
                 columns: np.ndarray) -> None:
        self.order: list[int] = []
        self._groups: list[tuple[list[np.ndarray], np.ndarray]] = []
        lefts: dict[tuple, np.ndarray] = {}
        for (right, fixed), members in _by_right(grams, keys).items():
            self.order += [number for number, _ in members]
            chosen = []
            for _, (left, indices) in members:
                if (left, indices) not in lefts:
                    lefts[left, indices] = left.matrix(env, rows, indices)
                chosen.append(lefts[left, indices])
            self._groups.append((chosen, right.matrix(env, columns, fixed)))

    def block(self, rows: range, columns: range) -> np.ndarray:
        """The products [keys, rows, columns] for a block of pairs."""
        found = np.empty((len(self.order), len(rows), len(columns)))
        start = 0
        for lefts, right in self._groups:
            # Left factors with the same right one stand below each other, for one product of matrices.
            some = np.concatenate([left[rows.start:rows.stop] for left in lefts])
            part = found[start:start + len(lefts)].reshape(len(some), len(columns))
            np.matmul(some, right[columns.start:columns.stop].T, out=part)
            start += len(lefts)
        return found


def _by_right(grams: Mapping[int, tuple[Factor, Factor]], keys: np.ndarray) -> dict[tuple, list]:
    """The keys' numbers and left factors with their indices, for each right factor with its indices."""
    found: dict[tuple, list] = {}
    for number, key in enumerate(keys):
        # The factor of the first row is the left one.
        left, right = sorted(grams[int(key[0])], key=lambda factor: factor.is_of(1, key))
        found.setdefault((right, right.fixed(key)), []).append((number, (left, left.fixed(key))))
    return found


@njit(cache=True, nogil=True)
def take(table, products, i, j):
    """table[key, pair] = products[key, i[pair], j[pair]]."""
    for k in range(len(products)):
        for pair in range(len(i)):
            table[k, pair] = products[k, i[pair], j[pair]]
