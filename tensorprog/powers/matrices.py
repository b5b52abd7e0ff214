"""Width x width matrices in the calculus: independent entries, and outer products, whose terms can be in step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tensorprog.powers.components import FLAGS, HALF, SCATTERED, UNIT, ZERO, Value, flagged, joined, product, scaled


class Outer(NamedTuple):
    """An outer product: the tag of its left vector with the flags of both, and what its right vector is odd in."""

    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """A sum of matrices with independent entries and of outer products, with the powers of the entries."""

    random: Value = field(default_factory=dict)
    outers: Mapping[Outer, int] = field(default_factory=dict)

    def transposed(self) -> Matrix:
        return Matrix(self.random, {Outer(o.right | o.left & FLAGS, o.left & ~FLAGS): p
                                    for o, p in self.outers.items()})

    def times(self, coefficient: Value) -> Matrix:
        """The matrix times a scalar."""
        outers = ((Outer(o.left | t & FLAGS, o.right), p + q)
                  for o, p in self.outers.items() for t, q in coefficient.items())
        return Matrix(product(self.random, coefficient), _largest(outers))

    def applied(self, x: Value) -> Value:
        """The matrix times a vector: independent entries sum to n**(1/2) times an entry (TP IV, 7.1), an outer product
        by the inner product of its right vector with x."""
        sums_by = {right: inner(right, x) for right in {o.right for o in self.outers}}
        sums = ({o.left | flags: p + q} for o, p in self.outers.items() for flags, q in sums_by[o.right].items())
        return joined([scaled(product(self.random, x), HALF), *sums])

    def entries(self) -> Value:
        """The components of an entry; what it is odd in does not matter any more."""
        return joined({t & FLAGS: p} for t, p in (*self.random.items(), *((o.left, p) for o, p in self.outers.items())))

    def flagged(self, flag: int) -> Matrix:
        """The matrix as a change that training makes, or with powers that are only bounds."""
        return Matrix(flagged(self.random, flag), _largest((Outer(o.left | flag, o.right), p)
                                                           for o, p in self.outers.items()))


def outer_parts(parts: Iterable[tuple[Outer, int]]) -> Matrix:
    """The sum of outer products with the powers of their entries."""
    return Matrix(ZERO, _largest(parts))


def outer(left: Value, right: Value) -> Matrix:
    """The outer product of two vectors."""
    return Matrix(ZERO, _largest((Outer(a | b & FLAGS, b & ~FLAGS), p + q)
                                 for a, p in left.items() for b, q in right.items()))


def total(matrices: Iterable[Matrix]) -> Matrix:
    """The sum of matrices."""
    matrices = list(matrices)
    return Matrix(joined(m.random for m in matrices), _largest(pair for m in matrices for pair in m.outers.items()))


def inner(right: int, x: Value) -> Value:
    """The sum over coordinates of a vector times what is odd in `right`: a scalar, by its flags."""
    # In step, n terms add up; else the sum is n**(1/2) times a term, of either sign.
    return joined({t & FLAGS: q + UNIT} if right == t & ~FLAGS else {t & FLAGS | SCATTERED: q + HALF}
                  for t, q in x.items())


def _largest(pairs: Iterable[tuple[Outer, int]]) -> dict[Outer, int]:
    found: dict[Outer, int] = {}
    for key, power in pairs:
        if power > found.get(key, power - 1):
            found[key] = power
    return found
