"""Limits that are random: Gaussian numbers at initialization, declared arrays without a width, and what training makes of
them (TP I, Corollary 5.5).

    covariances of the draws    by their own program; declared arrays have independent entries
    outputs of given draws      by the limit program, in a loop over draws
    mean and covariance         where outputs are affine in the draws, from one run for each independent number;
                                else from many draws, by sampling
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Unpack

import numpy as np

from tensorprog.declared_laws import ArrayLaw, entries_of
from tensorprog.diagnostics import Diagnostic, Source
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.options import RunOptions
from tensorprog.ir.integers import IntSym, evaluate_int
from tensorprog.ir.program import For, Let, walk
from tensorprog.jumps import JudgedLimit, run_limit
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
        gaussian: whether the output is jointly Gaussian.
        sampled: whether `factor` holds what draws deviate from their mean, in pairs of a draw and its opposite.
    """

    factor: np.ndarray
    noise: np.ndarray
    draws: np.ndarray
    gaussian: bool
    sampled: bool

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
        return np.hypot(by_noise, _scatter(self.factor ** 2)) if self.sampled else by_noise

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
        if self.sampled:
            by_noise = np.hypot(by_noise, _scatter(flat[:, :, None] * flat[:, None, :]))
        return by_noise.reshape(*self.shape, *self.shape)

    def part(self, index: tuple) -> Spread:
        """The distribution of an element or a part of the output."""
        rest = (slice(None), *index)
        return Spread(self.factor[rest], self.noise[rest], self.draws[rest], self.gaussian, self.sampled)

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

    limit: JudgedLimit
    spread: dict[str, Spread] = field(default_factory=dict)


def run_random(analysis: Analysis, env: Mapping[str, object], method: str, source: Source, *, draws: int,
               **options: Unpack[RunOptions]) -> RandomLimit:
    """The outputs of a program with a random limit.

    Args:
        draws: how many joint draws of the outputs are wanted.
        options: those of `jumps.run_limit`.
    """
    drawn, seed = _drawn(analysis), options["seed"]
    given = {**env, drawn.size: 1}
    numbers, uncertain = _numbers(analysis, given, source, options)
    rng = np.random.default_rng([STREAM, seed])
    affine = drawn.affine if numbers.count <= MOST_DIRECTIONS else frozenset()
    standard = np.zeros((0, numbers.count))
    if affine:
        # An affine function is known from its values at 0 and at the unit vectors.
        standard = np.concatenate([np.zeros((1, numbers.count)), np.eye(numbers.count)])
    if drawn.random - affine:
        half = rng.standard_normal((max(_sampled_draws(analysis), draws) // 2 + 1, numbers.count))
        # Pairs of opposite draws: what is odd in them does not scatter the mean.
        standard = np.concatenate([standard, numbers.standard(half), numbers.standard(-half)])
    inputs = numbers.inputs(standard)
    limit = run_limit(analysis, {**given, drawn.size: len(standard), **inputs}, method, source, **options)
    wanted = half[:draws] if drawn.random - affine else rng.standard_normal((draws, numbers.count))
    wanted = numbers.standard(wanted)
    values, errors, spread = dict(limit.values), dict(limit.errors), {}
    first = numbers.count + 1 if affine else 0
    for name in drawn.random:
        value, error = limit.values[name], np.broadcast_to(limit.errors[name], limit.values[name].shape)
        if name in analysis.vanishing:
            values[name], errors[name] = value[0], error[0]
            continue
        if name in affine:
            values[name], errors[name], spread[name] = _affine(value[:first], error[:first], wanted, numbers.gaussian)
        else:
            values[name], errors[name], spread[name] = _sampled(value[first:], error[first:], draws)
    unresolved = {n: np.asarray(m.any(axis=0)) if n in drawn.random else m for n, m in limit.unresolved.items()}
    limit = replace(limit, values=values, errors=errors, unresolved=unresolved,
                    warnings=(*limit.warnings, *uncertain))
    return RandomLimit(limit, spread)


def _drawn(analysis: Analysis) -> Gaussians:
    """What the limit is a function of."""
    assert analysis.gaussians is not None
    return analysis.gaussians


def _affine(value: np.ndarray, error: np.ndarray, wanted: np.ndarray,
            gaussian: np.ndarray) -> tuple[np.ndarray, np.ndarray, Spread]:
    """Mean, error and spread of an output from its values at zero and at the unit vectors; `gaussian` says which of the
    numbers are."""
    slopes = value[1:] - value[0]
    drawn = value[0] + np.tensordot(wanted, slopes, 1)
    return value[0], error[0], Spread(slopes, error[1:], drawn, not slopes[~gaussian].any(), False)


def _sampled(value: np.ndarray, error: np.ndarray, draws: int) -> tuple[np.ndarray, np.ndarray, Spread]:
    """The same from values at pairs of a draw and its opposite."""
    half = len(value) // 2
    mean = value.mean(axis=0)
    pairs = (value[:half] + value[half:]) / 2
    root = np.sqrt(len(value))
    spread = Spread((value - mean) / root, error / root, value[:draws].copy(), False, True)
    return mean, np.hypot(pairs.std(axis=0, ddof=1) / np.sqrt(half), error.mean(axis=0)), spread


def _sampled_draws(analysis: Analysis) -> int:
    """How many draws to take."""
    loops = [s for s in analysis.limit.body if isinstance(s, For) and s.stop == IntSym(_drawn(analysis).size, "size")]
    vectors = any(isinstance(s, Let) and s.var.type.width for loop in loops for s in walk(loop.body))
    return SAMPLED if vectors else SAMPLED_NUMBERS


# --- the draws -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Numbers:
    """What a limit is a function of: independent numbers of mean 0 and variance 1.

    Attributes:
        entries: of the inputs of declared arrays, by name.
        shapes: of the inputs of Gaussian numbers, by name.
        factor: a matrix F with F F.T the covariance of all Gaussian numbers, [R, rank]; None: it depends on the declared
            arrays, and `covariance` gives it, [draws, R, R], for the inputs of these.
    """

    entries: Mapping[str, ArrayLaw]
    shapes: Mapping[str, tuple[int, ...]]
    factor: np.ndarray | None
    covariance: Callable[[Mapping[str, np.ndarray]], np.ndarray]

    @property
    def rank(self) -> int:
        """How many numbers Gaussian ones are made of. They are the first."""
        return sum(map(math.prod, self.shapes.values())) if self.factor is None else self.factor.shape[1]

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return self.rank + sum(e.count for e in self.entries.values())

    @property
    def gaussian(self) -> np.ndarray:
        """Which of the numbers are Gaussian."""
        own = [np.full(e.count, e.gaussian) for e in self.entries.values()]
        return np.concatenate([np.ones(self.rank, bool), *own])

    def standard(self, normal: np.ndarray) -> np.ndarray:
        """The numbers with these normal scores, both [draws, count]."""
        found, start = normal.copy(), self.rank
        for entries in self.entries.values():
            own = slice(start, start + entries.count)
            found[:, own] = entries.standard(normal[:, own])
            start = own.stop
        return found

    def inputs(self, standard: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs for numbers, [draws, count]."""
        rows = _split(standard[:, self.rank:], {name: e.shape for name, e in self.entries.items()})
        declared = {name: self.entries[name].values(own) for name, own in rows.items()}
        first = standard[:, : self.rank]
        if self.factor is None:
            eigenvalues, vectors = np.linalg.eigh(self.covariance(declared))
            # Any root of the covariance will do; rounding may make an eigenvalue negative.
            gaussian = np.einsum("dij,dj->di", vectors, np.sqrt(np.maximum(eigenvalues, 0.0)) * first)
        else:
            gaussian = first @ self.factor.T
        return {**declared, **_split(gaussian, self.shapes)}


def _split(rows: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of these shapes, [draws, *shape], from their entries one after the other, [draws, entries]."""
    found, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        found[name] = np.ascontiguousarray(rows[:, start:stop].reshape(len(rows), *shape))
        start = stop
    return found


def _numbers(analysis: Analysis, env: Mapping[str, object], source: Source,
             options: RunOptions) -> tuple[_Numbers, list[Diagnostic]]:
    """What the limit is a function of; and a list of what there is to say of the covariances, as they are evaluated."""
    drawn = _drawn(analysis)
    options = {**options, "dtype": "float64", "checkpoint": None, "watch": None, "biased": set(), "notes": None,
               "finished": None}
    declared = {i.name: i.shape[1:] for i in analysis.limit.inputs}
    shapes = {name: tuple(int(evaluate_int(e, env)) for e in declared[name]) for name in drawn.inputs}
    sizes = [math.prod(shape) for shape in shapes.values()]
    warnings: list[Diagnostic] = []

    def covariance(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        count = max(map(len, inputs.values()), default=1)
        found = run_limit(analysis.covariances, {**env, drawn.size: count, **inputs}, "auto", source, **options)
        warnings.extend(found.warnings)
        blocks = _blocks(drawn, found.values, sizes, count if drawn.given else 1)
        return (blocks + blocks.swapaxes(1, 2)) / 2

    entries = {d.input: entries_of(analysis.original, d.initial, env) for d in drawn.declared}
    if drawn.given:
        return _Numbers(entries, shapes, None, covariance), warnings
    eigenvalues, vectors = np.linalg.eigh(covariance({})[0] if shapes else np.zeros((0, 0)))
    kept = eigenvalues > RANK_TOLERANCE * max(eigenvalues.max(initial=0.0), 0.0)
    return _Numbers(entries, shapes, vectors[:, kept] * np.sqrt(eigenvalues[kept]), covariance), warnings


def _blocks(drawn: Gaussians, values: Mapping[str, np.ndarray], sizes: list[int], count: int) -> np.ndarray:
    """The covariance of all Gaussian numbers, [count, R, R], from the outputs of its program."""
    ends = np.concatenate([[0], np.cumsum(sizes)])
    whole = np.zeros((count, ends[-1], ends[-1]))
    for name, (i, j) in drawn.pairs.items():
        value = np.nan_to_num(values[name])
        value = value if name in drawn.given else value[None]
        (loops, axes), (others, _) = drawn.ranks[i], drawn.ranks[j]
        # [draw, loops_i, loops_j, axes_i, axes_j] -> [draw, loops_i, axes_i, loops_j, axes_j]
        start = 1 + loops + others
        order = (0, *range(1, 1 + loops), *range(start, start + axes), *range(1 + loops, start),
                 *range(start + axes, value.ndim))
        block = value.transpose(order).reshape(len(value), sizes[i], sizes[j])
        rows, cols = slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])
        whole[:, rows, cols] = block
        whole[:, cols, rows] = block.swapaxes(1, 2)
    return whole
