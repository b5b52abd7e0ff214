"""The terms of a value's series in powers of n, by power and by what a change of sign does to them.

Flipping the sign of a declared object with a symmetric law leaves the law of everything as it is. A part of a value is
odd or even under each of these flips, scalars held fixed (they converge, or are drawn apart from all vectors: TP IV,
H.4.1). The average over coordinates of what is odd in something has expectation zero, and is a Gaussian number that is
smaller by n**(-1/2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

HALF = Fraction(1, 2)
# A readout's average, which begins at n**(-1/2) of its argument, and one order more to spare: the outputs of
# examples/kernel_regime.tp ask for parts down to 1/2 below the largest.
#: Parts smaller than the largest by more than this are not followed.
DEPTH = Fraction(3, 2)
# In examples/kernel_regime.tp no value has more than two.
#: Parts of one power that are kept apart; beyond it, they become one.
MAX_APART = 4


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """One term: n**power times something of order one.

    `odd` and `unsure` are sets of declared objects, one bit each: those whose flip changes the sign, and those for which
    that is not known.
    """

    power: Fraction
    odd: int = 0
    unsure: int = 0

    @property
    def vanishes_on_average(self) -> bool:
        """Whether the average over coordinates has expectation zero."""
        return self.odd != 0

    def scaled(self, power: Fraction) -> SeriesPart:
        """The part times n to a power."""
        return SeriesPart(self.power + power, self.odd, self.unsure)

    def covers(self, other: SeriesPart) -> bool:
        """Whether all that is known of this part holds for the other."""
        # What is not known of this part may be either in the other.
        return (self.power == other.power and not other.unsure & ~self.unsure
                and self.odd == other.odd & ~self.unsure)


ONE = SeriesPart(Fraction(0))


def product(parts: Iterable[SeriesPart]) -> SeriesPart:
    """A product of parts."""
    power, odd, unsure = Fraction(0), 0, 0
    for part in parts:
        power += part.power
        # Odd times odd is even.
        odd ^= part.odd
        unsure |= part.unsure
    return SeriesPart(power, odd & ~unsure, unsure)


def merged(parts: Iterable[SeriesPart]) -> SeriesPart:
    """A sum of parts of one power."""
    first, *others = parts
    unsure = first.unsure
    for other in others:
        # A sum of what is odd and what is even is neither.
        unsure |= other.unsure | (first.odd ^ other.odd)
    return SeriesPart(first.power, first.odd & ~unsure, unsure)


def through(part: SeriesPart, parity: str) -> SeriesPart:
    """A function of parity 'odd', 'even' or 'none' of a part of order one."""
    if parity == "odd":
        return part
    if parity == "even":
        return SeriesPart(part.power, 0, part.unsure)
    # A function without parity of something odd is neither.
    return SeriesPart(part.power, 0, part.unsure | part.odd)


class Series:
    """The parts of one value, as they are found: parts that are alike are one, and more than `most` of one power become one."""

    __slots__ = ("apart", "most")

    def __init__(self, most: int = MAX_APART) -> None:
        self.apart: dict[Fraction, tuple[SeriesPart, ...]] = {}
        self.most = most

    def add(self, part: SeriesPart) -> bool:
        """Take a part in; whether it is new."""
        own = self.apart.get(part.power, ())
        if any(p.covers(part) for p in own) or self.apart and part.power < self.top - DEPTH:
            return False
        own = (*(p for p in own if not part.covers(p)), part)
        self.apart[part.power] = own if len(own) <= self.most else (merged(own),)
        for power in [p for p in self.apart if p < self.top - DEPTH]:
            del self.apart[power]
        return True

    @property
    def top(self) -> Fraction:
        """The largest power; there must be one."""
        return max(self.apart)

    def parts(self) -> tuple[SeriesPart, ...]:
        """All parts, the largest first."""
        return tuple(p for power in sorted(self.apart, reverse=True) for p in self.apart[power])

    def at(self, power: Fraction) -> tuple[SeriesPart, ...]:
        """The parts of one power."""
        return self.apart.get(power, ())

    def home(self, part: SeriesPart) -> SeriesPart | None:
        """The part of this value that holds a term; None for one that is too small to be followed."""
        return next((p for p in self.at(part.power) if p.covers(part)), None)
