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
    """

    targets: Targets
    attempts: tuple[Attempt, ...]
    reached: bool
    budget: float

    def text(self) -> str:
        """One line that says which it was."""
        last, seconds = self.attempts[-1], sum(a.seconds for a in self.attempts)
        done = f"{last.samples} samples, {last.replicates} replicates, {seconds:.1f} s"
        if self.reached:
            return f"errors are as small as wanted: {done}"
        if last.ratio <= 1.0:
            return f"errors that are not of samples are larger than wanted: {done}"
        return (f"errors are up to {last.ratio:.2g} times as large as wanted, and the budget of {self.budget:g} s does not "
                f"suffice for more: {done}")


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
            result.accuracy = Accuracy(dict(targets), tuple(attempts), ratio <= 1.0, budget)
            return result
        samples, replicates = more
        forecast = attempts[-1].seconds * samples * replicates / attempts[-1].work
        announce(f"{samples} samples, {replicates} replicates: about {_seconds(forecast)}")


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
    ratios = {text: _largest(parts.error[text]) / targets[text] for text in parts}
    particles = [ratio for text, ratio in ratios.items() if PARTICLES in parts.method[text]]
    return max(particles, default=0.0), max(ratios.values(), default=0.0)


def _largest(error: np.ndarray) -> float:
    finite = error[np.isfinite(error)]
    return float(finite.max(initial=0.0))


def _next(attempts: list[Attempt], seconds: float) -> tuple[int, int] | None:
    """Samples and replicates for the wanted error, as far as the seconds that are left allow; None if that is not far."""
    last = attempts[-1]
    wanted = (last.ratio / AIM) ** (1.0 / _rate(attempts))
    most_work = MOST if len(attempts) > 1 else MOST_UNSEEN
    growth = min(max(wanted, LEAST), seconds / max(last.seconds, 1e-6), most_work)
    if growth < LEAST:
        return None
    most = max(MOST_SAMPLES, last.samples)
    samples = min(last.samples * 2 ** math.floor(math.log2(growth) + 0.01), most)
    replicates = max(last.replicates, math.ceil(last.replicates * growth * last.samples / samples))
    return samples, replicates


def _rate(attempts: list[Attempt]) -> float:
    if len(attempts) < 2:
        return SLOWEST
    before, last = attempts[-2:]
    seen = math.log(before.ratio / last.ratio) / math.log(last.work / before.work) if last.ratio > 0 else FASTEST
    return min(max(seen, SLOWEST), FASTEST)
