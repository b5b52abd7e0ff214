"""A budget of work for the attempt to find equations, in steps, so that a plan does not depend on the machine.

Whoever works through an expression spends as many steps as it has nodes. `flat`, through which every expression goes,
does so, and refuses products that would be multiplied out to more terms than could be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from math import comb, prod

import sympy
from sympy import Expr

#: Of a product that is multiplied out.
MOST_TERMS = 20_000
#: Of sums that are multiplied out: coefficients have as many digits, which terms do not count.
MOST_POWER = 200
#: Of functions in one another.
MOST_NESTED = 100


class Unsupported(Exception):
    """The program is outside of what the covariance evaluator covers; the message says why."""


class TooMuch(Unsupported):
    """There is more to be worked out than there is room or budget for."""


class Budget:
    """Steps that may still be taken."""

    def __init__(self, steps: float):
        self.left = steps
        self.spent = 0.0

    def spend(self, steps: float) -> None:
        """Take steps.

        Raises:
            TooMuch: if there are none left.
        """
        self.left -= steps
        self.spent += steps
        if self.left < 0:
            raise TooMuch("finding its equations takes too much work")


_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


def spend(steps: float) -> None:
    """Take steps of the budget at hand, if there is one."""
    budget = _current.get()
    if budget is not None:
        budget.spend(steps)


@contextmanager
def limited(budget: Budget) -> Iterator[Budget]:
    """Spends from `budget` for as long as the context lasts."""
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


@contextmanager
def shared(share: float) -> Iterator[None]:
    """Leaves a share of what is left of the budget at hand."""
    budget = _current.get()
    assert budget is not None, "a share of no budget"
    part = Budget(budget.left * share)
    try:
        with limited(part):
            yield
    finally:
        budget.left -= part.spent
        budget.spent += part.spent


def size(expr: Expr) -> int:
    """The number of nodes of an expression, those that occur several times counted each time."""
    return _terms(expr)[1]


def require_shallow(expr: Expr) -> None:
    """Spends a step for every node.

    Raises:
        Unsupported: if an expression is nested more deeply than the recursive functions of SymPy can follow.
    """
    _, nodes, depth = _terms(expr)
    if depth > MOST_NESTED:
        raise Unsupported("an expression is nested too deeply")
    spend(nodes)


def require_expandable(expr: Expr) -> int:
    """The size of an expression whose products can be multiplied out.

    Raises:
        Unsupported: if that makes too many terms.
    """
    terms, nodes, _ = _terms(expr)
    if terms > MOST_TERMS:
        raise Unsupported("an expression has too many terms")
    return nodes


@lru_cache(maxsize=1 << 16)
def _terms(expr: Expr) -> tuple[int, int, int]:
    """How many terms an expression has at most when it is multiplied out, or some argument of a function in it; its size;
    and its depth."""
    if not expr.args:
        return 1, 1, 1
    counts, sizes, depths = zip(*map(_terms, expr.args))
    return _multiplied_out(expr, counts), 1 + sum(sizes), 1 + max(depths)


def _multiplied_out(expr: Expr, counts: tuple[int, ...]) -> int:
    if isinstance(expr, sympy.Add):
        return sum(counts)
    if isinstance(expr, sympy.Mul):
        return prod(counts)
    if isinstance(expr, sympy.Pow) and expr.exp.is_Integer and expr.exp > 1:
        if counts[0] > 1 and expr.exp > MOST_POWER:
            return MOST_TERMS + 1
        # (a_1 + ... + a_k)**n has as many terms as there are multisets of n out of k.
        return comb(counts[0] + int(expr.exp) - 1, int(expr.exp))
    return max(counts) if max(counts) > MOST_TERMS else 1
