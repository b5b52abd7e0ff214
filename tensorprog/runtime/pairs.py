"""Evaluation of kernels over all pairs of two data sets: tiles of the output, handed to threads.

A tile is one Gram product for each pair of inputs and the emitted recursion, run on it while it is in cache. Of a
symmetric result only tiles of the upper triangle are computed; each is stored twice. Nothing of size N1 x N2 is
allocated but the outputs, and the result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from tensorprog.runtime import gram
from tensorprog.runtime import hermite_averages as averages
from tensorprog.runtime import hermite_tables as tables
from tensorprog.runtime.careful import NEAR, SERIES, Careful, PairError
from tensorprog.runtime.compiling import njit
from tensorprog.runtime.functions import erf, function, gelu, relu, sigmoid, sigmoid_slope, silu, softplus, step, tanh_slope
from tensorprog.runtime.hermite import OPTIONS, HermiteSeries, pack, sum_series
from tensorprog.runtime.memory import keep_freed_memory
from tensorprog.runtime.threads import available_threads, run_shared, single_threaded_blas

__all__ = ["OPTIONS", "PairKernel", "clamp", "erf", "evaluate", "evaluate_with_error", "finite", "gelu", "inverse_root",
           "mean", "mirror", "note", "note_finite", "relu", "select", "sigmoid", "sigmoid_slope", "silu", "softplus",
           "step", "sum_series", "tanh_slope"]


#: Errors of kernels in single precision, relative to the roots of both rows' diagonal values.
SINGLE = 3e-6
#: What correlations in single precision keep from 1 in a tile.
NEAR_SINGLE = 1e-3
#: Pairs that are few.
FEW_PAIRS = 1_024

#: Rows and columns of a tile.
SMALLEST_TILE, LARGEST_TILE = 64, 320
#: Numbers of a cache line, of most processors.
LINE = 8


@dataclass(frozen=True, slots=True)
class PairKernel:
    """An emitted module's functions and the names of its arguments."""

    rows: Callable
    listed: Callable
    scratch_rows: Callable
    tile: Callable
    constants: tuple[float, ...]
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


def mean(f: Callable, q: np.ndarray) -> np.ndarray:
    """E f(u) for u of variances q."""
    return averages.mean(f).at(tables.RowTables(np.atleast_1d(q)))


def finite(values):
    """The values, with 0 for those that are infinite (they come with a factor 0)."""
    return np.where(np.isfinite(values), values, 0.0)


@njit(**OPTIONS)
def clamp(x, low, high):
    return min(max(x, low), high)


@njit(**OPTIONS)
def select(condition, yes, no):
    return yes if condition else no


@njit(**OPTIONS)
def note_finite(result, doubt):
    """Doubts results that are not finite."""
    for j in range(len(result)):
        if not abs(result[j]) < np.inf:
            doubt[j] = 2


@njit(**OPTIONS)
def note(doubt, doubts, row, column):
    """Marks the strip's pairs that a tile cannot do: doubts[1 + row, column:] = 1 or 2, and doubts[0, 0] if any are."""
    # Near correlation 1 formulas lose digits; 2 marks what is not finite (`note_finite`).
    limit = 1 - NEAR if doubt.itemsize == 8 else 1 - NEAR_SINGLE
    for j in range(len(doubt)):
        if doubt[j] > limit:
            doubts[1 + row, column + j] = 2 if doubt[j] > 1.5 else 1
            doubts[0, 0] = 1


@njit(**OPTIONS)
def mirror(out, r0, r1, c0, c1):
    """Copies what is above the diagonal in out[r0:r1, c0:c1] to its transposed place, by squares of a cache line: rows
    whose distance is a power of two share few places of a cache."""
    for a in range(c0, c1, LINE):
        b = min(a + LINE, c1)
        for i0 in range(r0, min(r1, b), LINE):
            i1 = min(i0 + LINE, r1)
            if b - a == i1 - i0 == LINE and i1 <= a:  # with known bounds, which the compiler unrolls
                for j in range(a, a + LINE):
                    for i in range(i0, i0 + LINE):
                        out[j, i] = out[i, j]
            else:
                for j in range(a, b):
                    for i in range(i0, min(i1, j)):
                        out[j, i] = out[i, j]


def evaluate(kernel: PairKernel, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray] | None = None,
             params: Mapping[str, float] | None = None, *, out: Mapping[str, np.ndarray] | None = None,
             threads: int | None = None, dtype: str = "float64") -> dict[str, np.ndarray]:
    """The outputs [N1, N2] of all pairs of rows of two data sets; without `second`, of one with itself.

    `out` holds arrays to write to, C-contiguous and of this dtype. Raises ValueError for arrays that do not fit.
    """
    return evaluate_with_error(kernel, first, second, params, out=out, threads=threads, dtype=dtype)[0]


def evaluate_with_error(kernel: PairKernel, first: Mapping[str, np.ndarray],
                        second: Mapping[str, np.ndarray] | None = None, params: Mapping[str, float] | None = None, *,
                        out: Mapping[str, np.ndarray] | None = None, threads: int | None = None,
                        dtype: str = "float64", suspect: Callable[[], None] | None = None, few: int = 0
                        ) -> tuple[dict[str, np.ndarray], dict[str, PairError]]:
    """What `evaluate` returns, and the error of each output.

    `suspect` is called before anything is written if an input may have entries that are not finite numbers. Up to `few`
    pairs are computed in a list, by NumPy: compiling tiles for them would take a hundred times as long.
    """
    keep_freed_memory()
    kind, params = np.dtype(dtype), params or {}
    right = first if second is None else second
    lefts = [_matrix(first[name], kind) for name, _ in kernel.grams]
    rights = [_matrix(right[name], kind) if name != other or second is not None else left
              for left, (other, name) in zip(lefts, kernel.grams)]
    n1, n2 = len(lefts[0]), len(rights[0])
    sizes = tuple(int(params[name]) for name in kernel.sizes)
    outputs = tuple(np.empty((n1, n2), kind) if out is None else checked_output(out, name, (n1, n2), kind)
                    for name in kernel.outputs)
    symmetric = second is None and kernel.symmetric
    height, width = tile_extent(n1), tile_extent(n2)
    constants = tuple(map(kind.type, kernel.constants))
    numbers = tuple(kind.type(params[name]) for name in kernel.params)
    diagonals: list[np.ndarray] = []
    doubtful: list[np.ndarray] = []
    records: list[Record] = []

    def single_rows() -> Record:
        """What there is to know of single rows."""
        record = Record(n1 if second is None else n1 + n2)
        records.append(record)
        with single_threaded_blas():
            diagonals.extend(_diagonal(kernel, record, first, second, params, sizes, suspect))
        return record

    def prepare() -> tuple:
        """What the tiles need of single rows."""
        record = single_rows()
        rows = slice(None) if second is None else slice(n1)
        columns = slice(None) if second is None else slice(n1, None)
        with single_threaded_blas():
            series = pack(record.calls, rows, columns, kind)
        table = np.array(record.values or [np.zeros(record.n)]).astype(kind)
        return np.ascontiguousarray(table[:, rows]), np.ascontiguousarray(table[:, columns]), series

    def worker(todo: Iterable[tuple[int, int]], prepared: Future) -> None:
        doubts = np.zeros((1 + height, width), np.uint8)
        scratch = np.empty((kernel.scratch_rows(sizes), width), kind)
        grams = tuple(gram.buffer(height, width, kind) for _ in lefts)
        packed = [gram.panel(x.shape[1], kind) for x in lefts]
        for r0, c0 in todo:
            r1, c1 = min(r0 + height, n1), min(c0 + width, n2)
            for arrays in zip(lefts, rights, grams, packed):
                gram.product(*arrays, r0, r1, c0, c1, symmetric)
            *tables, series = prepared.result()
            kernel.tile(r0, r1, c0, c1, symmetric, *tables, series, doubts, scratch, grams, constants, numbers, sizes,
                        outputs)
            if doubts[0, 0]:
                doubtful.append(_collected(doubts, r0, c0))

    if n1 * n2 <= few:
        single_rows()
        doubtful.append(_all_pairs(n1, n2, symmetric))
    else:
        run_shared(worker, _corners(n1, n2, height, width, symmetric), prepare, threads or available_threads())
    # A row with itself: the value of the recursion on the diagonal, which no rounding of a correlation enters.
    if second is None:
        for array, values in zip(outputs, diagonals):
            np.einsum("ii->i", array)[:] = values
    record = records[0]
    relative = SINGLE if kind == np.float32 else SERIES if record.calls else 0.0
    relative += 4 * max((call.error for call in record.calls), default=0.0)
    roots = [np.sqrt(np.abs(np.broadcast_to(values, (record.n,)))) for values in diagonals]
    errors = [PairError(relative, root[:n1], root if second is None else root[n1:]) for root in roots]
    if second is None:
        unknown = np.zeros(record.n, bool)
        for call in record.calls:
            unknown |= call.unknown
        rows = np.flatnonzero(unknown)
        for error in errors if len(rows) else ():
            error.pairs.append((rows, rows, np.full(len(rows), np.inf)))
    if doubtful:
        task = Careful(kernel, record, first, right, params, sizes, second is None, n1, diagonals)
        task.correct(np.concatenate(doubtful), outputs, errors, symmetric)
    return dict(zip(kernel.outputs, outputs)), dict(zip(kernel.outputs, errors))


def _collected(doubts: np.ndarray, r0: int, c0: int) -> np.ndarray:
    """The marked pairs of a tile, [pairs, (row, column, mark)]; the marks are taken away."""
    i, j = np.nonzero(doubts[1:])
    found = np.stack([i + r0, j + c0, doubts[1:][i, j]], axis=1)
    doubts[:] = 0
    return found


def _all_pairs(n1: int, n2: int, symmetric: bool) -> np.ndarray:
    """Every pair, of a symmetric result those above the diagonal, as a tile would mark it that could not do it."""
    i, j = np.triu_indices(n1, 1) if symmetric else np.indices((n1, n2)).reshape(2, -1)
    return np.stack([i, j, np.full(len(i), 2)], axis=1)


def _corners(n1: int, n2: int, height: int, width: int, symmetric: bool) -> list[tuple[int, int]]:
    """First row and column of every tile. Of a symmetric result, half tiles, those of the diagonal, come last, so that
    threads end together, but for one that is there while the rows are prepared."""
    if not symmetric:
        return [(r, c) for r in range(0, n1, height) for c in range(0, n2, width)]
    halves = [(r, r) for r in range(0, n1, height)]
    return [*halves[:1], *((r, c) for r in range(0, n1, height) for c in range(r + height, n1, height)), *halves[1:]]


def _diagonal(kernel: PairKernel, record: Record, first: Mapping, second: Mapping | None, params: Mapping,
              sizes: tuple[int, ...], suspect: Callable[[], None] | None) -> list[np.ndarray]:
    """The recursion on the diagonal, for the rows of both data sets; returns the diagonals of the outputs."""
    sets = [first] if second is None else [first, second]
    with np.errstate(over="ignore"):
        grams = [np.concatenate([np.vecdot(*(_matrix(s[name], np.float64) for name in pair)) for s in sets])
                 for pair in kernel.grams]
    inputs = [np.concatenate([np.asarray(s[name], np.float64) for s in sets]) for name in kernel.inputs]
    if suspect is not None and not all(np.isfinite(values).all() for values in (*grams, *inputs)):
        suspect()
    with np.errstate(all="ignore"):
        return kernel.rows(record, grams, inputs, [float(params[name]) for name in kernel.params], sizes)


def _matrix(values, dtype) -> np.ndarray:
    array = np.ascontiguousarray(values, dtype)
    if array.ndim != 2:
        raise ValueError(f"an input of a Gram product has shape [N, d], not {list(array.shape)}")
    return array


def checked_output(out: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array of a name, if it fits; raises ValueError."""
    array = out[name]
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(f"out[{name!r}] is to be a C-contiguous array {list(shape)} of {dtype.name}")
    return array


def tile_extent(n: int) -> int:
    """Rows or columns of a tile: small enough for the second cache, whole blocks of a Gram product, and an even number
    of tiles a side, several for every processor (however many threads are used, so that results do not depend on
    them)."""
    sides = 2 * max(-(-n // (2 * LARGEST_TILE)), math.ceil(math.sqrt(available_threads() / 2)))
    extent = max(-(-n // sides), min(n, SMALLEST_TILE), 1)
    return -(-extent // gram.ROWS) * gram.ROWS


def __getattr__(name: str) -> object:
    """Functions that were registered from outside of tensorprog, by their names."""
    return function(name)
