"""Values as sums of components: what tells sums of independent terms from sums of terms in step.

Flipping the sign of a declared object with a symmetric law leaves the law of everything as it is. A component is odd or
even under each of these flips, scalars held fixed (they converge, or are drawn apart from all vectors: TP IV, 7.1 and
H.4.1). An average over coordinates of what is odd in something has expectation zero and is of order n**(-1/2); of what
is even, n times that average is n terms in step. A nonlinear function of a sum is its Taylor series in all but the
largest components; only which flips a product of components is odd in matters for it.

Components that training has changed are kept apart (MOVED), so that the size of a change is known as well as that of
the value. UNSURE marks powers that are only bounds. SCATTERED components come from an average whose expectation is
zero: where a larger one with a small coefficient covers them, they are what is seen at small widths. A tag is these
three bits and one for each object that a component is odd in; powers are whole numbers of 1/UNIT.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

# A multiple of every denominator up to 16, and of 1000.
UNIT = 18018000
HALF = UNIT // 2
# Components that are smaller than the largest by this power of n have no say in anything.
DEPTH = 4 * UNIT

MOVED, UNSURE, SCATTERED = 1, 2, 4
FLAGS = MOVED | UNSURE | SCATTERED
FIRST_OBJECT = 3

Value = Mapping[int, int]

ZERO: Value = {}
ONE: Value = {0: 0}


def units(power: Fraction) -> int:
    """A power of n in whole units."""
    return round(power * UNIT)


def fraction(power: int | None) -> Fraction | None:
    """A power in units as a fraction."""
    return None if power is None else Fraction(power, UNIT).limit_denominator(1000)


def times(a: int, b: int) -> int:
    """The tag of a product."""
    # Odd in the same object twice is even; whatever flag one factor has, the product has.
    return ((a ^ b) & ~FLAGS) | ((a | b) & FLAGS)


def joined(values: Iterable[Value]) -> Value:
    """The components of a sum."""
    found: dict[int, int] = {}
    for value in values:
        for tag, power in value.items():
            if power > found.get(tag, power - 1):
                found[tag] = power
    return _pruned(found)


def _pruned(found: dict[int, int]) -> Value:
    """Without components that are negligible, and without those that a like one covers: a change that is as large, or a
    certain one, or one in step."""
    if len(found) < 2:
        return found
    least = max(found.values()) - DEPTH
    return {tag: power for tag, power in found.items() if power >= least
            and not (not tag & MOVED and found.get(tag | MOVED, power - 1) >= power)
            and not (tag & UNSURE and found.get(tag ^ UNSURE, power - 1) >= power)
            and not (tag & SCATTERED and _covered(found.get(tag ^ SCATTERED), power))}


def _covered(other: int | None, power: int) -> bool:
    """Whether a scattered component says nothing beside a like one: no smaller, or smaller by more than n**(-1/2)."""
    return other is not None and not 0 < other - power <= HALF


def scaled(value: Value, power: int) -> Value:
    """The value times n to a power."""
    return {tag: p + power for tag, p in value.items()}


def product(left: Value, right: Value) -> Value:
    """The components of a product."""
    found: dict[int, int] = {}
    for a, p in left.items():
        for b, q in right.items():
            tag, power = times(a, b), p + q
            if power > found.get(tag, power - 1):
                found[tag] = power
    return _pruned(found)


def averaged(value: Value) -> Value:
    """The average over coordinates: a scalar, which no flip changes."""
    # What is odd in something has expectation zero: its average is smaller by n**(-1/2), as a number that scatters.
    return joined({tag & FLAGS | (SCATTERED if tag & ~FLAGS else 0): p - (HALF if tag & ~FLAGS else 0)}
                  for tag, p in value.items())


def flagged(value: Value, flag: int) -> Value:
    """The value as a change that training makes, or with powers that are only bounds."""
    return joined({tag | flag: p} for tag, p in value.items())


def largest(value: Value) -> int | None:
    """The power of a value; None for zero."""
    return max(value.values(), default=None)


def is_sure(value: Value) -> bool:
    """Whether the power of a value is more than a bound."""
    top = largest(value)
    return top is None or any(p == top and not tag & UNSURE for tag, p in value.items())


def change(value: Value) -> Value:
    """The part of a value that training has made."""
    return {tag: p for tag, p in value.items() if tag & MOVED}


def scattered(value: Value) -> Value:
    """The part of a value that comes from averages with expectation zero."""
    return {tag: p for tag, p in value.items() if tag & SCATTERED}


def function_of(value: Value, parity: str, constant: bool) -> Value:
    """A smooth function of components of order one at most: sums of products of an odd number of them (of an odd
    function), of an even one, or of any. `constant`: whether it is other than zero at zero."""
    even: dict[int, int] = {0: 0}
    odd: dict[int, int] = {}
    new = dict(even)
    # Factors are of order one at most, and what is below DEPTH is left out: products come to an end.
    while new:
        new = _longer(odd, new, value)
        new = _longer(even, new, value)
    # A function that is zero at zero has no constant: its products of an even number begin with two factors.
    # With a component of order one, its square is of order one as well.
    if not constant and max(value.values()) < 0:
        even = {tag: p for tag, p in even.items() if p < 0}
    return joined([*([even] if parity != "odd" else []), *([odd] if parity != "even" else [])])


def _longer(target: dict[int, int], source: Mapping[int, int], factors: Value) -> dict[int, int]:
    """Add the products of `source` with another factor to `target`; those that are new."""
    new: dict[int, int] = {}
    for tag, power in source.items():
        for factor, q in factors.items():
            longer, p = times(tag, factor), power + q
            if p >= -DEPTH and p > target.get(longer, p - 1):
                target[longer] = new[longer] = p
    return new


def homogeneous(value: Value, degree: Fraction, parity: str) -> Value:
    """A function that commutes with powers of n: its value at the largest power, and the series around that."""
    top = largest(value)
    if top is None:
        return ONE if degree == 0 else ZERO
    return scaled(function_of(scaled(value, -top), parity, False), round(degree * top))
