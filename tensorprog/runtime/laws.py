"""Samples of the declared laws of initial vectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Coordinates(Protocol):
    """What laws are drawn from: numbers for each of `samples` coordinates, as a space of particles gives them."""

    @property
    def mirrored(self) -> bool: ...

    @property
    def samples(self) -> int: ...

    def normal(self, count: int, *, mirror: bool = False) -> np.ndarray: ...

    def uniform(self, count: int) -> np.ndarray: ...


def draw(space: Coordinates, law: str, count: int, args: tuple[float, ...], *, mirror: bool = False) -> np.ndarray:
    """`count` independent vectors with iid coordinates of a law: [count, N].

    Args:
        args: the law's arguments, as in the language (`normal(mean, variance)`, ...), at order one.
        mirror: the vectors change sign between the halves of a mirrored space (for laws symmetric about 0).
    """
    match law:
        case "normal":
            mean, variance = args
            rows = np.sqrt(variance) * space.normal(count, mirror=mirror)
            return rows + mean if mean else rows
        case "rademacher":
            rows = np.where(space.uniform(count) < 0.5, -1.0, 1.0)
            if mirror and space.mirrored:
                rows[:, space.samples // 2:] *= -1.0
            return rows
        case "uniform":
            low, high = args
            return low + (high - low) * space.uniform(count)
        case "bernoulli":
            return (space.uniform(count) < args[0]).astype(float)
        case "sparse_normal":
            return _sparse_normal(space.uniform(count), *args)
        case "constant":
            return np.full((count, space.samples), args[0])
        case _:
            return np.zeros((count, space.samples))


def _sparse_normal(uniform: np.ndarray, rho: float, variance: float) -> np.ndarray:
    """Zero with probability 1 - rho, else normal: the quantile function of the mixture, scaled to its part."""
    from scipy.special import ndtri

    rows = np.zeros_like(uniform)
    inside = uniform < rho
    rows[inside] = np.sqrt(variance) * ndtri(uniform[inside] / rho)
    return rows
