"""Spaces of vectors that are linear in independent directions, with functions of some declared vectors, the diagonals, as
coefficients (`passes.diagonals`).

A coefficient is kept by its values at the nodes of a Gauss rule for the laws of the diagonals, times the root of the weights: the
inner product of two rows is then the expectation of the sum over directions, exact for polynomials up to twice the number of
nodes. A diagonal is the row of its own values; whatever is done to rows coordinate by coordinate is done to functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from tensorprog.runtime.basis import (
    EXTRA,
    PERTURBED,
    ROOM,
    ROUNDING_FACTOR,
    TOLERANCE,
    Basis,
    Full,
    Monitor,
    dimension,
    rounding_error,
)
from tensorprog.runtime.replicates import Counter, Progress, Tick, Values

#: A law, its number of vectors, its arguments.
Drawn = tuple[str, int, tuple[float, ...]]

# Nodes of a law at the first attempt and at most, and the factor between attempts; in a second evaluation they are more by the
# other factor, to see what functions that are no polynomials of low degree lose. The first are even, the second odd, because
# all rules without a node in the middle agree on a function that only varies there.
FIRST_NODES, MOST_NODES, GROWTH, MORE = 12, 192, 2, 1.4
# Coefficients of a vector, at most.
MOST_COEFFICIENTS = 2**18
# What is smaller, relative to the largest value of a run, may be rounding.
ROUNDED = 1e-13
# An error, relative to the largest element of its output, at which more nodes are not tried, and one above which the values are
# not given.
RESOLVED, WORST = 1e-10, 1e-6


class NotResolved(Exception):
    """Functions of the diagonals vary too fast for the nodes that there can be, or there are too many of them."""


@dataclass(frozen=True)
class Grid:
    """The nodes of all diagonals of a space, M in all: `values` has those of each, `weights` [M] add up to 1."""

    values: tuple[np.ndarray, ...]
    weights: np.ndarray

    @classmethod
    def of(cls, laws: Sequence[Drawn], nodes: int) -> Grid:
        """The product of the rules of the laws, each with `nodes` nodes unless it has only atoms."""
        rules = [rule(law, args, nodes) for law, _, args in laws]
        if prod(len(x) for x, _ in rules) > MOST_COEFFICIENTS:
            raise NotResolved
        points = np.meshgrid(*(x for x, _ in rules), indexing="ij")
        weights = np.array([prod(w) for w in product(*(w for _, w in rules))])
        return cls(tuple(p.ravel() for p in points), weights)


def rule(law: str, args: tuple[float, ...], nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes and weights of a law of entries, exact for polynomials of degree 2 `nodes` - 1."""
    match law:
        case "normal":
            x, w = _hermite(nodes) if args[1] else (np.zeros(1), np.ones(1))
            return args[0] + np.sqrt(args[1]) * x, w
        case "uniform":
            x, w = np.polynomial.legendre.leggauss(nodes)
            return args[0] + (args[1] - args[0]) * (1.0 + x) / 2.0, w / 2.0
        case "rademacher":
            return np.array([-1.0, 1.0]), np.array([0.5, 0.5])
        case "bernoulli":
            return np.array([0.0, 1.0]), np.array([1.0 - args[0], args[0]])
        case "sparse_normal":
            x, w = _hermite(nodes)
            return np.append(0.0, np.sqrt(args[1]) * x), np.append(1.0 - args[0], args[0] * w)
        case _:
            return np.array([args[0] if args else 0.0]), np.ones(1)


def _hermite(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import roots_hermitenorm

    x, w = roots_hermitenorm(nodes)
    return x, w / np.sum(w)


class NodeBasis(Basis):
    """A space of vectors whose coefficients are functions on a grid; direction k has the coefficients from k M to (k + 1) M."""

    def __init__(self, samples: int, grid: Grid, dtype: str, tolerance: float, size: float):
        super().__init__(samples, dtype, tolerance, size)
        self.grid = grid
        self._roots = self._entry * np.sqrt(grid.weights)

    def normal(self, count: int) -> np.ndarray:
        """`count` fresh directions, [count, K].

        Raises:
            Full: if there is no room for them.
        """
        nodes = len(self._roots)
        start, self._used = self._used, self._used + count
        if self._used * nodes > self.samples:
            raise Full
        rows = np.zeros((count, self.samples), self.dtype)
        for k, row in enumerate(rows, start):
            row[k * nodes:(k + 1) * nodes] = self._roots
        return rows

    def diagonal(self, index: int) -> np.ndarray:
        """The values of a diagonal at every coefficient, [1, K]."""
        return np.resize(self.grid.values[index], self.samples)[None].astype(self.dtype)


def run_on_nodes(evaluate: Callable[[list[Basis], Tick], Values], initial: Sequence[Sequence[Drawn]],
                 diagonals: Sequence[Sequence[Drawn]], *, dtype: str = "float64", steps: int = 0, threads: int | None = None,
                 progress: Progress | None = None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Evaluate a program on coefficients that are functions of diagonals, with more nodes until twice gives the same.

    Args:
        initial, diagonals: the laws of the other declared vectors and of the diagonals of each space.
        threads: of matrix products.
        progress: called with (steps done, steps of the evaluations so far).

    Returns:
        (values, errors): name -> array; the errors are what nodes and rounding leave, 0 where that is rounding alone.

    Raises:
        NotResolved: if no number of nodes gives values.
    """
    from threadpoolctl import threadpool_limits

    directions = max(1, *map(dimension, initial)) + 1 + ROOM
    counter = Counter(2, steps, progress)

    def once(nodes: int, tolerance: float, size: float, more: int) -> dict[str, np.ndarray]:
        nonlocal directions
        grids = [Grid.of(laws, nodes) for laws in diagonals]
        while True:
            samples = (directions + more) * max(len(grid.weights) for grid in grids)
            if samples > MOST_COEFFICIENTS:
                raise NotResolved
            try:
                return dict(evaluate([NodeBasis(samples, g, dtype, tolerance, size) for g in grids], Monitor(counter)))
            except Full:
                directions *= 2
                counter.total += counter.steps

    attempts = _attempts(diagonals, directions)
    with np.errstate(all="ignore"), threadpool_limits(threads):
        worst = np.inf
        for nodes in attempts:
            try:
                values = once(nodes, TOLERANCE, 1.0, 0)
                other = once(_more(nodes), ROUNDING_FACTOR * TOLERANCE, PERTURBED, EXTRA)
            except NotResolved:
                break  # The directions have become too many for these nodes.
            errors = {name: rounding_error(other[name], values[name]) for name in values}
            best, worst = (other, errors), _worst(other, errors)
            # Errors of Gauss rules fall geometrically in the number of nodes at best (Trefethen, SIAM Rev. 50, 2008), so that what
            # is too large even then is not tried.
            if worst <= RESOLVED or not worst ** (attempts[-1] / nodes) <= WORST:
                break
            counter.total += 2 * counter.steps
    if not worst <= WORST:
        raise NotResolved
    return best


def _more(nodes: int) -> int:
    """The nodes of an attempt's second evaluation."""
    return int(MORE * nodes) | 1


def _attempts(diagonals: Sequence[Sequence[Drawn]], directions: int) -> list[int]:
    """The numbers of nodes for which there is room.

    Raises:
        NotResolved: if there is none.
    """
    def fits(nodes: int) -> bool:
        sizes = (prod(len(rule(law, args, nodes)[0]) for law, _, args in laws) for laws in diagonals)
        return (directions + EXTRA) * max(sizes) <= MOST_COEFFICIENTS

    found: list[int] = []
    while (nodes := FIRST_NODES * GROWTH**len(found)) <= MOST_NODES and fits(_more(nodes)):
        found.append(nodes)
    if not found:
        raise NotResolved
    return found


def _worst(values: dict[str, np.ndarray], errors: dict[str, np.ndarray]) -> float:
    """The largest error, relative to the largest element of its output. An output that is no more than the rounding of others
    counts as one of that size."""
    largest = {name: float(np.max(np.abs(v[np.isfinite(v)]), initial=0.0)) for name, v in values.items()}
    least = max(*largest.values(), np.finfo(float).tiny) * ROUNDED
    return max((float(np.max(errors[n], initial=0.0)) / max(size, least) for n, size in largest.items()), default=0.0)
