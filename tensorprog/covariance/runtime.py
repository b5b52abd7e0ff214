"""What modules of the covariance evaluator need while they run: the table of values, and scalar primitives with the
conventions of `ir.primitives`."""

from __future__ import annotations

from math import erf, exp, log1p, sqrt

from numba import njit, types
from numba.typed import Dict, List

# The number of an equation and its indices (`guards.KEY_LENGTH`).
_KEY = types.UniTuple(types.int64, 8)
_TABLE = types.DictType(_KEY, types.float64)


class TooLarge(Exception):
    """More values would have to be kept than is allowed."""


@njit(types.Tuple((_TABLE, types.ListType(_KEY)))(), cache=True)
def table():
    """An empty table of values, and an empty stack of what is asked for."""
    return Dict.empty(_KEY, types.float64), List.empty_list(_KEY)


@njit(types.float64(_TABLE, types.ListType(_KEY), _KEY), cache=True)
def get(memo, stack, key):
    """A value that is known, or 0 after asking for it."""
    if key in memo:
        return memo[key]
    stack.append(key)
    return 0.0


@njit(cache=True)
def relu(x):
    return max(x, 0.0)


@njit(cache=True)
def step(x):
    return 1.0 if x > 0.0 else 0.0


@njit(cache=True)
def sign(x):
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0)


@njit(cache=True)
def sigmoid(x):
    return 1.0 / (1.0 + exp(-x)) if x >= 0.0 else exp(x) / (1.0 + exp(x))


@njit(cache=True)
def silu(x):
    return x * sigmoid(x)


@njit(cache=True)
def gelu(x):
    return 0.5 * x * (1.0 + erf(x / sqrt(2.0)))


@njit(cache=True)
def softplus(x):
    return max(x, 0.0) + log1p(exp(-abs(x)))
