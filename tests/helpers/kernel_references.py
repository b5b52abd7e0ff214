"""Kernels of one hidden layer at any norms and correlations, by nested Gauss-Legendre panels that are graded towards the kinks.

E f(u) f(v) with u = s x and v = a x + b y, x and y standard normal: s, a, b come from two rows with 60 digits, so that neither
a Gram matrix nor its rounding is in the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.special import erf, erfc, expit

Function = Callable[[np.ndarray], np.ndarray]
FAR = 12.0  # deviations; the Gaussian weight beyond is 1e-31


@dataclass(frozen=True)
class Activation:
    """A function as a program has it, and in NumPy with its derivative (None: its square has no mean), accurate to rounding;
    `kinks` are where it is not smooth. It is resolved by panels of length `finest`, from its kinks on."""

    text: str
    value: Function
    slope: Function | None
    kinks: tuple[float, ...] = (0.0,)
    finest: float = 1 / 30


def _logistic_slope(x: np.ndarray) -> np.ndarray:
    return expit(x) * expit(-x)


def _bell(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.minimum(x * x, 1400) / 2) / math.sqrt(2 * math.pi)


def _tanh_slope(x: np.ndarray) -> np.ndarray:
    e = np.exp(-2 * np.abs(x))
    return 4 * e / (1 + e)**2


#: name -> activation. The built-in ones first.
ACTIVATIONS = {
    "relu": Activation("relu(x)", lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "abs": Activation("abs(x)", np.abs, np.sign),
    "sign": Activation("sign(x)", np.sign, lambda x: 0 * x),
    "step": Activation("step(x)", lambda x: (x > 0) * 1.0, lambda x: 0 * x),
    "tanh": Activation("tanh(x)", np.tanh, _tanh_slope),
    "erf": Activation("erf(x)", erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-np.minimum(x * x, 700))),
    "sigmoid": Activation("sigmoid(x)", expit, _logistic_slope),
    "gelu": Activation("gelu(x)", lambda x: x * erfc(-x / math.sqrt(2)) / 2,
                       lambda x: erfc(-x / math.sqrt(2)) / 2 + x * _bell(x)),
    "silu": Activation("silu(x)", lambda x: x * expit(x), lambda x: expit(x) + x * _logistic_slope(x)),
    "softplus": Activation("softplus(x)", lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), expit),
    "square": Activation("square(x)", lambda x: x * x, lambda x: 2 * x),
    "max": Activation("max(x, 0.2*x)", lambda x: np.maximum(x, 0.2 * x), lambda x: np.where(x > 0, 1.0, 0.2)),
    "min": Activation("min(x, 1)", lambda x: np.minimum(x, 1), lambda x: (x < 1) * 1.0, (1.0,)),
    "quick_gelu": Activation("x*sigmoid(1.702*x)", lambda x: x * expit(1.702 * x),
                             lambda x: expit(1.702 * x) + 1.702 * x * _logistic_slope(1.702 * x)),
    "softsign": Activation("x/(1 + abs(x))", lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x))**2),
    "cauchy": Activation("log(1 + x*x)", lambda x: np.log1p(x * x), lambda x: 2 * x / (1 + x * x)),
    "root": Activation("sign(x)*sqrt(abs(x))", lambda x: np.sign(x) * np.sqrt(np.abs(x)), None,
                       finest=1e-9),
    "clip": Activation("clip(x, -1, 2)", lambda x: np.clip(x, -1, 2), lambda x: ((x > -1) & (x < 2)) * 1.0, (-1.0, 2.0)),
    "soft_threshold": Activation("sign(x)*max(abs(x) - 0.5, 0)", lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
                                 lambda x: (np.abs(x) > 0.5) * 1.0, (-0.5, 0.5)),
    "clip_by_relu": Activation("relu(x + 1) - relu(x - 2) - 1", lambda x: np.clip(x, -1, 2), lambda x: ((x > -1) & (x < 2)) * 1.0,
                               (-1.0, 2.0)),
    "clip_inside_out": Activation("min(max(x, -1), 2)", lambda x: np.clip(x, -1, 2), lambda x: ((x > -1) & (x < 2)) * 1.0, (-1.0, 2.0)),
    "relu6": Activation("min(relu(x), 6)", lambda x: np.clip(x, 0, 6), lambda x: ((x > 0) & (x < 6)) * 1.0, (0.0, 6.0)),
    "hard_sigmoid": Activation("clip(x/6 + 0.5, 0, 1)", lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: (np.abs(x) < 3) / 6,
                               (-3.0, 3.0)),
    "hard_swish": Activation("x*min(max(x + 3, 0), 6)/6", lambda x: x * np.clip(x + 3, 0, 6) / 6,
                             lambda x: np.where(x >= 3, 1.0, np.where(x > -3, x / 3 + 0.5, 0.0)), (-3.0, 3.0)),
    "rest_of_clip": Activation("x - clip(x, -0.5, 0.5)", lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
                               lambda x: (np.abs(x) > 0.5) * 1.0, (-0.5, 0.5)),
    "late_ramp": Activation("step(x - 1)*x", lambda x: (x > 1) * x, lambda x: (x > 1) * 1.0, (1.0,)),
}


def geometry(one: np.ndarray, two: np.ndarray) -> tuple[float, float, float, float]:
    """s, a, b of two rows in the plane, and the rows' inner product, each rounded once."""
    with mpmath.workdps(60):
        (p, q), (r, t) = ([mpmath.mpf(float(x)) for x in row] for row in (one, two))
        s = mpmath.sqrt(p * p + q * q)
        return float(s), float((p * r + q * t) / s), float(abs(p * t - q * r) / s), float(p * r + q * t)


def expectation(f: Function, kinks: tuple[float, ...], s: float, a: float, b: float, finest: float = 1 / 30,
                order: int = 10) -> tuple[float, float]:
    """E f(s x) f(a x + b y), and the mean of its absolute value."""
    length = math.hypot(a, b)
    joined = b <= 1e-17 * length
    blur = 1.0 if joined else b / length
    centres = [0.0, *(k / s for k in kinks), *(k / a for k in kinks if a)]
    x, weights = _graded(centres, max(min(1 / s, 1 / length, blur, 1.0) * finest, 1e-18), order)
    outer = weights * _density(x) * f(s * x)
    if joined:
        terms = outer * f(a * x)
        return float(np.sum(terms)), float(np.sum(np.abs(terms)))
    total = size = 0.0
    for t, w in zip(x[np.abs(outer) > 1e-40], outer[np.abs(outer) > 1e-40]):
        y, inner = _graded([(k - a * t) / b for k in kinks], max(min(1 / b, 1.0) * finest, 1e-18), order)
        terms = inner * _density(y) * f(a * t + b * y)
        total += w * float(np.sum(terms))
        size += abs(w) * float(np.sum(np.abs(terms)))
    return total, size


def _density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _graded(centres: list[float], smallest: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [-FAR, FAR], with panels that double away from every centre."""
    steps = smallest * 2.0**np.arange(0, max(1, math.ceil(math.log2(FAR / smallest))) + 1)
    ends = np.concatenate([np.arange(-FAR, FAR + 0.5),
                           *(np.array([c, *(c + steps), *(c - steps)]) for c in centres if abs(c) < 2 * FAR)])
    ends = np.unique(ends[np.abs(ends) <= FAR])
    x, w = leggauss(order)
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    return (middle + half * x).ravel(), (half * w).ravel()
