"""A random matrix as a lazily sampled operator (docs/architecture.md): the conditioning argument by which the Master
Theorem is proved, run as an algorithm. No n x n matrix, no derivative.

Vectors are rows of particles; `<x, y>` is their mean product. A Gaussian matrix keeps orthonormal inputs `p_k` with
outputs `z_k`, and orthonormal transposed inputs `q_k` with outputs `g_k`:

    W @ x  =  sum_k z_k <p_k, x>  +  sum_k q_k <g_k, x> / rho  +  |r| * fresh,    r = x - sum_k p_k <p_k, x>

The second sum is Zdot (Stein's lemma in an orthonormal basis). Blocks of vectors go through matrix-matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tensorprog.runtime.algebra import squares
from tensorprog.runtime.networks import NetworkMatrix, are_of_network, normal_network_matrix
from tensorprog.runtime.sampling import Space
from tensorprog.runtime.updates import APPLIED, EXACT, Updates

# When the basis must grow for a vector, it grows a little further, so that the vector's next version still fits.
HYSTERESIS = 0.7
# A difference of squared sizes smaller than this, relative to them, is rounding.
CANCELLED = 1e-9
# The tolerance, relative to the square root of the share of directions in particles: of a few directions, which cost little,
# and of many, from the share `MANY` on.
OF_FEW, OF_MANY, MANY = 0.1, 0.25, 0.1
# The smallest tolerance with float32, whose rounding in squared sizes is a tenth of its square.
LEAST_SINGLE = 2e-3
DOUBLE = np.dtype(float)
# The most Gram-Schmidt steps for one direction: each takes away its rounding but for a factor of 1e-16.
STEPS = 4


class Rows:
    """A growing list of vectors of one length, as the rows of an array."""

    def __init__(self, length: int, dtype: np.dtype = DOUBLE):
        self._data = np.empty((16, length), dtype)
        self.count = 0

    @property
    def array(self) -> np.ndarray:
        return self._data[: self.count]

    def append(self, rows: np.ndarray) -> None:
        needed = self.count + len(rows)
        if needed > len(self._data):
            grown = np.empty((max(needed, 2 * len(self._data)), self._data.shape[1]), self._data.dtype)
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
        tolerance: a direction whose part outside the known ones is smaller than this (relative) adds no new one; None
            for `effective_tolerance`.
    """

    def __init__(self, rows: Space, cols: Space, forward: float, backward: float, tolerance: float | None):
        self.sides = (Side(cols, rows, forward, self), Side(rows, cols, backward, self))
        self.tolerance = tolerance

    def apply(self, x: np.ndarray, transposed: bool) -> np.ndarray:
        """W @ x (or W.T @ x) for each row of x: [B, N] -> [B, N]."""
        return self.fresh_part(x, transposed) + self.known_part(x, transposed)

    def fresh_part(self, x: np.ndarray, transposed: bool) -> np.ndarray:
        """Zhat: what the matrix makes of the inputs on this side."""
        side = self.sides[transposed]
        return side.coefficients(x, self.tolerance) @ side.outputs.array

    def known_part(self, x: np.ndarray, transposed: bool) -> np.ndarray | float:
        """Zdot: what the transposed products seen so far imply."""
        side, other = self.sides[transposed], self.sides[not transposed]
        if not other.inputs.count:
            return 0.0
        # Stein's lemma: E[dx/dg_k] = <g_k, x> / Var(g_k), which Zdot takes times the variance of this side; their
        # quotient is 1/rho (TP III, App. F).
        across = (x @ other.outputs.array.T) * (side.variance / other.variance / x.shape[1])
        return across @ other.inputs.array

    def extend(self, side: Side, directions: np.ndarray) -> None:
        """Draw what the matrix makes of new inputs of a side, [k, N]."""
        side.outputs.append(side.variance**0.5 * side.target.normal(len(directions)))


class Operator(Protocol):
    """A declared random matrix: products with it are drawn when they are asked for. `sides` are the inputs and outputs of
    the matrix and of its transpose. `fresh_part(x, transposed) + known_part(x, transposed)` is the product; with
    the pairs of `sides[0]` changed by updates, that of the transpose is a sum over them plus `fresh_part`."""

    sides: tuple[Side, Side]

    def apply(self, x: np.ndarray, transposed: bool) -> np.ndarray:
        """The matrix (or its transpose) times each row of x: [B, N] -> [B, N]."""

    def fresh_part(self, x: np.ndarray, transposed: bool) -> np.ndarray | float: ...

    def known_part(self, x: np.ndarray, transposed: bool) -> np.ndarray | float: ...

    def extend(self, side: Side, directions: np.ndarray) -> None: ...


class Side:
    """Orthonormal inputs from `source`, and what the matrix `owner` makes of them in `target`. Without an owner it is a
    basis only."""

    def __init__(self, source: Space, target: Space, variance: float, owner: Operator | None):
        self.source, self.target = source, target
        self.variance, self.owner = float(variance), owner
        self.inputs = Rows(source.samples, source.entry)
        self.outputs = Rows(target.samples, target.entry)
        self._seen: tuple[np.ndarray, int, np.ndarray] | None = None

    def coefficients(self, x: np.ndarray, tolerance: float | None) -> np.ndarray:
        """The coordinates [B, k] of the rows of x in the (extended) basis of inputs."""
        if self._seen is not None and self._seen[0] is x:
            _, count, coefficients = self._seen
            return _padded(coefficients, self.inputs.count) if count <= self.inputs.count else coefficients
        samples = x.shape[1]
        coefficients = x @ self.inputs.array.T / samples
        size = squares(x) / samples
        # Pythagoras. With tolerances below the rounding of this difference, it is found from the residual itself.
        missing = size - squares(coefficients)
        asked = tolerance
        tolerance = float(effective_tolerance(asked, self.inputs.count, samples, x.dtype))
        if tolerance**2 < CANCELLED:
            missing = self._missing(x, coefficients)
        # So written that NaN counts as far: it gets no directions, and shows in the product.
        far = np.nonzero(~(missing <= tolerance**2 * size))[0]
        if len(far):
            self._extend(x[far], coefficients[far], size[far], asked)
            new = self.inputs.array[coefficients.shape[1]:]
            coefficients = np.concatenate([coefficients, x @ new.T / samples], axis=1)
        self.source.note(len(x), self.inputs.count)
        self._seen = (x, self.inputs.count, coefficients)
        return coefficients

    def _missing(self, x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """The squared sizes of the parts of x outside the basis, to rounding."""
        residual = self._residual(x, coefficients)
        return squares(residual) / x.shape[1]

    def _residual(self, x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        residual = x - coefficients @ self.inputs.array
        # Once more: the first step leaves rounding relative to x, not to the residual.
        return residual - (residual @ self.inputs.array.T / x.shape[1]) @ self.inputs.array

    def _extend(self, x: np.ndarray, coefficients: np.ndarray, size: np.ndarray, tolerance: float | None) -> None:
        """Add directions until the rows of x lie well within the tolerance of the basis, which is that of the extended one."""
        residual = self._residual(x, coefficients)
        counts = self.inputs.count + np.arange(len(x) + 1)
        tolerances = HYSTERESIS * effective_tolerance(tolerance, counts, x.shape[1], x.dtype)
        directions = _new_directions(residual, size, tolerances, self.inputs.array)
        if len(directions):
            self.inputs.append(directions)
            self.source.remember(directions, x)
            if self.owner is not None:
                self.owner.extend(self, directions)


def effective_tolerance(tolerance: float | None, count: int | np.ndarray, samples: int, dtype: np.dtype = DOUBLE) -> np.ndarray:
    """The tolerance in force with `count` directions known, for each count.

    A dropped part of relative size r changes moments by about r**2, a direction more by about 1/N: the default lets the
    first grow with the second, so that the rank stays a small part of N.
    """
    share = np.asarray(count) / samples
    balance = OF_FEW + (OF_MANY - OF_FEW) * np.minimum(1.0, share / MANY)
    least = 1e-3 if dtype == DOUBLE else LEAST_SINGLE
    return np.maximum(least, balance * share**0.5) if tolerance is None else np.full(np.shape(count), tolerance)


def _padded(coefficients: np.ndarray, count: int) -> np.ndarray:
    """Coordinates in a basis that has grown since: orthonormal to the vectors, so zero there."""
    if coefficients.shape[1] == count:
        return coefficients
    padding = np.zeros((len(coefficients), count - coefficients.shape[1]), coefficients.dtype)
    return np.concatenate([coefficients, padding], axis=1)


def _new_directions(residual: np.ndarray, size: np.ndarray, tolerances: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Orthonormal directions [k, N] that leave of each residual less than `tolerances[k]` relative to its vector's size: with more
    directions, more may be left out.

    The residuals are orthogonal to the `known` directions, up to the rounding of the vectors.
    """
    tolerance = float(tolerances[0])
    samples = residual.shape[1]
    scale = np.zeros_like(size)
    np.divide(1.0, np.sqrt(size), out=scale, where=size > 0)
    scaled = residual * scale[:, None].astype(residual.dtype)
    if tolerance**2 < CANCELLED:
        return _independent(scaled, tolerance, known)
    if len(scaled) == 1:
        norm2 = float(scaled[0] @ scaled[0]) / samples
        return scaled / norm2**0.5 if norm2 > tolerance**2 else scaled[:0]
    with np.errstate(invalid="ignore"):
        gram = (scaled @ scaled.T / samples).astype(float)
    if not np.all(np.isfinite(gram)):
        return scaled[:0]
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    keep = _how_many(gram, values, vectors, tolerances, 1e-13 if scaled.dtype == DOUBLE else 1e-6)
    directions = (vectors[:, :keep] / np.sqrt(values[:keep])).T.astype(scaled.dtype) @ scaled
    return polished(directions)


def _independent(scaled: np.ndarray, tolerance: float, known: np.ndarray) -> np.ndarray:
    """Orthonormal directions that span the rows up to the tolerance, by QR with pivoting: squares would lose what is
    smaller than the root of rounding.

    What pivoting leaves of the last rows is a small difference of them, and so not orthogonal to the known directions:
    their rounding is as large there as before. Each direction is therefore made orthogonal once more, and taken only if
    its part outside the known directions is still above the tolerance. A column of the triangle is no longer than its
    diagonal entry, so that each direction which is not taken changes no row by more than the tolerance.
    """
    from scipy.linalg import qr

    if not np.all(np.isfinite(scaled)):
        return scaled[:0]
    root = np.sqrt(scaled.shape[1])
    basis, triangle, _ = qr(scaled.T, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(triangle)) / root
    found = scaled[:0]
    for direction, size in zip(basis.T * root, sizes):
        outside, left = _outside(direction, (known, found))
        if size * left > tolerance:
            found = np.concatenate([found, outside[None]])
    return found


def _outside(direction: np.ndarray, known: tuple[np.ndarray, ...]) -> tuple[np.ndarray, float]:
    """The normalized part of a normalized direction outside the known ones, and its size.

    One Gram-Schmidt step is exact up to rounding relative to what it was given, so it is repeated until a step takes
    away less than a half ("twice is enough": Giraud, Langou, Rozloznik and van den Eshof, 2005). Where nothing but
    rounding is there, the size becomes that of rounding, after two steps of it at the latest.
    """
    left = 1.0
    for _ in range(STEPS):
        for rows in known:
            direction = direction - (rows @ direction / len(direction)) @ rows
        remains = float(np.sqrt(direction @ direction / len(direction)))
        left *= remains
        if not remains:
            break
        direction = direction / remains
        if remains > 0.5:
            break
    return direction, left


def _how_many(gram: np.ndarray, values: np.ndarray, vectors: np.ndarray, tolerances: np.ndarray, rounding: float) -> int:
    """The smallest number k of leading eigenvectors after which every diagonal residual is below tolerances[k]**2. Eigenvalues
    below `rounding`, relative to the largest, are no more than that."""
    floor = rounding * max(1.0, float(values[0]))
    usable = int(np.sum(values > floor))
    # What k eigenvectors explain of row b is sum_k values[k] vectors[b, k]**2.
    explained = np.cumsum(vectors[:, :usable] ** 2 * values[:usable], axis=1)
    left = np.max(np.diag(gram)[:, None] - explained, axis=0) if usable else np.zeros(0)
    if not usable or np.max(np.diag(gram)) <= tolerances[0]**2:
        return 0
    below = np.nonzero(left <= tolerances[1:usable + 1] ** 2)[0]
    return int(below[0]) + 1 if len(below) else usable


def polished(directions: np.ndarray) -> np.ndarray:
    """Rows that are orthonormal up to conditioning, made so to rounding."""
    gram = (directions @ directions.T / directions.shape[1]).astype(float)
    values, vectors = np.linalg.eigh(gram)
    # The inverse root of the Gram matrix changes the rows as little as possible.
    return ((vectors / np.sqrt(values)) @ vectors.T).astype(directions.dtype) @ directions


@dataclass(frozen=True, slots=True)
class _Factor:
    """coef * sum_b outer(left[b], right[b]), not yet expressed in a basis."""

    coef: float
    left: np.ndarray
    right: np.ndarray


@dataclass(slots=True)
class _Images:
    """What a matrix makes of the vectors of a basis: `rows[k]` of the first ones, and of later ones `scale` times what
    the basis' owner makes of them."""

    basis: Side
    scale: float
    rows: np.ndarray

    @property
    def owner(self) -> Operator:
        """The basis' owner, where `scale` is not zero."""
        assert self.basis.owner is not None, "a basis without an owner is scaled by zero"
        return self.basis.owner

    def complete(self) -> np.ndarray:
        """The images of all basis vectors: [k, N]."""
        missing = self.basis.inputs.count - len(self.rows)
        if missing:
            if self.scale:
                later = self.scale * self.basis.outputs.array[len(self.rows):]
            else:
                later = np.zeros((missing, self.basis.target.samples), self.rows.dtype)
            self.rows = np.concatenate([self.rows, later])
        return self.rows


Root = tuple[float, "Operator", bool]


class Matrix:
    """A state of a matrix: initial matrices, scaled and possibly transposed, plus a low-rank part, plus functions of
    updates (`separate`).

    Its value never changes; its representation may: outer products wait as `factors` until they are needed, and are
    then expressed in the basis of the (one) initial matrix that the state was made from, as changes of the images of
    the basis vectors. Applied to x, outer(u, v) gives `ratios[1] * <v, x> * u`.
    """

    def __init__(self, rows: Space, cols: Space, ratios: tuple[float, float], tolerance: float | None,
                 roots: tuple[Root, ...] = (), images: _Images | None = None, factors: tuple[_Factor, ...] = (),
                 separate: Updates | None = None):
        self.rows, self.cols, self.tolerance = rows, cols, tolerance
        self.ratios = float(ratios[0]), float(ratios[1])
        self.roots, self.images, self.factors, self.separate = roots, images, factors, separate

    # --- building ---

    def zero(self) -> Matrix:
        """The zero matrix of the same shape."""
        return Matrix(self.rows, self.cols, self.ratios, self.tolerance)

    def turned(self) -> Matrix:
        """The transpose."""
        return Matrix(self.cols, self.rows, self.ratios[::-1], self.tolerance).add(1.0, self, transposed=True)

    def add_outer(self, coef: float, left: np.ndarray, right: np.ndarray) -> Matrix:
        """self + coef * sum_b outer(left[b], right[b]); left [..., N of rows], right [..., N of cols]."""
        factor = _Factor(float(coef), _as_block(_owned(left)), _as_block(_owned(right)))
        return self._with(self.roots, self.images, (*self.factors, factor))

    def add(self, coef: float, other: Matrix | Updates, transposed: bool = False) -> Matrix:
        """self + coef * other (or its transpose)."""
        coef = float(coef)
        if isinstance(other, Updates):
            return self._with_separate(coef, other, transposed)
        if other.separate is not None:
            found = self._add(coef, other, transposed)
            return found._with_separate(coef, other.separate, transposed)
        return self._add(coef, other, transposed)

    def _with_separate(self, coef: float, other: Updates, transposed: bool) -> Matrix:
        """self + coef * other, which stays apart: functions of updates enter no list of directions."""
        before = self.separate or Updates(self.rows, self.cols, self.ratios)
        other = other.applied() if before.factors() is not None else other
        # A tolerance is asked for where products are exact (`span`): nothing above rounding may be left out there.
        found = before.add(coef, other, transposed).settled(smallest=APPLIED if self.tolerance is None else EXACT)
        return Matrix(self.rows, self.cols, self.ratios, self.tolerance, self.roots, self.images, self.factors, found)

    def _add(self, coef: float, other: Matrix, transposed: bool) -> Matrix:
        if transposed:
            roots, factors = other._parts()
            turned = tuple(_Factor(coef * f.coef, f.right, f.left) for f in factors)
            added = tuple((coef * s, root, not t) for s, root, t in roots)
            return self._with(_merged((*self._unfolded().roots, *added)), None, (*self._unfolded().factors, *turned))
        if not (self.roots or self.images or self.factors):
            return self._with(tuple((coef * s, r, t) for s, r, t in other.roots), _scaled_images(coef, other.images),
                              tuple(_Factor(coef * f.coef, f.left, f.right) for f in other.factors))
        if other.images is None and len(other.factors) <= 1 and not other.roots:
            scaled = tuple(_Factor(coef * f.coef, f.left, f.right) for f in other.factors)
            return self._with(self.roots, self.images, (*self.factors, *scaled))
        return self._add_folded(coef, other)

    def _add_folded(self, coef: float, other: Matrix) -> Matrix:
        mine = self._fold()
        theirs = other._fold(mine.basis)
        roots = _merged((*self.roots, *((coef * s, r, t) for s, r, t in other.roots)))
        if theirs.basis is mine.basis:
            rows = mine.complete() + coef * theirs.complete()
            return self._with(roots, _Images(mine.basis, mine.scale + coef * theirs.scale, rows), ())
        more, factors = other._parts()
        roots = _merged((*self.roots, *((coef * s, r, t) for s, r, t in more)))
        return self._with(roots, mine, tuple(_Factor(coef * f.coef, f.left, f.right) for f in factors))

    def _with(self, roots: tuple[Root, ...], images: _Images | None, factors: tuple[_Factor, ...]) -> Matrix:
        return Matrix(self.rows, self.cols, self.ratios, self.tolerance, roots, images, factors, self.separate)

    def _parts(self) -> tuple[tuple[Root, ...], tuple[_Factor, ...]]:
        """The matrix as initial matrices and outer products, without a basis."""
        if self.images is None:
            return self.roots, self.factors
        basis, scale = self.images.basis, self.images.scale
        rows = self.images.complete()
        change = rows - scale * basis.outputs.array if scale else rows
        # Applied to x, outer(change, p) gives ratios[1] <p, x> change.
        factor = _Factor(1.0 / self.ratios[1], change, basis.inputs.array.copy())
        own: tuple[Root, ...] = ((scale, self.images.owner, False),) if scale else ()
        return (*self.roots, *own), (*self.factors, factor)

    def _unfolded(self) -> Matrix:
        roots, factors = self._parts()
        return self._with(roots, None, factors)

    def _fold(self, basis: Side | None = None) -> _Images:
        """Express the outer products in a basis: the initial matrix's own, or else the one given."""
        images = self.images = self._begun(basis) if self.images is None else self.images
        for factor in self.factors:
            coordinates = images.basis.coefficients(factor.right, self.tolerance)
            # outer(u, v) @ p_k = ratios[1] <v, p_k> u, which is added to the image of p_k.
            change = coordinates.T @ ((factor.coef * self.ratios[1]) * factor.left)
            change += images.complete()
            images = _Images(images.basis, images.scale, change)
        self.images, self.factors = images, ()
        return images

    def _begun(self, basis: Side | None) -> _Images:
        own = next((r for r in self.roots if not r[2]), None)
        if own is not None:
            scale, root, _ = own
            self.roots = tuple(r for r in self.roots if r is not own)
            return _Images(root.sides[0], scale, scale * root.sides[0].outputs.array)
        basis = basis or Side(self.cols, self.rows, 0.0, None)
        return _Images(basis, 0.0, np.zeros((basis.inputs.count, self.rows.samples), self.rows.entry))

    # --- applying ---

    def apply(self, x: np.ndarray, transposed: bool = False) -> np.ndarray:
        """The matrix (or its transpose) times each vector of x: [..., N] -> [..., N]."""
        block = _as_block(x)
        if self.factors:
            self._fold()
        parts = [s * root.apply(block, turned != transposed) for s, root, turned in self.roots]
        if self.images is not None:
            apply = self._apply_back if transposed else self._apply_images
            parts.append(apply(block, self.images))
        if self.separate is not None:
            parts.append(self.separate.apply(block, transposed))
        target = self.cols if transposed else self.rows
        out = sum(parts[1:], parts[0]) if parts else np.zeros((len(block), target.samples), block.dtype)
        # A vector that is not finite has no coordinates; what became of it must not look like a number.
        out[~np.isfinite(block.sum(axis=1))] = np.nan
        return out.reshape(*x.shape[:-1], out.shape[-1])

    def _apply_images(self, block: np.ndarray, images: _Images) -> np.ndarray:
        basis, scale = images.basis, images.scale
        if not scale:
            known = len(images.rows)
            return (block @ basis.inputs.array[:known].T / block.shape[1]) @ images.rows
        out = basis.coefficients(block, self.tolerance) @ images.complete()
        return out + scale * images.owner.known_part(block, False)

    def _apply_back(self, block: np.ndarray, images: _Images) -> np.ndarray:
        basis, scale = images.basis, images.scale
        # It comes first, because a transposed product may give the basis new directions.
        fresh = scale * images.owner.fresh_part(block, True) if scale else 0.0
        rows = images.complete()
        # ratios[0] / ratios[1] = rho: p_k <z_k, y> is an average over the other width (TP III, App. F).
        across = (block @ rows.T) * (self.ratios[0] / self.ratios[1] / block.shape[1])
        return across @ basis.inputs.array[: len(rows)] + fresh


def _scaled_images(coef: float, images: _Images | None) -> _Images | None:
    if images is None or coef == 1.0:
        return images and _Images(images.basis, images.scale, images.rows)
    return _Images(images.basis, coef * images.scale, coef * images.rows)


def _as_block(x: np.ndarray) -> np.ndarray:
    """[..., N] as [B, N]; an array that is one already stays the same object, by which it is recognized later."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _owned(x: np.ndarray) -> np.ndarray:
    """The array, or a copy if it is a view of storage that may be overwritten before the factor is used."""
    return x if x.base is None else x.copy()


def _merged(roots: tuple[Root, ...]) -> tuple[Root, ...]:
    scales: dict[tuple[int, bool], Root] = {}
    for scale, root, transposed in roots:
        before = scales.get((id(root), transposed), (0.0, root, transposed))[0]
        scales[id(root), transposed] = (before + scale, root, transposed)
    return tuple(entry for entry in scales.values() if entry[0] != 0.0)


def gaussian_matrix(rows: Space, cols: Space, variance: float, ratios: tuple[float, float],
                    tolerance: float | None) -> Matrix | NetworkMatrix:
    """A declared matrix with entries of variance `variance / n`; `ratios` are the widths of rows and columns over n."""
    if are_of_network(rows, cols, ratios):
        return normal_network_matrix(rows, cols, variance, ratios[0])
    root = Gaussian(rows, cols, variance * ratios[1], variance * ratios[0], tolerance)
    return Matrix(rows, cols, ratios, tolerance, ((1.0, root, False),))


def zero_matrix(rows: Space, cols: Space, ratios: tuple[float, float], tolerance: float | None) -> Matrix | NetworkMatrix:
    """A matrix without a random part: an accumulator."""
    if are_of_network(rows, cols, ratios):
        return NetworkMatrix(rows, cols, ratios[0], np.zeros((rows.samples, cols.samples)))
    return Matrix(rows, cols, ratios, tolerance)
