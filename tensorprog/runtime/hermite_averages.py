"""Averages of one Gaussian variable as functions of its variance, tabulated like Hermite coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from tensorprog.runtime import hermite_tables as tables
from tensorprog.runtime import waves

#: What interpolation is to reach, relative to the largest value of a panel.
INTERPOLATION = 3e-15
LONGEST = 0.8


class Averages:
    """`average(s)` of functions of a Gaussian variable of standard deviation s, kept by panels of log q; on panels on which all
    of the functions have a closed form (`waves`), `closed(q)`."""

    def __init__(self, average: Callable[[float], float], functions: tuple[Callable, ...] = (),
                 closed: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.average, self.functions, self.closed = average, functions, closed
        self._panels: dict[int, np.ndarray] = {}

    def at(self, rows: tables.RowTables) -> np.ndarray:
        """The average for every row; that of s = 0 for variances 0."""
        found = np.full(rows.q.shape, np.nan)
        for k, (number, own) in enumerate(zip(rows.panels, rows.members)):
            if number == tables.NONE:
                found[own] = np.where(rows.q[own] == 0, self.average(0.0), np.nan)
            elif self.closed is not None and all(waves.is_closed(f, *tables.ends(int(number))) for f in self.functions):
                found[own] = self.closed(rows.q[own])
            else:
                table = self._panel(int(number))
                found[own] = rows.interpolation(k, len(table)) @ table
        return found

    def _panel(self, number: int) -> np.ndarray:
        if number not in self._panels:
            low = number * tables.PANEL
            probes = np.array([self.average(math.exp((low + p * tables.PANEL) / 2)) for p in tables.PROBES])
            for count in tables.NODES:
                t = low + (1 + tables.chebyshev(count)) * tables.PANEL / 2
                table = np.array([self.average(math.exp(v / 2)) for v in t])
                guesses = tables.barycentric(count, 2 * tables.PROBES - 1) @ table
                if np.abs(guesses - probes).max() <= INTERPOLATION * np.abs(table).max():
                    break
            self._panels[number] = table
        return self._panels[number]


def _integral(functions: tuple[tables.Function, ...], integrand: Callable, s: float) -> float:
    """E integrand(s z), which is smooth where the functions are."""
    if s == 0:
        return float(integrand(np.zeros(1))[0])
    for radius in tables.RADII:
        z, w = tables.nodes(functions, s, radius, LONGEST)
        with np.errstate(all="ignore"):
            terms = integrand(s * z) * w * np.exp(-z * z / 2)
        value = float(terms.sum()) / math.sqrt(2 * math.pi)
        if abs(terms[0]) + abs(terms[-1]) <= 1e-18 * np.abs(terms).sum():
            break
    return value


@lru_cache(maxsize=512)
def mean(f: Callable) -> Averages:
    """E f(s z)."""
    function = tables.of(f)
    if function.parity == 1:
        return Averages(lambda s: 0.0)
    return Averages(lambda s: _integral((function,), f, s), (f,), lambda q: waves.mean(waves.terms_of(f) or (), q))


@lru_cache(maxsize=512)
def product(f: Callable, g: Callable) -> Averages:
    """E f(s z) g(s z)."""
    functions = tables.of(f), tables.of(g)
    if {functions[0].parity, functions[1].parity} == {0, 1}:
        return Averages(lambda s: 0.0)
    return Averages(lambda s: _integral(functions, lambda x: f(x) * g(x), s), (f, g), lambda q: _closed(f, g, q))


def _closed(f: Callable, g: Callable, q: np.ndarray) -> np.ndarray:
    """E f(x) g(x) for variances q."""
    return waves.expectation(waves.terms_of(f) or (), waves.terms_of(g) or (), q, q, np.ones(len(q)))[0]


#: Gauss's rule on [0, 1]: functions that are powers near 0, up to the tenth, have their differences exactly.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)
_FRACTIONS, _PARTS = (1 + _NODES) / 2, _WEIGHTS / 2

#: Standard deviations below which differences of a function's values are had from its derivative.
SMALL = 1e-7


@lru_cache(maxsize=512)
def slope(f: Callable, g: Callable, derivatives: tuple[Callable, Callable]) -> Averages:
    """Cov(f(s z), g(s z)) / s**2; where s is small, with f(x) - f(0) as an integral of f' from 0 to x, on either side of a kink."""
    functions = tables.of(f), tables.of(g)
    near = tuple((lambda x, d=d: x * sum(w * d(t * x) for t, w in zip(_FRACTIONS, _PARTS))) for d in derivatives)

    def average(s: float) -> float:
        if s == 0:
            return float(derivatives[0](np.zeros(1))[0] * derivatives[1](np.zeros(1))[0])
        one, two = near if s < SMALL else (f, g)
        left, right = (_integral((function,), h, s) for function, h in zip(functions, (one, two)))
        return _integral(functions, lambda x: (one(x) - left) / s * ((two(x) - right) / s), s)

    def closed(q: np.ndarray) -> np.ndarray:
        one, two = (waves.mean(waves.terms_of(h) or (), q) for h in (f, g))
        return (_closed(f, g, q) - one * two) / q

    return Averages(average, (f, g), closed)
