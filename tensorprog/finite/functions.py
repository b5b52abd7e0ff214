"""The coordinatewise primitives of `ir.primitives` on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.expr import Expr
from tensorprog.ir.functions.forms import numpy_form
from tensorprog.ir.primitives import derivative
from tensorprog.runtime.functions import array_form

BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "max": np.maximum,
    "min": np.minimum,
}


def apply_unary(fn: str, order: int, x: np.ndarray) -> np.ndarray:
    """The `order`-th derivative of the primitive `fn` at `x`; the shape of `x`."""
    if order == 0:
        return _form(fn)(x)
    return np.broadcast_to(_evaluate(derivative(fn, order), x), np.shape(x))


def _evaluate(expr: Expr, x: np.ndarray) -> np.ndarray:
    if expr.fn == "x":
        return x
    if expr.fn == "num":
        # Not a Python number: 1/0 is to be inf, as the arrays have it, and not an exception.
        return np.asarray(expr.value, dtype=np.float64)
    args = [_evaluate(a, x) for a in expr.args]
    return BINARY[expr.fn](*args) if len(args) == 2 else _form(expr.fn)(*args)


def _form(fn: str) -> Callable:
    """The NumPy form of a function of one argument."""
    record = NONLINEARITIES[fn]
    known = numpy_form(record)
    if known is not None:
        return known

    return array_form(record)
