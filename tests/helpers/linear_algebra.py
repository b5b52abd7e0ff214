"""The limit of a deep linear network by direct algebra, sharing nothing with the compiler.

Vectors of the first hidden layer are combinations of the words (W'W)^k u_i and (W'W)^k W'v in the initial objects, those
of the second of W(W'W)^k u_i and (WW')^k v. For a Gaussian W of entry variance 1/n the inner product of two words is a
Catalan number (Marchenko-Pastur with ratio 1), with the sum of their degrees as its index.
"""

from __future__ import annotations

import mpmath
import numpy as np


class Words:
    """Coefficients [kinds, degrees] of a vector: row i < d of u_i-words, row d of v-words.

    `layer` 1: (W'W)^k u_i and (W'W)^k W'v; `layer` 2: W(W'W)^k u_i and (WW')^k v.
    """

    def __init__(self, layer: int, rows: np.ndarray):
        self.layer, self.rows = layer, rows

    def __add__(self, other: Words) -> Words:
        assert self.layer == other.layer
        return Words(self.layer, self.rows + other.rows)

    def times(self, number) -> Words:
        return Words(self.layer, self.rows * number)

    def dot(self, other: Words):
        """Their mean product."""
        assert self.layer == other.layer
        total = mpmath.mpf(0)
        kinds, degrees = self.rows.shape
        for kind in range(kinds):
            # A u-word of layer 1 and a v-word of layer 2 have k pairs, the others one factor more.
            extra = (kind < kinds - 1) == (self.layer == 2)
            for j in np.nonzero(self.rows[kind])[0]:
                for k in np.nonzero(other.rows[kind])[0]:
                    total += self.rows[kind, j] * other.rows[kind, k] * catalan(int(j + k) + extra)
        return total

    def through(self) -> Words:
        """W applied to a vector of layer 1, or W' to one of layer 2."""
        rows = self.rows.copy()
        kind = slice(-1, None) if self.layer == 1 else slice(0, -1)
        # The words to which the matrix adds a pair move up one degree.
        moved = np.zeros_like(rows)
        moved[...] = rows
        moved[kind, 1:], moved[kind, 0] = rows[kind, :-1], 0
        assert not np.any(rows[kind, -1]), "more degrees are needed"
        return Words(3 - self.layer, moved)


def catalan(k: int) -> int:
    return mpmath.binomial(2 * k, k) / (k + 1)


def deep_linear_muP(X: np.ndarray, y: np.ndarray, steps: int, eta: float) -> np.ndarray:
    """Outputs [steps, P] of f = <v, W U x> under full-batch gradient descent on mean((f - y)**2)/2 with learning rates
    eta * n for U and v and eta for W; U ~ N(0, 1/d), W ~ N(0, 1/n), v ~ N(0, 1)."""
    mpmath.mp.dps = 80
    points, size = X.shape
    degrees = 2 * steps + 3

    def word(layer: int, kind: int, value) -> Words:
        rows = np.full((size + 1, degrees), mpmath.mpf(0), dtype=object)
        rows[kind, 0] = value
        return Words(layer, rows)

    columns = [word(1, i, 1 / mpmath.sqrt(size)) for i in range(size)]
    readout = word(2, size, mpmath.mpf(1))
    updates: list[tuple[Words, Words]] = []     # W = W_0 - sum outer(left, right)/n
    outputs = []
    for _ in range(steps):
        first = [_sum(columns[i].times(mpmath.mpf(float(x[i]))) for i in range(size)) for x in X]
        second = [_applied(h, updates) for h in first]
        f = [readout.dot(h) for h in second]
        outputs.append(f)
        slope = [(f[a] - mpmath.mpf(float(y[a]))) / points for a in range(points)]
        back = _applied_back(readout, updates)
        new_readout = _sum([readout, *(h.times(-eta * s) for h, s in zip(second, slope))])
        updates += [(readout.times(eta * s), h) for h, s in zip(first, slope)]
        columns = [_sum([columns[i], *(back.times(-eta * s * mpmath.mpf(float(x[i]))) for s, x in zip(slope, X))])
                   for i in range(size)]
        readout = new_readout
    return np.array([[float(v) for v in row] for row in outputs])


def _sum(words) -> Words:
    words = list(words)
    total = words[0]
    for word in words[1:]:
        total = total + word
    return total


def _applied(h: Words, updates: list[tuple[Words, Words]]) -> Words:
    return _sum([h.through(), *(left.times(-right.dot(h)) for left, right in updates)])


def _applied_back(g: Words, updates: list[tuple[Words, Words]]) -> Words:
    return _sum([g.through(), *(right.times(-left.dot(g)) for left, right in updates)])
