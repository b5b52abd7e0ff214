"""Two-point expectations of functions of a kernel by adaptive quadrature, for pairs that no series reaches: nearly equal
rows of large variances."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numba import types

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.nonlinearity import MATH
from tensorprog.runtime import hermite_tables as tables
from tensorprog.runtime.compiling import njit

#: Pairs that are integrated, of which each is there twice (`careful.Pairs`); the others keep what their series gives, with
#: its bound.
MOST = 512
_REACH = 2.0 ** 20

#: Functions of `tensorprog.runtime.functions` that are no nonlinearities of their own.
_SLOPES = {"sigmoid_slope": "exp(-abs(x)) / (1.0 + exp(-abs(x)))**2",
           "tanh_slope": "4.0 * exp(-2.0 * abs(x)) / (1.0 + exp(-2.0 * abs(x)))**2"}


@lru_cache(maxsize=4)
def _scalars(names: tuple[str, ...]) -> dict[str, Callable]:
    """What functions of kernels call by `rt`, the nonlinearities among these, compiled for one number."""
    texts = _SLOPES | {name: NONLINEARITIES[name].scalar.format(x="x") for name in names}
    scope = {name: getattr(math, name) for name in MATH}
    return {f"_rt_{name}": njit(error_model="numpy")(eval(f"lambda x: {text}", dict(scope)))
            for name, text in texts.items()}


def _scalar(f: Callable) -> Callable:
    """The function of a module of kernels, compiled for one number."""
    text = inspect.getsource(f).replace("rt.", "_rt_")  # an emitted module's, which holds no text of the user's
    scope: dict = {"np": np, **_scalars(tuple(NONLINEARITIES))}
    exec(text, scope)
    inner = njit(error_model="numpy")(scope[f.__name__])
    found = njit(types.float64(types.float64, types.float64[::1]), error_model="numpy", nogil=True)(
        lambda x, numbers: inner(x))
    return found


@lru_cache(maxsize=64)
def _pair(f: Callable, g: Callable) -> Callable:
    from tensorprog.runtime.pointers import address_of
    from tensorprog.runtime.quadrature import pair_expectation

    phi, psi = _scalar(f), _scalar(g)

    @njit(error_model="numpy", nogil=True)
    def expectation(qa, qb, covariance, determinant, left, right, numbers):
        return pair_expectation(address_of(phi), address_of(psi), qa, qb, covariance, determinant, left, right, numbers)

    return expectation


@lru_cache(maxsize=64)
def _features(f: Callable) -> np.ndarray:
    return tables.of(f).partition(_REACH).features()


def expectations(f: Callable, g: Callable, qa: np.ndarray, qb: np.ndarray,
                 c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[f(u) g(v)] for variances qa and qb and correlations c, all [n], and errors."""
    function, left, right, none = _pair(f, g), _features(f), _features(g), np.zeros(0)
    found = [function(a, b, x * math.sqrt(a * b), a * b * ((1 - x) * (1 + x)), left, right, none)
             for a, b, x in zip(qa, qb, np.clip(c, -1.0, 1.0))]
    values, errors = np.array(found).reshape(-1, 2).T
    return values, errors
