"""The nonlinearities and derivatives that NumPy lacks, for emitted modules."""

from __future__ import annotations

import numpy as np

from tensorprog.nonlinearities import erf, gelu, relu, sigmoid, silu, softplus, step

__all__ = ["erf", "gelu", "relu", "sigmoid", "sigmoid_slope", "silu", "softplus", "step", "tanh_slope"]


def sigmoid_slope(x):
    """sigmoid'(x), without cancellation in the tails."""
    e = np.exp(-np.abs(x))
    return e / (1.0 + e)**2


def tanh_slope(x):
    """tanh'(x), without cancellation in the tails."""
    return 4.0 * sigmoid_slope(2.0 * np.asarray(x))
