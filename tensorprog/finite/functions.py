"""The coordinatewise primitives of `ir.primitives` on NumPy arrays."""

from __future__ import annotations

import numpy as np
from scipy import special

from tensorprog.ir.primitives import Expr, derivative

UNARY = {
    "neg": np.negative,
    "relu": lambda x: np.maximum(x, 0.0),
    "abs": np.abs,
    "sign": np.sign,
    "step": lambda x: np.where(x > 0, 1.0, 0.0),
    "tanh": np.tanh,
    "erf": special.erf,
    "sigmoid": special.expit,
    "gelu": lambda x: x * special.ndtr(x),
    "silu": lambda x: x * special.expit(x),
    "softplus": lambda x: np.logaddexp(0.0, x),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "square": np.square,
}

BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "max": np.maximum,
    "min": np.minimum,
}


def apply_unary(fn: str, order: int, x):
    """The `order`-th derivative of the primitive `fn` at `x`; the shape of `x`."""
    if order == 0:
        return UNARY[fn](x)
    return np.broadcast_to(_evaluate(derivative(fn, order), x), np.shape(x))


def _evaluate(expr: Expr, x):
    if expr.fn == "x":
        return x
    if expr.fn == "num":
        return np.float64(expr.value)
    args = [_evaluate(a, x) for a in expr.args]
    return BINARY[expr.fn](*args) if len(args) == 2 else UNARY[expr.fn](*args)
