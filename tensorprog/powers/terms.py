"""Values of the calculus of exponents with unknowns: a sum of terms, each n to a power times unknown factors.

A term is `n**(power + sum of the unknowns of its parts)`. An unknown is the exponent of the initial entries of a
trainable object ("initial", its spread), or of the entries of its updates ("update"); both are kept apart because a sum
over n coordinates makes sqrt(n) of independent terms and n of terms that are in step, as updates are with what they are
applied to (TP IV, section 5; TP V, appendix J).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from tensorprog.ir.program import Cell, Var

# What a term is made of: numbers and powers of n; data; a trainable object and numbers; anything else.
NUMBER, DATA, BARE, ACTIVE = "number", "data", "bare", "active"

INITIAL, UPDATE = "initial", "update"


@dataclass(frozen=True, slots=True)
class Unknown:
    """The exponent of an object's initial entries, or of its updates' entries."""

    cell: Cell
    part: str


@dataclass(frozen=True, slots=True)
class PowerTerm:
    """What is known of a term besides its power.

    Attributes:
        parts: the unknown factors, in a fixed order.
        site: the operation that made the term, where a multiplier belongs if it needs one.
        random: of a matrix: its entries are independent, so that as an operator it is n**(1/2) times an entry.
        named: a trainable object that the program has given another name.
        written: the power of n that the program multiplies the term by itself since `site`'s operands were used; an
            average over n coordinates counts as a sum times 1/n.
        summed: the term is a sum or an average over coordinates.
    """

    kind: str
    parts: tuple[Unknown, ...] = ()
    site: Var | None = None
    random: bool = False
    named: bool = False
    written: Fraction = Fraction(0)
    summed: bool = False


Value = Mapping[PowerTerm, Fraction]

ZERO: Value = {}
ONE: Value = {PowerTerm(NUMBER): Fraction(0)}
GIVEN: Value = {PowerTerm(DATA): Fraction(0)}


def joined(values: Iterable[Value]) -> Value:
    """The value of a sum: of equal terms the largest power."""
    found: dict[PowerTerm, Fraction] = {}
    for value in values:
        for term, power in value.items():
            found[term] = max(power, found.get(term, power))
    return found


def scaled(value: Value, power: Fraction) -> Value:
    """The value times a number of order n**power, which the program writes down."""
    # What the program multiplies by itself is noted: a multiplier would stand beside it.
    return {replace(term, written=term.written + power) if term.kind != NUMBER else term: p + power
            for term, p in value.items()}


def averaged(value: Value) -> Value:
    """The average over the n coordinates."""
    # n terms in step, times the 1/n that an average has: the power stays.
    return {replace(term, written=term.written - 1, summed=True) if term.kind != NUMBER else term: p
            for term, p in value.items()}


def relabelled(value: Value, change: Callable[[PowerTerm], PowerTerm]) -> Value:
    """The value with its terms changed; where two become one, the larger power stays."""
    return joined({change(term): power} for term, power in value.items())


def number_power(value: Value) -> Fraction | None:
    """The power of a value that is a number alone; None for anything else."""
    return max(value.values()) if value and all(t.kind == NUMBER for t in value) else None


def is_bare(value: Value) -> bool:
    """Whether a value is a trainable object but for numbers that are added or multiplied."""
    kinds = {t.kind for t in value} - {NUMBER}
    return kinds == {BARE}


def product(left: Value, right: Value, site: Var | None) -> Value:
    """The terms of a product of two values."""
    return joined({_together(a, b, site): p + q} for a, p in left.items() for b, q in right.items())


def _together(a: PowerTerm, b: PowerTerm, site: Var | None) -> PowerTerm:
    kinds = {a.kind, b.kind}
    if NUMBER in kinds:
        return b if a.kind == NUMBER else a  # as in (1 + g) * x
    # An object that is multiplied by data is used: the multiplier of `U @ X[a]` belongs here.
    if DATA in kinds:
        one = b if a.kind == DATA else a
        return one if one.kind != BARE else replace(one, kind=ACTIVE, site=site, named=False)
    # In an order of their own, so that equal products are one term.
    parts = tuple(sorted((*a.parts, *b.parts), key=lambda u: (u.cell.name, u.part)))
    return PowerTerm(ACTIVE, parts, site, written=a.written + b.written)
