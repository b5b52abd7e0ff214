"""Values of a whole block of iterations: arrays with named batch axes, and products of these that are not formed.

A batch axis is `(depth, loop variable)`; the axes of an array are in this order: batch axes by depth, finite axes by
number, the width. A product such as the outer product of `[P, n]` and `[P, d]` is kept as its two factors, so that its
sum over `P` is one matrix product and `[P, d, n]` is never built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

import numpy as np

Axis = tuple[int, str]
Label = Axis | int | str
Factor = tuple[Any, tuple[Label, ...]]  # an array, or a scalar of NumPy, which has all that is used of one

WIDTH = "width"
MAX_FACTORS = 5

_fresh = count()


class Batched:
    """A value that depends on the iterations of the loops in `axes`; `rank` finite axes, and the width if `wide`."""

    __slots__ = ("_factors", "axes", "rank", "wide")

    def __init__(self, factors: tuple[Factor, ...], axes: Iterable[Axis], rank: int, wide: bool):
        self._factors = factors
        self.axes = tuple(sorted(axes))
        self.rank = rank
        self.wide = wide

    @property
    def labels(self) -> tuple[Label, ...]:
        """The axes of the array in order."""
        return self.axes + tuple(range(self.rank)) + ((WIDTH,) if self.wide else ())

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Arrays whose product, summed over the labels that are not in `labels`, is the value."""
        return self._factors

    @property
    def lazy(self) -> bool:
        """Whether the product has not been formed."""
        return len(self._factors) > 1

    @property
    def array(self) -> np.ndarray:
        """The array [batch axes, finite axes, width]."""
        # A single factor may still have its axes in another order, as the result of a contraction has.
        if self.lazy or self._factors[0][1] != self.labels:
            self._factors = ((einsum(self._factors, self.labels), self.labels),)
        return self._factors[0][0]

    def aligned(self, axes: tuple[Axis, ...], rank: int, wide: bool) -> np.ndarray:
        """The array with axes of length 1 where it has none of `axes`, `rank` or `wide`."""
        sizes = dict(zip(self.labels, np.shape(self.array)))
        labels = axes + tuple(range(rank)) + ((WIDTH,) if wide else ())
        return np.reshape(self.array, [sizes.get(label, 1) for label in labels])

    def relabelled(self, names: Mapping[Label, Label]) -> tuple[Factor, ...]:
        """The factors with finite axes and width renamed; a label that `names` does not have is summed over."""
        own = set(self.labels)
        fresh: dict[Label, Label] = {}

        def rename(label: Label) -> Label:
            if isinstance(label, tuple) or label not in own:
                return label
            return names[label] if label in names else fresh.setdefault(label, f"sum{next(_fresh)}")

        return tuple((array, tuple(rename(x) for x in labels)) for array, labels in self._factors)

    def total(self, keep: Iterable[Axis], sizes: Mapping[Axis, int]) -> Batched:
        """The sum over the iterations of all loops in `sizes` but those in `keep`."""
        axes = tuple(a for a in self.axes if a in keep)
        absent = [size for a, size in sizes.items() if a not in keep and a not in self.axes]
        result = self
        if axes != self.axes:
            labels = axes + self.labels[len(self.axes):]
            result = Batched(((einsum(self._factors, labels), labels),), axes, self.rank, self.wide)
        # What does not depend on a loop is added once in each of its iterations.
        return result.scaled(float(np.prod(absent))) if absent else result

    def scaled(self, factor: float) -> Batched:
        """The value times a number."""
        (first, labels), *rest = self._factors
        return Batched(((first * factor, labels), *rest), self.axes, self.rank, self.wide)

    def last(self, axis: Axis) -> Batched:
        """The value in the last iteration of one loop."""
        if axis not in self.axes:
            return self
        return dense(np.take(self.array, -1, self.axes.index(axis)), set(self.axes) - {axis}, self.rank, self.wide)


def dense(array: np.ndarray | np.floating, axes: Iterable[Axis], rank: int, wide: bool) -> Batched:
    """A value whose array is known."""
    axes = tuple(sorted(axes))
    labels = axes + tuple(range(rank)) + ((WIDTH,) if wide else ())
    return Batched(((array, labels),), axes, rank, wide)


def einsum(factors: tuple[Factor, ...], out: tuple[Label, ...]) -> np.ndarray:
    """The product of the factors summed over all labels that are not in `out`; by matrix products where possible."""
    numbers: dict[Label, int] = {}
    operands: list = []
    for array, labels in factors:
        operands += [array, [numbers.setdefault(label, len(numbers)) for label in labels]]
    # `optimize` turns products into BLAS calls; for one factor it would only look for a path.
    return np.einsum(*operands, [numbers[label] for label in out], optimize=len(factors) > 1)


def product(left: Batched, right: Batched) -> Batched | None:
    """The product of two values with its factors kept, or None where it is better formed at once."""
    # Where the labels of one factor are among the other's, the product is no larger than its larger factor.
    small = set(left.labels) <= set(right.labels) or set(right.labels) <= set(left.labels)
    if small and not left.lazy and not right.lazy or len(left.factors) + len(right.factors) > MAX_FACTORS:
        return None
    return Batched(left.factors + right.factors, {*left.axes, *right.axes}, max(left.rank, right.rank),
                   left.wide or right.wide)
