"""Values for all pairs of rows by a tape: what one pair needs, in order, is found once, and then computed for many
pairs at a time.

Entries of the tape that only one of the two rows occurs in are computed once for each row. The others stay in a table
[entries, pairs] of a few hundred pairs, so nothing of the size of all pairs is kept but the output.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from tensorprog.runtime.compiling import njit
from tensorprog.runtime.table import TooLarge
from tensorprog.runtime.tape_grams import Factor, Products, take
from tensorprog.runtime.threads import available_threads, run_shared, single_threaded_blas

#: Pairs that are computed at a time, and bytes that their table should fit in.
MOST_PAIRS, TABLE_BYTES = 256, 1 << 21
LEAST_PAIRS = 16

#: Pairs for which the table of values is as good, and sooner compiled.
FEW_PAIRS = 64

Key = tuple[int, ...]


@dataclass(frozen=True)
class Tape:
    """An emitted module's functions; the positions of an equation's arguments that are rows; the integers of a key; the
    equations that are Gram products."""

    order: Callable
    execute: Callable
    positions: Mapping[int, tuple[int, ...]]
    width: int
    grams: Mapping[int, tuple[Factor, Factor]]


@dataclass(frozen=True)
class _Part:
    """Some entries of a tape: their keys and what they read, from a table of `before` given values and their own."""

    keys: np.ndarray
    operands: np.ndarray
    starts: np.ndarray
    before: int

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.keys, self.operands, self.starts

    @property
    def size(self) -> int:
        return self.before + len(self.keys)

    @property
    def at_a_time(self) -> int:
        """For how many pairs they are computed at a time."""
        return int(np.clip(TABLE_BYTES // (8 * max(self.size, 1)), LEAST_PAIRS, MOST_PAIRS))


@dataclass(frozen=True)
class _Steps:
    """A tape: keys, the places of what each reads, and where those of each begin."""

    keys: np.ndarray
    operands: np.ndarray
    starts: np.ndarray

    def places(self, keys: Iterable[Key]) -> np.ndarray:
        return np.array([np.flatnonzero((self.keys == key).all(axis=1))[0] for key in keys])

    def read_by(self, chosen: np.ndarray) -> np.ndarray:
        """Which entries the chosen ones read."""
        found = np.zeros(len(self.keys), bool)
        found[self.operands[np.repeat(chosen, np.diff(self.starts))]] = True
        return found

    def part(self, chosen: np.ndarray, *given: np.ndarray) -> _Part:
        """The chosen entries, which read each other and those at the places `given`."""
        before = sum(map(len, given))
        places = np.full(len(self.keys), -1)
        places[chosen] = before + np.arange(np.count_nonzero(chosen))
        places[np.concatenate([np.empty(0, np.int64), *given])] = np.arange(before)
        counts = np.diff(self.starts)
        starts = np.concatenate([[0], np.cumsum(counts[chosen])])
        return _Part(self.keys[chosen], places[self.operands[np.repeat(chosen, counts)]], starts, before)


@dataclass(frozen=True)
class _Plane:
    """An output at fixed other indices, for all pairs of rows."""

    tape: Tape
    number: int
    index: tuple[int, ...]
    pair: tuple[int, int]
    extents: tuple[int, int]
    limit: int
    env: tuple
    shift: float

    @property
    def worst(self) -> np.ndarray:
        """What the emitted functions write the largest relative error of a quadrature to, and read the shift from."""
        return np.array([0.0, 0.0, self.shift])

    def key(self, first: int, second: int) -> Key:
        """The key of the output for two rows."""
        index = list(self.index)
        index[self.pair[0]], index[self.pair[1]] = first, second
        return (self.number, *index, *[0] * (self.tape.width - 1 - len(index)))

    def ordered(self, roots: tuple[Key, ...], extents: tuple[int, int]) -> _Steps | None:
        """The tape of some keys, whose rows 0 and 1 stand for those below `extents`; None if these differ in it."""
        flags = np.zeros(2, np.int64)
        found = self.tape.order(np.array(roots), np.array(extents), self.limit, flags, *self.env)
        if flags[1]:
            raise TooLarge
        return None if flags[0] else _Steps(*found)


def values(tape: Tape, number: int, shape: tuple[int, ...], pair: tuple[int, int], limit: int, threads: int | None,
           env: tuple, between: int | None = None, shift: float = 0.0) -> tuple[np.ndarray, float] | None:
    """The values [shape] of an equation for all its indices, of which those at `pair` are rows, and the largest relative
    error of a quadrature; None if not all rows go through the same steps, or if there are few. With `between`, only for
    pairs of one of the first so many rows and one of the others. Quadratures are shifted by `shift` times their errors.

    Raises:
        TooLarge: if the tape has more than `limit` entries.
    """
    extents = shape[pair[0]], shape[pair[1]]
    rows, columns = (np.arange(n) for n in extents)
    if between is not None:
        rows, columns = rows[:between], columns[between:]
    elif len(rows) * len(columns) <= FEW_PAIRS:
        return None
    lengths = {pair[0]: len(rows), pair[1]: len(columns)}
    found = np.empty([lengths.get(k, n) for k, n in enumerate(shape)])
    worst = 0.0
    others = [range(n) if k not in pair else (0,) for k, n in enumerate(shape)]
    for index in itertools.product(*others):
        plane = found[tuple(slice(None) if k in pair else i for k, i in enumerate(index))]
        error = _fill(plane, rows, columns, _Plane(tape, number, index, pair, extents, limit, env, shift), threads)
        if error is None:
            return None
        worst = max(worst, error)
    return found, worst


def _fill(out: np.ndarray, rows: np.ndarray, columns: np.ndarray, plan: _Plane, threads: int | None) -> float | None:
    """Fills out[i, j] for rows[i] and columns[j]; returns the error, or None if rows differ in their steps."""
    errors = [0.0]
    both, at, where = np.intersect1d(rows, columns, return_indices=True)
    # Equal rows go through other steps than different ones: [i = j] is 1 for them.
    if len(both):
        root = plan.key(0, 0)
        steps = plan.ordered((root,), (max(both) + 1, max(both) + 1))
        if steps is None:
            return None
        everything = np.ones(len(steps.keys), bool)
        out[at, where] = _each_row(plan, steps, everything, steps.places((root,)), both, errors)[0]
    if len(rows) * len(columns) > len(both):
        # If rows are columns, one tape with two roots gives (i, j) and (j, i) from what both need.
        turned = len(both) == len(rows) == len(columns)
        roots = (plan.key(0, 1), plan.key(1, 0)) if turned else (plan.key(0, 1),)
        steps = plan.ordered(roots, plan.extents)
        if steps is None:
            return None
        _each_pair(out, rows, columns, plan, steps, roots, threads, errors)
    return max(errors)


def _each_row(plan: _Plane, steps: _Steps, chosen: np.ndarray, kept: np.ndarray, rows: np.ndarray,
              errors: list[float]) -> np.ndarray:
    """The values [kept entries, rows] of entries for each row; those that are `chosen` read no others."""
    found, error = np.empty((len(kept), len(rows))), plan.worst
    part = steps.part(chosen)
    rows_of_table = (np.cumsum(chosen) - 1)[kept]
    for start in range(0, len(rows), part.at_a_time):
        some = rows[start:start + part.at_a_time]
        table = np.empty((part.size, len(some)))
        plan.tape.execute(*part.arrays, table, 0, np.stack([some, some]), error, *plan.env)
        found[:, start:start + len(some)] = table[rows_of_table]
    errors.append(error[0])
    return found


def _each_pair(out: np.ndarray, rows: np.ndarray, columns: np.ndarray, plan: _Plane, steps: _Steps,
               roots: tuple[Key, ...], threads: int | None, errors: list[float]) -> None:
    """Fills `out` where rows and columns differ; the roots are keys of the output for a pair, and, if rows are columns,
    for its rows in turn."""
    first, second = (_occurs(plan.tape, steps.keys, row) for row in (0, 1))
    products = first & second & np.isin(steps.keys[:, 0], [*plan.tape.grams])
    chosen = first & second & ~products
    # What is read of one row alone, or of none, is computed once for each row.
    given = steps.read_by(chosen) & ~(first & second)
    given = np.flatnonzero(given & ~second), np.flatnonzero(given & second)
    known = (_each_row(plan, steps, ~second, given[0], rows, errors),
             _each_row(plan, steps, ~first, given[1], columns, errors))
    grams = Products(plan.tape.grams, steps.keys[products], plan.env, rows, columns)
    part = steps.part(chosen, *given, np.flatnonzero(products)[grams.order])
    places = part.before + (np.cumsum(chosen) - 1)[steps.places(roots)]

    def worker(todo: Iterable[tuple[range, range]], prepared: Future) -> None:
        error, block = plan.worst, np.empty((part.size, part.at_a_time))
        for some, others in todo:
            i, j = _pairs(some, others, rows, columns, len(places) > 1)
            table = block if len(i) == part.at_a_time else np.empty((part.size, len(i)))
            _gather(table, *known, i, j)
            take(table[sum(map(len, given)):part.before], grams.block(some, others), i - some.start, j - others.start)
            plan.tape.execute(*part.arrays, table, part.before, np.stack([rows[i], columns[j]]), error, *plan.env)
            out[i, j] = table[places[0]]
            if len(places) > 1:
                out[j, i] = table[places[1]]
        errors.append(error[0])

    with single_threaded_blas():
        run_shared(worker, _blocks(len(rows), len(columns), part.at_a_time, len(places) > 1), lambda: None,
                   threads or available_threads())


def _blocks(rows: int, columns: int, size: int, turned: bool) -> list[tuple[range, range]]:
    """Blocks of so many pairs, as square as can be; if rows are columns, those with pairs i < j."""
    height = min(rows, math.isqrt(size))
    width = min(columns, size // height)
    return [(range(r, min(r + height, rows)), range(c, min(c + width, columns))) for r in range(0, rows, height)
            for c in range(0, columns, width) if not turned or min(c + width, columns) > r + 1]


def _pairs(some: range, others: range, rows: np.ndarray, columns: np.ndarray,
           turned: bool) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the pairs of a block that differ; each once, if rows are columns."""
    i, j = np.meshgrid(np.arange(some.start, some.stop), np.arange(others.start, others.stop), indexing="ij")
    wanted = i < j if turned else rows[i] != columns[j]
    return i[wanted], j[wanted]


@njit(cache=True, nogil=True)
def _gather(table, first, second, a, c):
    """table[:, pair] = the values of the first row of each pair, then those of the second."""
    for k in range(len(first)):
        for pair in range(len(a)):
            table[k, pair] = first[k, a[pair]]
    for k in range(len(second)):
        for pair in range(len(c)):
            table[len(first) + k, pair] = second[k, c[pair]]


def _occurs(tape: Tape, keys: np.ndarray, row: int) -> np.ndarray:
    """Whether a row occurs in each key."""
    found = np.zeros(len(keys), bool)
    for number, positions in tape.positions.items():
        mine = keys[:, 0] == number
        for k in positions:
            found |= mine & (keys[:, k + 1] == row)
    return found
