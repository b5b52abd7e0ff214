"""Limits that are random: Gaussian numbers at initialization, and what training makes of them (TP I, Corollary 5.5).

    covariances of the draws    by their own program
    outputs of given draws      by the limit program, in a loop over draws
    mean and covariance         where outputs are affine in the draws, from one run for each independent number;
                                else from many draws, by sampling
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tensorprog.diagnostics import Diagnostic, Source
from tensorprog.driver import Compiled
from tensorprog.jumps import Limit, run_limit
from tensorprog.series.draws import Drawn

#: Draws from which the mean and covariance of an output are estimated that is not affine in them.
SAMPLED = 256
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
        covariance: over its elements, [*shape, *shape].
        error: that of the covariance, by the errors of the evaluator and, where draws were sampled, of sampling.
        draws: joint draws, [D, *shape]; the same draw of all outputs belongs together.
        gaussian: whether the output is jointly Gaussian.
    """

    covariance: np.ndarray
    error: np.ndarray
    draws: np.ndarray
    gaussian: bool

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation of each element."""
        size = int(np.sqrt(self.covariance.size))
        shape = self.covariance.shape[: self.covariance.ndim // 2]
        return np.sqrt(np.maximum(np.diagonal(self.covariance.reshape(size, size)), 0.0)).reshape(shape)


@dataclass(frozen=True)
class RandomLimit:
    """A limit, whose values are means, and the spread of every output that is random."""

    limit: Limit
    spread: dict[str, Spread] = field(default_factory=dict)


def run_random(compiled: Compiled, env: Mapping[str, object], method: str, source: Source, *, draws: int, seed: int,
               **options: object) -> RandomLimit:
    """The outputs of a program with a random limit.

    Args:
        draws: how many joint draws of the outputs are wanted.
        options: those of `jumps.run_limit`.
    """
    drawn = compiled.drawn
    given = {**env, drawn.size: 1}
    factor, shapes, uncertain = _factor(compiled, given, source, seed, options)
    rng = np.random.default_rng([STREAM, seed])
    affine = drawn.affine and factor.shape[1] <= MOST_DIRECTIONS
    if affine:
        normal = np.concatenate([np.zeros((1, factor.shape[1])), np.eye(factor.shape[1])])
    else:
        half = rng.standard_normal((max(SAMPLED, draws) // 2 + 1, factor.shape[1]))
        normal = np.concatenate([half, -half])
    limit = run_limit(compiled, _with_draws(given, drawn, normal @ factor.T, shapes), method, source, seed=seed, **options)
    wanted = rng.standard_normal((draws, factor.shape[1]))
    values, errors, spread = dict(limit.values), dict(limit.errors), {}
    for name in drawn.random:
        found = _affine if affine else _sampled
        values[name], errors[name], spread[name] = found(limit.values[name], limit.errors[name], wanted)
    unresolved = {n: m.any(axis=0) if n in drawn.random else m for n, m in limit.unresolved.items()}
    limit = replace(limit, values=values, errors=errors, unresolved=unresolved,
                    warnings=(*limit.warnings, *uncertain))
    return RandomLimit(limit, spread)


def _affine(value: np.ndarray, error: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, Spread]:
    """Mean, error and spread of an output from its values at zero and at the unit vectors."""
    slopes = (value[1:] - value[0]).reshape(len(value) - 1, -1)
    noise = np.broadcast_to(error[1:], value[1:].shape).reshape(slopes.shape)
    covariance = slopes.T @ slopes
    variance = (slopes ** 2).T @ noise ** 2
    shape = (*value.shape[1:], *value.shape[1:])
    error_of = np.sqrt(variance + variance.T).reshape(shape)
    drawn = value[0] + (wanted @ slopes).reshape(len(wanted), *value.shape[1:])
    return value[0], np.broadcast_to(error, value.shape)[0], Spread(covariance.reshape(shape), error_of, drawn, True)


def _sampled(value: np.ndarray, error: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, Spread]:
    """The same from values at pairs of a draw and its negative."""
    half = len(value) // 2
    mean = value.mean(axis=0)
    pairs = (value[:half] + value[half:]) / 2
    scatter = pairs.std(axis=0, ddof=1) / np.sqrt(half)
    centred = (value - mean).reshape(len(value), -1)
    products = centred[:, :, None] * centred[:, None, :]
    pairs = (products[:half] + products[half:]) / 2
    shape = (*mean.shape, *mean.shape)
    covariance, of_it = pairs.mean(axis=0).reshape(shape), (pairs.std(axis=0, ddof=1) / np.sqrt(half)).reshape(shape)
    noise = np.broadcast_to(error, value.shape).mean(axis=0)
    return mean, np.hypot(scatter, noise), Spread(covariance, of_it, value[: len(wanted)].copy(), False)


# --- the draws -----------------------------------------------------------------------------------------------


def _factor(compiled: Compiled, env: Mapping[str, object], source: Source, seed: int,
            options: Mapping[str, object]) -> tuple[np.ndarray, list[tuple[int, ...]], tuple[Diagnostic, ...]]:
    """A matrix F with F F.T the covariance of all numbers, [R, rank], and the shape of each input of draws."""
    options = {**options, "dtype": "float64", "checkpoint": None, "watch": None}
    found = run_limit(compiled.covariances, env, "auto", source, seed=seed, **options)
    drawn = compiled.drawn
    count = len(drawn.inputs)
    blocks: list[list[np.ndarray]] = [[np.zeros(0)] * count for _ in range(count)]
    shapes: list[tuple[int, ...]] = [()] * count
    for name, (i, j) in drawn.pairs.items():
        value = np.nan_to_num(found.values[name])
        rank = drawn.ranks[i]
        rows = int(np.prod(value.shape[:rank], dtype=int))
        if i == j:
            shapes[i] = value.shape[:rank]
        blocks[i][j] = value.reshape(rows, -1)
        blocks[j][i] = blocks[i][j].T
    whole = np.block(blocks)
    eigenvalues, vectors = np.linalg.eigh((whole + whole.T) / 2)
    kept = eigenvalues > RANK_TOLERANCE * max(eigenvalues.max(initial=0.0), 0.0)
    return vectors[:, kept] * np.sqrt(eigenvalues[kept]), shapes, found.warnings


def _with_draws(env: Mapping[str, object], drawn: Drawn, numbers: np.ndarray,
                shapes: list[tuple[int, ...]]) -> dict[str, object]:
    """The environment with the inputs of draws; `numbers` are [draws, R]."""
    given = {**env, drawn.size: len(numbers)}
    start = 0
    for name, shape in zip(drawn.inputs, shapes):
        stop = start + int(np.prod(shape, dtype=int))
        given[name] = np.ascontiguousarray(numbers[:, start:stop].reshape(len(numbers), *shape))
        start = stop
    return given
