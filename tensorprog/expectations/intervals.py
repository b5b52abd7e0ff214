"""Functions of one variable that are polynomials between kinks, by cases: what cancels in a sum of kinked functions is gone.

relu(x + 1) - relu(x - 2) - 1 is clip(x, -1, 2), but near 0 the sum has lost the digits of x. By cases it is -1 for x < -1, x for
x < 2, and 2 beyond.
"""

from __future__ import annotations

import sympy
from sympy import Add, Expr, Function, Max, Min, Mul, Pow, S, Symbol

from tensorprog.expectations.functions import relu, step
from tensorprog.expectations.products import KINKED, kinks

#: Ends of intervals at most.
MOST_ENDS = 16


class by_interval(Function):
    """by_interval(x, t1, v1, t2, v2, ..., f0, f1, f2, ...): f0 for x < t1, v1 at t1, f1 for t1 < x < t2, and so on."""

    @property
    def cases(self) -> list[tuple[Expr, Expr | None, Expr]]:
        """(end, value there, value before it), from the left; None for a value that is also the one of what follows."""
        count, x = (len(self.args) - 2) // 3, self.args[0]
        ends, values, parts = self.args[1:1 + 2 * count:2], self.args[2:2 + 2 * count:2], self.args[1 + 2 * count:]
        return [(end, None if after.xreplace({x: end}) == value else value, before)
                for end, value, before, after in zip(ends, values, parts, parts[1:])]


def in_intervals(expr: Expr, variables: frozenset[Symbol]) -> Expr:
    """The expression with its largest parts that are sums with kinked functions of one variable by cases."""
    if not expr.has(*KINKED):
        return expr
    found = _by_interval(expr, variables)
    return found if found is not None else expr.func(*(in_intervals(a, variables) for a in expr.args))


def _by_interval(expr: Expr, variables: frozenset[Symbol]) -> Expr | None:
    # Without a sum of kinked functions nothing cancels.
    if not any(term.has(*KINKED) for total in expr.atoms(Add) for term in total.args):
        return None
    if len(expr.free_symbols) != 1 or not expr.free_symbols <= variables or not _is_polynomial(expr):
        return None
    (x,) = expr.free_symbols
    forms = kinks(expr, variables)
    ends = sorted({-form.constant / form.linear[0][1] for form in forms})
    if not all(end.is_number for end in ends) or not 0 < len(ends) <= MOST_ENDS:
        return None
    middles = [ends[0] - 1, *((a + b) / 2 for a, b in zip(ends, ends[1:])), ends[-1] + 1]
    try:
        parts = [_part(expr, x, middle) for middle in middles]
    except _NotAffine:
        return None
    values = [expr.xreplace({x: end}) for end in ends]
    # Ends at which nothing changes, as those of factors that are 0 there, are left out.
    kept = [k for k, end in enumerate(ends) if not parts[k] == parts[k + 1] or parts[k].xreplace({x: end}) != values[k]]
    at_ends = [entry for k in kept for entry in (ends[k], values[k])]
    return by_interval(x, *at_ends, *(parts[k] for k in kept), parts[-1])


def _is_polynomial(expr: Expr) -> bool:
    """Whether nothing but sums, products, powers and kinked functions is in it."""
    if not expr.args:
        return bool(expr.is_Symbol or expr.is_real)
    if isinstance(expr, Pow):
        return bool(expr.is_number or expr.exp.is_Integer and expr.exp > 0) and _is_polynomial(expr.base)
    return isinstance(expr, (Add, Mul, *KINKED)) and all(map(_is_polynomial, expr.args))


class _NotAffine(Exception):
    """A kink is where something is 0 that is not affine."""


def _part(expr: Expr, x: Symbol, place: Expr) -> Expr:
    """The polynomial that the expression is around a place between its kinks.

    Raises:
        _NotAffine: if a kink is at no zero of an affine form.
    """
    if not expr.args:
        return expr
    args = [_part(a, x, place) for a in expr.args]
    if isinstance(expr, KINKED) and not all(map(_affine, args)):
        raise _NotAffine
    values = [a.xreplace({x: place}) for a in args]
    if isinstance(expr, Max | Min):
        return args[values.index(expr.func(*values))]
    if isinstance(expr, relu | sympy.Abs):
        return args[0] if values[0] > 0 else -args[0] if isinstance(expr, sympy.Abs) else S.Zero
    if isinstance(expr, step | sympy.sign):
        return S.One if values[0] > 0 else S.Zero if isinstance(expr, step) or values[0] == 0 else S.NegativeOne
    return expr.func(*args)


def _affine(expr: Expr) -> bool:
    return bool(expr.is_number or expr.is_polynomial() and sympy.Poly(expr, *expr.free_symbols).total_degree() <= 1)
