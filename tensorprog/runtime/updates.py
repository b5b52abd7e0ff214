"""Matrices that are made by updates, and functions of them (docs/architecture.md).

In the limit such a matrix is a kernel D on pairs of independent coordinates, D @ x = E_b[D[a, b] x[b]] (TP IVb, Def.
2.6.5), and on particles an average over pairs. It is kept as what is cheapest: outer products of rows of particles, as
gradients are made, or an array [N of rows, N of cols], as entrywise functions are. Neither enters the lists of
directions of the random matrices that it is added to.

Widths of rows and columns over n are `ratios`: applied to x, a kernel gives `ratios[1]` times the average over columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.runtime.cross import crossed
from tensorprog.runtime.polar import polar_differential as polar_differential_of
from tensorprog.runtime.sampling import Space

if TYPE_CHECKING:  # it imports this module
    from tensorprog.runtime.matrices import Matrix

#: Arrays are float32: an entry's rounding is far below the error of an average over particles.
ENTRY = np.float32
#: Entries that are computed at a time, so that what is between stays in the cache.
BLOCK = 2**16
#: A singular value that is smaller than this, relative to the largest, is rounding; of float32 arrays, the second.
SMALLEST, SMALLEST_ENTRY = 1e-8, 1e-5
#: What may be left out of outer products that functions are taken of, and of those that are only applied.
EXACT, APPLIED = 1e-11, 1e-4
#: A function of entries that is only applied becomes outer products up to this tolerance times 1/sqrt(N): what is left
#: out changes averages by its square, as much as finitely many particles do. More than this share of the particles are
#: an array.
CROSSED, CROSSED_SHARE = 2.0, 1 / 16
#: Moments of gradients stay functions of outer products (of at most so many each) while an entry takes fewer operations
#: than this share of the particles: rows and columns of them are cheaper than an array then.
FEW, LIGHT_SHARE = 16, 0.09
#: Outer products become an array when they are more than this share of the particles.
DENSE_SHARE = 0.5


@dataclass(frozen=True)
class Low:
    """sum_k outer(left[k], right[k]): [k, N of rows] and [k, N of cols]."""

    left: np.ndarray
    right: np.ndarray

    def rows(self, at: slice | np.ndarray) -> np.ndarray:
        return self._single[0][:, at].T @ self._single[1]

    @cached_property
    def _single(self) -> tuple[np.ndarray, np.ndarray]:
        return self.left.astype(ENTRY), self.right.astype(ENTRY)

    def turned(self) -> Low:
        return Low(self.right, self.left)

    @property
    def work(self) -> float:
        """Operations for an entry."""
        return len(self.left)


@dataclass(frozen=True)
class Dense:
    """All entries: [N of rows, N of cols]."""

    array: np.ndarray

    def rows(self, at: slice | np.ndarray) -> np.ndarray:
        return self.array[at]

    def turned(self) -> Dense:
        return Dense(self.array.T)

    @property
    def work(self) -> float:
        """That of an array is done: nothing is gained by leaving it out."""
        return np.inf


@dataclass(frozen=True)
class Entries:
    """A function of entries, computed where they are needed. Numbers among the arguments are the same for all."""

    function: Callable[..., np.ndarray]
    args: tuple[float | Updates, ...]

    def rows(self, at: slice | np.ndarray) -> np.ndarray:
        return self.function(*(a.entries(at) if isinstance(a, Updates) else ENTRY(a) for a in self.args))

    def turned(self) -> Entries:
        return Entries(self.function, tuple(a.turned() if isinstance(a, Updates) else a for a in self.args))

    @property
    def work(self) -> float:
        """Operations for an entry; infinite for functions of many outer products, which have no low rank."""
        parts = [part for a in self.args if isinstance(a, Updates) for _, part in a.parts]
        if any(isinstance(part, Low) and part.work > FEW for part in parts):
            return np.inf
        return 1 + len(self.args) + sum(part.work for part in parts)


Part = Low | Dense | Entries


class Updates:
    """A matrix made by updates: a linear combination of parts. Its value never changes; its representation may."""

    def __init__(self, rows: Space, cols: Space, ratios: tuple[float, float],
                 parts: tuple[tuple[float, Part], ...] = (), rank: int = 0):
        self.rows, self.cols, self.ratios, self.parts = rows, cols, ratios, parts
        self._rank = rank  # of the outer products when they were compressed

    # --- building ---

    def zero(self) -> Updates:
        """The zero matrix of the same shape."""
        return self._with(())

    def add_outer(self, coef: float, left: np.ndarray, right: np.ndarray) -> Updates:
        """self + coef * sum_b outer(left[b], right[b]); left [..., N of rows], right [..., N of cols]."""
        low = Low(*(np.array(x).reshape(-1, x.shape[-1]) for x in (left, right)))
        return self._with((*self.parts, (float(coef), low)))

    def add(self, coef: float, other: Updates, transposed: bool = False) -> Updates:
        """self + coef * other (or its transpose); `other` may be a matrix without a random part."""
        # A part that both have, as the decayed second moment of Adam, is counted once, with the sum of its
        # coefficients.
        other = as_updates(other)
        other = other.turned() if transposed else other
        found = {id(part): (c, part) for c, part in self.parts}
        for c, part in other.parts:
            before = found[id(part)][0] if id(part) in found else 0.0
            found[id(part)] = (before + float(coef) * c, part)
        return self._with(tuple(found.values()), max(self._rank, other._rank))

    def turned(self) -> Updates:
        """The transpose."""
        parts = tuple((c, part.turned()) for c, part in self.parts)
        return Updates(self.cols, self.rows, self.ratios[::-1], parts, self._rank)

    def _with(self, parts: tuple[tuple[float, Part], ...], rank: int | None = None) -> Updates:
        return Updates(self.rows, self.cols, self.ratios, parts, self._rank if rank is None else rank)

    # --- representations ---

    def settled(self, entries: bool = False, smallest: float = EXACT) -> Updates:
        """The same matrix in a form that does not grow from update to update: an array if one is in it (or many
        `entries` will be asked for), else outer products, of which those below `smallest` of the largest are left out."""
        if entries and self._is_light():
            return self
        if entries or any(not isinstance(part, Low) for _, part in self.parts):
            alone = len(self.parts) == 1 and isinstance(self.parts[0][1], Dense)
            return self if alone or not self.parts else self._with(((1.0, Dense(self.array())),))
        count = sum(len(part.left) for _, part in self.parts if isinstance(part, Low))
        if len(self.parts) > 1 and count > 2 * self._rank + 8:
            return self.compressed(smallest)
        return self

    def _is_light(self) -> bool:
        """Whether rows and columns of entries, as cross approximation takes them, cost less than an array."""
        return sum(part.work for _, part in self.parts) <= LIGHT_SHARE * self.cols.samples

    def applied(self) -> Updates:
        """The matrix as outer products if it is close enough to few, for products with vectors alone."""
        rest = tuple(entry for entry in self.parts if not isinstance(entry[1], Low))
        if not rest:
            return self
        whole, turned = self._with(rest), self._with(rest).turned()
        samples = min(self.rows.samples, self.cols.samples)
        found = crossed(whole.entries, turned.entries, (self.rows.samples, self.cols.samples),
                        CROSSED / np.sqrt(samples), int(CROSSED_SHARE * samples))
        if found is None:
            return self
        return self._with((*(e for e in self.parts if isinstance(e[1], Low)), (1.0, Low(*found))))

    def compressed(self, smallest: float = EXACT, outer: bool = False) -> Updates:
        """Outer products of orthogonal vectors, those below `smallest` times the largest left out; an array if they are
        too many, unless `outer` products are asked for."""
        left, sizes, right = self._singular()
        kept = _above(sizes, smallest)
        sampled = isinstance(self.cols, Space)  # and not coefficients of exact vectors, which stay in float64
        if sampled and not outer and np.sum(kept) > DENSE_SHARE * self.cols.samples:
            return self.settled(entries=True)
        low = Low(left[kept] * sizes[kept, None], right[kept])
        return self._with(((1.0, low),), int(np.sum(kept)))

    def array(self) -> np.ndarray:
        """All entries, in float32: [N of rows, N of cols]."""
        out, matrix = np.empty((self.rows.samples, self.cols.samples), ENTRY), self.gathered()
        for at in _blocks(self):
            out[at] = matrix.entries(at)
        return out

    def entries(self, at: slice | np.ndarray) -> np.ndarray:
        """Some rows of entries, which the caller may not change."""
        if len(self.parts) == 1 and self.parts[0][0] == 1.0:
            return self.parts[0][1].rows(at)
        total = np.zeros((len(np.arange(self.rows.samples)[at]), self.cols.samples), ENTRY)
        for coef, part in self.parts:
            total += ENTRY(coef) * part.rows(at)
        return total

    def gathered(self) -> Updates:
        """The same matrix with its outer products in one part."""
        lows = [(coef, part) for coef, part in self.parts if isinstance(part, Low)]
        if len(lows) < 2:
            return self
        rest = tuple(entry for entry in self.parts if not isinstance(entry[1], Low))
        return self._with((*rest, (1.0, self._joined(lows))))

    def factors(self) -> Low | None:
        """The matrix as outer products; None if it is not made of these alone."""
        lows = [(coef, part) for coef, part in self.parts if isinstance(part, Low)]
        return self._joined(lows) if len(lows) == len(self.parts) else None

    def _joined(self, lows: Sequence[tuple[float, Low]]) -> Low:
        if not lows:
            return Low(np.zeros((0, self.rows.samples)), np.zeros((0, self.cols.samples)))
        left = np.concatenate([coef * part.left for coef, part in lows])
        return Low(left, np.concatenate([part.right for _, part in lows]))

    def _singular(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(left, sizes, right), with sum_k sizes[k] outer(left[k], right[k]) the matrix, rows orthonormal in the mean."""
        low = self.factors()
        root = np.sqrt(self.rows.samples)
        if low is None:
            u, sizes, vh = np.linalg.svd(self.array().astype(float))
            return u.T * root, sizes / root**2, vh * root
        # Singular values of outer products from two triangles of their size: sum_k outer(left[k], right[k]) = Q1 (R1
        # R2.T) Q2.T.
        one, first = np.linalg.qr(low.left.T)
        other, second = np.linalg.qr(low.right.T)
        u, sizes, vh = np.linalg.svd(first @ second.T)
        k = len(sizes)
        return (one @ u[:, :k]).T * root, sizes / root**2, (vh[:k] @ other.T) * root

    # --- applying ---

    def apply(self, x: np.ndarray, transposed: bool = False) -> np.ndarray:
        """The matrix (or its transpose) times each vector of x: [..., N] -> [..., N]."""
        matrix = self.turned() if transposed else self
        block = x.reshape(-1, x.shape[-1])
        scale = matrix.ratios[1] / block.shape[1]
        out = np.zeros((len(block), matrix.rows.samples))
        for coef, part in matrix.parts:
            if isinstance(part, Low):
                out += (scale * coef) * (block @ part.right.T) @ part.left
            else:
                array = part.array if isinstance(part, Dense) else matrix._with(((1.0, part),)).array()
                out += (scale * coef) * (array @ block.T.astype(ENTRY)).T
        return out.reshape(*x.shape[:-1], out.shape[-1])


def _above(sizes: np.ndarray, smallest: float) -> np.ndarray:
    return sizes > smallest * sizes[0] if len(sizes) and sizes[0] > 0 else np.zeros(len(sizes), bool)


def _is_random(matrix: Updates | Matrix) -> bool:
    return not isinstance(matrix, Updates) and bool(matrix._parts()[0])


def as_updates(matrix: Updates | Matrix) -> Updates:
    """A state of `runtime.matrices` without a random part, as outer products; others as they are."""
    if isinstance(matrix, Updates):
        return matrix
    roots, factors = matrix._parts()
    if roots:
        raise ValueError("a matrix with a random part")
    parts = tuple((f.coef, Low(f.left, f.right)) for f in factors)
    apart = matrix.separate.parts if matrix.separate is not None else ()
    return Updates(matrix.rows, matrix.cols, matrix.ratios, (*parts, *apart))


# --- functions -----------------------------------------------------------------------------------------------


def entrywise(function: Callable[..., np.ndarray], *args: float | Updates | Matrix) -> Updates:
    """A function of the entries of matrices of one shape, and of numbers."""
    operands = tuple(float(a) if isinstance(a, int | float | np.number | np.ndarray) else as_updates(a).gathered()
                     for a in args)
    like = next(a for a in operands if isinstance(a, Updates))
    return Updates(like.rows, like.cols, like.ratios, ((1.0, Entries(function, operands)),))


def product(left: Updates, right: Updates) -> Updates:
    """left @ right: ratios[1] of the left one times the average over what they share."""
    left, right = as_updates(left), as_updates(right)
    shape = left.rows, right.cols, (left.ratios[0], right.ratios[1])
    one, other = left.factors(), right.factors()
    if one is not None and (other is None or len(one.left) <= len(other.left)):
        found: Low | Dense = Low(one.left, right.apply(one.right, transposed=True))
    elif other is not None:
        found = Low(left.apply(other.left), other.right)
    else:
        found = Dense(ENTRY(left.ratios[1] / left.cols.samples) * (left.array() @ right.array()))
    return Updates(*shape, ((1.0, found),))


def polar(matrix: Updates) -> Updates:
    """The matrix with the same singular vectors, and 1 for the singular values that are not 0 (theory: finite linear
    algebra on moments, because outer products stay of finite rank)."""
    matrix = as_updates(matrix)
    left, sizes, right = _vectors(matrix)
    return matrix._with(((1.0, Low(left, right)),), len(sizes))


def polar_differential(matrix: Updates, *directions: Updates) -> Updates:
    """The differential of the polar factor in some directions (`runtime.polar`)."""
    matrix = as_updates(matrix)
    left, sizes, right = _vectors(matrix)
    # Rows of particles times these have sums of products for the inner product of vectors of the limit, n = 1.
    rows, cols = (np.sqrt(ratio / x.shape[1]) for ratio, x in zip(matrix.ratios, (left, right)))

    def applied(b: Updates, x: np.ndarray, transposed: bool) -> np.ndarray:
        before, after = (rows, cols) if transposed else (cols, rows)
        return after * b.apply(x / before, transposed)

    maps = [partial(applied, b) for b in directions]
    one, other = polar_differential_of(rows * left, sizes, cols * right, maps)
    return matrix._with(((1.0, Low(one / rows, other / cols)),))


def _vectors(matrix: Updates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(left, sizes, right) with the matrix the sum of sizes[k] outer(left[k], right[k]), rows orthonormal in the sum over
    coordinates for n = 1, without what is rounding."""
    left, sizes, right = matrix._singular()
    if not np.all(np.isfinite(sizes)):
        raise FloatingPointError("the polar factor of a matrix that is not finite")
    kept = _above(sizes, SMALLEST if matrix.factors() is not None else SMALLEST_ENTRY)
    rows, cols = np.sqrt(matrix.ratios)
    return left[kept] / rows, sizes[kept] * (rows * cols), right[kept] / cols


def matrix_dot(left: Updates, right: Updates) -> float:
    """The limit of the sum of the products of the entries: the average over pairs of particles. One of the two may have
    a random part, which is applied to what the other is made of."""
    if left is right:
        return max(0.0, _dot(as_updates(left), as_updates(left)))  # rounding must not make it negative
    if _is_random(left):
        left, right = right, left
    if not _is_random(right):
        return _dot(as_updates(left), as_updates(right))
    low = as_updates(left).compressed(APPLIED, outer=True).factors()
    assert low is not None, "compressed to outer products"
    return _applied_dot(low, right)


def _applied_dot(low: Low, other: Updates | Matrix) -> float:
    """The inner product of outer products with a matrix of `runtime.matrices`, or with another kernel."""
    applied = other.apply(low.right) / other.ratios[1]
    return other.ratios[0] * other.ratios[1] * float(np.sum(low.left * applied)) / low.left.shape[1]


def _dot(left: Updates, right: Updates) -> float:
    scale = left.ratios[0] * left.ratios[1]
    low, other = (left.factors(), right) if left.factors() is not None else (right.factors(), left)
    if low is not None:
        return _applied_dot(low, other)
    total = sum(float(np.sum(left.entries(at) * right.entries(at), dtype=float)) for at in _blocks(left))
    return scale * total / (left.rows.samples * left.cols.samples)


def _blocks(matrix: Updates) -> Iterator[slice]:
    """Blocks of rows."""
    step = max(1, BLOCK // matrix.cols.samples)
    for start in range(0, matrix.rows.samples, step):
        yield slice(start, start + step)


def update_matrix(rows: Space, cols: Space, ratios: tuple[float, float], tolerance: float | None) -> Updates:
    """A zero matrix that functions are taken of, or that they are added to."""
    return Updates(rows, cols, ratios)
