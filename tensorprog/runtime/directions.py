"""The directions that fresh normal vectors are made orthogonal to: a sketch of all vectors that matrices have met.

Layers that share a space, as those of a residual network do, take more directions than fresh vectors can be orthogonal
to. Few of them matter: inputs of consecutive layers are nearly the same. So where room ends, the principal axes of what
was met are kept (frequent directions: Liberty, "Simple and deterministic matrix sketching", KDD 2013), and not what
happened to come first.
"""

from __future__ import annotations

import numpy as np

from tensorprog.runtime.algebra import squares

# The energy of a fresh vector before a matrix has met it, where that of a met vector is 1.
FRESH = 1.0
# A direction with less than this share of what was to be appended is rounding.
LEAST = 1e-6
# The share of a row's square that has to be left for one step of orthogonalization to be enough.
LEFT = 0.5


class Directions:
    """Orthonormal rows of particles (mean inner product), the constant first, and the energy of met vectors in them.

    Args:
        samples: N, the number of particles.
        entry: the type of rows.
    """

    def __init__(self, samples: int, entry: np.dtype):
        self.samples, self.entry = samples, entry
        self.count = 1
        self._rows = np.ones((1, samples), entry)
        # The sum over met vectors of the outer products of their coordinates. The constant stays whatever its energy.
        self._energy = np.zeros((1, 1), entry)

    @property
    def array(self) -> np.ndarray:
        """The directions: [count, N]."""
        return self._rows[: self.count]

    def outside(self, rows: np.ndarray) -> np.ndarray:
        """The rows' parts orthogonal to all directions: [k, N]."""
        found = self._once_outside(rows)
        # A step leaves rounding relative to what it was given, which a second one takes away ("twice is enough": Giraud, Langou,
        # Rozloznik and van den Eshof, 2005). Rows that have lost little do without. So written that NaN counts as lost.
        lost = np.flatnonzero(~(squares(found) > LEFT * squares(rows)))
        if len(lost):
            found[lost] = self._once_outside(found[lost])
        return found

    def _once_outside(self, rows: np.ndarray) -> np.ndarray:
        return rows - (rows @ self.array.T / self.samples) @ self.array

    def append(self, rows: np.ndarray, energy: float = FRESH) -> None:
        """Further directions, [k, N], orthonormal and orthogonal to the others."""
        needed = self.count + len(rows)
        if needed > len(self._rows):
            size = max(needed, 2 * len(self._rows))
            self._rows = _grown(self._rows, (size, self.samples))
            self._energy = _grown(self._energy, (size, size))
        new = slice(self.count, needed)
        self._rows[new] = rows
        self._energy[new, :needed] = self._energy[:needed, new] = 0.0
        self._energy[range(self.count, needed), range(self.count, needed)] = energy
        self.count = needed

    def append_span(self, rows: np.ndarray) -> None:
        """Directions that span the parts of rows, [k, N], outside of the others."""
        outside = self.outside(rows)
        values, axes = np.linalg.eigh((outside @ outside.T / self.samples).astype(float))
        kept = values > LEAST
        self.append((axes[:, kept] / np.sqrt(values[kept])).T.astype(rows.dtype) @ outside, 0.0)

    def meet(self, vectors: np.ndarray) -> None:
        """Count vectors, [k, N], as met. Their sizes do not matter."""
        shares = vectors @ self.array.T
        sizes = np.sqrt(self.samples * squares(vectors))
        with np.errstate(all="ignore"):
            shares = shares / sizes[:, None].astype(self.entry)
        shares = shares[np.all(np.isfinite(shares), axis=1)]
        self._energy[: self.count, : self.count] += shares.T @ shares

    def shrink(self, count: int) -> None:
        """Keep the constant and the `count` - 1 axes of most energy, less the largest energy that is dropped."""
        if self.count <= count:
            return
        values, axes = np.linalg.eigh(self._energy[1:self.count, 1:self.count].astype(float))
        first = len(values) - (count - 1)
        self._rows[1:count] = axes[:, first:].T.astype(self.entry) @ self._rows[1:self.count]
        self._energy[:count, :count] = 0.0
        # Less what was dropped at most (frequent directions), so that what is met from now on can take the place of
        # what is kept.
        self._energy[range(1, count), range(1, count)] = values[first:] - values[first - 1]
        self.count = count


def _grown(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    grown = np.empty(shape, array.dtype)
    grown[: array.shape[0], : array.shape[1]] = array
    return grown
