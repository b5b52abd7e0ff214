"""Where a function of one variable is smooth: intervals on which polynomials represent it to rounding.

Quadrature against a Gaussian of any variance needs panels on the scale of the function, near a kink as well as far out.
They are found once for a function, by bisection, and serve all variances.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

POINTS = 24
#: Points next to each other that show a function's rounding errors, and their distance, relative to that from 0.
NEIGHBOURS, NEXT = 12, 1e-8
#: The same for errors that do not fall with x, as those of 1 - cos(x), which show only farther apart: points, distance, order of
#: differences, and their size for errors of 1. Such an error is at most this share of the largest value up to 1.
WIDE, APART, DIFFERENCES, GAIN, SHARE = 16, 1 / 251, 11, 400.0, 4e-15
#: Features that quadrature is told of.
MOST_FEATURES = 10
#: Intervals of a function at most, of each sign, and lengths (relative to the distance from 0) that are not bisected.
MOST, SHORTEST = 1500, 1e-14
#: Last Chebyshev coefficients of a smooth function, relative to its size, and rounding errors, to that nearer to 0.
RESOLVED, ROUNDING = 2e-14, 3e-16
#: How far a function is looked at beside the ends of intervals, relative to the distance from 0.
ACROSS = 1e-6
#: The intervals that are looked at first end at powers of 2 from here on.
FIRST = -24
_CHEBYSHEV = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
# From values at the nodes to Chebyshev coefficients; the first comes out twice as large, and is not looked at.
_TRANSFORM = np.cos(np.outer(np.arange(POINTS), np.arccos(_CHEBYSHEV))) * 2 / POINTS
_TAIL = 4


class Partition:
    """The intervals of [-limit, limit] on which `f` is smooth.

    Attributes:
        edges: their ends, increasing.
        parity: 0 for an even, 1 for an odd function, else -1.
        resolved: whether the function is smooth on all of them but very short ones.
    """

    def __init__(self, f: Callable, limit: float) -> None:
        self._f, self.limit = f, limit
        powers = 2.0 ** np.arange(FIRST, np.ceil(np.log2(limit)) + 1)
        edges = np.concatenate([[0.0], powers])
        self.resolved = True
        self._roundings: tuple[np.ndarray, np.ndarray] | None = None
        # Rounding errors are those of the largest values nearer to 0, on either side: of x (1 + tanh(x)), say.
        self._powers, self._sizes = powers, np.maximum.accumulate(
            np.maximum(*(_sizes(_values(f, sign * edges[:-1], sign * edges[1:])) for sign in (1.0, -1.0))))
        right = self._bisected(f, 1.0, edges)
        self.parity = _parity(f, right)
        left = right if self.parity >= 0 else self._bisected(f, -1.0, edges)
        self.edges = np.concatenate([-left[::-1], right[1:]])

    def noise(self, x: np.ndarray) -> np.ndarray:
        """The rounding errors of the function at x."""
        if self._roundings is None:
            self._roundings = self._noise(self._f, self._powers), self._noise(self._f, -self._powers)
        place = np.minimum(np.searchsorted(self._powers, np.abs(x)), len(self._powers) - 1)
        return np.where(x > 0, self._roundings[0][place], self._roundings[1][place])

    def _noise(self, f: Callable, x: np.ndarray) -> np.ndarray:
        return _noise(f, x, SHARE * self._sizes[np.searchsorted(self._powers, 1.0)])

    def features(self) -> np.ndarray:
        """Where the function has a kink or a jump, with width 0, or varies, on the scale of the width: [features, 2]."""
        widths = 2.0 ** np.arange(FIRST, np.log2(self.limit))
        smooth = list(itertools.takewhile(lambda w: self._smooth(-w, w), widths))
        found = [(0.0, smooth[-1] / 4 if smooth else 0.0)]
        if not smooth:  # A kink at 0: exp(min(x, 0)) varies on the scale 1 besides.
            found += [(0.0, width) for side in (-1.0, 1.0) if (width := self._scale(side, widths)) is not None]
        lengths, middles = np.diff(self.edges), (self.edges[1:] + self.edges[:-1]) / 2
        octaves = np.sign(middles) * (np.floor(np.log2(np.abs(middles))) + 1000)
        for octave in np.unique(octaves):
            own = np.flatnonzero(octaves == octave)
            if len(own) > 1:
                k = own[np.argmin(lengths[own])]
                found.append((middles[k], 0.0 if lengths[k] < 1e-9 * abs(middles[k]) else lengths[k]))
        found += [(edge, 0.0) for edge in self._kinks(lengths)]
        return np.array(sorted(found, key=lambda feature: feature[1])[:MOST_FEATURES])

    def _kinks(self, lengths: np.ndarray) -> np.ndarray:
        """The ends of intervals at which the function is not smooth, though it is on both sides: bisection does not see a kink
        at a binary fraction."""
        edges, room = self.edges[1:-1], np.minimum(lengths[:-1], lengths[1:])
        # Next to shorter intervals, bisection has seen it.
        chosen = (room > 1e-8 * np.abs(edges)) & (edges != 0)
        edges, room = edges[chosen], room[chosen]
        # Near by a jump of the slope shows best, farther away one of the curvature.
        rough = [self._rough(edges, reach) for reach in (np.minimum(ACROSS * np.abs(edges), room / 4), room / 4)]
        return edges[np.any(rough, axis=0)]

    def _rough(self, middles: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """Whether the function is not smooth up to some distance on both sides of points, [points]."""
        values = _values(self._f, middles - reach, middles + reach)
        tails = np.abs(np.where(np.isfinite(values), values, 0.0) @ _TRANSFORM[-_TAIL:].T).max(axis=1)
        rounding = ROUNDING * self._sizes[np.searchsorted(self._powers, np.abs(middles))] + 4 * self.noise(middles)
        return tails > 10 * (RESOLVED * _sizes(values) + rounding)

    def _scale(self, side: float, widths: np.ndarray) -> float | None:
        """On which scale the function varies beside 0 on one side of it; None if it does not."""
        smooth = list(itertools.takewhile(lambda w: self._smooth(0.0, side * w), widths))
        return smooth[-1] / 2 if 0 < len(smooth) < len(widths) else None

    def _smooth(self, start: float, end: float) -> bool:
        values = _values(self._f, np.array([start]), np.array([end]))
        return bool(np.isfinite(values).all()
                    and np.abs(values @ _TRANSFORM[-_TAIL:].T).max() <= 10 * RESOLVED * _sizes(values)[0])

    def _bisected(self, f: Callable, sign: float, edges: np.ndarray) -> np.ndarray:
        found, count = [edges], len(edges)
        low, high = edges[:-1], edges[1:]
        while len(low):
            values = _values(f, sign * low, sign * high)
            sizes = _sizes(values)
            usual = np.isfinite(values).all(axis=1)
            self.resolved &= bool(usual.all())
            tails = np.abs(np.where(usual[:, None], values, 0.0) @ _TRANSFORM[-_TAIL:].T).max(axis=1)
            rounding = ROUNDING * self._sizes[np.searchsorted(self._powers, high)] + 4 * self._noise(f, sign * high)
            rough = (tails > RESOLVED * sizes + rounding) & (high - low > SHORTEST * high)
            low, high = low[rough], high[rough]
            count += len(low)
            if count > MOST:
                self.resolved = False
                break
            middle = (low + high) / 2
            found.append(middle)
            low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        return np.unique(np.concatenate(found))


def _values(f: Callable, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The function at the Chebyshev nodes of intervals: [intervals, nodes]."""
    with np.errstate(all="ignore"):
        return f(low[:, None] + (high - low)[:, None] * (1 + _CHEBYSHEV) / 2)


def _noise(f: Callable, x: np.ndarray, most: float) -> np.ndarray:
    """The rounding errors of the function near x: what is left of second differences at points close to it, and of high ones
    at points farther apart, if that is at most `most`, and no kink."""
    near = x[:, None] * (1 - NEXT * np.arange(1, NEIGHBOURS + 1))
    far = x[:, None] * (1 - APART * np.arange(WIDE))
    with np.errstate(all="ignore"):
        found = np.abs(np.diff(f(near), n=2)).max(axis=1)
        wide = np.abs(np.diff(f(far), n=DIFFERENCES)).max(axis=1) / GAIN
    found = np.where(wide <= most, np.maximum(found, wide), found)
    return np.where(np.isfinite(found), found, 0.0)


def _sizes(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=1)


def _parity(f: Callable, edges: np.ndarray) -> int:
    # Points that are not symmetric in an interval, so that no symmetry about its middle can deceive.
    x = np.outer(np.diff(edges), [0.21, 0.5, 0.83]) + edges[:-1, None]
    with np.errstate(all="ignore"):
        right, left = f(x), f(-x)
    size = 1e-15 * np.abs(right)
    if (np.abs(right - left) <= size).all():
        return 0
    return 1 if (np.abs(right + left) <= size).all() else -1
