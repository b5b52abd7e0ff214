"""Accuracy on demand: more samples and replicates until errors are small enough, or a budget of time is spent.

The error of particles falls at least as the root of the work, samples times replicates; how fast it does is seen from one
attempt to the next. An attempt is a run of its own, as it would be with these samples and replicates, and each is planned to
be the last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

from tensorprog.files import mistake
from tensorprog.progress import announce
from tensorprog.results import Result

PARTICLES = "particles"

#: Seconds that are spent at most, unless the user says otherwise.
BUDGET = 600.0
#: Samples of the first attempt, unless the user says otherwise.
PILOT = 512
#: Beyond so many samples, which take memory, more replicates follow.
MOST_SAMPLES = 2 ** 15
#: An error that is aimed at, in units of the wanted one.
AIM = 0.8
#: The powers of the work by which errors are believed to fall.
SLOWEST, FASTEST = 0.5, 1.0
#: How much more work an attempt is worth at least, and has at most: less before it has been seen how fast errors fall.
LEAST, MOST, MOST_UNSEEN = 2.0, 256.0, 16.0
#: The powers of the samples by which the time of a replicate grows: the least (vectors), the largest (where every vector is a new
#: direction of a matrix), and, until it has been seen, that of most programs with matrices (`effort.GROWTH`).
LINEAR, SQUARE, USUAL_COST = 1.0, 2.0, 1.4
#: The share of the seconds left that an attempt is to take before that has been seen, if it is a doubling at least.
UNSEEN_SHARE = 0.25

#: Errors below are rounding, of what is 0 in every run: no samples make them smaller.
ROUNDING = 1e-14

Targets = Mapping[str, float]
Run = Callable[[int, int], Result]


@dataclass(frozen=True)
class Attempt:
    """A run: the seconds it took, and its largest error, in units of the wanted one."""

    samples: int
    replicates: int
    seconds: float
    ratio: float

    @property
    def work(self) -> int:
        return self.samples * self.replicates


@dataclass(frozen=True)
class Accuracy:
    """What was done for the wanted errors.

    Attributes:
        targets: the wanted errors, by output or part of one.
        attempts: the runs; the last one is the result.
        reached: whether the errors are as small as wanted.
        budget: the seconds that might be spent.
        forecast: the seconds that the wanted errors would probably take in one more run, if that is more than was left; else 0.
    """

    targets: Targets
    attempts: tuple[Attempt, ...]
    reached: bool
    budget: float
    forecast: float = 0.0

    def text(self) -> str:
        """One line that says which it was."""
        last, seconds = self.attempts[-1], sum(a.seconds for a in self.attempts)
        done = f"{last.samples} samples, {last.replicates} replicates, {seconds:.1f} s"
        if self.reached:
            return f"errors are as small as wanted: {done}"
        if last.ratio <= 1.0:
            return f"errors that are not of samples are larger than wanted: {done}"
        takes = f" (about {_seconds(self.forecast)})" if 0.0 < self.forecast < math.inf else ""
        return (f"errors are up to {last.ratio:.2g} times as large as wanted, and the budget of {self.budget:g} s does not "
                f"suffice for more{takes}: {done}")


def reach(run: Run, error: float | Targets, samples: int, replicates: int, budget: float) -> Result:
    """The result with errors below `error`, or of what the budget allows; `Result.accuracy` says which.

    Args:
        run: the result for samples and replicates.
        error: for all outputs, or by output or part of one, as in `{"loss[-1]": 1e-3}`.
        samples, replicates: of the first attempt.
        budget: seconds.

    Raises:
        ProgramError: TP735, for an error or a budget that makes no sense, or a single replicate; TP730, for an output that
            is not there.
    """
    _check(error, replicates, budget)
    attempts: list[Attempt] = []
    while True:
        begin = time.monotonic()
        result = run(samples, replicates)
        targets = error if isinstance(error, Mapping) else dict.fromkeys(result.numbers(), error)
        improvable, ratio = _worst(result, targets)
        attempts.append(Attempt(samples, replicates, time.monotonic() - begin, improvable))
        more = None if improvable <= 1.0 else _next(attempts, budget - sum(a.seconds for a in attempts))
        if more is None:
            forecast = _forecast(attempts, *_wanted(attempts, math.inf)) if improvable > 1.0 else 0.0
            result.accuracy = Accuracy(dict(targets), tuple(attempts), ratio <= 1.0, budget, forecast)
            return result
        samples, replicates = more
        announce(f"{samples} samples, {replicates} replicates: about {_seconds(_forecast(attempts, samples, replicates))}")


def twice_as_accurate(result: Result, seconds: float) -> str | None:
    """How to halve the errors of a run, and what it costs; None if they do not come from samples."""
    found = [float(np.nanmax(result.error[name], initial=0.0)) for name in result.numbers()
             if PARTICLES in result.method[name]]
    largest = max(found, default=0.0)
    if not math.isfinite(largest) or largest <= ROUNDING or "samples" not in result.settings:
        return None
    samples = 4 * result.particles
    return (f"errors are up to {largest:.1e}; for half of that: --samples {samples}, about {_seconds(4 * seconds)} instead of "
            f"{_seconds(seconds)} (or --error {largest / 2:.1e})")


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 99.5 else f"{value / 60:.2g} min" if value < 5970 else f"{value / 3600:.2g} h"


def _check(error: float | Targets, replicates: int, budget: float) -> None:
    wanted = list(error.values()) if isinstance(error, Mapping) else [error]
    for what, value in (*(("error", e) for e in wanted), ("budget", budget)):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
            raise mistake("TP735", f"'{what}' must be a positive number, not {value!r}", "write `error=1e-3, budget=600`")
    if replicates < 2:
        raise mistake("TP735", "a single replicate has no error that could be made smaller", "use at least two replicates")


def _worst(result: Result, targets: Targets) -> tuple[float, float]:
    """The largest error in units of the wanted one: of particles alone, and of everything."""
    parts = result.only(targets)
    ratios = {text: _largest(parts[text], parts.error[text]) / targets[text] for text in parts}
    particles = [ratio for text, ratio in ratios.items() if PARTICLES in parts.method[text]]
    return max(particles, default=0.0), max(ratios.values(), default=0.0)


def _largest(value: np.ndarray, error: np.ndarray) -> float:
    """The largest error of what has a value: what diverges has none, and a value whose error is infinite is not known."""
    known = np.isfinite(value) & ~np.isnan(error)
    return float(error[known].max(initial=0.0))


def _next(attempts: list[Attempt], seconds: float) -> tuple[int, int] | None:
    """Samples and replicates for the wanted error, as far as the seconds that are left allow; None if that is not far."""
    most_work, most_time = MOST, seconds / max(attempts[-1].seconds, 1e-6)
    if len(attempts) < 2:
        most_work, most_time = MOST_UNSEEN, max(UNSEEN_SHARE * most_time, min(most_time, LEAST**SQUARE))
    samples, replicates = _wanted(attempts, most_work, most_time)
    return (samples, replicates) if samples * replicates >= LEAST * attempts[-1].work else None


def _wanted(attempts: list[Attempt], most_work: float, most_time: float = math.inf) -> tuple[int, int]:
    """Samples and replicates for the wanted error, in no more than so many times the work and the time of the last attempt."""
    last = attempts[-1]
    growth = min(max((last.ratio / AIM) ** (1.0 / _rate(attempts)), LEAST), most_work)
    if not math.isfinite(growth):
        growth = MOST
    doublings = min(math.log2(growth), math.log2(max(most_time, 1.0)) / _cost(attempts))
    samples = min(last.samples * 2 ** math.floor(doublings + 0.01), max(MOST_SAMPLES, last.samples))
    longer = min(growth * last.samples / samples, most_time * (last.samples / samples) ** _cost(attempts))
    # Rounded up, as the work that is wanted is.
    return samples, max(last.replicates, math.ceil(last.replicates * longer - 1e-9))


def _forecast(attempts: list[Attempt], samples: int, replicates: int) -> float:
    """The seconds that a run will take."""
    last = attempts[-1]
    return last.seconds * (samples / last.samples) ** _cost(attempts) * replicates / last.replicates


def _cost(attempts: list[Attempt]) -> float:
    """The power of the samples by which the time of a replicate grows, as the last two attempts show it that differ in these."""
    for before, last in reversed(list(zip(attempts, attempts[1:]))):
        if last.samples > before.samples and min(before.seconds, last.seconds) > 0:
            longer = last.seconds / before.seconds * before.replicates / last.replicates
            return min(max(math.log(longer) / math.log(last.samples / before.samples), LINEAR), SQUARE)
    return USUAL_COST


def _rate(attempts: list[Attempt]) -> float:
    """The power of the work by which errors fall, as the last two attempts show it, if both have finite errors."""
    ratios = [attempt.ratio for attempt in attempts[-2:]]
    if len(ratios) < 2 or not all(0.0 < ratio < math.inf for ratio in ratios):
        return SLOWEST
    before, last = attempts[-2:]
    seen = math.log(before.ratio / last.ratio) / math.log(last.work / before.work)
    return min(max(seen, SLOWEST), FASTEST)
