"""What is known of a value's size: its range, whether it can be zero, and how fast it grows with the Gaussians that it
is made of; and how functions of one argument change that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

# (p, d): at most exp(c |x|**p) |x|**d. What is beyond exp(c x**2), or a power beyond the square, counts as that.
Growth = tuple[float, float]
# Pairs are compared from the left, as growth is: any exponential is beyond any power.
BOUNDED: Growth = (0.0, 0.0)
# E exp(c x**2) is infinite from c = 1/(2 variance) on, and c is not kept. "Controlled" functions, for which the Master Theorem of
# TP I holds, grow as exp(c |x|**p) with p < 2.
MOST = 2.0


@dataclass(frozen=True, slots=True)
class Bound:
    """Values from `low` to `high`, which are 0 only if `zero`.

    Attributes:
        up, down: how the positive and the negative part grow.
        fixed: whether it is the same number in every coordinate.
    """

    low: float
    high: float
    zero: bool
    up: Growth = BOUNDED
    down: Growth = BOUNDED
    fixed: bool = False

    @property
    def size(self) -> Growth:
        return max(self.up, self.down)


@dataclass(slots=True)
class Problems:
    """What was met on the way to a bound: an exponential that grows too fast, a division by what can be zero."""

    growth: bool = False
    division: bool = False


#: The bound of a function of one argument, from that of the argument; it notes problems.
BoundOf = Callable[[Bound, Problems], Bound]

GAUSSIAN = Bound(-inf, inf, True, (0.0, 1.0), (0.0, 1.0))


def grown(a: Growth, b: Growth) -> Growth:
    """The growth of a product."""
    # exp(c |x|**p) exp(c' |x|**q) is of the larger order, whatever c and c' are; powers multiply.
    return max(a[0], b[0]), min(MOST, a[1] + b[1])


def between(low: float, high: float, *, zero_at_zero: bool = False) -> BoundOf:
    """A bounded function, which is zero only where its argument is if `zero_at_zero`; else nowhere, if an end of its range
    is 0."""
    return lambda a, problems: Bound(low, high, a.zero if zero_at_zero else low < 0 < high)


def rectified(low: float, slope: float) -> BoundOf:
    """A function like relu, which falls to `low`, and of a positive x is between slope * x and x."""
    # Only an argument that is positive throughout keeps it away from 0. It grows as the positive part of the argument.
    return lambda a, problems: Bound(slope * a.low if a.low > 0 else low, max(a.high, 0.0), a.low <= 0, a.up)
