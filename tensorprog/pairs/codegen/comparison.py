"""Whether functions of one variable are multiples of each other, or one the derivative of the other, by their values.

Functions made of analytic ones by sums, products, kinks and jumps at known places are analytic between these, so that
few values in every interval tell two of them apart. One function comes in many spellings: 1 - tanh(x)**2 and tanh'(x).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import sympy

from tensorprog.pairs.codegen.pieces import KINKED, has_kink
from tensorprog.pairs.codegen.univariate import X, runtime_names

#: Differences that are rounding errors, relative to the largest value that is not further out.
TOLERANCE = 1e-12
#: Branches of a nested kink that are looked at.
MOST_BRANCHES = 64
#: Kinks and jumps whose places are not looked for.
_UNPLACED = ("Piecewise", "floor", "ceiling", "DiracDelta")
# From 6e-8, where functions with equal values at 0 differ by their slopes, to 28, where those that saturate do; not at
# round numbers, where functions have their zeros and kinks.
_SCALES = np.outer(2.0 ** np.arange(-24, 5), [1.07, 1.31, 1.73]).ravel()
_INSIDE = np.array([0.07, 0.21, 0.44, 0.68, 0.91])


@lru_cache(maxsize=1024)
def multiple(f: sympy.Expr, g: sympy.Expr) -> float | None:
    """The number k with f = k g, both canonical, if there is one that is not 0."""
    if f == g:
        return 1.0
    return _ratio(f, g)


@lru_cache(maxsize=1024)
def slope_of(whole: sympy.Expr, f: sympy.Expr) -> float | None:
    """The number k with whole' = k f almost everywhere, if `whole` is continuous; both canonical."""
    places = breaks(whole)
    if places is None or not _continuous(whole, places):
        return None
    return _ratio(whole.diff(X).replace(sympy.DiracDelta, lambda *_: sympy.S.Zero), f)


def _ratio(f: sympy.Expr, g: sympy.Expr) -> float | None:
    first, second = breaks(f), breaks(g)
    if first is None or second is None or f.has(sympy.Derivative, sympy.Subs) or g.has(sympy.Derivative, sympy.Subs):
        return None
    points = _probes(sorted(first | second))
    one, two = _values(f, points), _values(g, points)
    usual = np.isfinite(one) & np.isfinite(two)
    # exp(x**2) is infinite at the outermost points.
    points, one, two = points[usual], one[usual], two[usual]
    if not np.any(one) or not np.any(two):
        return None
    # The number comes from where the function is large under a Gaussian: the outermost values of exp would dominate,
    # and those near 0 have rounding errors of their own.
    best = np.argmax(np.abs(two) * np.exp(-points * points / 8))
    ratio = float(one[best] / two[best])
    # A gap counts relative to values up to there: near 0, one of 1e-14 tells functions apart that are of that size.
    sizes = np.maximum.accumulate(np.maximum(np.abs(one), np.abs(ratio * two))[np.argsort(np.abs(points))])
    gaps = np.abs(one - ratio * two)[np.argsort(np.abs(points))]
    return _rounded(ratio) if ratio and np.all(gaps <= TOLERANCE * sizes) else None


def _rounded(ratio: float) -> float:
    """The number without the rounding errors of values, if it has few digits."""
    near = float(f"{ratio:.12g}")
    return near if abs(near - ratio) <= 1e-14 * abs(ratio) else ratio


def _probes(places: list[float]) -> np.ndarray:
    """Points on all scales, and some in every interval between the places."""
    if not places:
        return np.concatenate([-_SCALES, _SCALES])
    ends = np.concatenate([[places[0] - 8], places, [places[-1] + 8]])
    inner = (ends[:-1, None] + np.diff(ends)[:, None] * _INSIDE).ravel()
    return np.concatenate([-_SCALES, _SCALES, inner])


def _continuous(f: sympy.Expr, places: Iterable[float]) -> bool:
    """Whether the function does not jump at places, which are known to rounding."""
    x = np.array(sorted(places))
    if not len(x):
        return True
    # The places themselves have rounding errors.
    step = 4 * np.spacing(np.abs(x))
    below, above = _values(f, x - step), _values(f, x + step)
    return bool(np.all(np.abs(above - below) <= TOLERANCE * np.abs(_values(f, _probes(list(x)))).max()))


@lru_cache(maxsize=1024)
def breaks(f: sympy.Expr) -> frozenset[float] | None:
    """Where a function may have a kink or a jump; None if that is not known."""
    found: set[float] = set()
    for node in sympy.preorder_traversal(f):
        if node.func.__name__ in _UNPLACED:
            return None
        if node.func.__name__ in KINKED:
            for switch in _switches(node):
                branches = _branches(switch)
                for branch in (None,) if branches is None else branches:
                    roots = None if branch is None else _root(branch)
                    if roots is None:
                        return None
                    found.update(roots)
    return frozenset(found)


def _switches(node: sympy.Expr) -> list[sympy.Expr]:
    """What changes its sign where a node has a kink or a jump."""
    if node.func in (sympy.Max, sympy.Min):
        # Of three and more arguments, any two may be the largest ones.
        return [a - b for a, b in itertools.combinations(node.args, 2)]
    return [node.args[0]]


def _branches(expr: sympy.Expr) -> set[sympy.Expr] | None:
    """The formulas of an expression on the sides of the kinks in it; None if there are other ones, or too many."""
    if not has_kink(expr):
        return {expr}
    inner = [b for a in expr.args if (b := _branches(a)) is not None]
    if len(inner) < len(expr.args) or math.prod(map(len, inner)) > MOST_BRANCHES:
        return None
    found: set[sympy.Expr] = set()
    for args in itertools.product(*inner):
        sides = _sides(expr.func, args)
        if sides is None:
            return None
        found |= sides
    return found


def _sides(function: type, args: tuple) -> set[sympy.Expr] | None:
    match function.__name__:
        case "Max" | "Min":
            return set(args)
        case "Abs":
            return {args[0], -args[0]}
        case "sign":
            return {sympy.S.One, sympy.S.NegativeOne}
        case "step" | "Heaviside":
            return {sympy.S.Zero, sympy.S.One}
        case "relu":
            return {sympy.S.Zero, args[0]}
        case "leaky_relu":
            return {args[0], args[1] * args[0]}
        case name:
            return None if name in KINKED else {function(*args)}


def _root(switch: sympy.Expr) -> set[float] | None:
    """Where an affine function changes its sign; None for other ones."""
    slope = switch.diff(X)
    if slope.free_symbols:
        return None
    return {float(-switch.subs(X, 0) / slope)} if slope != 0 else set()


def _values(phi: sympy.Expr, points: np.ndarray) -> np.ndarray:
    from tensorprog import runtime

    own = {name: getattr(runtime, name) for name in runtime_names()}
    own["normal_cdf"] = lambda x: 0.5 + 0.5 * runtime.erf(x * np.sqrt(0.5))
    with np.errstate(all="ignore"):
        return sympy.lambdify(X, phi, [own, "numpy"])(points) + 0.0 * points
