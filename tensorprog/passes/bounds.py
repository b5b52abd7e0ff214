"""What is known of a value's size: its range, whether it can be zero, and how fast it grows with the Gaussians that it
is made of. `of_primitive` gives that of a primitive, or of a derivative of one, from those of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf

from tensorprog.ir.primitives import Expr, derivative

# (p, d): at most exp(c |x|**p) |x|**d. What is beyond exp(c x**2), or a power beyond the square, counts as that.
Growth = tuple[float, float]
BOUNDED: Growth = (0.0, 0.0)
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


GAUSSIAN = Bound(-inf, inf, True, (0.0, 1.0), (0.0, 1.0))
ANY_NUMBER = Bound(-inf, inf, True, fixed=True)


def constant(value: float) -> Bound:
    return Bound(value, value, value == 0, fixed=True)


def joined(a: Bound | None, b: Bound | None) -> Bound | None:
    """What holds of both values; None is nothing."""
    if a is None or b is None:
        return b if a is None else a
    return Bound(min(a.low, b.low), max(a.high, b.high), a.zero or b.zero, max(a.up, b.up), max(a.down, b.down),
                 a.fixed and b.fixed)


def widened(before: Bound | None, after: Bound | None) -> Bound | None:
    """`after`, its range without an end that has moved, so that loops come to an end."""
    if before is None or after is None or before == after:
        return after
    return replace(after, low=after.low if after.low == before.low else -inf, zero=True,
                   high=after.high if after.high == before.high else inf)


def summed(a: Bound) -> Bound:
    """A sum of one or more such values."""
    return replace(a, low=a.low if a.low >= 0 else -inf, high=a.high if a.high <= 0 else inf,
                   zero=a.zero if a.low >= 0 or a.high <= 0 else True)


def mean(a: Bound) -> Bound:
    """The average over coordinates; that of something >= 0 is 0 only if it is 0 everywhere."""
    signed = a.low < 0 < a.high
    return Bound(a.low, a.high, a.zero and (signed or a.fixed), fixed=True)


def product(a: Bound, b: Bound) -> Bound:
    ends = [_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    size = _grown(a.size, b.size)
    return Bound(min(ends), max(ends), a.zero or b.zero, size if max(ends) > 0 else BOUNDED,
                 size if min(ends) < 0 else BOUNDED, a.fixed and b.fixed)


def of_primitive(fn: str, order: int, args: Sequence[Bound], sign: int, problems: Problems) -> Bound:
    """The bound of a primitive, or of its `order`-th derivative. `sign` is that of the second argument over the first
    if it is a multiple of it, else 0."""
    return _Evaluation(args[0], problems).of(derivative(fn, order)) if order else _apply(fn, list(args), sign, problems)


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
        sign = int(len(expr.args) == 2 and expr.args[0] == expr.args[1])
        return _apply(expr.fn, [self.of(a) for a in expr.args], sign, self.problems)


def _apply(fn: str, args: list[Bound], sign: int, problems: Problems) -> Bound:
    fixed = all(a.fixed for a in args)
    match fn:
        case "exp" | "log" | "div" | "pow" | "sqrt":
            return replace(_PARTIAL[fn](*args, problems), fixed=fixed)
        case "mul" if sign:
            return replace(_of_one_sign(product(*args), sign), fixed=fixed)
    return replace(_TOTAL[fn](*args), fixed=fixed)


# --- functions that are defined everywhere -------------------------------------------------------------------


def _add(a: Bound, b: Bound) -> Bound:
    low, high = a.low + b.low, a.high + b.high
    open_end = any(x.low == 0 <= low or x.high == 0 >= high for x in (a, b) if not x.zero)
    return Bound(low, high, low <= 0 <= high and not open_end, max(a.up, b.up), max(a.down, b.down))


def _negative(a: Bound) -> Bound:
    return Bound(-a.high, -a.low, a.zero, a.down, a.up)


def _square(a: Bound) -> Bound:
    ends = [a.low * a.low, a.high * a.high]
    return Bound(0.0 if a.low <= 0 <= a.high else min(ends), max(ends), a.zero, _grown(a.size, a.size))


def _of_one_sign(a: Bound, sign: int) -> Bound:
    """A product that is >= 0 or, with the sign -1, <= 0."""
    if sign > 0:
        return replace(a, low=max(a.low, 0.0), down=BOUNDED)
    return replace(a, high=min(a.high, 0.0), up=BOUNDED)


def _absolute(a: Bound) -> Bound:
    return Bound(max(a.low, -a.high, 0.0), max(abs(a.low), abs(a.high)), a.zero, a.size)


def _between(low: float, high: float, odd: bool) -> Callable[[Bound], Bound]:
    """A bounded function, which is zero at most where its argument is if `odd`."""
    return lambda a: Bound(low, high, a.zero if odd else low <= 0 <= high and low != 0)


def _rectified(low: float, slope: float) -> Callable[[Bound], Bound]:
    """A function like relu, which falls to `low`, and of a positive x is between slope * x and x."""
    return lambda a: Bound(slope * a.low if a.low > 0 else low, max(a.high, 0.0), a.low <= 0, a.up)


def _either(pick: Callable[[float, float], float]) -> Callable[[Bound, Bound], Bound]:
    def of(a: Bound, b: Bound) -> Bound:
        low, high = pick(a.low, b.low), pick(a.high, b.high)
        return Bound(low, high, low <= 0 <= high and (a.zero or b.zero), max(a.up, b.up), max(a.down, b.down))

    return of


_TOTAL: dict[str, Callable[..., Bound]] = {
    "add": _add, "sub": lambda a, b: _add(a, _negative(b)), "mul": product, "neg": _negative, "square": _square,
    "abs": _absolute, "max": _either(max), "min": _either(min), "relu": _rectified(0.0, 1.0),
    "gelu": _rectified(-0.17, 0.5), "silu": _rectified(-0.28, 0.5),
    "softplus": lambda a: Bound(0.0, inf, False, a.up), "sign": _between(-1.0, 1.0, True),
    "step": lambda a: Bound(float(a.low > 0), float(a.high > 0), a.low <= 0), "tanh": _between(-1.0, 1.0, True),
    "erf": _between(-1.0, 1.0, True), "sigmoid": _between(0.0, 1.0, False), "sin": lambda a: Bound(-1.0, 1.0, True),
    "cos": lambda a: Bound(-1.0, 1.0, True),
}


# --- functions with a condition ------------------------------------------------------------------------------


def _exponential(a: Bound, problems: Problems) -> Bound:
    order = MOST if a.up[0] > 0 else a.up[1]
    problems.growth |= order >= MOST
    return Bound(_exp(a.low), _exp(a.high), False, (order, 0.0))


def _logarithm(a: Bound, problems: Problems) -> Bound:
    problems.division |= a.zero or a.low < 0
    order = (0.0, a.up[0]) if a.up[0] > 0 else (0.0, 0.0)
    return Bound(-inf, inf, True, order, order)


def _quotient(a: Bound, b: Bound, problems: Problems) -> Bound:
    problems.division |= b.zero
    return product(a, _reciprocal(b))


def _reciprocal(b: Bound) -> Bound:
    if b.low > 0 or b.high < 0:
        return Bound(*sorted((1 / b.low, 1 / b.high)), False)
    size = (b.size[0], 0.0)
    return Bound(0.0 if b.low >= 0 else -inf, 0.0 if b.high <= 0 else inf, False, size, size)


def _power(a: Bound, b: Bound, problems: Problems) -> Bound:
    if b.low != b.high:
        return Bound(0.0 if a.low >= 0 else -inf, inf, a.zero, (a.size[0], MOST), (a.size[0], MOST))
    k = b.low
    if k < 0:
        problems.division |= a.zero
        return _reciprocal(_power(a, constant(-k), Problems()))
    size = (a.size[0], min(MOST, a.size[1] * k))
    if k % 2 == 0 or a.low >= 0:
        return Bound(0.0 if a.low <= 0 else _raised(a.low, k), inf, a.zero, size)
    return Bound(-inf, inf, a.zero, size, size)


def _root(a: Bound, problems: Problems) -> Bound:
    return Bound(max(a.low, 0.0)**0.5, max(a.high, 0.0)**0.5, a.zero, (a.up[0], a.up[1] / 2))


_PARTIAL: dict[str, Callable[..., Bound]] = {
    "exp": _exponential, "log": _logarithm, "div": _quotient, "pow": _power, "sqrt": _root}


def _raised(x: float, k: float) -> float:
    """x**k of a positive x, infinite where it is too large for a float."""
    try:
        return x**k
    except OverflowError:
        return inf


def _times(x: float, y: float) -> float:
    return 0.0 if 0 in (x, y) else x * y


def _exp(x: float) -> float:
    return exp(x) if x < 700 else inf


def _grown(a: Growth, b: Growth) -> Growth:
    return max(a[0], b[0]), min(MOST, a[1] + b[1])
