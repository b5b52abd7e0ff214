"""The pairs of a kernel that a tile cannot do: nearly equal rows, long series, numbers that are not finite.

They are computed one list at a time by the same recursion in NumPy, in which every pair is twice: as it is, and with
correlations moved by rounding errors and expectations by the errors of theirs. The difference is the error of the result.
Where two rows are equal, the result is that of the diagonal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tensorprog.runtime.pairs import PairKernel, Record

#: Pairs of a list, and nearly equal pairs whose error is found one by one; it is taken from a sample of more.
LIST, MOST_NEAR = 1 << 14, 1 << 15
#: What correlations keep from 1: beyond, rounding errors are looked at.
NEAR = 1e-5
#: Errors of kernels from series, relative to the roots of both rows' diagonal values.
SERIES = 1e-12
#: By how many units in the last place correlations are moved, and how much larger than what that does errors are.
MOVED, SAFETY = 4.0, 2.0


@dataclass
class PairError:
    """The errors of an output [N1, N2]: `relative` to the values and to the roots of both rows' diagonal values
    [N1], [N2], but for `pairs` (rows, columns), whose own errors are given."""

    relative: float
    left: np.ndarray
    right: np.ndarray
    pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def dense(self, values: np.ndarray) -> np.ndarray:
        """[N1, N2]; infinite where a value is not finite."""
        if not self.relative:
            found = np.zeros(values.shape)
        else:
            found = self.relative * np.maximum(np.outer(self.left, self.right), np.abs(values))
        for i, j, errors in self.pairs:
            found[i, j] = np.maximum(found[i, j], errors)
        return np.where(np.isfinite(values), found, np.inf)

    def worst(self, values: np.ndarray) -> float:
        """The largest error, relative to the value or the size of the rows' own."""
        worst = self.relative
        for i, j, errors in self.pairs:
            size = np.maximum(self.left[i] * self.right[j], np.abs(values[i, j]))
            with np.errstate(all="ignore"):
                found = np.where(size > 0, errors / size, np.where(errors > 0, np.inf, 0.0))
            worst = max(worst, float(np.max(found, initial=0.0)))
        return worst


class Pairs:
    """What an emitted `listed` function asks for: of rows i on the left and j on the right, in the record's order. Each
    pair is there as it is and then moved.

    Attributes:
        doubt: [pairs], whether rows are nearly equal or a series has an error that the kernel's own does not cover.
    """

    def __init__(self, record: Record, i: np.ndarray, j: np.ndarray) -> None:
        self.record, self.i, self.j = record, i, j
        self.moved = np.arange(len(i)) % 2 == 1
        self.factor = np.where(self.moved, 1 - MOVED * np.finfo(float).eps, 1.0)
        self.doubt = np.zeros(len(i) // 2, bool)
        self._row = self._call = 0

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The next quantity of one index, on both sides."""
        values = self.record.values[self._row]
        self._row += 1
        return values[self.i], values[self.j]

    def correlation(self, c: np.ndarray) -> np.ndarray:
        self.doubt |= ~(np.abs(np.broadcast_to(c, self.i.shape)[::2]) <= 1 - NEAR)
        return c * self.factor

    def covariance(self, k: np.ndarray) -> np.ndarray:
        return k * self.factor

    def sums(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next series at correlations c."""
        call = self.record.calls[self._call]
        self._call += 1
        value, integral, error = call.at(self.i, self.j, np.broadcast_to(c, self.i.shape))
        self.doubt |= ~(error <= SERIES * call.units(self.i, self.j))[::2]
        moved = np.where(self.moved, error, 0.0)
        return value + moved, integral + moved


@dataclass
class Careful:
    """A kernel with the data of a call; rows of `record` are those of the left, then, unless `own`, of the right."""

    kernel: PairKernel
    record: Record
    left: Mapping[str, np.ndarray]
    right: Mapping[str, np.ndarray]
    params: Mapping[str, float]
    sizes: tuple[int, ...]
    own: bool
    n1: int
    diagonals: Sequence[np.ndarray]

    def correct(self, marked: np.ndarray, outputs: Sequence[np.ndarray], errors: Sequence[PairError],
                symmetric: bool) -> None:
        """Writes marked pairs [pairs, (row, column, mark)] anew; those with mark 1 have a value already."""
        order = np.lexsort((marked[:, 1], marked[:, 0]))
        i, j, mark = marked[order].astype(np.int64).T
        if self.own:
            i, j, mark = (x[i != j] for x in (i, j, mark))
        equal = self._equal(i, j)
        values, found = self._diagonal(i[equal])
        self._write(i[equal], j[equal], values, found, outputs, errors, symmetric)
        near = np.flatnonzero(~equal & (mark == 1))
        if len(near) > MOST_NEAR:
            # With a seed of its own: errors are the same in every run.
            chosen = np.random.default_rng(0).choice(near, MOST_NEAR, replace=False)
            self._spread(i, j, np.sort(chosen), np.setdiff1d(near, chosen), outputs, errors, symmetric)
            near = np.sort(chosen)
        self._recompute(i, j, np.concatenate([np.flatnonzero(~equal & (mark > 1)), near]), outputs, errors, symmetric)

    def _recompute(self, i: np.ndarray, j: np.ndarray, chosen: np.ndarray, outputs: Sequence[np.ndarray],
                   errors: Sequence[PairError], symmetric: bool) -> None:
        for start in range(0, len(chosen), LIST):
            some = chosen[start:start + LIST]
            values, found = self._values(i[some], j[some])
            self._write(i[some], j[some], values, found, outputs, errors, symmetric)

    def _spread(self, i: np.ndarray, j: np.ndarray, sample: np.ndarray, others: np.ndarray, outputs: Sequence[np.ndarray],
                errors: Sequence[PairError], symmetric: bool) -> None:
        """Errors of the others, as large as the largest of a sample relative to the rows."""
        values, found = self._values(i[sample[:LIST]], j[sample[:LIST]])
        for _, error, own in zip(outputs, errors, found):
            size = error.left[i[sample[:LIST]]] * error.right[j[sample[:LIST]]]
            worst = float(np.max(own / np.where(size > 0, size, 1.0), initial=0.0))
            bounds = worst * error.left[i[others]] * error.right[j[others]]
            self._note(error, i[others], j[others], bounds, symmetric)

    def _write(self, i: np.ndarray, j: np.ndarray, values: Sequence[np.ndarray], found: Sequence[np.ndarray],
               outputs: Sequence[np.ndarray], errors: Sequence[PairError], symmetric: bool) -> None:
        for array, error, value, own in zip(outputs, errors, values, found):
            array[i, j] = value
            if symmetric:
                array[j, i] = value
            self._note(error, i, j, own, symmetric)

    @staticmethod
    def _note(error: PairError, i: np.ndarray, j: np.ndarray, own: np.ndarray, symmetric: bool) -> None:
        if len(i):
            error.pairs.append((i, j, own))
            if symmetric:
                error.pairs.append((j, i, own))

    def _equal(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Whether both rows of pairs are the same."""
        names = [(one, two) for one, two in self.kernel.grams] + [(name, name) for name in self.kernel.inputs]
        found = np.ones(len(i), bool)
        for one, two in {tuple(sorted(pair)) for pair in names}:
            for name in {one, two}:
                a, b = np.asarray(self.left[name], np.float64), np.asarray(self.right[name], np.float64)
                for start in range(0, len(i), LIST):
                    some = slice(start, start + LIST)
                    same = a[i[some]] == b[j[some]]
                    found[some] &= same.reshape(len(same), -1).all(axis=1)
        return found

    def _diagonal(self, rows: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        values = [np.broadcast_to(d, (self.record.n,))[rows] for d in self.diagonals]
        return values, [np.zeros(len(rows)) for _ in values]

    def _values(self, i: np.ndarray, j: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The outputs of pairs, and their errors where there is a doubt."""
        numbers = [float(self.params[name]) for name in self.kernel.params]
        rows, columns = np.repeat(i, 2), np.repeat(j if self.own else j + self.n1, 2)
        with np.errstate(all="ignore"):
            grams = [np.repeat(self._gram(one, two, i, j), 2) for one, two in self.kernel.grams]
            pairs = Pairs(self.record, rows, columns)
            both = [np.broadcast_to(v, rows.shape) for v in self.kernel.listed(pairs, grams, numbers, self.sizes)]
            errors = [SAFETY * np.abs(v[::2] - v[1::2]) for v in both]
            errors = [np.where(pairs.doubt | ~np.isfinite(error), error, 0.0) for error in errors]
        return [v[::2] for v in both], [np.where(np.isnan(error), np.inf, error) for error in errors]

    def _gram(self, one: str, two: str, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        a, b = np.asarray(self.left[one], np.float64), np.asarray(self.right[two], np.float64)
        step = max(1, (1 << 22) // max(a.shape[1], 1))
        return np.concatenate([np.vecdot(a[i[k:k + step]], b[j[k:k + step]]) for k in range(0, len(i), step)])
