"""The nonlinearities, one entry each: the table of record for everything that computes them with numbers.

Emitted modules call the NumPy forms, on arrays or numbers (by `runtime.functions`); so does the finite-width interpreter. The scalar texts go into
Numba kernels and compiled loops (`codegen.expressions`), and are the functions that emitted expectations call
(`expectations.numeric`). Derivatives are in `ir.primitives`. Values at kinks: relu'(0) = step(0) = sign(0) = 0. A NaN stays
a NaN in every form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def relu(x):
    return np.maximum(x, 0.0)


def step(x):
    return np.heaviside(x, 0.0)


def erf(x):
    from scipy.special import erf as special_erf

    return special_erf(x)


def sigmoid(x):
    from scipy.special import expit

    return expit(x)


def gelu(x):
    from scipy.special import ndtr

    return x * ndtr(x)


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return np.logaddexp(0.0, x)


@dataclass(frozen=True, slots=True)
class Nonlinearity:
    """A function of one number.

    Attributes:
        array: its NumPy form.
        scalar: its value at a number of the name `{x}`, as Python source that Numba compiles, with the functions of `math`
            by their names.
    """

    array: Callable
    scalar: str


NONLINEARITIES = {
    "neg": Nonlinearity(np.negative, "-{x}"),
    "relu": Nonlinearity(relu, "0.0 if {x} <= 0.0 else {x}"),
    "abs": Nonlinearity(np.abs, "abs({x})"),
    "sign": Nonlinearity(np.sign, "{x} if {x} != {x} else (1.0 if {x} > 0.0 else (-1.0 if {x} < 0.0 else 0.0))"),
    "step": Nonlinearity(step, "{x} if {x} != {x} else (1.0 if {x} > 0.0 else 0.0)"),
    "tanh": Nonlinearity(np.tanh, "tanh({x})"),
    "erf": Nonlinearity(erf, "erf({x})"),
    "sigmoid": Nonlinearity(sigmoid, "1.0 / (1.0 + exp(-{x}))"),
    "gelu": Nonlinearity(gelu, "0.5 * {x} * erfc(-0.7071067811865476 * {x})"),
    "silu": Nonlinearity(silu, "{x} / (1.0 + exp(-{x}))"),
    "softplus": Nonlinearity(softplus, "max({x}, 0.0) + log1p(exp(-abs({x})))"),
    "exp": Nonlinearity(np.exp, "exp({x})"),
    "log": Nonlinearity(np.log, "log({x})"),
    "sqrt": Nonlinearity(np.sqrt, "sqrt({x})"),
    "sin": Nonlinearity(np.sin, "sin({x})"),
    "cos": Nonlinearity(np.cos, "cos({x})"),
    "square": Nonlinearity(np.square, "{x} * {x}"),
}
