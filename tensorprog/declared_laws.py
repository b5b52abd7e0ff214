"""Draws of declared arrays without a width: independent entries, as functions of normal scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tensorprog.ir.constants import constant
from tensorprog.ir.integers import evaluate_int
from tensorprog.ir.laws import leading_arguments
from tensorprog.ir.program import Initial, Program
from tensorprog.passes.powers import initial_power
from tensorprog.runtime.basis import law_moments
from tensorprog.runtime.laws import draw
from tensorprog.series.declared_draws import shape_of


@dataclass(frozen=True)
class ArrayLaw:
    """The law of the entries of an array, of this shape."""

    law: str
    args: tuple[float, ...]
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many entries there are."""
        return math.prod(self.shape)

    @property
    def gaussian(self) -> bool:
        """Whether the entries are Gaussian."""
        return self.law == "normal"

    def standard(self, normal: np.ndarray) -> np.ndarray:
        """Entries with mean 0 and variance 1 (0 for a law without variance), with these normal scores; opposite scores give
        draws of the same law."""
        mean, variance = law_moments(self.law, self.args)
        if self.gaussian or not variance:
            return normal if variance else np.zeros_like(normal)
        return (draw(_Scores(normal), self.law, len(normal), self.args) - mean) / math.sqrt(variance)

    def values(self, standard: np.ndarray) -> np.ndarray:
        """The entries of which these are the standard ones."""
        mean, variance = law_moments(self.law, self.args)
        return mean + math.sqrt(variance) * standard


def entries_of(program: Program, initial: Initial, env: Mapping[str, object]) -> ArrayLaw:
    """The law of a declared array without a width, with the values of sizes and parameters."""
    scaled = [constant(program, a, env) for a in initial.law.args]
    counts = leading_arguments(initial.law, initial_power(program, initial, env), [power for _, power in scaled])
    args = tuple(value if kept else 0.0 for (value, _), kept in zip(scaled, counts))
    return ArrayLaw(initial.law.name, args, tuple(int(evaluate_int(s, env)) for s in shape_of(initial)))


class _Scores:
    """Normal scores in the place of a space that laws draw from."""

    mirrored = False

    def __init__(self, normal: np.ndarray):
        self.scores, self.samples = normal, normal.shape[1]

    def normal(self, count: int, *, mirror: bool = False) -> np.ndarray:
        """The scores themselves, [count, samples]."""
        return self.scores

    def uniform(self, count: int) -> np.ndarray:
        """The scores as numbers between 0 and 1, uniform if they are normal, [count, samples]."""
        from scipy.special import ndtr  # not for programs without such arrays

        return ndtr(self.scores)
