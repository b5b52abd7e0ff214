"""The table of values of the covariance evaluator's modules, while they run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import types
from numba.typed import Dict, List

from tensorprog.runtime.compiling import njit

KEY_LENGTH = 8
"""How long keys are if that suffices: the number of an equation and its indices, with zeros behind them."""

_KEY = types.UniTuple(types.int64, KEY_LENGTH)
_TABLE = types.DictType(_KEY, types.float64)


#: Relative errors of quadratures up to which those of the outputs are not looked at one by one.
NEGLIGIBLE = 1e-12

Values = dict[str, np.ndarray]
#: Sums this many times smaller than the sizes of their terms have lost digits.
LOST = 16.0
#: Of the sizes of its terms, the rounding errors of a sum: those of the terms (closed forms are right to some units in the last
#: place) and of adding them.
ROUNDING = 4 * 2.220446049250313e-16
#: Up to which excess two numbers cancel (see `cancellation`).
CANCELS = 1e-9


class TooLarge(Exception):
    """More values would have to be kept than is allowed."""


class NotCancelling(Exception):
    """Responses do not cancel what is carried over, of which the equations were derived."""


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


@njit(types.float64(types.float64, types.float64, types.float64[::1]), cache=True, error_model="numpy")
def rounded(total, sizes, worst):
    """A sum whose terms have `sizes` in all. What is lost where they cancel counts as the error of a quadrature does: as the
    largest relative error in worst[0], and as what the sum is moved by, worst[2] times."""
    if not sizes > LOST * abs(total):
        return total
    error = ROUNDING * sizes
    worst[0] = max(worst[0], error / abs(total))
    return total + worst[2] * error


@njit(cache=True)
def forget(memo, numbers):
    """Take the values of some equations out of a table."""
    gone = [key for key in memo if np.any(numbers == key[0])]
    for key in gone:
        del memo[key]


def with_errors(at: Callable[[float], tuple[Values, float]], inexact: list[str]) -> tuple[Values, Values]:
    """Values and errors, element by element.

    Args:
        at: the values where every quadrature, and every sum that cancels, is shifted by so many of its errors, and the largest
            relative error of one.
        inexact: the outputs that depend on quadratures, or on sums whose terms may cancel.
    """
    values, worst = at(0.0)
    if worst > NEGLIGIBLE and any(name in values for name in inexact):
        shifted, _ = at(1.0)
        errors = {name: np.abs(shifted[name] - value) + NEGLIGIBLE * np.abs(value) for name, value in values.items()}
    else:
        # A value may be infinite, as what the largest of a family begins with.
        errors = {name: 4.0 * worst * np.abs(value) if worst else np.zeros(value.shape) for name, value in values.items()}
    return values, {name: error if name in inexact else np.zeros(error.shape) for name, error in errors.items()}
