"""Randomized quasi-Monte Carlo samples of one space: fresh coordinates, drawn when they are needed.

A space holds N particles. Its coordinates come from scrambled Sobol sequences in blocks: the first block as it is, each
later one with the particles independently permuted (Latin supercube), because independent scramblings must not be
combined point by point (docs/architecture.md). Normal coordinates are made orthogonal to the constant and to the
earlier normal ones, or to the principal axes of these, and normalized (moment matching).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tensorprog.runtime.directions import Directions
from tensorprog.runtime.laws import draw
from tensorprog.runtime.sobol import sobol_points

FIRST_BLOCK = 256
LATER_BLOCK = 128

# What is smaller than this, relative to the largest, is rounding.
NEGLIGIBLE = {np.dtype("float64"): 1e-14, np.dtype("float32"): 1e-6}
# The share of directions in particles beyond which truncation and noise are no longer small.
CROWDED = 0.5
# The share of the directions that there is room for which is kept where room ends. Measured in residual networks, errors
# hardly depend on it between a tenth and a half, and a small one costs less.
KEPT = 0.25
# A space by itself, and not a part of a larger one.
WHOLE = (0, 1)
# Plain samples with matrices that are drawn once, as arrays.
NETWORK = "network"


class Space:
    """The sample space of the vectors that are mixed coordinatewise.

    Args:
        samples: N, the number of particles.
        seed: of this space in this replicate.
        mirrored: pair each particle with one in which the `mirror` vectors have the opposite sign (antithetic). N
            must be even then.
        plain: independent samples, nothing orthogonal and nothing mirrored: averages fluctuate about their limits like
            those of a network of width N. `NETWORK`: matrices are arrays of entries, too (`networks`).
        dtype: of vectors, float64 or float32.
        part: (i, k), to take the i-th of k parts, N points each, of the sequence that a space of k*N particles has.
    """

    def __init__(self, samples: int, seed: np.random.SeedSequence, *, mirrored: bool = False, plain: bool | str = False,
                 part: tuple[int, int] = WHOLE, dtype: np.dtype | str = "float64"):
        self.samples = samples
        self.entry = np.dtype(dtype)
        self.plain, self.network = bool(plain), plain == NETWORK
        self._part = part
        mirrored = self.mirrored = mirrored and not plain
        self._points = samples // 2 if mirrored else samples
        self._generator = np.random.default_rng(seed)
        self._block: np.ndarray | None = None
        self._used = 0
        self._blocks = 0
        self.rank = self.work = 0
        # What fresh normals are made orthogonal to: the constant, the earlier normals, and what was `remember`ed.
        self._known = Directions(samples, self.entry)

    def uniform(self, count: int) -> np.ndarray:
        """`count` fresh coordinates, uniform on (0, 1): [count, N]."""
        if self.plain:
            # 0 would have an infinite quantile.
            return np.maximum(self._generator.random((count, self.samples)), 2.0**-53)
        rows = np.concatenate([self._take(part) for part in _split(count, LATER_BLOCK)])
        return np.concatenate([rows, rows], axis=1) if self.mirrored else rows

    def numbers(self, shape: tuple[int, ...]) -> np.ndarray:
        """Independent standard normal numbers, for what is not a vector of the space."""
        return self._generator.standard_normal(shape)

    def draw(self, law: str, count: int, args: tuple[float, ...], *, mirror: bool = False) -> np.ndarray:
        """`count` independent vectors with iid coordinates of a law: `laws.draw`."""
        return draw(self, law, count, args, mirror=mirror).astype(self.entry, copy=False)

    def draw_along(self, law: str, count: int, args: tuple[float, ...], shape: tuple[int, ...], axis: int,
                   inputs: tuple[tuple[np.ndarray, int], ...], only: bool) -> np.ndarray:
        """`draw` of normal vectors that are summed with inputs over one of their axes: along the principal axes of the
        inputs, those with most energy first.

        Args:
            shape: of the result, the particles last; `axis` is the one that is summed.
            inputs: arrays, with the number of their axis that is summed.
            only: nothing else is done with the vectors, so that what no input has a part of is left at zero.
        """
        size = shape[axis]
        others = count // size if size else 0
        axes = None if self.plain or not others else principal_axes(size, inputs, only)
        if axes is None:
            return self.draw(law, count, args)
        mean, variance = args
        rows = self.normal(len(axes) * others).reshape(len(axes), -1)
        found = ((float(variance)**0.5 * axes.T).astype(self.entry) @ rows).reshape(size, *shape[:axis], *shape[axis + 1:])
        return np.moveaxis(found, 0, axis) + self.entry.type(mean)

    def readout(self, uniform: np.ndarray, args: tuple[float, ...], features: list[np.ndarray]) -> np.ndarray:
        """Normal vectors from fresh coordinates, [count, N], made orthogonal to features that they are independent of in
        the limit, or, if these are too many, to their leading directions."""
        mean, variance = args
        rows = self._match(_quantiles(uniform), outside=features) if len(uniform) else uniform
        return self.entry.type(variance**0.5) * rows + self.entry.type(mean)

    def normal(self, count: int, *, mirror: bool = False) -> np.ndarray:
        """`count` fresh standard normal coordinates: [count, N], orthonormal in the mean inner product.

        With `mirror`, the coordinates change sign between the two halves of a mirrored space.
        """
        rows = _quantiles(self.uniform(count))
        if mirror and self.mirrored:
            rows[:, self._points:] *= -1.0
        return self._match(rows)

    def _take(self, count: int) -> np.ndarray:
        """`count` coordinates of one Sobol block, [count, points]."""
        if self._block is None or self._used + count > len(self._block):
            self._block = self._new_block(count)
            self._used = 0
        rows = self._block[self._used:self._used + count]
        self._used += count
        return rows

    def _new_block(self, coordinates: int) -> np.ndarray:
        size = max(coordinates, FIRST_BLOCK if self._blocks == 0 else LATER_BLOCK)
        number, parts = self._part
        count = parts * self._points
        chosen = slice(number * self._points, (number + 1) * self._points)
        columns = self._generator.permutation(count)[chosen] if self._blocks else chosen
        points = sobol_points(size, max(0, (count - 1).bit_length()), self._generator, columns)
        self._blocks += 1
        # Sobol points lie on a grid that includes 0; move them to the cells' interiors.
        return np.ascontiguousarray(np.clip(points, 2.0**-33, 1.0 - 2.0**-33))

    def _match(self, rows: np.ndarray, outside: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Orthogonalize against the constant, earlier normals and other vectors and normalize, as far as N allows."""
        rows = rows.astype(self.entry, copy=False)
        room = self._room(len(rows))
        if room <= 0:
            return rows
        head = self._known.outside(rows[:room])
        if len(outside):
            directions = self._leading(np.concatenate(outside))
            head = head - (head @ directions.T / self.samples) @ directions
        head = _orthonormal(head)
        self._known.append(head)
        return np.concatenate([head, rows[room:]]) if len(rows) > room else head

    def remember(self, directions: np.ndarray, vectors: np.ndarray) -> None:
        """Keep later normals orthogonal to directions, [k, N], that they are independent of in the limit.

        `vectors`, [B, N], are those that the directions were taken for.
        For the inputs of a matrix this makes its transpose the exact adjoint.
        """
        if self.plain or self.mirrored:
            self._known.append_span(directions[:max(0, self._room(0))])
            return
        self._known.append_span(directions)
        self._known.meet(vectors)
        # Only now it is known which directions have energy.
        self._room(0)

    def note(self, vectors: int, count: int) -> None:
        """A matrix that knows so many directions of this space is applied to vectors."""
        self.rank = max(self.rank, count)
        self.work += vectors * count

    def _leading(self, rows: np.ndarray) -> np.ndarray:
        """Orthonormal directions of the parts of vectors outside the basis, at most a quarter of N: by QR with pivoting, which
        takes the longest first and what is only rounding last."""
        from scipy.linalg import qr

        basis, triangle, _ = qr(self._known.outside(rows).T, mode="economic", pivoting=True)
        sizes = np.abs(np.diag(triangle))
        count = int(np.sum(sizes > NEGLIGIBLE[self.entry] * self.samples**0.5))
        return basis.T[:min(count, self.samples // 4)] * self.samples**0.5

    def _room(self, wanted: int) -> int:
        """How many more vectors normals may be orthogonal to without losing their law. If `wanted` are too many, known
        directions make room; not in a mirrored space, where axes would mix vectors that change sign with others."""
        if self.plain:
            return 0
        most = self.samples // (4 if self.mirrored else 2)
        if self._known.count + wanted > most and not self.mirrored:
            self._known.shrink(max(1, int(KEPT * most)))
        return most - self._known.count


def _quantiles(uniform: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    return ndtri(uniform)


def principal_axes(size: int, inputs: Sequence[tuple[np.ndarray, int]], only: bool) -> np.ndarray | None:
    """Orthonormal rows [k, size], the axis first along which the inputs have most energy; with `only` no more than have
    some. None if the inputs are not numbers."""
    energy = np.zeros((size, size))
    for array, axis in inputs:
        rows = np.moveaxis(np.asarray(array, dtype=float), axis, -1).reshape(-1, size)
        energy += rows.T @ rows
    if not np.all(np.isfinite(energy)):
        return None
    values, vectors = np.linalg.eigh(energy)
    count = max(1, int(np.sum(values > 1e-14 * values[-1]))) if only else size
    return vectors[:, ::-1][:, :count].T


class Notes:
    """What replicates tell beside their results. `crowded` has (directions, particles) of those in which matrices were
    applied to more directions than particles resolve; `work` is the number of products of vectors with directions, times
    particles, of the last one."""

    def __init__(self) -> None:
        self.crowded: list[tuple[int, int]] = []
        self.work = 0

    def take(self, spaces: Sequence[Space]) -> None:
        """Note what the spaces of a replicate have seen."""
        rank = max((space.rank for space in spaces), default=0)
        if spaces and rank > CROWDED * spaces[0].samples:
            self.crowded.append((rank, spaces[0].samples))
        self.work = sum(space.work * space.samples for space in spaces)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    """The rows orthonormalized symmetrically (Loewdin), which moves each of them as little as possible."""
    samples = rows.shape[1]
    if len(rows) == 1:
        return rows / float(np.mean(rows**2, dtype=float))**0.5
    values, vectors = np.linalg.eigh((rows @ rows.T / samples).astype(float))
    return ((vectors / np.sqrt(values)) @ vectors.T).astype(rows.dtype) @ rows


def _split(count: int, size: int) -> list[int]:
    """`count` in parts of at most `size`."""
    parts = [size] * (count // size)
    return parts + [count % size] if count % size or not parts else parts
