"""The table of values of the covariance evaluator's modules, while they run."""

from __future__ import annotations

from numba import types
from numba.typed import Dict, List

from tensorprog.runtime.compiling import njit

KEY_LENGTH = 8
"""How long keys are if that suffices: the number of an equation and its indices, with zeros behind them."""

_KEY = types.UniTuple(types.int64, KEY_LENGTH)
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
