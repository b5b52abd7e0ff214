"""The algebra of values under a change of sign: zero (or not known to be anything else yet), even, odd, or neither."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Ordered ZERO < EVEN, ODD < NEITHER, the rules below are monotone: round loops, values begin with ZERO and rise until nothing
# changes, and what is found is the strongest statement that is consistent with the program.
ZERO, EVEN, ODD, NEITHER = "zero", "even", "odd", "neither"


def of_sum(parities: Iterable[str]) -> str:
    """The parity of a sum of values of these parities."""
    # A sum is zero only if all its terms are, and then it has either parity.
    found = set(parities) - {ZERO}
    return ZERO if not found else found.pop() if len(found) == 1 else NEITHER


def of_product(parities: Iterable[str]) -> str:
    """The parity of a product of values of these parities."""
    parities = list(parities)
    if ZERO in parities:
        return ZERO
    if NEITHER in parities:
        return NEITHER
    return ODD if parities.count(ODD) % 2 else EVEN


def of_function(arguments: Sequence[str], own: str) -> str:
    """The parity of a function of arguments of these parities, which is 'odd', 'even' or 'none' in its only one."""
    # f(-x) = -f(x): f(0) = 0, and what is neither stays neither.
    if own == "odd":
        return arguments[0]
    # An even function of one odd argument keeps its value; of several, each would have to do so by itself.
    if all(p in (EVEN, ZERO) for p in arguments) or list(arguments) == [ODD] and own == "even":
        return EVEN
    return NEITHER
