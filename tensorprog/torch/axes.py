"""Axes as lists of factors, found by unification.

A tensor is traced at two widths, so the size of an axis is a pair of numbers. An axis is a list of atoms, the outermost
first; an atom is finite if its two sizes are equal, otherwise it grows with the width. Operations unify axes, and a
view splits atoms: `view(B, T, heads, -1)` makes of a width n the factors [heads, n/heads], or, if the number of heads
grows, [n/64, 64]. Splitting is binding an atom to a list of other atoms, in place, so that all axes that share it
follow: one pass over the operations reaches the fixpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Sizes = tuple[int, int]


@dataclass(eq=False, slots=True)
class AxisFactor:
    """A factor of an axis, with its sizes at the two widths; bound to a list of others once it is split or unified."""

    sizes: Sizes
    bound: tuple[AxisFactor, ...] | None = field(default=None, repr=False)

    @property
    def is_width(self) -> bool:
        return self.sizes[0] != self.sizes[1]


Axis = tuple[AxisFactor, ...]


class AxisError(Exception):
    """Two axes that cannot be the same."""


def both(sizes: Iterable[int]) -> Sizes:
    """The sizes at the two widths."""
    first, second = sizes
    return first, second


def fresh(sizes: Sizes) -> Axis:
    """A new axis; one of size 1 has no factors."""
    # So that broadcasting along an axis of size 1 has nothing to unify.
    return () if sizes == (1, 1) else (AxisFactor(sizes),)


def leaves(axis: Sequence[AxisFactor]) -> Axis:
    """The factors of an axis as they are known now."""
    found: list[AxisFactor] = []
    for atom in axis:
        found += [atom] if atom.bound is None else leaves(atom.bound)
    return tuple(found)


def sizes_of(axis: Sequence[AxisFactor]) -> Sizes:
    """The sizes of an axis: the products of its factors'."""
    return math.prod(a.sizes[0] for a in axis), math.prod(a.sizes[1] for a in axis)


def unify(left: Sequence[AxisFactor], right: Sequence[AxisFactor]) -> None:
    """Make two axes the same, splitting atoms where their factors do not line up.

    Raises:
        AxisError: if no splitting makes them equal.
    """
    a, b = list(leaves(left)), list(leaves(right))
    # With equal products both lists come to their ends at once.
    if sizes_of(a) != sizes_of(b):
        raise AxisError(f"an axis of size {describe(a)} meets one of size {describe(b)}")
    while a and b:
        _unify_first(a, b)


def _unify_first(a: list[AxisFactor], b: list[AxisFactor]) -> None:
    x, y = a.pop(0), b.pop(0)
    if x is y:
        return
    if x.sizes == y.sizes:
        x.bound = (y,)
    elif (rest := quotient(x.sizes, y.sizes)) is not None:
        # What is left of the longer factor meets the next one of the other axis.
        x.bound = (y, *fresh(rest))
        a[:0] = x.bound[1:]
    elif (rest := quotient(y.sizes, x.sizes)) is not None:
        y.bound = (x, *fresh(rest))
        b[:0] = y.bound[1:]
    else:
        # As [2, 3] and [3, 2]: neither of the first factors is a multiple of the other.
        raise AxisError(f"the factors of an axis, {describe((x, *a))} and {describe((y, *b))}, cut across one another")


def quotient(sizes: Sizes, by: Sizes) -> Sizes | None:
    """The sizes of what remains of an atom if another is split off, or None."""
    if any(size % divisor for size, divisor in zip(sizes, by, strict=True)):
        return None
    return sizes[0] // by[0], sizes[1] // by[1]


def split_blocks(axis: Sequence[AxisFactor], sections: Sequence[Sizes]) -> tuple[int, ...]:
    """Factor an axis into [blocks, rest] so that each of the consecutive `sections` is a whole number of blocks; these
    numbers.

    A stacked projection of sizes (n, n, n) becomes [3, n], grouped queries of (n, n/4, n/4) become [6, n/4].
    """
    # A common divisor at both widths at once, as parts must be the same number of blocks at each.
    block = math.gcd(*(s[0] for s in sections)), math.gcd(*(s[1] for s in sections))
    counts = [count for section in sections if (count := quotient(section, block)) is not None]
    if any(count[0] != count[1] for count in counts):
        raise AxisError(
            "an axis that grows with the width is cut into parts that do not keep their proportions; a layer for each part "
            "would have a rule"
        )
    total = sum(count[0] for count in counts)
    unify(axis, (*fresh((total, total)), *fresh(block)))
    return tuple(count[0] for count in counts)


def describe(axis: Sequence[AxisFactor]) -> str:
    """The factors' sizes, as (64|128)."""
    shown = [str(a.sizes[0]) if not a.is_width else f"({a.sizes[0]}|{a.sizes[1]})" for a in leaves(axis)]
    return "x".join(shown) or "1"


def widths(axis: Sequence[AxisFactor]) -> int:
    """How many factors of an axis grow with the width: its size is of the order of n to this power."""
    return sum(atom.is_width for atom in leaves(axis))
