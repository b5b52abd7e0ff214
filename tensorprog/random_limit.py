"""Limits that are random: Gaussian numbers at initialization, and what training makes of them (TP I, Corollary 5.5).

    covariances of the draws    by their own program
    outputs of given draws      by the limit program, in a loop over draws
    mean and covariance         where outputs are affine in the draws, from one run for each independent number;
                                else from many draws, by sampling
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tensorprog.diagnostics import Diagnostic, Source
from tensorprog.evaluators.analysis import Analysis
from tensorprog.ir.integers import IntSym
from tensorprog.ir.program import For, Let, walk
from tensorprog.jumps import Limit, run_limit
from tensorprog.series.draws import Gaussians

#: Draws from which the mean and covariance of an output are estimated that is not affine in them: if each needs vectors
#: of its own, and if not.
SAMPLED, SAMPLED_NUMBERS = 256, 1024
#: Independent numbers beyond which draws are sampled though outputs are affine in them.
MOST_DIRECTIONS = 512
#: Eigenvalues of the covariance, relative to the largest, that are rounding.
RANK_TOLERANCE = 1e-13
#: A draw's seed differs from that of the particles.
STREAM = 0x5EED


@dataclass(frozen=True)
class Spread:
    """The distribution of an output whose limit is random.

    Attributes:
        factor: K arrays of the output's shape, [K, *shape]: the covariance of two elements is the sum of their products.
        noise: the errors of these by the evaluator.
        draws: joint draws, [D, *shape]; the same draw of all outputs belongs together.
        gaussian: whether the output is jointly Gaussian. If not, `factor` holds what draws deviate from their mean, in
            pairs of a draw and its negative.
    """

    factor: np.ndarray
    noise: np.ndarray
    draws: np.ndarray
    gaussian: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.factor.shape[1:]

    @property
    def variance(self) -> np.ndarray:
        """The variance of each element."""
        return (self.factor ** 2).sum(axis=0)

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation of each element."""
        return np.sqrt(self.variance)

    @property
    def variance_error(self) -> np.ndarray:
        """The error of `variance`, by the errors of the evaluator and, where draws were sampled, of sampling."""
        by_noise = 2 * np.sqrt(((self.factor * self.noise) ** 2).sum(axis=0))
        return by_noise if self.gaussian else np.hypot(by_noise, _scatter(self.factor ** 2))

    @property
    def covariance(self) -> np.ndarray:
        """The covariance over all pairs of elements, [*shape, *shape]."""
        flat = self._flat(self.factor)
        return (flat.T @ flat).reshape(*self.shape, *self.shape)

    @property
    def covariance_error(self) -> np.ndarray:
        """The error of `covariance`, as that of `variance`."""
        flat, noise = self._flat(self.factor), self._flat(self.noise)
        one = (flat ** 2).T @ noise ** 2
        by_noise = np.sqrt(one + one.T)
        if not self.gaussian:
            by_noise = np.hypot(by_noise, _scatter(flat[:, :, None] * flat[:, None, :]))
        return by_noise.reshape(*self.shape, *self.shape)

    def part(self, index: tuple) -> Spread:
        """The distribution of an element or a part of the output."""
        rest = (slice(None), *index)
        return Spread(self.factor[rest], self.noise[rest], self.draws[rest], self.gaussian)

    def _flat(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1)


def _scatter(terms: np.ndarray) -> np.ndarray:
    """The standard error of a sum whose terms come in independent pairs, the second half beside the first."""
    half = len(terms) // 2
    pairs = terms[:half] + terms[half:]
    return pairs.std(axis=0, ddof=1) * np.sqrt(half)


@dataclass(frozen=True)
class RandomLimit:
    """A limit, whose values are means, and the spread of every output that is random."""

    limit: Limit
    spread: dict[str, Spread] = field(default_factory=dict)


def run_random(analysis: Analysis, env: Mapping[str, object], method: str, source: Source, *, draws: int, seed: int,
               **options: object) -> RandomLimit:
    """The outputs of a program with a random limit.

    Args:
        draws: how many joint draws of the outputs are wanted.
        options: those of `jumps.run_limit`.
    """
    drawn = analysis.gaussians
    given = {**env, drawn.size: 1}
    factor, shapes, uncertain = _factor(analysis, given, source, seed, options)
    rng = np.random.default_rng([STREAM, seed])
    rank = factor.shape[1]
    affine = drawn.affine if rank <= MOST_DIRECTIONS else frozenset()
    normal = np.zeros((0, rank))
    if affine:
        normal = np.concatenate([np.zeros((1, rank)), np.eye(rank)])
    if drawn.random - affine:
        half = rng.standard_normal((max(_sampled_draws(analysis), draws) // 2 + 1, rank))
        normal = np.concatenate([normal, half, -half])
    limit = run_limit(analysis, _with_draws(given, drawn, normal @ factor.T, shapes), method, source, seed=seed, **options)
    wanted = rng.standard_normal((draws, rank)) if not drawn.random - affine else half[:draws]
    values, errors, spread = dict(limit.values), dict(limit.errors), {}
    first = rank + 1 if affine else 0
    for name in drawn.random:
        value, error = limit.values[name], np.broadcast_to(limit.errors[name], limit.values[name].shape)
        if name in analysis.vanishing:
            values[name], errors[name] = value[0], error[0]
            continue
        found, rows = (_affine, slice(0, first)) if name in affine else (_sampled, slice(first, None))
        values[name], errors[name], spread[name] = found(value[rows], error[rows], wanted)
    unresolved = {n: m.any(axis=0) if n in drawn.random else m for n, m in limit.unresolved.items()}
    limit = replace(limit, values=values, errors=errors, unresolved=unresolved,
                    warnings=(*limit.warnings, *uncertain))
    return RandomLimit(limit, spread)


def _affine(value: np.ndarray, error: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, Spread]:
    """Mean, error and spread of an output from its values at zero and at the unit vectors."""
    slopes = value[1:] - value[0]
    drawn = value[0] + np.tensordot(wanted, slopes, 1)
    return value[0], error[0], Spread(slopes, error[1:], drawn, True)


def _sampled(value: np.ndarray, error: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, Spread]:
    """The same from values at pairs of a draw and its negative."""
    half = len(value) // 2
    mean = value.mean(axis=0)
    pairs = (value[:half] + value[half:]) / 2
    spread = Spread((value - mean) / np.sqrt(len(value)), error / np.sqrt(len(value)), value[: len(wanted)].copy(), False)
    return mean, np.hypot(pairs.std(axis=0, ddof=1) / np.sqrt(half), error.mean(axis=0)), spread


def _sampled_draws(analysis: Analysis) -> int:
    """How many draws to take."""
    loops = [s for s in analysis.limit.body if isinstance(s, For) and s.stop == IntSym(analysis.gaussians.size, "size")]
    vectors = any(isinstance(s, Let) and s.var.type.width for loop in loops for s in walk(loop.body))
    return SAMPLED if vectors else SAMPLED_NUMBERS


# --- the draws -----------------------------------------------------------------------------------------------


def _factor(analysis: Analysis, env: Mapping[str, object], source: Source, seed: int,
            options: Mapping[str, object]) -> tuple[np.ndarray, list[tuple[int, ...]], tuple[Diagnostic, ...]]:
    """A matrix F with F F.T the covariance of all numbers, [R, rank], and the shape of each input of draws."""
    options = {**options, "dtype": "float64", "checkpoint": None, "watch": None, "biased": set(), "notes": None,
               "finished": None}
    found = run_limit(analysis.covariances, env, "auto", source, seed=seed, **options)
    drawn = analysis.gaussians
    count = len(drawn.inputs)
    blocks: list[list[np.ndarray]] = [[np.zeros(0)] * count for _ in range(count)]
    shapes: list[tuple[int, ...]] = [()] * count
    for name, (i, j) in drawn.pairs.items():
        value = np.nan_to_num(found.values[name])
        (loops, axes), (others, _) = drawn.ranks[i], drawn.ranks[j]
        # [loops_i, loops_j, axes_i, axes_j] -> [loops_i, axes_i, loops_j, axes_j]
        start = loops + others
        order = (*range(loops), *range(start, start + axes), *range(loops, start), *range(start + axes, value.ndim))
        value = value.transpose(order)
        if i == j:
            shapes[i] = value.shape[: loops + axes]
        blocks[i][j] = value.reshape(math.prod(value.shape[: loops + axes]), -1)
        blocks[j][i] = blocks[i][j].T
    whole = np.block(blocks)
    eigenvalues, vectors = np.linalg.eigh((whole + whole.T) / 2)
    kept = eigenvalues > RANK_TOLERANCE * max(eigenvalues.max(initial=0.0), 0.0)
    return vectors[:, kept] * np.sqrt(eigenvalues[kept]), shapes, found.warnings


def _with_draws(env: Mapping[str, object], drawn: Gaussians, numbers: np.ndarray,
                shapes: list[tuple[int, ...]]) -> dict[str, object]:
    """The environment with the inputs of draws; `numbers` are [draws, R]."""
    given = {**env, drawn.size: len(numbers)}
    start = 0
    for name, shape in zip(drawn.inputs, shapes):
        stop = start + math.prod(shape)
        given[name] = np.ascontiguousarray(numbers[:, start:stop].reshape(len(numbers), *shape))
        start = stop
    return given
