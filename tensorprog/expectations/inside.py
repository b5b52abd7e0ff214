"""Functions of jumps: f(sign(z), w) is f(1, w) or f(-1, w), by the sign of z. A single value of z has no weight.

So y*sigmoid(-y*w) with labels y = sign(z) becomes a sum of products of functions of one variable each, which integrals know of.
And derivatives need it: the chain and the product rule do not hold of jumps, (sign(z)**3)' is 2 delta(z) and not three times
that, but what is linear in a jump has its height.
"""

from __future__ import annotations

import sympy
from sympy import Dummy, Expr, Function

from tensorprog.expectations.functions import step

JUMPS = (sympy.sign, step)
#: Signs that one function is taken apart by.
MOST = 3


def taken_apart(expr: Expr) -> Expr:
    """The expression with no sign or step inside of another function, but for functions of many, and for quotients, which may be
    huge where their sign is the other one, so that the two cases would cancel. Products with y*pdf(w)/cdf(y*w), which is not, are
    written as one case for each sign."""
    if not expr.has(*JUMPS):
        return expr
    by_sign = expr.replace(_is_over_distribution, _by_cases) if expr.has(sympy.erf) else expr
    return by_sign.replace(_holds_jumps, linear_in_jumps)


def _is_over_distribution(expr: Expr) -> bool:
    """Whether a product has normal distribution functions of something with jumps below."""
    return bool(expr.is_Mul or expr.is_Pow) and any(
        is_distribution(base) and base.has(*JUMPS) and power.is_negative
        for base, power in (f.as_base_exp() for f in sympy.Mul.make_args(expr)))


def is_distribution(expr: Expr) -> bool:
    """Whether this is 1 + erf(x) or 1 - erf(x), which are positive."""
    return isinstance(expr - 1, sympy.erf) or isinstance(1 - expr, sympy.erf)


def _by_cases(expr: Expr) -> Expr:
    """The sum over the signs of jumps of the expression with their values."""
    expr = expr.replace(step, lambda z: (1 + sympy.sign(z)) / 2)
    for jump in _innermost(expr)[:MOST]:
        (z,) = jump.args
        expr = step(z) * expr.xreplace({jump: sympy.S.One}) + step(-z) * expr.xreplace({jump: sympy.Integer(-1)})
    return expr


def _holds_jumps(expr: Expr) -> bool:
    return isinstance(expr, Function) and not isinstance(expr, JUMPS) and any(a.has(*JUMPS) for a in expr.args)


def linear_in_jumps(expr: Expr) -> Expr:
    """The same, linear in each of its jumps; as it is, if they are more than MOST."""
    if not expr.has(*JUMPS) or isinstance(expr, JUMPS):
        return expr
    if len(_innermost(expr)) > 1:
        # step(z) and sign(z) jump together: as two variables they would be taken apart twice, with cases that cannot be.
        expr = expr.replace(step, lambda z: (1 + sympy.sign(z)) / 2)
    found = [jump for jump in _innermost(expr) if not _is_linear(expr, jump)]
    # Each doubles the terms: eight of three signs.
    if len(found) > MOST:
        return expr
    for jump in found:
        high, low = expr.xreplace({jump: sympy.S.One}), expr.xreplace({jump: sympy.Integer(0 if isinstance(jump, step) else -1)})
        above = jump if isinstance(jump, step) else (1 + jump) / 2
        expr = low + above * (high - low)
    return expr


def _innermost(expr: Expr) -> list[Expr]:
    """The jumps of an expression that hold no others."""
    return [jump for jump in sorted(expr.atoms(*JUMPS), key=sympy.default_sort_key)
            if not any(a.has(*JUMPS) for a in jump.args)]


def _is_linear(expr: Expr, jump: Expr) -> bool:
    # The jump as a variable: what is of first degree in it holds of any two values, and so of the jump's.
    height = Dummy(real=True)
    rest = expr.xreplace({jump: height})
    return sympy.Add.make_args(rest.diff(height, 2)) == (0,)
