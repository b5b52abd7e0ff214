"""What is known of a value's size: its range, whether it can be zero, and how fast it grows with the Gaussians that it
is made of. `of_primitive` gives that of a primitive, or of a derivative of one, from those of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.bounds import BOUNDED, MOST, Bound, Problems, grown
from tensorprog.ir.functions.expr import Expr
from tensorprog.ir.functions.neg import negative
from tensorprog.ir.primitives import derivative

ANY_NUMBER = Bound(-inf, inf, True, fixed=True)


def constant(value: float) -> Bound:
    return Bound(value, value, value == 0, fixed=True)


def joined(a: Bound | None, b: Bound | None) -> Bound | None:
    """What holds of both values; None is nothing."""
    if a is None or b is None:
        return b if a is None else a
    return Bound(min(a.low, b.low), max(a.high, b.high), a.zero or b.zero, max(a.up, b.up), max(a.down, b.down),
                 a.fixed and b.fixed)


def both(a: Bound, b: Bound) -> Bound:
    """What two bounds of one value say together."""
    return Bound(max(a.low, b.low), min(a.high, b.high), a.zero and b.zero, min(a.up, b.up), min(a.down, b.down), a.fixed or b.fixed)


def widened(before: Bound | None, after: Bound | None) -> Bound | None:
    """`after`, its range without an end that has moved, so that loops come to an end."""
    if before is None or after is None or before == after:
        return after
    # What has moved may have met 0 on its way.
    return replace(after, low=after.low if after.low == before.low else -inf, zero=True,
                   high=after.high if after.high == before.high else inf)


def summed(a: Bound) -> Bound:
    """A sum of one or more such values."""
    return replace(a, low=a.low if a.low >= 0 else -inf, high=a.high if a.high <= 0 else inf,
                   zero=a.zero if a.low >= 0 or a.high <= 0 else True)


def mean(a: Bound) -> Bound:
    """The average over coordinates; that of something >= 0 is 0 only if it is 0 everywhere."""
    # Values of both signs may average to 0.
    signed = a.low < 0 < a.high
    # An average is one number, whatever it is taken of.
    return Bound(a.low, a.high, a.zero and (signed or a.fixed), fixed=True)


def product(a: Bound, b: Bound) -> Bound:
    ends = [_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    # A product grows as both factors together, but on the side only that it reaches at all.
    size = grown(a.size, b.size)
    return Bound(min(ends), max(ends), a.zero or b.zero, size if max(ends) > 0 else BOUNDED,
                 size if min(ends) < 0 else BOUNDED, a.fixed and b.fixed)


def of_primitive(fn: str, order: int, args: Sequence[Bound], sign: int, problems: Problems) -> Bound:
    """The bound of a primitive, or of its `order`-th derivative. `sign` is that of the second argument over the first
    if it is a multiple of it, else 0."""
    found = _Evaluation(args[0], problems).of(derivative(fn, order)) if order else _apply(fn, list(args), sign, problems)
    return _settled(found)


def _settled(a: Bound) -> Bound:
    """A bound in which what has an end does not grow towards it."""
    return replace(a, up=a.up if a.high == inf else BOUNDED, down=a.down if a.low == -inf else BOUNDED)


@dataclass(slots=True)
class _Evaluation:
    """Bounds of expressions over `x`."""

    x: Bound
    problems: Problems

    def of(self, expr: Expr) -> Bound:
        if expr.fn == "x":
            return self.x
        if expr.fn == "num":
            return constant(expr.value)
        # x * x has one sign.
        sign = int(len(expr.args) == 2 and expr.args[0] == expr.args[1])
        return _apply(expr.fn, [self.of(a) for a in expr.args], sign, self.problems)


def _apply(fn: str, args: list[Bound], sign: int, problems: Problems) -> Bound:
    fixed = all(a.fixed for a in args)
    match fn:
        case "div" | "pow":
            return replace(_PARTIAL[fn](*args, problems), fixed=fixed)
        case "mul" if sign:
            return replace(_of_one_sign(product(*args), sign), fixed=fixed)
        case _ if fn in NONLINEARITIES:
            (arg,) = args
            return replace(NONLINEARITIES[fn].bound(arg, problems), fixed=fixed)
    return replace(_TOTAL[fn](*args), fixed=fixed)


# --- functions that are defined everywhere -------------------------------------------------------------------


def _add(a: Bound, b: Bound) -> Bound:
    low, high = a.low + b.low, a.high + b.high
    # An end of 0 that is not taken: with x > 0, a sum that is 0 or more is more.
    open_end = any(x.low == 0 <= low or x.high == 0 >= high for x in (a, b) if not x.zero)
    return Bound(low, high, low <= 0 <= high and not open_end, max(a.up, b.up), max(a.down, b.down))


def _of_one_sign(a: Bound, sign: int) -> Bound:
    """A product that is >= 0 or, with the sign -1, <= 0."""
    if sign > 0:
        return replace(a, low=max(a.low, 0.0), down=BOUNDED)
    return replace(a, high=min(a.high, 0.0), up=BOUNDED)


def _either(pick: Callable[[float, float], float]) -> Callable[[Bound, Bound], Bound]:
    def of(a: Bound, b: Bound) -> Bound:
        low, high = pick(a.low, b.low), pick(a.high, b.high)
        # The larger one is 0 only if one of them is.
        return Bound(low, high, low <= 0 <= high and (a.zero or b.zero), max(a.up, b.up), max(a.down, b.down))

    return of


_TOTAL: dict[str, Callable[..., Bound]] = {
    "add": _add, "sub": lambda a, b: _add(a, negative(b)), "mul": product, "max": _either(max), "min": _either(min)}


# --- functions with a condition ------------------------------------------------------------------------------


def _quotient(a: Bound, b: Bound, problems: Problems) -> Bound:
    problems.division |= b.zero
    return product(a, _reciprocal(b))


def _reciprocal(b: Bound) -> Bound:
    if b.low > 0 or b.high < 0:
        low, high = sorted((1 / b.low, 1 / b.high))
        return Bound(low, high, False)
    # exp(-x**2) has a reciprocal that grows as exp(x**2); of powers, it is the bottom that grows.
    size = (b.size[0], 0.0)
    return Bound(0.0 if b.low >= 0 else -inf, 0.0 if b.high <= 0 else inf, False, size, size)


def _power(a: Bound, b: Bound, problems: Problems) -> Bound:
    if b.low != b.high:
        return Bound(0.0 if a.low >= 0 else -inf, inf, a.zero, (a.size[0], MOST), (a.size[0], MOST))
    k = b.low
    if k < 0:
        problems.division |= a.zero
        # The base's zero is noted above, and a positive power has no problems of its own.
        return _reciprocal(_power(a, constant(-k), Problems()))
    size = (a.size[0], min(MOST, a.size[1] * k))
    if k % 2 == 0 or a.low >= 0:
        return Bound(0.0 if a.low <= 0 else _raised(a.low, k), inf, a.zero, size)
    return Bound(-inf, inf, a.zero, size, size)


_PARTIAL: dict[str, Callable[..., Bound]] = {"div": _quotient, "pow": _power}


def _raised(x: float, k: float) -> float:
    """x**k of a positive x, infinite where it is too large for a float."""
    try:
        return x**k
    except OverflowError:
        return inf


def _times(x: float, y: float) -> float:
    # Where one factor is 0 the product is, though the other may be as large as it likes.
    return 0.0 if 0 in (x, y) else x * y
