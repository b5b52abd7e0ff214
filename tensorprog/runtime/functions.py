"""The nonlinearities and derivatives that NumPy lacks, for emitted modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tensorprog.ir.functions import BUILT_IN, NONLINEARITIES, Nonlinearity
from tensorprog.ir.functions.erf import erf
from tensorprog.ir.functions.forms import numpy_form
from tensorprog.ir.functions.gelu import gelu
from tensorprog.ir.functions.nonlinearity import MATH
from tensorprog.ir.functions.relu import relu
from tensorprog.ir.functions.sigmoid import sigmoid
from tensorprog.ir.functions.silu import silu
from tensorprog.ir.functions.softplus import softplus
from tensorprog.ir.functions.step import step
from tensorprog.runtime.compiling import vectorize

__all__ = ["erf", "function", "gelu", "relu", "sigmoid", "sigmoid_slope", "silu", "softplus", "step", "tanh_slope"]


def sigmoid_slope(x: np.ndarray) -> np.ndarray:
    """sigmoid'(x), without cancellation in the tails."""
    e = np.exp(-np.abs(x))
    return e / (1.0 + e)**2


def tanh_slope(x: np.ndarray) -> np.ndarray:
    """tanh'(x), without cancellation in the tails."""
    return 4.0 * sigmoid_slope(2.0 * np.asarray(x))


def function(name: str) -> Callable[..., np.ndarray]:
    """The NumPy form of a function that was registered from outside of tensorprog.

    Raises:
        AttributeError: there is none of this name, in this process.
    """
    if name not in NONLINEARITIES or NONLINEARITIES[name] in BUILT_IN:
        raise AttributeError(f"no function `{name}`: a program that uses one from outside of tensorprog runs where that is registered "
                             "(`tensorprog.register`)")
    return array_form(NONLINEARITIES[name])


@cache
def array_form(record: Nonlinearity) -> Callable[[Any], Any]:
    """A function of arrays or numbers."""
    known = numpy_form(record)
    if known is not None:
        return known
    scope = {name: getattr(math, name) for name in MATH}
    exec(f"def f(x):\n    return {record.scalar.format(x='x')}\n", scope)
    made = vectorize(["float32(float32)", "float64(float64)"])(scope["f"])
    return lambda x: made(np.asarray(x, dtype=None if np.asarray(x).dtype.kind == "f" else float))
