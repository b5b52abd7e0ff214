"""Spaces of coefficients: vectors in the linear span of initial vectors, as coordinates in an orthonormal basis.

A space of dimension K has the unit vectors as its basis, scaled by sqrt(K), so that the mean product of two rows of
coefficients is their inner product: then everything that is written for rows of particles (moments, lazily sampled
matrices) holds for coefficients, and exactly, since fresh directions are exactly orthonormal (TP IV, App. D.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tensorprog.runtime.checkpoints import Checkpoint
from tensorprog.runtime.replicates import Counter, Progress, Tick, Values

Watch = Callable[[Mapping[str, np.ndarray]], None]

# A part of a vector of this relative size is rounding, not a new direction.
TOLERANCE = 1e-12
# A program is evaluated a second time, for its error, up to this many steps times directions with random matrices, and
# without them, where vectors stay as short as they are and nothing is dropped.
GROWING_WORK, PLAIN_WORK = 10**6, 10**4
# The two evaluations' roundings are of one size but not equal: their difference times this bounds either of them, but
# where they agree by chance to a fourth.
ROUNDING_FACTOR = 4.0
# Directions more in the second evaluation, so that coefficients have another scale and another rounding, and the size
# of a direction there: a few exact numbers are rounded the same at every scale.
EXTRA, PERTURBED = 17, 1.0 + 2.0**-50
# What is smaller, relative to its element or to the largest element up to it, is rounding: error 0.
ROUNDED, ROUNDED_OF_LARGEST = 2e-12, 1e-14
# Directions left for matrices at the first attempt.
ROOM = 64


class Full(Exception):
    """A space has more directions than it was made for."""


class Basis:
    """A space of vectors given by coefficients; directions are taken one after another.

    Args:
        samples: K, the number of directions that there is room for.
        dtype: of coefficients.
        tolerance: parts of vectors of this relative size add no direction.
        size: of a direction; other than 1 only by some units of rounding, to see what becomes of them.
        jitter: a size, and the generator of noise of that size on every direction but that of constants: then moments
            fluctuate about their limits, all together, as they do in a wide network.
    """

    #: Matrices are lazily sampled, not those of a network (`sampling.Space.network`).
    network = False

    def __init__(self, samples: int, dtype: str = "float64", tolerance: float = TOLERANCE, size: float = 1.0,
                 jitter: tuple[float, np.random.Generator] | None = None):
        self.samples, self.dtype, self.tolerance = samples, np.dtype(dtype), tolerance
        # Of what matrices keep: directions that differ by little more than rounding have to be told apart.
        self.entry = np.dtype(float)
        self.jitter = jitter
        self._entry = size * np.sqrt(samples)
        self._used = 0
        self._one: np.ndarray | None = None

    def normal(self, count: int) -> np.ndarray:
        """`count` fresh directions, [count, K].

        Raises:
            Full: if there is no room for them.
        """
        start, self._used = self._used, self._used + count
        if self._used > self.samples:
            raise Full
        rows = np.zeros((count, self.samples), self.dtype)
        rows[np.arange(count), np.arange(start, self._used)] = self._entry
        if self.jitter is not None:
            size, generator = self.jitter
            rows += size * generator.standard_normal(rows.shape)
        return rows

    def one(self) -> np.ndarray:
        """The constant vector, [1, K]; its direction is taken when it is first asked for."""
        if self._one is None:
            jitter, self.jitter = self.jitter, None
            self._one = self.normal(1)
            self.jitter = jitter
        return self._one

    def remember(self, directions: np.ndarray, vectors: np.ndarray) -> None:
        """Fresh directions are orthogonal to everything before them anyway."""

    def note(self, vectors: int, count: int) -> None:
        """A basis has room for all directions."""

    def draw(self, law: str, count: int, args: tuple[float, ...]) -> np.ndarray:
        """`count` independent vectors with iid coordinates of a law, [count, K].

        Only the law's mean and variance enter. Without variance no direction is taken."""
        mean, variance = law_moments(law, args)
        if variance:
            rows = self.normal(count)
            if self.jitter is not None and law == "rademacher":
                # Its square is 1 in every network.
                rows /= np.sqrt(np.mean(rows**2, axis=1, keepdims=True))
            rows *= self.dtype.type(np.sqrt(variance))
        else:
            rows = np.zeros((count, self.samples), self.dtype)
        return rows + (mean * self.one()).astype(self.dtype) if mean else rows


def law_moments(law: str, args: tuple[float, ...]) -> tuple[float, float]:
    """Mean and variance of a declared law of initial vectors, from its arguments at order one."""
    match law:
        case "normal":
            return float(args[0]), float(args[1])
        case "rademacher":
            return 0.0, 1.0
        case "uniform":
            return (args[0] + args[1]) / 2.0, (args[1] - args[0]) ** 2 / 12.0
        case "bernoulli":
            return float(args[0]), args[0] * (1.0 - args[0])
        case "sparse_normal":
            return 0.0, args[0] * args[1]
        case "constant":
            return float(args[0]), 0.0
        case _:
            return 0.0, 0.0


def dimension(initial: Sequence[tuple[str, int, tuple[float, ...]]]) -> int:
    """The number of directions that initial vectors of one space (law, count, arguments) take."""
    moments = [(count, *law_moments(law, args)) for law, count, args in initial]
    constant = any(mean != 0.0 and count for count, mean, _ in moments)
    return sum(count for count, _, variance in moments if variance != 0.0) + constant


def run_in_basis(evaluate: Callable[[list[Basis], Tick], Values], dimensions: Sequence[int], *, grows: bool,
                 dtype: str = "float64", steps: int = 0, threads: int | None = None,
                 progress: Progress | None = None, checkpoint: Checkpoint | None = None,
                 watch: Watch | None = None, jitter: tuple[float, int] | None = None
                 ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Evaluate a program on coefficients; once more with twice the room, if matrices take more directions than fit.

    Then, unless it is a long run, evaluate it again with other rounding, for the error.

    Args:
        dimensions: the directions of the initial vectors of each space.
        grows: whether matrices may add to them.
        threads: of matrix products.
        progress: called with (steps done, `steps`).
        checkpoint: where compiled loops keep their state; with it, or with `watch`, a run counts as long.
        watch: called now and then with the outputs that a compiled loop fills, as they are.
        jitter: (size, seed) of noise on the basis. Minus the size gives the noise the other sign.

    Returns:
        (values, errors): name -> array; the errors are what rounding has grown to, 0 where it has not grown, and where
        it was not measured.
    """
    from threadpoolctl import threadpool_limits

    samples = max((1, *dimensions))
    samples = 2 * samples + ROOM if grows else samples

    def once(samples: int, counter: Counter, tolerance: float, size: float = 1.0) -> dict[str, np.ndarray]:
        spaces = [Basis(samples, dtype, tolerance, size, _noise(jitter, k)) for k in range(len(dimensions))]
        return dict(evaluate(spaces, Monitor(counter, checkpoint, watch)))

    with np.errstate(all="ignore"), threadpool_limits(threads):
        while True:
            long = checkpoint is not None or watch is not None or jitter is not None
            long = long or samples * (steps + 1) > (GROWING_WORK if grows else PLAIN_WORK)
            counter = Counter(1 if long else 2, steps, progress)
            try:
                values = once(samples, counter, TOLERANCE)
                other = values if long else once(samples + EXTRA, counter, ROUNDING_FACTOR * TOLERANCE, PERTURBED)
                break
            except Full:
                samples *= 2
    counter.add(counter.total - counter.done)
    return values, {name: rounding_error(value, other[name]) for name, value in values.items()}


def rounding_error(value: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The error of an array that was computed twice with different rounding: 0 if it is no more than rounding.

    The scale of an element's rounding is the largest element so far, because a family that diverges later, along its
    leading axis, says nothing of its beginning.
    """
    value, other = np.asarray(value, dtype=float), np.asarray(other, dtype=float)
    finite = np.isfinite(value)
    with np.errstate(all="ignore"):
        error = ROUNDING_FACTOR * np.abs(value - other)
        largest = np.maximum.accumulate(np.where(finite, np.abs(value), 0.0).ravel()).reshape(value.shape)
        error = np.where(error <= ROUNDED * np.abs(value) + ROUNDED_OF_LARGEST * largest, 0.0, error)
    error = np.where(np.isnan(error), np.inf, error)
    return np.where(finite, error, 0.0)


def _noise(jitter: tuple[float, int] | None, space: int) -> tuple[float, np.random.Generator] | None:
    return None if jitter is None else (jitter[0], np.random.default_rng((jitter[1], space)))


class Monitor:
    """What a run tells of its progress: called after each step of an outermost loop, or `advance` after several."""

    def __init__(self, counter: Counter, checkpoint: Checkpoint | None = None, watch: Watch | None = None):
        self.counter, self.checkpoint, self.watch = counter, checkpoint, watch
        self._loops = 0

    def __call__(self) -> None:
        self.counter.add(1)

    def resume(self, state: tuple[np.ndarray, ...]) -> int:
        """How many iterations of the next loop need not be run; `state` is then as they left it."""
        self._loops += 1
        done = self.checkpoint.restore(self._loops, state) if self.checkpoint is not None else 0
        self.counter.add(done)
        return done

    def keep(self, done: int, state: tuple[np.ndarray, ...], *, now: bool = False) -> None:
        """Save the state of the loop after `done` iterations, if it is time for it."""
        if self.checkpoint is not None:
            self.checkpoint.offer(self._loops, done, state, now=now)

    def advance(self, count: int, outputs: Mapping[str, np.ndarray], interrupted: bool) -> None:
        """`count` more iterations are done; `outputs` are those that the loop fills.

        Raises:
            KeyboardInterrupt: if the user asked for it meanwhile.
        """
        self.counter.add(count)
        if interrupted:
            raise KeyboardInterrupt
        if self.watch is not None:
            self.watch(outputs)


class Unwatched(Monitor):
    """For loops inside of others, whose steps are not counted."""

    def __init__(self) -> None:
        super().__init__(Counter(1, 0, None))


def common_dtype(spaces: Sequence[Basis]) -> np.dtype:
    """The type of coefficients."""
    return spaces[0].dtype if spaces else np.dtype(float)


def common_tolerance(spaces: Sequence[Basis]) -> float:
    """The relative size of parts that are dropped: all spaces have the same."""
    return spaces[0].tolerance if spaces else TOLERANCE


def common_dimension(spaces: Sequence[Basis]) -> int:
    """The number of coefficients of a vector: all spaces have the same."""
    return spaces[0].samples if spaces else 1
