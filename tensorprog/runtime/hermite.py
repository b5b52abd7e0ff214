"""Hermite (Mehler) series of two-point functions without a closed form.

For (u, v) Gaussian of variances q_u, q_v and correlation c, E[f(u) g(v)] = sum_n a_n(q_u) b_n(q_v) c**n with a_n(q) =
E[f(sqrt(q) z) he_n(z)], he_n the orthonormal Hermite polynomials. By Cauchy's inequality the terms from n on are at
most |c|**n sqrt(A_n B_n), with A_n = E f**2 - sum_{k<n} a_k**2 (Parseval): the number of terms follows from this
bound, for each strip of pairs from its largest |c|. If F' = f and G' = g, the same terms give E[F G] = E[F] E[G] +
kab sum_n a_n b_n c**n / (n + 1), because the n-th coefficient of F is sqrt(q/n) a_{n-1}."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import llvmlite.binding
import numpy as np

from tensorprog.runtime.compiling import njit

# Blocks read and write more rows of scratch than LLVM checks for overlap by default before it vectorizes a loop.
llvmlite.binding.set_option("tensorprog", "-runtime-memory-check-threshold=128")

#: How kernels are compiled: arguments are clamped, so that no infinities or NaN occur.
OPTIONS = dict(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})

TOLERANCE = 3e-14
ORDER = 1024
CHUNK = 8
_RADIUS = 14.0  # exp(-14**2 / 4) is below rounding, and |he_n(x)| exp(-x**2 / 4) is bounded


def _levels(s: np.ndarray) -> int:
    """How often nodes are refined towards 0, where f(s x) changes over a width 1 / s."""
    return int(np.clip(np.ceil(np.log2(max(s.max(initial=1.0), 1.0)) / 4) * 4, 0, 60))


@lru_cache(maxsize=4)
def _nodes(levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature for standard normal averages, split at 0 where a function may have a kink, and into panels that get
    shorter towards 0 by `levels` powers of 2."""
    if levels:
        edges = np.concatenate([[0.0], 2.0 ** np.arange(-levels, 0), np.arange(1.0, _RADIUS + 1)])
        x, w = np.polynomial.legendre.leggauss(32)
        x, w = np.outer(np.diff(edges), (x + 1) / 2) + edges[:-1, None], np.outer(np.diff(edges), w / 2)
        x, w = x.ravel(), w.ravel()
    else:
        x, w = np.polynomial.legendre.leggauss(384)
        x, w = (x + 1) * _RADIUS / 2, w * _RADIUS / 2
    x, w = np.concatenate([-x[::-1], x]), np.concatenate([w[::-1], w])
    return x, w * np.exp(-x**2 / 2) / np.sqrt(2 * np.pi)


@lru_cache(maxsize=4)
def _polynomials(levels: int) -> np.ndarray:
    """he_n(x) w for n < ORDER: [ORDER, nodes]."""
    x, w = _nodes(levels)
    scale = np.exp(-x**2 / 4)
    table = np.empty((ORDER, len(x)))
    table[0], table[1] = scale, x * scale
    for n in range(2, ORDER):
        table[n] = (x * table[n - 1] - np.sqrt(n - 1) * table[n - 2]) / np.sqrt(n)
    return table * (w / scale)


def _coefficients(f: Callable, s: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """The coefficients of f(s z) at the given powers: [s, powers]."""
    x, _ = _nodes(_levels(s))
    return f(s[:, None] * x) @ _polynomials(_levels(s))[powers].T


def _average(f: Callable, s: np.ndarray) -> np.ndarray:
    """E f(s z): [s, 1]."""
    x, w = _nodes(_levels(s))
    return (f(s[:, None] * x) @ w)[:, None]


class _Rows:
    """Functions of the standard deviation for many rows, [n]: analytic, so a few Chebyshev nodes serve them all."""

    def __init__(self, q: np.ndarray) -> None:
        self.s, self.where = np.unique(np.sqrt(np.maximum(q, 0.0)), return_inverse=True)
        self.samples = self.s[np.unique(np.linspace(0, len(self.s) - 1, 9).astype(int))]

    def __call__(self, columns: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """`columns` at every row, [k, n], where it maps standard deviations to [m, k]; tested at samples."""
        exact = columns(self.samples)
        for count in (16, 32, 64):
            if len(self.s) <= count:
                break
            nodes = np.cos(np.pi * (np.arange(count) + 0.5) / count)
            middle, half = (self.s[-1] + self.s[0]) / 2, (self.s[-1] - self.s[0]) / 2
            table = columns(middle + half * nodes)
            error = np.abs(_barycentric(nodes, (self.samples - middle) / half) @ table - exact).max()
            if error <= 2e-14 * max(1.0, np.abs(exact).max()):
                return table.T @ _barycentric(nodes, (self.s - middle) / half)[self.where].T
        return np.ascontiguousarray(columns(self.s)[self.where].T)


def _barycentric(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The matrix [points, nodes] that interpolates from Chebyshev nodes of the first kind."""
    count = len(nodes)
    weights = (-1.0) ** np.arange(count) * np.sin(np.pi * (np.arange(count) + 0.5) / count)
    gaps = points[:, None] - nodes
    hit = np.abs(gaps) < 1e-15
    matrix = weights / np.where(hit, 1.0, gaps)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return np.where(hit.any(axis=1, keepdims=True), hit, matrix)


class HermiteSeries:
    """The series of E[f(u) g(v)] for variances qa of u and qb of v, both [n].

    `first` and `second` are the coefficients [terms, n] at `powers`; `bounds` is for what is left from each term on at
    c = 1, relative to the values, `rest` for what is left after all terms where those are too few. `sums` gives values
    on the diagonal; `mean_a` and `mean_b` are E[F(u)] and E[G(v)] for `means` = (F, G).
    """

    def __init__(self, qa: np.ndarray, qb: np.ndarray, f: Callable, g: Callable,
                 means: tuple[Callable, Callable] | None) -> None:
        self.functions, self.means, self.same_variance = (f, g), means, qa is qb
        self.rows = _Rows(qa), (_Rows(qb) if qa is not qb else None)
        a, b = self.rows[0], self.rows[1] or self.rows[0]
        left = np.sqrt(_left(f, a.samples) * _left(g, b.samples))
        bounds = left / max(self._unit(a, b, left[0]), np.finfo(float).tiny)
        enough = np.flatnonzero(bounds <= TOLERANCE)
        self.powers = _powers((f, a.samples), (g, b.samples), int(enough[0]) if len(enough) else ORDER)
        self.first = a(lambda s: _coefficients(f, s, self.powers))
        same = a is b and f is g
        self.second = self.first if same else b(lambda s: _coefficients(g, s, self.powers))
        self.bounds = bounds[self.powers]
        self.variance = qa
        self.rest = 0.0 if len(enough) else float(left[ORDER] * (max(1.0, a.s[-1] * b.s[-1]) if means else 1.0))
        if means:
            self.mean_a, self.mean_b = (rows(lambda s: _average(mean, s))[0] for rows, mean in zip((a, b), means))

    def _unit(self, a: _Rows, b: _Rows, whole: float) -> float:
        """What bounds are relative to: the root mean squares of f and g or, where E[F G] is also wanted, those of F and
        G over the standard deviations that multiply the series in it, if these are less."""
        if not self.means:
            return whole
        sizes = []
        for rows, mean in zip((a, b), self.means):
            s = rows.samples
            sizes.append(np.sqrt(_average(lambda x: mean(x) ** 2, s)[:, 0]) / np.where(s > 0, s, 1.0))
        positive = [size[size > 0] for size in sizes]
        return min(whole, *(float(p.min()) for p in positive if len(p))) if all(map(len, positive)) else whole

    def sums(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum t_n c**n and sum t_n c**n / (n + 1) at correlations c [n]; by quadrature where u = v."""
        if self.same_variance and np.all((c == 1) | (self.variance == 0)):
            return self._equal()
        value, integral = np.zeros_like(c), np.zeros_like(c)
        for n, a, b in zip(self.powers, self.first, self.second):
            term = a * b * c**n
            value, integral = value + term, integral + term / (n + 1)
        return value, integral

    def _equal(self) -> tuple[np.ndarray, np.ndarray]:
        (f, g), q, rows = self.functions, self.variance, self.rows[0]
        value = rows(lambda s: _average(lambda x: f(x) * g(x), s))[0]
        if not self.means:
            return value, value
        capital_f, capital_g = self.means
        covariance = rows(lambda s: _average(lambda x: capital_f(x) * capital_g(x), s))[0] - self.mean_a * self.mean_b
        return value, np.where(q > 0, covariance / np.where(q > 0, q, 1.0), value)


def _left(f: Callable, s: np.ndarray) -> np.ndarray:
    """For every number of terms up to ORDER, the largest sum of squares of the later coefficients: [ORDER + 1]."""
    squares = _coefficients(f, s, np.arange(ORDER)).T ** 2
    rest = np.maximum(_average(lambda x: f(x) ** 2, s).T - squares.sum(axis=0), 0.0)
    return np.cumsum(np.concatenate([squares, rest])[::-1], axis=0)[::-1].max(axis=1)


def _powers(left: tuple, right: tuple, terms: int) -> np.ndarray:
    """The powers of c whose terms do not vanish: 0 and all, the odd or the even ones below `terms`, in chunks."""
    sizes = np.prod([np.abs(_coefficients(f, s, np.arange(ORDER))).max(axis=0) for f, s in (left, right)], axis=0)
    small = 1e-15 * sizes.sum()
    start, step = 1, 1
    if sizes[1:terms:2].sum() <= small:
        start, step = 2, 2
    elif sizes[2:terms:2].sum() <= small:
        start, step = 1, 2
    count = -(-len(range(start, terms, step)) // CHUNK) * CHUNK
    count = min(count, len(range(start, ORDER, step)) // CHUNK * CHUNK)
    return np.concatenate([[0], start + step * np.arange(count)])


def pack(calls: Sequence[HermiteSeries], rows: slice, columns: slice, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """For `sum_series`: coefficients [terms, N1] and [terms, N2], starts, powers, bounds, rests, weights, tolerance."""
    none = np.zeros((1, 1), dtype)
    starts = np.cumsum([0] + [len(call.powers) for call in calls])
    rests = np.array([call.rest for call in calls])
    if not calls:
        return none, none, starts, np.zeros(1, np.int64), np.zeros(1), rests, np.zeros(1, dtype), TOLERANCE
    first = np.concatenate([call.first[:, rows] for call in calls]).astype(dtype, copy=False)
    shared = rows == columns and all(call.first is call.second for call in calls)
    second = first if shared else np.concatenate([call.second[:, columns] for call in calls]).astype(dtype, copy=False)
    powers = np.concatenate([call.powers for call in calls])
    bounds = np.concatenate([call.bounds for call in calls])
    weights = (1.0 / (powers + 1)).astype(dtype)
    return first, second, starts, powers, bounds, rests, weights, TOLERANCE if dtype == np.float64 else 1e-8


@njit(**OPTIONS)
def sum_series(series, call, i, c0, c, value, integral, y, with_integral):
    """For row i and the strip's correlations c: value = sum t_n c**n, integral = sum t_n c**n / (n + 1).

    `series` is what `pack` returns, whether rows and columns are of one data set (whose diagonal is not taken from
    here), and an array whose first element is raised to a bound for what the series leave out elsewhere.
    """
    first, second, starts, powers, bounds, rests, weights, tolerance, own, worst = series
    start, stop = starts[call] + 1, starts[call + 1]
    largest = c.dtype.type(0)
    for j in range(len(c)):
        largest = max(largest, abs(c[j]))
        value[j] = 0
        integral[j] = 0
    if rests[call] > 0:
        _note_rest(rests[call], i - c0 if own else -1, c, worst)
    while stop > start and bounds[stop - CHUNK] * largest ** powers[stop - CHUNK] <= tolerance:
        stop -= CHUNK
    step = powers[start + 1] - powers[start] if stop > start else 1
    for j in range(len(c)):
        y[j] = c[j] * c[j] if step == 2 else c[j]
    if with_integral:
        _both(first, second, weights, start, stop, i, c0, y, value, integral)
    else:
        _value(first, second, start, stop, i, c0, y, value)
    constant, columns = first[start - 1, i], second[start - 1]
    odd = powers[start] == 1 if stop > start else True
    for j in range(len(c)):
        lead = c[j] if odd else y[j]
        t = constant * columns[c0 + j]
        value[j] = t + lead * value[j]
        integral[j] = t + lead * integral[j]


@njit(**OPTIONS)
def _note_rest(rest, own, c, worst):
    """Raises worst[0] to a bound for the terms that a series does not have, at the correlations c but for c[own]."""
    largest = 0.0
    for j in range(len(c)):
        if j != own:
            largest = max(largest, abs(c[j]))
    worst[0] = max(worst[0], rest * largest**ORDER)


@njit(**OPTIONS)
def _value(first, second, start, stop, i, c0, y, value):
    """Horner's rule for the terms start <= m < stop."""
    for m in range(stop - 1, start - 1, -1):
        x, z = first[m, i], second[m, c0:c0 + len(y)]
        for j in range(len(y)):
            value[j] = value[j] * y[j] + x * z[j]


@njit(**OPTIONS)
def _both(first, second, weights, start, stop, i, c0, y, value, integral):
    """Horner's rule for both sums."""
    for m in range(stop - 1, start - 1, -1):
        x, z, w = first[m, i], second[m, c0:c0 + len(y)], weights[m]
        for j in range(len(y)):
            t = x * z[j]
            value[j] = value[j] * y[j] + t
            integral[j] = integral[j] * y[j] + w * t
