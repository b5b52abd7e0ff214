"""A random matrix as a lazily sampled operator (design, section 3): the conditioning argument by which the Master
Theorem is proved, run as an algorithm. No n x n matrix, no derivative.

Vectors are rows of particles; `<x, y>` is their mean product. A Gaussian matrix keeps orthonormal inputs `p_k` with
outputs `z_k`, and orthonormal transposed inputs `q_k` with outputs `g_k`:

    W @ x  =  sum_k z_k <p_k, x>  +  sum_k q_k <g_k, x> / rho  +  |r| * fresh,    r = x - sum_k p_k <p_k, x>

The second sum is Zdot (Stein's lemma in an orthonormal basis). Blocks of vectors go through matrix-matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tensorprog.runtime.sampling import Space


class Rows:
    """A growing list of vectors of one length, as the rows of an array."""

    def __init__(self, length: int):
        self._data = np.empty((16, length))
        self.count = 0

    @property
    def array(self) -> np.ndarray:
        return self._data[: self.count]

    def append(self, rows: np.ndarray) -> None:
        needed = self.count + len(rows)
        if needed > len(self._data):
            grown = np.empty((max(needed, 2 * len(self._data)), self._data.shape[1]))
            grown[: self.count] = self.array
            self._data = grown
        self._data[self.count:needed] = rows
        self.count = needed


class Gaussian:
    """An initial matrix with iid entries of variance c/n, from the space `cols` to the space `rows`.

    Args:
        rows, cols: the sample spaces.
        forward: c times (width of cols)/n, the variance of `W @ x` for a normalized x.
        backward: c times (width of rows)/n, the variance of `W.T @ y` for a normalized y.
        tolerance: a direction whose part outside the known ones is smaller than this (relative) adds no new one.
    """

    def __init__(self, rows: Space, cols: Space, forward: float, backward: float, tolerance: float):
        self.sides = (_Side(cols, rows, forward, backward), _Side(rows, cols, backward, forward))
        self.tolerance = tolerance

    def apply(self, x: np.ndarray, transposed: bool) -> np.ndarray:
        """W @ x (or W.T @ x) for each row of x: [B, N] -> [B, N]."""
        side, other = self.sides[transposed], self.sides[not transposed]
        known = side.coefficients(x, self.tolerance)
        out = known @ side.outputs.array
        if other.inputs.count:
            across = (x @ other.outputs.array.T) * (side.variance / other.variance / x.shape[1])
            out += across @ other.inputs.array
        return out


class _Side:
    """Orthonormal inputs from `source`, and what the matrix makes of them in `target`."""

    def __init__(self, source: Space, target: Space, variance: float, other_variance: float):
        self.source, self.target = source, target
        self.variance = variance
        self.inputs = Rows(source.samples)
        self.outputs = Rows(target.samples)
        self._seen: tuple[np.ndarray, int, np.ndarray] | None = None

    def coefficients(self, x: np.ndarray, tolerance: float) -> np.ndarray:
        """The coordinates [B, k] of the rows of x in the (extended) basis of inputs."""
        if self._seen is not None and self._seen[0] is x:
            _, count, coefficients = self._seen
            return _padded(coefficients, self.inputs.count) if count <= self.inputs.count else coefficients
        samples = x.shape[1]
        coefficients = x @ self.inputs.array.T / samples
        size = np.einsum("bn,bn->b", x, x) / samples
        missing = size - np.einsum("bk,bk->b", coefficients, coefficients)
        # The cheap difference is good to about 1e-8 of the size; below that the residual itself must be formed.
        if np.any(missing > min(tolerance**2, 0.5) * size) or tolerance < 1e-6:
            added = self._extend(x, coefficients, size, tolerance)
            coefficients = np.concatenate([coefficients, added], axis=1)
        self._seen = (x, self.inputs.count, coefficients)
        return coefficients

    def _extend(self, x: np.ndarray, coefficients: np.ndarray, size: np.ndarray, tolerance: float) -> np.ndarray:
        """Add the directions of x outside the basis; their coordinates [B, new]."""
        residual = x - coefficients @ self.inputs.array
        residual -= (residual @ self.inputs.array.T / x.shape[1]) @ self.inputs.array
        directions = _new_directions(residual, size, tolerance)
        if len(directions):
            self.inputs.append(directions)
            fresh = self.target.normal(len(directions))
            self.outputs.append(np.sqrt(self.variance) * fresh)
        return residual @ directions.T / x.shape[1]


def _padded(coefficients: np.ndarray, count: int) -> np.ndarray:
    """Coordinates in a basis that has grown since: orthonormal to the vectors, so zero there."""
    if coefficients.shape[1] == count:
        return coefficients
    padding = np.zeros((len(coefficients), count - coefficients.shape[1]))
    return np.concatenate([coefficients, padding], axis=1)


def _new_directions(residual: np.ndarray, size: np.ndarray, tolerance: float) -> np.ndarray:
    """Orthonormal directions [k, N] that leave of each residual less than `tolerance` relative to its vector's size."""
    samples = residual.shape[1]
    scale = np.zeros_like(size)
    np.divide(1.0, np.sqrt(size), out=scale, where=size > 0)
    scaled = residual * scale[:, None]
    if len(scaled) == 1:
        norm2 = float(scaled[0] @ scaled[0]) / samples
        return scaled / np.sqrt(norm2) if norm2 > tolerance**2 else scaled[:0]
    with np.errstate(invalid="ignore"):
        gram = scaled @ scaled.T / samples
    if not np.all(np.isfinite(gram)):
        return scaled[:0]
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    keep = _how_many(gram, values, vectors, tolerance)
    directions = (vectors[:, :keep] / np.sqrt(values[:keep])).T @ scaled
    return _polished(directions)


def _how_many(gram: np.ndarray, values: np.ndarray, vectors: np.ndarray, tolerance: float) -> int:
    """The smallest number of leading eigenvectors after which every diagonal residual is below tolerance**2."""
    floor = 1e-13 * max(1.0, float(values[0]))
    usable = int(np.sum(values > floor))
    explained = np.cumsum(vectors[:, :usable] ** 2 * values[:usable], axis=1)
    left = np.max(np.diag(gram)[:, None] - explained, axis=0) if usable else np.zeros(0)
    if not usable or np.max(np.diag(gram)) <= tolerance**2:
        return 0
    below = np.nonzero(left <= tolerance**2)[0]
    return int(below[0]) + 1 if len(below) else usable


def _polished(directions: np.ndarray) -> np.ndarray:
    """Rows that are orthonormal up to conditioning, made so to rounding."""
    gram = directions @ directions.T / directions.shape[1]
    values, vectors = np.linalg.eigh(gram)
    return (vectors / np.sqrt(values)) @ (vectors.T @ directions)


@dataclass(slots=True)
class _Factor:
    """coef * sum_b outer(left[b], right[b]), not yet expressed in a basis."""

    coef: float
    left: np.ndarray
    right: np.ndarray


@dataclass(slots=True)
class _LowRank:
    """A sum of outer products: `deltas[k]` is what it makes of basis vector k, `factors` are added to that.

    `basis` is the side of a Gaussian matrix whose inputs are the basis, or None before one is needed.
    """

    basis: _Side | None = None
    deltas: np.ndarray | None = None
    factors: list[_Factor] = field(default_factory=list)


class Matrix:
    """A state of a matrix: a combination of initial matrices and a low-rank part. Immutable.

    Applied to x, a low-rank term outer(u, v) gives `ratio * <v, x> * u`, with `ratio` the width of its columns over n.
    """

    def __init__(self, rows: Space, cols: Space, ratios: tuple[float, float], tolerance: float,
                 roots: tuple[tuple[float, Gaussian, bool], ...] = (), low: _LowRank | None = None):
        self.rows, self.cols, self.ratios, self.tolerance = rows, cols, ratios, tolerance
        self.roots = roots
        self.low = low or _LowRank()

    # --- building ---

    def zero(self) -> Matrix:
        return Matrix(self.rows, self.cols, self.ratios, self.tolerance)

    def add_outer(self, coef: float, left: np.ndarray, right: np.ndarray) -> Matrix:
        """self + coef * sum_b outer(left[b], right[b]); left [..., N rows], right [..., N cols]."""
        left, right = _as_block(_owned(left)), _as_block(_owned(right))
        low = _LowRank(self.low.basis, self.low.deltas, [*self.low.factors, _Factor(float(coef), left, right)])
        return Matrix(self.rows, self.cols, self.ratios, self.tolerance, self.roots, low)

    def add(self, coef: float, other: Matrix, transposed: bool = False) -> Matrix:
        """self + coef * other (or its transpose)."""
        coef = float(coef)
        roots = _merged((*self.roots, *((coef * s, root, t != transposed) for s, root, t in other.roots)))
        result = Matrix(self.rows, self.cols, self.ratios, self.tolerance, roots, self.low)
        return result._add_low(coef, other, transposed)

    def _add_low(self, coef: float, other: Matrix, transposed: bool) -> Matrix:
        if not transposed and (other.low.deltas is not None or len(other.low.factors) > 1):
            basis = self._basis()
            other._fold(basis)
            self._fold(basis)
            low = _LowRank(basis, _sum_deltas(self.low.deltas, coef, other.low.deltas))
            return Matrix(self.rows, self.cols, self.ratios, self.tolerance, self.roots, low)
        factors = [_turned(f, coef, transposed) for f in other._as_factors()]
        low = _LowRank(self.low.basis, self.low.deltas, [*self.low.factors, *factors])
        return Matrix(self.rows, self.cols, self.ratios, self.tolerance, self.roots, low)

    def _as_factors(self) -> list[_Factor]:
        if self.low.deltas is None:
            return self.low.factors
        basis = self.low.basis.inputs.array[: len(self.low.deltas)]
        return [*self.low.factors, _Factor(1.0, self.low.deltas, basis.copy())]

    def _basis(self) -> _Side:
        """The basis that the low-rank part is expressed in: that of an initial matrix if there is one."""
        if self.low.basis is None:
            own = [root.sides[0] for _, root, transposed in self.roots if not transposed]
            self.low.basis = own[0] if own else _Side(self.cols, self.rows, 0.0, 0.0)
        return self.low.basis

    def _fold(self, basis: _Side) -> None:
        """Express the factors in the basis. Changes the representation, not the matrix."""
        low = self.low
        if low.basis is not basis and low.deltas is not None:
            low.factors.append(_Factor(1.0, low.deltas, low.basis.inputs.array[: len(low.deltas)].copy()))
            low.deltas = None
        low.basis = basis
        for factor in low.factors:
            coordinates = basis.coefficients(factor.right, self.tolerance)
            change = coordinates.T @ (factor.coef * factor.left)
            low.deltas = _sum_deltas(low.deltas, 1.0, change)
        low.factors = []

    # --- applying ---

    def apply(self, x: np.ndarray, transposed: bool = False) -> np.ndarray:
        """The matrix (or its transpose) times each vector of x: [..., N] -> [..., N]."""
        block = _as_block(x)
        target = self.cols if transposed else self.rows
        out = np.zeros((len(block), target.samples))
        for scale, root, turned in self.roots:
            part = root.apply(block, turned != transposed)
            out += part if scale == 1.0 else scale * part
        if self.low.factors or self.low.deltas is not None:
            out += self._apply_low(block, transposed)
        return out.reshape(*x.shape[:-1], out.shape[-1])

    def _apply_low(self, block: np.ndarray, transposed: bool) -> np.ndarray:
        basis = self._basis()
        self._fold(basis)
        deltas = self.low.deltas
        if transposed:
            return self.ratios[0] * ((block @ deltas.T / block.shape[1]) @ basis.inputs.array[: len(deltas)])
        coordinates = block @ basis.inputs.array[: len(deltas)].T / block.shape[1]
        return self.ratios[1] * (coordinates @ deltas)


def _as_block(x: np.ndarray) -> np.ndarray:
    """[..., N] as [B, N]; an array that is one already stays the same object, by which it is recognized later."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _owned(x: np.ndarray) -> np.ndarray:
    """The array, or a copy if it is a view of storage that may be overwritten before the factor is used."""
    return x if x.base is None else x.copy()


def _turned(factor: _Factor, coef: float, transposed: bool) -> _Factor:
    left, right = (factor.right, factor.left) if transposed else (factor.left, factor.right)
    return _Factor(coef * factor.coef, left, right)


def _merged(roots: tuple[tuple[float, Gaussian, bool], ...]) -> tuple[tuple[float, Gaussian, bool], ...]:
    scales: dict[tuple[int, bool], tuple[float, Gaussian, bool]] = {}
    for scale, root, transposed in roots:
        before = scales.get((id(root), transposed), (0.0, root, transposed))[0]
        scales[id(root), transposed] = (before + scale, root, transposed)
    return tuple(entry for entry in scales.values() if entry[0] != 0.0)


def _sum_deltas(first: np.ndarray | None, coef: float, second: np.ndarray | None) -> np.ndarray | None:
    """first + coef * second, rows that one of them lacks being zero."""
    if second is None:
        return first
    scaled = second if coef == 1.0 else coef * second
    if first is None:
        return scaled
    small, large = (first, scaled) if len(first) < len(scaled) else (scaled, first)
    result = large.copy()
    result[: len(small)] += small
    return result


def gaussian_matrix(rows: Space, cols: Space, variance: float, ratios: tuple[float, float], tolerance: float) -> Matrix:
    """A declared matrix with entries of variance `variance / n`; `ratios` are the widths of rows and columns over n."""
    root = Gaussian(rows, cols, variance * ratios[1], variance * ratios[0], tolerance)
    return Matrix(rows, cols, ratios, tolerance, ((1.0, root, False),))


def zero_matrix(rows: Space, cols: Space, ratios: tuple[float, float], tolerance: float) -> Matrix:
    """A matrix without a random part: an accumulator."""
    return Matrix(rows, cols, ratios, tolerance)
