"""Training in windows of several steps (`passes.windows`), where that changes outputs by less than particles scatter.

What windows change is measured, not assumed: a pilot of few particles runs the same module with exact steps and with windows, from
the same draws, so that the difference is that of the steps alone. The longest windows are taken whose difference is below a
third of the wanted error, or of the error that the samples are going to have, and only if they save work, which is
counted. The difference goes into the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorprog.diagnostics import ProgramError, Reporter
from tensorprog.evaluators.analysis import Analysis
from tensorprog.ir.integers import evaluate_int
from tensorprog.ir.program import For
from tensorprog.modules import load_module
from tensorprog.passes.windows import Windows, with_windows

#: Pairs of runs of the pilot, and particles in each. Errors fall with the number of particles about as this power.
PAIRS, PILOT, POWER = 4, 64, 0.75
#: The seed of the pilot, beside that of the run.
STREAM = 17
#: The share of the wanted error that windows may change outputs by.
ALLOWED = 1.0 / 3.0
#: The lengths of windows, relative to the steps before them: the longest, how they shrink, and how often they may. The
#: shortest window, in steps.
LONGEST, SHRINK, TRIES, SHORTEST = 2.0, 0.8, 4, 3
#: Windows have to save this share of the work, of as many particles as make the pilot cheap, in a loop of so many steps.
SAVED, LEAST_PARTICLES, LEAST_STEPS = 0.25, 8192, 16
#: Of more averages the tangent kernels would take too much memory.
MOST_AVERAGES = 3000
#: By how much directions grow in number with particles, as a power.
RANK = 0.4


@dataclass(frozen=True)
class Windowed:
    """The limit program with windows, as an analysis of its own.

    Attributes:
        form: what it is to be given.
    """

    analysis: Analysis
    form: Windows

    def environment(self, env: Mapping[str, Any], bounds: np.ndarray) -> dict[str, Any]:
        """Data with windows."""
        return {**env, self.form.bounds: bounds, self.form.count: len(bounds)}

    def averages(self, env: Mapping[str, Any]) -> int:
        """How many averages have tangent kernels."""
        return sum(_iterations(loops, env) for loops in self.form.averages)


@dataclass
class Windowing:
    """Whether a run may take windows: `wanted` are errors, by output, for all, or None for what samples will have. `text` says
    what it took."""

    wanted: float | Mapping[str, float] | None = None
    text: str = ""
    count: int = 0


@dataclass(frozen=True)
class Taken:
    """Windows for a run: its module's text and data, and how much they change outputs."""

    text: str
    env: Mapping[str, Any]
    change: Mapping[str, np.ndarray]

    def with_change(self, errors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Errors, and what windows change."""
        return {name: np.hypot(error, self.change[name]) for name, error in errors.items()}


def windowed(analysis: Analysis) -> Windowed | str:
    """The analysis of the program with windows, or why there is none: '' if nothing is trained."""
    if analysis.made.windowed is None:
        found: Any = "" if analysis.by_steps else analysis.kept("windows", lambda: _made(analysis))
        if not isinstance(found, str):
            limit, powers, vanishing, form = found
            found = Windowed(analysis.by_windows(limit, powers, vanishing), form)
        analysis.made.windowed = found
    made: Windowed | str = analysis.made.windowed
    return made


def _made(analysis: Analysis) -> tuple | str:
    from tensorprog.pipeline import compile_program

    found = with_windows(analysis.original)
    if isinstance(found, str):
        return found
    try:
        program, form = found
        compiled = compile_program(program, dict(analysis.env), Reporter(analysis.original.source))
    except ProgramError:
        return f"{form.loop}: the tangent kernel has no limit"
    if compiled.by_series:
        return f"{form.loop}: its limit is by series"
    return compiled.limit, compiled.powers, compiled.vanishing, form


def plan_lines(analysis: Analysis) -> list[str]:
    """What the plan says of windows."""
    found = windowed(analysis)
    if isinstance(found, str):
        return [f"windows: none ({found})"] if found else []
    return [f"windows: loop {found.form.loop}, where they change outputs by less than a third of the error (--no-windows: none)"]


def take(analysis: Analysis, env: Mapping[str, Any], emit: Callable[[Analysis], str], windowing: Windowing, *,
         samples: int, replicates: int, seed: int, tolerance: float | None) -> Taken | None:
    """Windows for a run of particles; None if exact steps are as good. `emit` gives the text of the module of an analysis."""
    if samples * replicates < LEAST_PARTICLES or samples < 2 * PILOT:
        return None
    found = windowed(analysis)
    if isinstance(found, str):
        return None
    start, stop = (evaluate_int(end, env) for end in (found.form.start, found.form.stop))
    if stop - start < LEAST_STEPS or found.averages(env) > MOST_AVERAGES:
        return None
    text = emit(found.analysis)
    pilot = _Pilot(found, text, env, seed, tolerance, start, stop)
    pilot = analysis.made.pilots.setdefault(pilot.key(), pilot)
    scale = (PILOT / samples) ** POWER / replicates**0.5
    chosen = pilot.longest(_allowed(windowing.wanted, pilot, scale), (samples / PILOT) ** RANK)
    if chosen is None:
        return None
    bounds, trial = chosen
    windowing.count = len(bounds) - 1
    windowing.text = f"{bounds[0] - start} exact steps and {windowing.count} windows instead of {stop - start} steps"
    return Taken(text, found.environment(env, bounds), trial.change)


def _allowed(wanted: float | Mapping[str, float] | None, pilot: _Pilot, scale: float) -> dict[str, float]:
    """How much windows may change each output, in the root mean square over its elements."""
    if wanted is None:
        return {name: ALLOWED * scale * found for name, found in pilot.deviations().items()}
    if isinstance(wanted, Mapping):
        named = [(text.partition("[")[0], error) for text, error in wanted.items()]
        return {name: ALLOWED * min(error for other, error in named if other == name) for name, _ in named}
    return dict.fromkeys(pilot.deviations(), ALLOWED * wanted)


@dataclass(frozen=True)
class _Trial:
    """What windows change, element by element, and the work of one run."""

    change: dict[str, np.ndarray]
    work: float


Values = list[dict[str, np.ndarray]]


@dataclass
class _Pilot:
    """Coupled runs of few particles, each made when it is asked for."""

    windowed: Windowed
    text: str
    env: Mapping[str, Any]
    seed: int
    tolerance: float | None
    start: int
    stop: int
    trials: dict[tuple[int, ...], _Trial] = field(default_factory=dict)
    known: tuple[Values, float] | None = None

    def key(self) -> str:
        """What the runs depend on."""
        from tensorprog.resume import digest_of

        return digest_of(self.env, self.text, self.seed, self.tolerance, self.start, self.stop)

    def exact(self) -> tuple[Values, float]:
        """Outputs of exact steps, and the work of one run."""
        if self.known is None:
            self.known = self._run(np.array([self.stop]))
        return self.known

    def deviations(self) -> dict[str, float]:
        """The deviation of each output, in the root mean square over its elements."""
        values, _ = self.exact()
        return {name: float(np.sqrt(np.mean(np.var([v[name] for v in values], axis=0, ddof=1)))) for name in values[0]}

    def longest(self, allowed: Mapping[str, float], rank: float) -> tuple[np.ndarray, _Trial] | None:
        """The longest windows that change outputs by no more than is allowed, if they save work. `rank` is how many times as
        many directions matrices will have as in the pilot."""
        _, exact = self.exact()
        ratio = LONGEST
        for _ in range(TRIES):
            bounds = geometric(self.start, self.stop, ratio)
            trial = self._trial(bounds)
            if not trial.work * rank + self._grams(bounds) < (1.0 - SAVED) * exact * rank:
                return None
            excess = max((_size(trial.change[name]) / limit if limit > 0 else np.inf
                          for name, limit in allowed.items() if _size(trial.change[name]) > 0), default=0.0)
            if excess <= 1.0:
                return bounds, trial
            # What windows change is of second order in their length.
            ratio *= SHRINK * min(1.0, excess**-0.5) if np.isfinite(excess) else SHRINK / 2
        return None

    def _trial(self, bounds: np.ndarray) -> _Trial:
        key = tuple(int(b) for b in bounds)
        if key not in self.trials:
            values, work = self._run(bounds)
            exact, _ = self.exact()
            self.trials[key] = _Trial({name: _changed(values, exact, name) for name in exact[0]}, work)
        return self.trials[key]

    def _run(self, bounds: np.ndarray) -> tuple[Values, float]:
        from threadpoolctl import threadpool_limits

        from tensorprog.runtime import Notes

        module, notes, values = load_module(self.text), Notes(), []
        env = module.bind(self.windowed.environment(self.env, bounds), {})
        with threadpool_limits(1), np.errstate(all="ignore"):
            for child in np.random.SeedSequence([self.seed, STREAM]).spawn(PAIRS):
                found = module.replicate(env, PILOT, child, self.tolerance, lambda: None, notes=notes)
                values.append({name: np.asarray(value, dtype=float) for name, value in found.items()})
        return values, float(notes.work)

    def _grams(self, bounds: np.ndarray) -> float:
        """The work of the tangent kernels, two in a window, in the units of `Notes.work`: a product of vectors with directions
        stands for four there."""
        size = self.windowed.averages(self.env)
        return (len(bounds) - 1) * PILOT * size**2 * self.windowed.form.states


def geometric(start: int, stop: int, ratio: float) -> np.ndarray:
    """The beginnings of windows, and the end: each is `ratio` times as long as what is behind it, as training slows down; none
    is of fewer than three steps, which would save nothing."""
    begin = start + int(np.ceil(SHORTEST / ratio))
    bounds = [min(begin, stop)]
    while bounds[-1] < stop:
        bounds.append(min(stop, bounds[-1] + int(ratio * (bounds[-1] - start))))
    return np.array(bounds)


def _iterations(loops: tuple[For, ...], env: Mapping[str, Any]) -> int:
    """How often loops run; those whose bounds depend on others, as often as at the beginning of these."""
    values, count = dict(env), 1
    for loop in loops:
        start, stop = (int(evaluate_int(end, values)) for end in (loop.start, loop.stop))
        values[loop.var] = start
        count *= len(range(start, stop, loop.step))
    return count


def _changed(left: Values, right: Values, name: str) -> np.ndarray:
    """The mean difference over pairs, with its standard error in quadrature: single pairs differ by what few particles scatter
    as well. What is not finite in either is not changed."""
    differences = [np.where(np.isfinite(a[name]) | np.isfinite(b[name]), a[name] - b[name], 0.0) for a, b in zip(left, right)]
    found = np.hypot(np.mean(differences, axis=0), np.std(differences, axis=0, ddof=1) / len(differences)**0.5)
    return np.where(np.isfinite(found), found, np.inf)


def _size(change: np.ndarray) -> float:
    return float(np.sqrt(np.mean(change**2))) if change.size else 0.0
