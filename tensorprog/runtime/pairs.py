"""Evaluation of kernels over all pairs of two data sets: tiles of the output, handed to threads.

A tile makes one single-threaded BLAS call for each Gram product and runs the emitted recursion on it while it is in
cache. Of a symmetric result only tiles of the upper triangle are computed; each is stored twice. Nothing of size
N1 x N2 is allocated but the outputs, and the result does not depend on the number of threads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from tensorprog.runtime.functions import erf, gelu, relu, sigmoid, silu, softplus, step
from tensorprog.runtime.hermite import OPTIONS, HermiteSeries, pack, sum_series
from tensorprog.runtime.threads import available_threads, run_shared

__all__ = ["OPTIONS", "PairKernel", "clamp", "erf", "evaluate", "evaluate_with_error", "finite", "gelu", "inverse_root",
           "mirror", "relu", "scaled_error", "select", "sigmoid", "silu", "snap", "snap_rows", "softplus", "step",
           "sum_series"]

#: Errors of series that are worth a warning: where they reach 1e-12, as for all moderate variances, there is none.
WORTH_A_WARNING = 1e-10


@dataclass(frozen=True, slots=True)
class PairKernel:
    """An emitted module's functions and the names of its arguments."""

    rows: Callable
    scratch_rows: Callable
    tiles: Mapping[str, Callable]
    grams: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    sizes: tuple[str, ...]
    outputs: tuple[str, ...]
    symmetric: bool


class Record:
    """Quantities of one index, in the order of the recursion, and Hermite series, for n rows."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.values: list[np.ndarray] = []
        self.calls: list[HermiteSeries] = []

    def keep(self, values) -> np.ndarray:
        """Records one value a row, and returns them."""
        self.values.append(np.broadcast_to(values, (self.n,)))
        return self.values[-1]

    def series(self, qa, qb, f: Callable, g: Callable, means: tuple[Callable, Callable] | None) -> HermiteSeries:
        """Records the Hermite series of E[f(u) g(v)] for variances `qa` of u and `qb` of v, both [n]."""
        left = np.broadcast_to(qa, (self.n,))
        right = left if qb is qa else np.broadcast_to(qb, (self.n,))
        self.calls.append(HermiteSeries(left, right, f, g, means))
        return self.calls[-1]


def inverse_root(q):
    """1 / sqrt(q), and 0 where q is 0."""
    return np.where(q > 0, 1 / np.sqrt(np.where(q > 0, q, 1.0)), 0.0)


def finite(values):
    """The values, with 0 for those that are infinite (they come with a factor 0)."""
    return np.where(np.isfinite(values), values, 0.0)


def scaled_error(error: float, values: np.ndarray) -> float:
    """The error of values that come from series with an error; what multiplies a series is at most of their size."""
    return error * max(1.0, float(np.max(np.abs(values), initial=0.0))) if error else 0.0


@njit(**OPTIONS)
def clamp(x, low, high):
    return min(max(x, low), high)


@njit(**OPTIONS)
def select(condition, yes, no):
    return yes if condition else no


@njit(**OPTIONS)
def snap(x, small):
    """x, and 0 below `small`."""
    return x if x > small else x - x


def snap_rows(x, small):
    """`snap` for arrays."""
    return np.where(x > small, x, 0.0)


@njit(**OPTIONS)
def mirror(out, r0, r1, c0, c1):
    """Copies what is above the diagonal in out[r0:r1, c0:c1] to its transposed place, by blocks of a cache line."""
    for start in range(r0, r1, 8):
        stop = min(start + 8, r1)
        for j in range(c0, c1):
            for i in range(start, min(stop, j)):
                out[j, i] = out[i, j]


def evaluate(kernel: PairKernel, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray] | None = None,
             params: Mapping[str, float] | None = None, *, out: Mapping[str, np.ndarray] | None = None,
             threads: int | None = None, dtype: str = "float64") -> dict[str, np.ndarray]:
    """The outputs [N1, N2] of all pairs of rows of two data sets; without `second`, of one with itself.

    `out` holds arrays to write to, C-contiguous and of this dtype. Raises ValueError for arrays that do not fit. Warns
    where a series is too short for the variances and correlations that it met.
    """
    found, error = evaluate_with_error(kernel, first, second, params, out=out, threads=threads, dtype=dtype)
    warn_of_series(error)
    return found


def warn_of_series(error: float) -> None:
    """A RuntimeWarning if what series leave out is worth one."""
    if error > WORTH_A_WARNING:
        warnings.warn(f"Hermite series leave errors up to {error:.1e} for the largest variances and correlations",
                      RuntimeWarning, stacklevel=3)


def evaluate_with_error(kernel: PairKernel, first: Mapping[str, np.ndarray],
                        second: Mapping[str, np.ndarray] | None = None, params: Mapping[str, float] | None = None, *,
                        out: Mapping[str, np.ndarray] | None = None, threads: int | None = None,
                        dtype: str = "float64") -> tuple[dict[str, np.ndarray], float]:
    """What `evaluate` returns, and a bound for the terms that a series with too few of them leaves out."""
    with _blas().limit(limits=1, user_api="blas"):
        return _evaluate(kernel, first, second, params or {}, out, threads, np.dtype(dtype))


def _evaluate(kernel: PairKernel, first: Mapping, second: Mapping | None, params: Mapping, out: Mapping | None,
              threads: int | None, dtype: np.dtype) -> tuple[dict[str, np.ndarray], float]:
    right = first if second is None else second
    lefts = [_matrix(first[name], dtype) for name, _ in kernel.grams]
    rights = [_matrix(right[name], dtype) if name != other or second is not None else left
              for left, (other, name) in zip(lefts, kernel.grams)]
    n1, n2 = len(lefts[0]), len(rights[0])
    record, diagonals, sizes = _diagonal(kernel, first, second, params)
    split = slice(None) if second is None else slice(n1)
    columns = slice(None) if second is None else slice(n1, None)
    table = np.array(record.values or [np.zeros(record.n)]).astype(dtype)
    tables = np.ascontiguousarray(table[:, split]), np.ascontiguousarray(table[:, columns])
    series = pack(record.calls, split, columns, dtype)
    outputs = tuple(_output(out, name, (n1, n2), dtype) for name in kernel.outputs)
    symmetric = second is None and kernel.symmetric
    tile = tile_size(n1, n2)
    numbers = tuple(dtype.type(params[name]) for name in kernel.params)
    run = kernel.tiles[dtype.name]

    errors: list[np.ndarray] = []

    def worker(todo) -> None:
        errors.append(np.zeros(1))
        mine = (*series, second is None, errors[-1])
        scratch = np.empty((kernel.scratch_rows(sizes), tile), dtype)
        buffers = [np.empty(tile * tile, dtype) for _ in lefts]
        for r0, c0 in todo:
            r1, c1 = min(r0 + tile, n1), min(c0 + tile, n2)
            grams = tuple(np.dot(x[r0:r1], y[c0:c1].T, out=buffer[:(r1 - r0) * (c1 - c0)].reshape(r1 - r0, c1 - c0))
                          for x, y, buffer in zip(lefts, rights, buffers))
            run(r0, r1, c0, c1, symmetric, *tables, mine, scratch, grams, numbers, sizes, outputs)

    corners = [(r, c) for r in range(0, n1, tile) for c in range(r if symmetric else 0, n2, tile)]
    run_shared(worker, corners, threads or available_threads())
    if second is None:
        for array, values in zip(outputs, diagonals):
            np.einsum("ii->i", array)[:] = values
    return dict(zip(kernel.outputs, outputs)), float(max(e[0] for e in errors))


def _diagonal(kernel: PairKernel, first: Mapping, second: Mapping | None, params: Mapping):
    """The recursion on the diagonal, for the rows of both data sets: the record, the diagonal outputs and the sizes."""
    sets = [first] if second is None else [first, second]
    grams = [np.concatenate([np.einsum("nd,nd->n", *(_matrix(s[name], np.float64) for name in pair)) for s in sets])
             for pair in kernel.grams]
    inputs = [np.concatenate([np.asarray(s[name], np.float64) for s in sets]) for name in kernel.inputs]
    sizes = tuple(int(params[name]) for name in kernel.sizes)
    record = Record(len(grams[0]))
    with np.errstate(all="ignore"):
        diagonals = kernel.rows(record, grams, inputs, [float(params[name]) for name in kernel.params], sizes)
    return record, diagonals, sizes


def _matrix(values, dtype) -> np.ndarray:
    array = np.ascontiguousarray(values, dtype)
    if array.ndim != 2:
        raise ValueError(f"an input of a Gram product has shape [N, d], not {list(array.shape)}")
    return array


def _output(out: Mapping[str, np.ndarray] | None, name: str, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    if out is None:
        return np.empty(shape, dtype)
    array = out[name]
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(f"out[{name!r}] is to be a C-contiguous array {list(shape)} of {dtype.name}")
    return array


def tile_size(n1: int, n2: int) -> int:
    """Rows and columns of a tile: small enough for the second cache, and for several tiles a thread."""
    return 128 if min(n1, n2) <= 1000 else 256


@lru_cache(maxsize=1)
def _blas():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
