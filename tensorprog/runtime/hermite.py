"""Hermite (Mehler) series of two-point functions without a closed form.

For (u, v) Gaussian of variances q_u, q_v and correlation c, E[f(u) g(v)] = sum_n a_n(q_u) b_n(q_v) c**n with a_n(q) =
E[f(sqrt(q) z) he_n(z)], he_n the orthonormal Hermite polynomials. By Cauchy's inequality the terms from n on are at
most |c|**n sqrt(A_n B_n), with A_n = E f**2 - sum_{k<n} a_k**2 (Parseval): the number of terms follows from this
bound, for each block of a few pairs. If F' = f and G' = g, the same terms give E[F G] = E[F] E[G] + kab sum_n a_n b_n
c**n / (n + 1), because the n-th coefficient of F is sqrt(q/n) a_{n-1}.

Coefficients come from tables over the variance (`hermite_tables`). Pairs whose series is too long for these are left to
`HermiteSeries.at`, which has longer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import llvmlite.binding
import numpy as np

from tensorprog.runtime import hermite_averages as averages
from tensorprog.runtime import hermite_hard as hard
from tensorprog.runtime import hermite_tables as tables
from tensorprog.runtime import waves
from tensorprog.runtime.compiling import njit
from tensorprog.runtime.horner import BLOCK, both_sums, largest, one_sum

# Blocks read and write more rows of scratch than LLVM checks for overlap by default before it vectorizes a loop.
llvmlite.binding.set_option("tensorprog", "-runtime-memory-check-threshold=128")

#: How kernels are compiled: arguments are clamped, so that no infinities or NaN occur.
OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}

#: Terms that are left out, relative to the root mean squares of the functions.
TOLERANCE = 3e-14
#: Numbers of terms are multiples of this (the power of `ratio` in `sum_series`).
CHUNK = 8
#: Errors of coefficients and sums, relative to the root mean squares.
ROUNDING = 1e-14


@lru_cache(maxsize=4096)
def _relative_size(f: Callable, number: int) -> float:
    """The root mean square of a function over the standard deviation, at the end of a panel."""
    high = np.exp(np.array([(number + 1 - 1e-12) * tables.PANEL]))
    return float(np.sqrt(np.abs(averages.product(f, f).at(tables.Rows(high)))[0] / high[0]))


class _Side:
    """Coefficients of f for the variances of rows.

    Attributes:
        unit: [n], what bounds are relative to.
        error: [n], of the coefficients, relative to that.
    """

    def __init__(self, rows: tables.Rows, f: Callable, mean: Callable | None, orders: Sequence[int]) -> None:
        self.rows, self.function, self.mean = rows, tables.of(f), mean
        for order in orders:
            self.panels = [None if k == tables.NONE else self.function.panel(int(k), order) for k in rows.panels]
            if all(p is None or p.enough for p in self.panels):
                break
        self.error = np.array([p.error if p is not None else 0.0 for p in self.panels])[rows.where]
        self.order = max((p.order for p in self.panels if p is not None), default=1)
        #: [n], whether there is no series for a row, but a closed form.
        self.closed = np.array([isinstance(p, tables.ClosedPanel) for p in self.panels])[rows.where]
        sizes = [self._unit(p) for p in self.panels]
        self.unit = np.array(sizes)[rows.where]
        self._left = np.array([self._bounds(p) / max(u, np.finfo(float).tiny) for p, u in zip(self.panels, sizes)])

    def _unit(self, panel: tables.Panel | tables.ClosedPanel | None) -> float:
        """The root mean square of f or, where E[F G] is also wanted, that of F over the standard deviation that
        multiplies the series in it, if this is less."""
        size = panel.size if panel is not None else self._at_zero()
        if self.mean is None or panel is None:
            return size
        own = _relative_size(self.mean, panel.number)
        return min(size, own) if own > 0 else size

    def _at_zero(self) -> float:
        return abs(float(self.function.f(np.zeros(1))[0]))

    def _bounds(self, panel: tables.Panel | tables.ClosedPanel | None) -> np.ndarray:
        left = np.zeros(self.order + 1)
        if panel is None:
            left[0] = self._at_zero()
        else:
            left[:panel.order + 1] = panel.left
            left[panel.order + 1:] = panel.left[-1]  # a panel with fewer coefficients has enough
            left += np.inf if not np.isfinite(panel.error) else 0.0
        return left

    def bounds(self, powers: np.ndarray) -> np.ndarray:
        """What the terms from each power on add up to at c = 1, at most, as roots: [powers, n]."""
        found = np.ascontiguousarray(self._left[:, np.minimum(powers, self.order)].T)[:, self.rows.where]
        found[:, ~np.isfinite(self.rows.q)] = np.inf
        return found

    def needed(self, other: _Side) -> int:
        """The number of terms with another side's that are enough at any correlation, if there are as many."""
        order = min(self.order, other.order)
        one, two = (side._left[:, :order + 1].max(axis=0) for side in (self, other))
        with np.errstate(all="ignore"):
            enough = np.flatnonzero(one * two <= TOLERANCE)
        return int(enough[0]) if len(enough) else order

    def coefficients(self, powers: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """[n, powers], times weights [powers]."""
        found = np.zeros((len(self.rows.q), len(powers)))
        for k, (own, panel) in enumerate(zip(self.rows.members, self.panels)):
            if panel is None:
                found[own, 0] = np.where(self.rows.q[own] == 0, self.function.f(np.zeros(1))[0], np.nan)
                continue
            there = np.count_nonzero(powers < panel.order)
            columns = panel.columns(powers[:there])
            columns = columns if weights is None else columns * weights[:there]
            found[own, :there] = self.rows.interpolation(k, len(panel.table)) @ columns
        return found


class HermiteSeries:
    """The series of E[f(u) g(v)] for variances qa of u and qb of v, both [n].

    `powers` are those of its terms; with `means` = (F, G), `mean_a` and `mean_b` are E[F(u)] and E[G(v)].
    """

    def __init__(self, qa: np.ndarray, qb: np.ndarray, f: Callable, g: Callable,
                 means: tuple[Callable, Callable] | None) -> None:
        self.functions, self.means, self.same_variance = (f, g), means, qa is qb
        rows = tables.Rows(qa)
        self._sides = self._made(rows, rows if qa is qb else tables.Rows(qb), tables.ORDERS)
        a, b = self._sides
        self.powers = _powers(a.function.parity, b.function.parity, a.needed(b))
        if means:
            self.mean_a = averages.mean(means[0]).at(a.rows)
            self.mean_b = self.mean_a if a is b else averages.mean(means[1]).at(b.rows)

    def _made(self, left: tables.Rows, right: tables.Rows, orders: Sequence[int]) -> tuple[_Side, _Side]:
        (f, g), (one, two) = self.functions, self.means or (None, None)
        first = _Side(left, f, one, orders)
        return first, first if left is right and f is g else _Side(right, g, two, orders)

    @property
    def starts(self) -> np.ndarray:
        """The power of the first term of every chunk, and of what is left after them."""
        step = self.powers[2] - self.powers[1]
        return np.append(self.powers[1::CHUNK], self.powers[-1] + step)

    def tables(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Coefficients [n, terms] and bounds [chunks + 1, n] of both sides; with means the coefficients of integrals, of
        which each side has one root of 1 / (n + 1)."""
        weights = 1 / np.sqrt(self.powers + 1) if self.means else None
        made = [(side.coefficients(self.powers, weights), side.bounds(self.starts))
                for side in self._sides[:1 if self._sides[0] is self._sides[1] else 2]]
        return [made[0], made[-1]]

    def sums(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum t_n c**n and sum t_n c**n / (n + 1) at correlations c [n]; by quadrature where u = v."""
        if self.same_variance and np.all((c == 1) | (self._sides[0].rows.q == 0)):
            return self._equal()
        rows = np.arange(len(c))
        return self.at(rows, rows, np.broadcast_to(c, rows.shape))[:2]

    def _equal(self) -> tuple[np.ndarray, np.ndarray]:
        (f, g), side = self.functions, self._sides[0]
        value = averages.product(f, g).at(side.rows)
        if not self.means:
            return value, value
        return value, averages.slope(*self.means, self.functions).at(side.rows)

    def at(self, i: np.ndarray, j: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Both sums for rows i of u and j of v at correlations c, with a bound for the error of either."""
        value, integral = np.empty(len(c)), np.empty(len(c))
        error = np.empty(len(c))
        left = np.flatnonzero(~self._closed(i, j, c, (value, integral, error)))
        for orders in (tables.ORDERS, *((order,) for order in tables.LONG)) if len(left) else ():
            self._some(orders, i, j, c, left, (value, integral, error))
            left = left[~(error[left] <= self._reached(i[left], j[left]))]
            if not len(left) or not np.isfinite(error[left]).any():
                break
        usual = left[:hard.MOST]
        usual = usual[np.isfinite(c[usual])]
        if len(usual):
            self._integrated(i[usual], j[usual], c[usual], usual, (value, integral, error))
        return value, integral, error

    def _closed(self, i: np.ndarray, j: np.ndarray, c: np.ndarray, found: tuple[np.ndarray, ...]) -> np.ndarray:
        """`at` by the closed form of `waves`, for pairs of which a side has no series: which these are, [pairs]."""
        one, two = (waves.terms_of(f) for f in self.functions)
        chosen = (self._sides[0].closed[i] | self._sides[1].closed[j]) & np.isfinite(c)
        if one is None or two is None or not chosen.any():
            return np.zeros(len(c), bool)
        (qa, qb), c = (side.rows.q[own[chosen]] for side, own in zip(self._sides, (i, j))), c[chosen]
        value, size = waves.expectation(one, two, qa, qb, c)
        integral, error = value, waves.ROUNDING * size
        first, second = (waves.terms_of(f) for f in self.means) if self.means else (None, None)
        if first is not None and second is not None:
            product, size = waves.expectation(first, second, qa, qb, c)
            means = waves.mean(first, qa), waves.mean(second, qb)
            covariance = c * np.sqrt(qa * qb)
            with np.errstate(all="ignore"):
                # E[F G] = E[F] E[G] + covariance * integral, solved for the integral.
                integral = np.where(covariance == 0, 0.0, (product - means[0] * means[1]) / covariance)
                error = np.maximum(error, np.where(covariance == 0, 0.0, waves.ROUNDING * size / np.abs(covariance)))
        for part, new in zip(found, (value, integral, error)):
            part[chosen] = new
        return chosen

    def _integrated(self, i: np.ndarray, j: np.ndarray, c: np.ndarray, chosen: np.ndarray,
                    found: tuple[np.ndarray, ...]) -> None:
        """`at` by quadrature, where that is better."""
        qa, qb = (side.rows.q[own] for side, own in zip(self._sides, (i, j)))
        value, error = hard.expectations(*self.functions, qa, qb, c)
        integral = value
        if self.means:
            whole, more = hard.expectations(*self.means, qa, qb, c)
            covariance = c * np.sqrt(qa * qb)
            # E[F G] = E[F] E[G] + covariance * integral, solved for the integral.
            integral = (whole - self.mean_a[i] * self.mean_b[j]) / covariance
            error = np.maximum(error, (more + ROUNDING * np.abs(whole)) / np.abs(covariance))
        better = error < found[2][chosen]
        for part, new in zip(found, (value, integral, error)):
            part[chosen[better]] = new[better]

    def _reached(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """The errors of sums that have all of their terms."""
        a, b = self._sides
        return (ROUNDING + 2 * TOLERANCE + a.error[i] + b.error[j]) * self.units(i, j)

    def units(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """What errors of rows i of u and j of v are relative to."""
        return self._sides[0].unit[i] * self._sides[1].unit[j]

    @property
    def unknown(self) -> np.ndarray:
        """[n], whether the functions could not be integrated at the variance of a row, so that nothing is known of errors."""
        return np.isinf(self._sides[0].error) | np.isinf(self._sides[1].error)

    @property
    def error(self) -> float:
        """The largest error of coefficients, relative to the root mean squares; of those that are known."""
        found = np.concatenate([side.error for side in self._sides])
        return float(np.max(found, where=np.isfinite(found), initial=0.0))

    def _some(self, orders: Sequence[int], i: np.ndarray, j: np.ndarray, c: np.ndarray, chosen: np.ndarray,
              found: tuple[np.ndarray, ...]) -> None:
        """`at` for the chosen ones, to `found`, with tables of some orders."""
        i, j, c = i[chosen], j[chosen], np.ascontiguousarray(c[chosen])
        kept = [np.unique(x, return_inverse=True) for x in (i, j)]
        (rows, i), (columns, j) = kept
        a, b = self._made(*(tables.Rows(side.rows.q[own]) for side, own in zip(self._sides, (rows, columns))), orders)
        powers = _powers(a.function.parity, b.function.parity, a.needed(b))
        last = np.array([powers[-1] + powers[2] - powers[1]])
        value, integral = np.empty(len(c)), np.empty(len(c))
        _sum_pairs(a.coefficients(powers), b.coefficients(powers), powers, i, j, c, value, integral)
        with np.errstate(all="ignore"):
            rest = a.bounds(last)[0][i] * b.bounds(last)[0][j] * np.abs(c) ** last[0]
        own = ROUNDING + a.error[i] + b.error[j]
        error = (np.where(np.isnan(rest), np.inf, rest) + own) * a.unit[i] * b.unit[j]
        for whole, part in zip(found, (value, integral, error)):
            whole[chosen] = part


def _powers(one: int, two: int, terms: int) -> np.ndarray:
    """The powers of c whose terms do not vanish for functions of these parities: 0 and all, the odd or the even ones
    below `terms`, in chunks."""
    even, odd = (all(p == parity for p in (one, two)) for parity in (0, 1))
    start, step = (2, 2) if even else (1, 2) if odd else (1, 1)
    count = max(-(-len(range(start, terms, step)) // CHUNK), 1) * CHUNK
    return np.concatenate([[0], start + step * np.arange(count)])


@njit(**OPTIONS)
def _sum_pairs(first, second, powers, i, j, c, value, integral):
    """Both sums for lists of pairs; `first` and `second` are [rows, terms]."""
    start, step = powers[1], powers[2] - powers[1]
    for k in range(len(c)):
        a, b, x = first[i[k]], second[j[k]], c[k]
        y = x * x if step == 2 else x
        y2 = y * y
        y4 = y2 * y2
        p = x if start == 1 else y
        total, weighted = a[0] * b[0], a[0] * b[0]
        for m in range(1, len(powers), CHUNK):
            n = powers[m] + 1.0
            t0, t1, t2, t3 = a[m] * b[m], a[m + 1] * b[m + 1], a[m + 2] * b[m + 2], a[m + 3] * b[m + 3]
            t4, t5, t6, t7 = a[m + 4] * b[m + 4], a[m + 5] * b[m + 5], a[m + 6] * b[m + 6], a[m + 7] * b[m + 7]
            total += p * ((t0 + y * t1) + y2 * (t2 + y * t3) + y4 * ((t4 + y * t5) + y2 * (t6 + y * t7)))
            weighted += p * ((t0 / n + y * t1 / (n + step)) + y2 * (t2 / (n + 2 * step) + y * t3 / (n + 3 * step))
                             + y4 * ((t4 / (n + 4 * step) + y * t5 / (n + 5 * step))
                                     + y2 * (t6 / (n + 6 * step) + y * t7 / (n + 7 * step))))
            p *= y4 * y4
        value[k], integral[k] = total, weighted


def pack(calls: Sequence[HermiteSeries], rows: slice, columns: slice, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """For `sum_series`, of all calls side by side: coefficients [N1, terms] and, by blocks of columns, [blocks, terms,
    BLOCK], and where each call begins; bounds [N1, chunks] and, largest of a block, [blocks, chunks], where each call
    begins, and what is left after the last terms [calls, N2]; the powers of terms and bounds."""
    if not calls:
        none, ints = np.zeros((1, 1), dtype), np.zeros(1, np.int64)
        return (none, none[None], ints, none.astype(np.float64), none.astype(np.float64), ints,
                none.astype(np.float64), ints, ints, TOLERANCE)
    powers = np.concatenate([call.powers for call in calls])
    terms = np.cumsum([0] + [len(call.powers) for call in calls])
    chunks = np.cumsum([0] + [len(call.starts) for call in calls])
    starts = np.concatenate([call.starts for call in calls])
    sides = [call.tables() for call in calls]
    n1, n2 = len(sides[0][0][0][rows]), len(sides[0][1][0][columns])
    first, near = np.empty((n1, terms[-1]), dtype), np.empty((n1, chunks[-1]))
    second, far = _blocks(n2, terms[-1], dtype), _blocks(n2, chunks[-1], np.dtype(np.float64))
    for k, ((one, left), (two, right)) in enumerate(sides):
        own, bounds = slice(terms[k], terms[k + 1]), slice(chunks[k], chunks[k + 1])
        first[:, own], near[:, bounds] = one[rows], left[:, rows].T
        _fill(second[:, own], two[columns])
        _fill(far[:, bounds], right[:, columns].T)
    rest = np.array([right[-1, columns] for _, (_, right) in sides])
    tolerance = TOLERANCE if dtype == np.float64 else 1e-8
    return first, second, terms, near, far.max(axis=2), chunks, rest, powers, starts, tolerance


def _blocks(n: int, items: int, dtype: np.dtype) -> np.ndarray:
    """Room for [n, items] as [blocks, items, BLOCK], with zeros after the last row."""
    room = np.empty((-(-n // BLOCK), items, BLOCK), dtype)
    room[n // BLOCK:] = 0
    return room


def _fill(room: np.ndarray, table: np.ndarray) -> None:
    """Writes [n, items] to [blocks, items, BLOCK]."""
    whole, left = divmod(len(table), BLOCK)
    room[:whole] = table[:whole * BLOCK].reshape(whole, BLOCK, table.shape[1]).transpose(0, 2, 1)
    if left:
        room[whole, :, :left] = table[whole * BLOCK:].T


@njit(**OPTIONS)
def sum_series(series, call, i, c0, c, value, integral, doubt, with_integral):
    """For row i and the strip's correlations c: value = sum t_n c**n and, if wanted, integral = sum t_n c**n / (n + 1).

    `series` is what `pack` returns. Where the terms of the tables are too few, `doubt` is set to 2.
    """
    first, second, terms, near, far, chunks, rest, powers, starts, tolerance = series
    begin, at, count = terms[call], chunks[call], chunks[call + 1] - chunks[call] - 1
    start, step = powers[begin + 1], powers[begin + 2] - powers[begin + 1]
    room = np.zeros((3, BLOCK), c.dtype)
    own, tried, found = room[0], room[1], room[2]
    for block in range(c0 // BLOCK, (c0 + len(c) + BLOCK - 1) // BLOCK if len(c) else 0):
        j = block * BLOCK - c0
        j0, j1 = max(j, 0), min(j + BLOCK, len(c))
        whole = j1 - j0 == BLOCK
        if not whole:  # pairs that the strip lacks are as if uncorrelated
            for k in range(BLOCK):
                own[k] = c[j + k] if j0 <= j + k < j1 else 0.0
        size = np.float64(largest(c, j) if whole else largest(own, 0))
        y = size if step == 1 else size * size
        # A chunk more is eight more terms, which takes a factor y**8 off the bound.
        ratio = (y * y) * (y * y)
        ratio *= ratio
        power = (size if start == 1 else size * size) * ratio
        used = 1
        while used < count and not near[i, at + used] * far[block, at + used] * power <= tolerance:
            used += 1
            power *= ratio
        most = near[i, at + used] * far[block, at + used]
        if not most * power <= tolerance:
            last = starts[at + count]
            enough = (tolerance / most) ** (1.0 / last)  # for every pair of the block
            for k in range(j0, j1):
                left = near[i, at + count] * rest[call, c0 + k]
                if not abs(c[k]) <= enough and not left * (abs(c[k]) + 0.0) ** last <= tolerance:
                    doubt[k] = 2
        x, total, joint, place = (c, value, integral, j) if whole else (own, tried, found, 0)
        if with_integral:
            both_sums(first, second, i, block, begin, used * CHUNK, start, step, x, total, joint, place)
        else:
            one_sum(first, second, i, block, begin, used * CHUNK, start, step, x, total, joint, place)
        if not whole:
            for k in range(j0, j1):
                value[k], integral[k] = tried[k - j], found[k - j]
