"""Width x width matrices in the calculus: independent entries, and outer products, whose terms can be in step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tensorprog.powers.components import FLAGS, HALF, SCATTERED, UNIT, ZERO, Value, flagged, joined, product, scaled


class OuterPowers(NamedTuple):
    """An outer product: the tag of its left vector with the flags of both, and what its right vector is odd in."""

    left: int
    right: int


@dataclass(frozen=True, slots=True)
class MatrixPowers:
    """A sum of matrices with independent entries and of outer products, with the powers of the entries."""

    random: Value = field(default_factory=dict)
    outers: Mapping[OuterPowers, int] = field(default_factory=dict)

    def transposed(self) -> MatrixPowers:
        return MatrixPowers(self.random, {OuterPowers(o.right | o.left & FLAGS, o.left & ~FLAGS): p
                                    for o, p in self.outers.items()})

    def times(self, coefficient: Value) -> MatrixPowers:
        """The matrix times a scalar."""
        outers = ((OuterPowers(o.left | t & FLAGS, o.right), p + q)
                  for o, p in self.outers.items() for t, q in coefficient.items())
        return MatrixPowers(product(self.random, coefficient), _largest(outers))

    def applied(self, x: Value) -> Value:
        """The matrix times a vector: independent entries sum to n**(1/2) times an entry (TP IV, 7.1), an outer product
        by the inner product of its right vector with x."""
        # Once for all outer products with the same right vector.
        sums_by = {right: inner(right, x) for right in {o.right for o in self.outers}}
        sums = ({o.left | flags: p + q} for o, p in self.outers.items() for flags, q in sums_by[o.right].items())
        return joined([scaled(product(self.random, x), HALF), *sums])

    def entries(self) -> Value:
        """The components of an entry; what it is odd in does not matter any more."""
        return joined({t & FLAGS: p} for t, p in (*self.random.items(), *((o.left, p) for o, p in self.outers.items())))

    def flagged(self, flag: int) -> MatrixPowers:
        """The matrix as a change that training makes, or with powers that are only bounds."""
        return MatrixPowers(flagged(self.random, flag), _largest((OuterPowers(o.left | flag, o.right), p)
                                                           for o, p in self.outers.items()))


def outer_parts(parts: Iterable[tuple[OuterPowers, int]]) -> MatrixPowers:
    """The sum of outer products with the powers of their entries."""
    return MatrixPowers(ZERO, _largest(parts))


def outer(left: Value, right: Value) -> MatrixPowers:
    """The outer product of two vectors."""
    return MatrixPowers(ZERO, _largest((OuterPowers(a | b & FLAGS, b & ~FLAGS), p + q)
                                 for a, p in left.items() for b, q in right.items()))


def total(matrices: Iterable[MatrixPowers]) -> MatrixPowers:
    """The sum of matrices."""
    matrices = list(matrices)
    return MatrixPowers(joined(m.random for m in matrices), _largest(pair for m in matrices for pair in m.outers.items()))


def inner(right: int, x: Value) -> Value:
    """The sum over coordinates of a vector times what is odd in `right`: a scalar, by its flags."""
    # In step, n terms add up; else the sum is n**(1/2) times a term, of either sign.
    return joined({t & FLAGS: q + UNIT} if right == t & ~FLAGS else {t & FLAGS | SCATTERED: q + HALF}
                  for t, q in x.items())


def _largest(pairs: Iterable[tuple[OuterPowers, int]]) -> dict[OuterPowers, int]:
    found: dict[OuterPowers, int] = {}
    for key, power in pairs:
        if power > found.get(key, power - 1):
            found[key] = power
    return found
