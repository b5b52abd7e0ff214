"""Hermite coefficients of functions for every variance: a_n(q) = E[f(sqrt(q) z) he_n(z)], he_n orthonormal.

As functions of log q they are analytic, so Chebyshev interpolation on short panels serves all rows of all data sets: a
panel is integrated once, when a variance first falls into it. Each panel knows what is left of E f**2 from every number
of terms on (Parseval), and how well it interpolates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from tensorprog.runtime import waves
from tensorprog.runtime.compiling import njit
from tensorprog.runtime.partition import Partition

#: Terms of a panel, and those of single rows whose correlations need more.
ORDERS, LONG = (64, 256), (1024, 4096)
#: The number of the panel of variance 0.
NONE = np.iinfo(np.int64).min
#: Panels are this long in log q: the standard deviation doubles.
PANEL = 2 * math.log(2)
#: Chebyshev nodes of a panel, as many as it needs.
NODES = (12, 24, 48, 96)
#: What interpolation is to reach, relative to the root of E f**2.
INTERPOLATION = 1e-14
#: How much more may be left between the nodes of a panel.
BETWEEN = 1.1
#: exp(-14**2 / 4) is below rounding, and |he_n(x)| exp(-x**2 / 4) is bounded; the second is for functions that grow.
RADII = (14.0, 37.0)
_GAUSS, _WEIGHTS = np.polynomial.legendre.leggauss(24)
PROBES = np.array([0.137, 0.871])


@lru_cache(maxsize=8)
def chebyshev(count: int) -> np.ndarray:
    """The Chebyshev nodes of the first kind."""
    return np.cos(np.pi * (np.arange(count) + 0.5) / count)


@lru_cache(maxsize=8)
def _weights(count: int) -> np.ndarray:
    # Of Chebyshev nodes of the first kind (Berrut and Trefethen, "Barycentric Lagrange interpolation", 2004, section
    # 5).
    return (-1.0) ** np.arange(count) * np.sin(np.pi * (np.arange(count) + 0.5) / count)


def barycentric(count: int, points: np.ndarray) -> np.ndarray:
    """The matrix [points, nodes] that interpolates from Chebyshev nodes of the first kind."""
    gaps = points[:, None] - chebyshev(count)
    hit = np.abs(gaps) < 1e-15
    if hit.any():
        gaps[hit] = 1.0
    matrix = _weights(count) / gaps
    matrix /= matrix.sum(axis=1, keepdims=True)
    hits = hit.any(axis=1)
    matrix[hits] = hit[hits]
    return matrix


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
def _project(z, values, out):
    """out[n] = sum of values * he_n(z), scaled by exp(-z**2 / 4), for n < len(out)."""
    size = 256
    last, now = np.empty(size), np.empty(size)
    order = len(out)
    for start in range(0, len(z), size):
        x, w = z[start:start + size], values[start:start + size]
        total = 0.0
        for j in range(len(x)):
            last[j] = 0.0
            now[j] = math.exp(-0.25 * x[j] * x[j])
            total += w[j] * now[j]
        out[0] += total
        for n in range(1, order):
            # he_n = (x he_{n-1} - sqrt(n-1) he_{n-2}) / sqrt(n); with the factor exp(-x**2 / 4) it neither grows nor is
            # lost.
            a, b = 1.0 / math.sqrt(n), math.sqrt((n - 1.0) / n)
            total = 0.0
            for j in range(len(x)):
                following = a * x[j] * now[j] - b * last[j]
                last[j] = now[j]
                now[j] = following
                total += w[j] * following
            out[n] += total


def ends(number: int) -> tuple[float, float]:
    """The variances between which a panel lies."""
    return math.exp(number * PANEL), math.exp((number + 1) * PANEL)


class Function:
    """A function of arrays with what is known of it; `of` keeps one for each function."""

    def __init__(self, f: Callable) -> None:
        self.f = f
        self.panels: dict[tuple[int, int], Panel] = {}
        self._partition: Partition | None = None

    def partition(self, limit: float) -> Partition:
        if self._partition is None or self._partition.limit < limit:
            self._partition = Partition(self.f, max(limit, 64.0))
        return self._partition

    @property
    def parity(self) -> int:
        return self.partition(64.0).parity

    def panel(self, number: int, order: int) -> Panel | ClosedPanel:
        """The panel of log q in number + [0, 1] * PANEL, with at least `order` coefficients if it needs these; without, where
        expectations have a closed form that is better."""
        if waves.is_closed(self.f, *ends(number)):
            return ClosedPanel(number, math.sqrt(waves.mean_square(self.f, ends(number)[0])))
        key = number, order if order in LONG else 0
        found = self.panels.get(key)
        if found is None or found.order < order and not found.enough:
            found = self.panels[key] = Panel(self, number, order)
        return found


@lru_cache(maxsize=512)
def of(f: Callable) -> Function:
    return Function(f)


def nodes(functions: tuple[Function, ...], s: float, radius: float, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Points z and weights for averages over a standard normal z of what is smooth where functions of s z are.

    The weights do not have the density in them.
    """
    cuts = np.concatenate([f.partition(s * radius).edges / s for f in functions])
    count = math.ceil(2 * radius / longest)
    cuts = np.unique(np.concatenate([cuts[np.abs(cuts) < radius], np.linspace(-radius, radius, count + 1)]))
    lengths = np.diff(cuts)
    return (np.outer(lengths, (1 + _GAUSS) / 2) + cuts[:-1, None]).ravel(), np.outer(lengths, _WEIGHTS / 2).ravel()


def coefficients(function: Function, s: float, order: int) -> tuple[np.ndarray, float, float]:
    """The first coefficients of f(s z), E f(s z)**2, and the error of f relative to the root of that: its rounding, or
    infinity if it could not be integrated."""
    # he_n has local wavelengths of at least 2 pi / sqrt(n), of which a panel of 24 nodes holds two.
    longest = min(0.8, 12.8 / math.sqrt(order))
    for radius in RADII:
        z, w = nodes((function,), s, radius, longest)
        with np.errstate(all="ignore"):
            values = function.f(s * z)
            density = np.exp(-z * z / 4)
            products = values * values * w * density * density
            square = float(products.sum()) / math.sqrt(2 * math.pi)
            edge = max(abs(values[0]), abs(values[-1])) * density[0]
        good = math.isfinite(square) and edge <= 1e-17 * math.sqrt(square)
        if good or square == 0:
            break
    out = np.zeros(order)
    _project(z, values * w * density / math.sqrt(2 * math.pi), out)
    if function.parity >= 0:
        # Exactly: the series leaves every second term out.
        out[1 - function.parity::2] = 0.0
    partition = function.partition(s * radius)
    if not partition.resolved or not (good or square == 0):
        return out, square, math.inf
    noise = float((partition.noise(s * z)**2 * w * density * density).sum()) / math.sqrt(2 * math.pi)
    return out, square, math.sqrt(noise / square) if square else 0.0


class Panel:
    """Coefficients of a function at Chebyshev nodes in log q.

    Attributes:
        order: the number of coefficients.
        table: [nodes, order].
        left: [order + 1], a bound for the root of what the terms from each on add up to, over the panel.
        size: the least root of E f**2 in it.
        error: of interpolation and rounding, relative to that root; infinite if the function could not be integrated.
        enough: whether more coefficients would not change sums.
    """

    def __init__(self, function: Function, number: int, order: int) -> None:
        self.number, self.order = number, order
        low, high = number * PANEL, (number + 1) * PANEL
        probes = [coefficients(function, math.exp((low + p * PANEL) / 2), order) for p in PROBES]
        for count in NODES:
            t = (low + high) / 2 + chebyshev(count) * PANEL / 2
            found = [coefficients(function, math.exp(v / 2), order) for v in t]
            self.table = np.array([a for a, _, _ in found])
            squares = np.array([q for _, q, _ in found])
            guesses = barycentric(count, 2 * PROBES - 1) @ self.table
            roots = [max(math.sqrt(q), np.finfo(float).tiny) for _, q, _ in probes]
            self.error = max(float(np.sqrt(((guess - a)**2).sum())) / root
                             for guess, (a, _, _), root in zip(guesses, probes, roots))
            if not self.error > INTERPOLATION:
                break
        noise = max(noise for _, _, noise in (*found, *probes))
        self.error = max(self.error, noise) if np.isfinite(self.table).all() else math.inf
        tails = np.cumsum((self.table**2)[:, ::-1], axis=1)[:, ::-1]
        # Parseval: E f**2 is the sum of all a_n**2, so that the difference is what the table lacks.
        rest = np.abs(squares - tails[:, 0])
        self.left = BETWEEN * np.sqrt(np.concatenate([(tails + rest[:, None]).max(axis=0), [rest.max()]]))
        self.size = float(np.sqrt(squares.min()))
        self._columns: tuple[np.ndarray, np.ndarray] | None = None
        # Bounds are roots, and those of two sides are multiplied: 1e-7 each makes rounding.
        self.enough = bool(self.left[-1] <= 1e-7 * self.size) or not math.isfinite(self.error)

    def columns(self, powers: np.ndarray) -> np.ndarray:
        """The table at some powers: [nodes, powers]; the last ones that were asked for are kept."""
        if self._columns is None or not np.array_equal(self._columns[0], powers):
            self._columns = powers, np.ascontiguousarray(self.table[:, powers])
        return self._columns[1]


class ClosedPanel:
    """A panel without coefficients, for which pairs are left to the closed form of `waves`; attributes as of `Panel`."""

    order, error, enough = 1, 0.0, True

    def __init__(self, number: int, size: float) -> None:
        self.number, self.size = number, size
        self.table = np.zeros((NODES[0], 1))
        self.left = np.full(2, np.inf)

    def columns(self, powers: np.ndarray) -> np.ndarray:
        """The table at some powers."""
        return self.table[:, powers]


class RowTables:
    """Variances [n], sorted into panels of log q.

    Attributes:
        panels: the numbers of the panels that occur, NONE for variance 0 and what is not finite.
        members: the rows of each.
        where: for each row, the position of its panel among these.
    """

    def __init__(self, q: np.ndarray) -> None:
        self.q = q
        numbers = np.full(q.shape, NONE)
        usable = (q > 0) & np.isfinite(q)
        self._places = np.zeros(q.shape)
        self._places[usable] = np.log(q[usable]) / PANEL
        numbers[usable] = np.floor(self._places[usable]).astype(np.int64)
        self.panels, self.where = np.unique(numbers, return_inverse=True)
        self.members = [np.flatnonzero(self.where == k) for k in range(len(self.panels))]
        self._matrices: dict[tuple[int, int], np.ndarray] = {}

    def interpolation(self, k: int, count: int) -> np.ndarray:
        """The matrix [rows, nodes] from so many nodes of a panel to its rows."""
        if (k, count) not in self._matrices:
            places = 2 * (self._places[self.members[k]] - self.panels[k]) - 1
            self._matrices[k, count] = barycentric(count, np.clip(places, -1.0, 1.0))
        return self._matrices[k, count]
