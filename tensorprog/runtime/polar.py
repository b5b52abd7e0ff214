"""Differentials of the polar factor, of every order.

The polar factor U V^T of M = U S V^T is the gradient of the sum of its singular values, among matrices near M of those that are not
zero. So its k-th differential at M, in the directions B_1 to B_k, is symmetric in these and in what it is multiplied with: all
adjoints of a differential are differentials again,

    <C, d^k P[B_1, ..., B_k]> = <B_1, d^k P[C, B_2, ..., B_k]>,
    and its derivative by M in the direction X is <X, d^(k+1) P[B_1, ..., B_k, C]>.

P is the partial isometry P P^T P = P with P^T M and M P^T symmetric (Higham, "Functions of Matrices", 2008, chapter 8). Order by order,
for M + sum of e_i B_i with e_i^2 = 0, this is a Sylvester equation with a diagonal matrix, whose solution stands in `_coefficient`.
Only products of the directions with singular vectors enter, with each direction once, so that everything happens in their span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations

import numpy as np

#: A direction of the span that is smaller than this, relative to what it is a part of, is rounding.
SMALLEST = 1e-12

#: A matrix as a map of rows [..., columns] to [..., rows]; its transpose if the second argument is true.
Map = Callable[[np.ndarray, bool], np.ndarray]
Part = tuple[int, ...]


def polar_differential(left: np.ndarray, sizes: np.ndarray, right: np.ndarray,
                       directions: Sequence[Map]) -> tuple[np.ndarray, np.ndarray]:
    """(one [k, R], other [k, C]) with sum_k outer(one[k], other[k]) the differential of the polar factor of
    sum_k sizes[k] outer(left[k], right[k]), of the order that is the number of directions.

    Args:
        left: [r, R], orthonormal, as the rows of `right`, [r, C].
        sizes: [r], positive.
    """
    lefts, rights = _words(left, right, directions)
    rows, cols = _basis(left, lefts), _basis(right, rights)
    cores = [rows @ b(cols, False).T for b in directions]
    core = _differential(sizes, cores)
    return (core.T @ rows, cols) if len(cols) < len(rows) else (rows, core @ cols)


def _words(left: np.ndarray, right: np.ndarray, directions: Sequence[Map]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The singular vectors times products of directions and their transposes in turn, each at most once."""
    lefts: dict[tuple[int, ...], np.ndarray] = {(): left}
    rights: dict[tuple[int, ...], np.ndarray] = {(): right}
    for length in range(1, len(directions) + 1):
        for word in permutations(range(len(directions)), length):
            lefts[word] = directions[word[0]](rights[word[1:]], False)
            rights[word] = directions[word[0]](lefts[word[1:]], True)
    return list(lefts.values())[1:], list(rights.values())[1:]


def _basis(first: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """An orthonormal basis of the span of rows, that begins with the first of them."""
    basis = first
    for block in others:
        largest = np.linalg.norm(block)
        for _ in range(2):  # once more for what rounding leaves
            block = block - (block @ basis.T) @ basis
        sizes, vectors = np.linalg.svd(block, full_matrices=False)[1:]
        basis = np.concatenate([basis, vectors[sizes > SMALLEST * largest]])
    return basis


def _differential(sizes: np.ndarray, directions: list[np.ndarray]) -> np.ndarray:
    """The differential at the matrix that is diag(sizes), beside zeros, in directions [R, C]."""
    start = np.zeros(directions[0].shape)
    np.fill_diagonal(start[: len(sizes), : len(sizes)], 1.0)
    found: dict[Part, np.ndarray] = {(): start}
    everything = tuple(range(len(directions)))
    for count in everything:
        for part in combinations(everything, count + 1):
            found[part] = _coefficient(part, found, sizes, directions)
    return found[everything]


def _coefficient(part: Part, found: dict[Part, np.ndarray], sizes: np.ndarray, directions: list[np.ndarray]) -> np.ndarray:
    """The coefficient of a product of some e_i in P, from those of its parts."""
    r = len(sizes)
    cubic = sum((found[a] @ found[b].T @ found[c] for a, b, c in _thirds(part)), np.zeros(directions[0].shape))
    rest = [(directions[i], found[tuple(j for j in part if j != i)]) for i in part]
    one = sum(p.T @ b for b, p in rest)  # P^T M without M's part of order 0
    other = sum(b @ p.T for b, p in rest)
    out = cubic
    # P P^T P = P leaves the antisymmetric part free, which makes P^T M symmetric.
    even = -cubic[:r, :r] / 2
    turning = even * sizes - sizes[:, None] * even + one[:r, :r] - one[:r, :r].T
    out[:r, :r] = even + turning / (sizes[:, None] + sizes)
    out[:r, r:] = (one[:r, r:] - one[r:, :r].T) / sizes[:, None]
    out[r:, :r] = (other[r:, :r] - other[:r, r:].T) / sizes
    return out


def _thirds(part: Part) -> Iterator[tuple[Part, Part, Part]]:
    """All ways to give the members of a set to three, none of whom gets all."""
    for code in range(3 ** len(part)):
        owners = [code // 3**i % 3 for i in range(len(part))]
        if len(set(owners)) > 1:
            a, b, c = (tuple(i for i, owner in zip(part, owners) if owner == k) for k in range(3))
            yield a, b, c
