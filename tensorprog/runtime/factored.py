"""Tensors with a width axis that are kept as a base plus outer products, one for each iteration of parallel loops.

A copy of `U : [n, d]` for each of many tasks, changed by gradient steps, is `U` plus a few outer products of a vector
and a finite array. Applied to finite arrays, the sum is never formed (the factored form of TP IV, Algorithm 2, for
MAML).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

Scale = float | np.ndarray


@dataclass(frozen=True, slots=True)
class _Outer:
    """scale * sum_b left[b] (x) right[b]: left [axes..., B, N], right [axes..., B, D], scale a number or [axes...]."""

    scale: Scale
    left: np.ndarray
    right: np.ndarray


class Factored:
    """sum of scale * base + sum of outer products, for every point of some leading axes. Immutable.

    Args:
        axes: the lengths of the leading axes.
        finite: the lengths of the finite axes, D in all.
        samples: N, the length of a vector.
        bases: (scale, array); an array is [D, N] for all points, or [axes..., D, N].
        outers: the outer products.
    """

    # Arithmetic with arrays comes here instead of being spread over their elements.
    __array_ufunc__ = None

    def __init__(self, axes: tuple[int, ...], finite: tuple[int, ...], samples: int,
                 bases: tuple[tuple[Scale, np.ndarray], ...] = (), outers: tuple[_Outer, ...] = ()):
        self.axes, self.finite, self.samples = axes, finite, samples
        self.bases, self.outers = bases, outers

    @classmethod
    def outer(cls, axes: tuple[int, ...], left: np.ndarray, right: np.ndarray) -> Factored:
        """The outer product of vectors [axes..., N] and finite arrays [axes..., finite...]."""
        finite = right.shape[len(axes):]
        product = _Outer(1.0, left[..., None, :], right.reshape(*axes, 1, prod(finite)))
        return cls(axes, finite, left.shape[-1], outers=(product,))

    # --- linear combinations ---

    def __add__(self, other: Factored | np.ndarray) -> Factored:
        other = other if isinstance(other, Factored) else self._lifted(other)
        merged = self._with((*self.bases, *other.bases), (*self.outers, *other.outers))
        return merged._compact()

    __radd__ = __add__

    def __neg__(self) -> Factored:
        return self * -1.0

    def __sub__(self, other: Factored | np.ndarray) -> Factored:
        return self + -1.0 * other

    def __rsub__(self, other: np.ndarray) -> Factored:
        return -self + other

    def __mul__(self, scale: Scale) -> Factored:
        """Times a number, or an array [axes..., 1...] of numbers."""
        if np.ndim(scale):
            scale = np.reshape(scale, np.shape(scale)[:len(self.axes)])
        return self._with(tuple((s * scale, base) for s, base in self.bases),
                          tuple(_Outer(o.scale * scale, o.left, o.right) for o in self.outers))

    __rmul__ = __mul__

    def __truediv__(self, scale: Scale) -> Factored:
        return self * (1.0 / scale)

    def _with(self, bases: tuple, outers: tuple) -> Factored:
        return Factored(self.axes, self.finite, self.samples, bases, outers)

    def _lifted(self, array: np.ndarray) -> Factored:
        lead = self.axes if np.ndim(array) > len(self.finite) + 1 else ()
        return self._with(((1.0, np.reshape(array, (*lead, prod(self.finite), self.samples))),), ())

    def _compact(self) -> Factored:
        """The same in full, once the outer products are more numbers than it has."""
        rank = sum(o.left.shape[-2] for o in self.outers)
        if rank <= min(prod(self.finite), self.samples):
            return self
        return self._with(((1.0, self._sum().reshape(*self.axes, prod(self.finite), self.samples)),), ())

    # --- use ---

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The contraction of all finite axes with x, [axes..., more..., finite...] -> [axes..., more..., N]."""
        lead, size = len(self.axes), prod(self.finite)
        more = x.shape[lead:x.ndim - len(self.finite)]
        rows = x.reshape(*self.axes, prod(more), size)
        shape = (*rows.shape[:-1], self.samples)
        terms = [_times(scale, (rows.reshape(-1, size) @ base).reshape(shape) if base.ndim == 2 else rows @ base)
                 for scale, base in self.bases]
        terms += [_times(o.scale, rows @ np.swapaxes(o.right, -1, -2)) @ o.left for o in self.outers]
        return _total(terms, shape).reshape(*self.axes, *more, self.samples)

    def fold(self, count: int) -> Factored:
        """The sum over the last `count` leading axes."""
        kept, folded = self.axes[:len(self.axes) - count], self.axes[len(self.axes) - count:]
        if not folded:
            return self
        bases = []
        for scale, base in self.bases:
            scales = np.broadcast_to(scale, self.axes)
            if base.ndim == 2:
                bases.append((scales.sum(axis=tuple(range(len(kept), len(self.axes)))), base))
            else:
                weighted = _times(scales, base)
                bases.append((1.0, weighted.sum(axis=tuple(range(len(kept), len(self.axes))))))
        outers = []
        for o in self.outers:
            left = np.broadcast_to(_times(o.scale, o.left), (*self.axes, *o.left.shape[-2:]))
            outers.append(_Outer(1.0, left.reshape(*kept, -1, self.samples),
                                 o.right.reshape(*kept, -1, o.right.shape[-1])))
        return Factored(kept, self.finite, self.samples, tuple(bases), tuple(outers))._compact()

    def dense(self) -> np.ndarray:
        """The tensor in full, [axes..., finite..., N]."""
        return self._sum().reshape(*self.axes, *self.finite, self.samples)

    def _sum(self) -> np.ndarray:
        terms = [np.swapaxes(o.right, -1, -2) @ _times(o.scale, o.left) for o in self.outers]
        terms += [_times(scale, base) for scale, base in self.bases]
        return _total(terms, (*self.axes, prod(self.finite), self.samples))


def _total(terms: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    if not terms or terms[0].shape != shape:
        terms = [np.zeros(shape), *terms]
    out = terms[0]
    for term in terms[1:]:
        out = out + term
    return out


def _times(scale: Scale, blocks: np.ndarray) -> np.ndarray:
    """Blocks [axes..., :, :] times a number for each point of the axes."""
    return blocks if np.ndim(scale) == 0 and scale == 1.0 else np.reshape(scale, (*np.shape(scale), 1, 1)) * blocks
