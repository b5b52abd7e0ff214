"""Training in windows of several steps (`passes.windows`), where that changes outputs by less than particles scatter.

What windows change is measured, not assumed: a pilot runs the same module with exact steps and with windows, from the same draws, so
that the difference is that of the steps alone. It is one of narrow networks (`runtime.networks`), whose matrices do not depend on the
order in which steps apply them, or, for matrices that these do not have, of few particles. The longest windows are taken whose
difference is below a third of the wanted error, or of the error that the samples are going to have, and only if they save work, which
is counted. The difference goes into the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorprog.diagnostics import ProgramError, Reporter
from tensorprog.evaluators.analysis import Analysis
from tensorprog.ir.integers import evaluate_int
from tensorprog.ir.program import For, Program
from tensorprog.modules import load_module
from tensorprog.passes.precision import not_single
from tensorprog.resume import digest_of

if TYPE_CHECKING:
    from tensorprog.passes.windows import Windows

#: Pairs of runs of the pilot, and particles in each, or the width of its networks. Errors fall with the number of particles about as
#: this power.
PAIRS, PILOT, POWER = 4, 64, 0.75
#: The tolerance of matrices in a pilot of particles: whatever few particles resolve is kept, because what is dropped depends on the
#: order in which vectors come, and with the usual tolerance scatters ten to a hundred times as much as short windows change.
PILOT_TOLERANCE = 1e-3
#: The seed of the pilot, beside that of the run.
STREAM = 17
#: The share of the wanted error that windows may change outputs by.
ALLOWED = 1.0 / 3.0
#: The lengths of windows, relative to the steps before them: the longest, how they shrink, and how often they may. The
#: shortest window, in steps.
LONGEST, SHRINK, TRIES, SHORTEST = 2.0, 0.8, 6, 3
#: Windows have to save this share of the work, in a loop of so many steps. Less work in all, in the units of `Notes.work`, takes some
#: seconds, and is not worth a pilot and another module.
SAVED, LEAST_STEPS, LEAST_WORK = 0.25, 16, 2e10
#: What exact steps of all rows, in a pilot, may take of the work of a run.
PILOT_SHARE = 0.25
#: Changes smaller than this, relative to an output, are rounding.
ROUNDING = 1e-9
#: Of more averages the tangent kernels would take too much memory.
MOST_AVERAGES = 3000
#: By how much directions grow in number with particles, as a power, from as many as a pilot has particles. The work of the vectors
#: that make an average, and of an entry of a tangent kernel by one family of states, in the units of `Notes.work`, where a product
#: of a vector with a direction, which stands for four, is one.
RANK, VECTORS, ENTRY = 0.6, 50.0, 0.5


@dataclass(frozen=True)
class Windowed:
    """A program that can be trained by windows.

    Attributes:
        original: the analysis of the program as it is.
        program: that with windows, before its passes.
        form: what it is to be given.
    """

    original: Analysis
    program: Program
    form: Windows

    @cached_property
    def analysis(self) -> Analysis | str:
        """The analysis of the limit program with windows, or why there is none."""
        found: Any = self.original.kept("limit with windows", lambda: _limit(self.original, self.program))
        return found if isinstance(found, str) else self.original.by_windows(*found)

    def environment(self, env: Mapping[str, Any], bounds: np.ndarray) -> dict[str, Any]:
        """Data with windows."""
        return {**env, self.form.bounds: bounds, self.form.count: len(bounds)}

    def averages(self, env: Mapping[str, Any]) -> tuple[int, int]:
        """How many averages there are, and how many of them the loss reads."""
        every, driving = (sum(_iterations(loops, env) for loops in part) for part in (self.form.averages, self.form.driving))
        return every, driving


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
    """The program with windows, or why there is none: '' if nothing is trained."""
    if analysis.made.windowed is None:
        found: Any = "" if analysis.by_steps else analysis.kept("windows", lambda: _made(analysis))
        analysis.made.windowed = found if isinstance(found, str) else Windowed(analysis, *found)
    made: Windowed | str = analysis.made.windowed
    return made


def _made(analysis: Analysis) -> tuple[Program, Windows] | str:
    from tensorprog.passes.windows import with_windows  # a planned program does without passes

    found = with_windows(analysis.original)
    return "its limit is by series" if not isinstance(found, str) and analysis.by_series else found


def _limit(analysis: Analysis, program: Program) -> tuple | str:
    """What the passes make of the program with windows: limit, powers, outputs that vanish."""
    from tensorprog.pipeline import compile_program

    # As for the program itself: powers of n may depend on them.
    settings = {name: value for name, value in analysis.env.items() if isinstance(value, int | float)}
    try:
        compiled = compile_program(program, settings, Reporter(analysis.original.source))
    except ProgramError:
        return "a tangent kernel has no limit"
    return "its limit is by series" if compiled.by_series else (compiled.limit, compiled.powers, compiled.vanishing)


def plan_lines(analysis: Analysis) -> list[str]:
    """What the plan says of windows."""
    found = windowed(analysis)
    reason = found if isinstance(found, str) else found.analysis
    if isinstance(found, str) or isinstance(reason, str):
        return [f"windows: none ({reason})"] if reason else []
    return [f"windows: loop {found.form.loop}, where they change outputs by less than a third of the error (--no-windows: none)"]


def take(analysis: Analysis, env: Mapping[str, Any], names: Sequence[str], emit: Callable[[Analysis], str],
         windowing: Windowing, *, samples: int, replicates: int, seed: int) -> Taken | None:
    """Windows for the run of some outputs by particles; None if exact steps are as good. `emit` gives the text of the module of
    an analysis."""
    # A pilot of as many particles as the run would cost what it saves.
    if samples < 2 * PILOT:
        return None
    found = windowed(analysis)
    if isinstance(found, str):
        return None
    steps = range(*(int(evaluate_int(end, env)) for end in (found.form.start, found.form.stop)))
    if len(steps) < LEAST_STEPS or max(found.averages(env)) > MOST_AVERAGES:
        return None
    pilot = _Pilot(found, emit, emit(analysis), env, seed, steps)
    # The runs of an earlier pilot of the same data: `accuracy` asks again with more samples.
    pilot = analysis.made.pilots.setdefault(pilot.key(), pilot)
    growth = samples / PILOT
    work = growth * replicates * pilot.exact_work(growth**RANK)
    if work < LEAST_WORK or not pilot.is_cheap(work) or not pilot.is_finite():
        return None
    # Errors of the run: those of the pilot times (samples/PILOT)**-POWER, and over replicates as independent ones.
    chosen = pilot.longest(_Allowance.of(windowing.wanted, names, pilot, growth**-POWER / replicates**0.5), growth**RANK)
    if chosen is None:
        return None
    bounds, change = chosen
    windowing.count = len(bounds) - 1
    windowing.text = f"{bounds[0] - steps.start} exact steps and {windowing.count} windows instead of {len(steps)} steps"
    return Taken(pilot.text, found.environment(env, bounds), change)


@dataclass(frozen=True)
class _Allowance:
    """How much windows may change outputs, by name: at the most, or (`typical`) in the root mean square over elements."""

    limits: Mapping[str, float]
    typical: bool

    @classmethod
    def of(cls, wanted: float | Mapping[str, float] | None, names: Sequence[str], pilot: _Pilot, scale: float) -> _Allowance:
        """A share of the wanted errors of outputs, or of their deviations in the pilot times `scale`."""
        if wanted is None:
            found = pilot.values(pilot.reference)
            # In the root mean square, as scatter is; a largest element of few pairs would be that of chance.
            return cls({n: ALLOWED * scale * _typical(np.std([v[n] for v in found], axis=0, ddof=1)) for n in names}, True)
        if not isinstance(wanted, Mapping):
            return cls(dict.fromkeys(names, ALLOWED * wanted), False)
        # Errors may be wanted of single elements, as `f[3]`: the least one holds of the output.
        named = [(text.partition("[")[0], error) for text, error in wanted.items()]
        return cls({name: ALLOWED * min(e for n, e in named if n == name) for name, _ in named if name in names}, False)

    def excess(self, change: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> float:
        """The largest change of an output, in units of what is allowed; `values` are the outputs themselves."""
        measure = _typical if self.typical else _largest
        found = [0.0]
        for name, limit in self.limits.items():
            size = measure(change[name])
            # A change that is rounding is none, and allowed where nothing else would be (an output without scatter).
            if size > ROUNDING * measure(values[name]):
                # Without scatter in the pilot nothing is allowed.
                found.append(size / limit if limit > 0 else np.inf)
        return max(found)


Values = dict[str, np.ndarray]


@dataclass
class _Pilot:
    """Coupled runs of narrow networks or few particles, each made when it is asked for: of the module `exact_text`, and of one with
    windows. `runs` are these, by the windows' bounds and the number of the pair."""

    windowed: Windowed
    emit: Callable[[Analysis], str]
    exact_text: str
    env: Mapping[str, Any]
    seed: int
    steps: range
    runs: dict[tuple[bytes, int], tuple[Values, float]] = field(default_factory=dict)

    def key(self) -> str:
        """What the runs depend on."""
        return digest_of(self.env, self.exact_text, self.seed, self.steps)

    @cached_property
    def text(self) -> str:
        """The module with windows."""
        assert not isinstance(self.windowed.analysis, str)
        return self.emit(self.windowed.analysis)

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """How many averages there are, and how many of them the loss reads."""
        return self.windowed.averages(self.env)

    def exact_work(self, rank: float) -> float:
        """The work of a run by exact steps with as many particles, if matrices had `rank` times as many directions, in the units of
        `Notes.work`."""
        return self._run(None, 0)[1] * rank + PILOT * VECTORS * self.sizes[0] * len(self.steps)

    def is_finite(self) -> bool:
        """Whether exact steps converge in the pilot; else they show nothing."""
        return all(bool(np.all(np.isfinite(value))) for values in self.values(self.reference) for value in values.values())

    @cached_property
    def networks(self) -> bool:
        """Whether pilots are networks: of one width, and with independent entries."""
        limit = self.windowed.original.limit
        return len(limit.widths) == 1 and not_single(limit) is None

    @property
    def reference(self) -> np.ndarray | None:
        """What windows are compared with: exact steps; by particles, of all rows where windows take all rows, because matrices that
        meet other rows first draw other samples."""
        return np.array([self.steps.stop]) if self.windowed.form.by_rows and not self.networks else None

    def is_cheap(self, work: float) -> bool:
        """Whether all pairs of exact steps that windows are compared with take little of some work."""
        if self.reference is None:
            return True
        return not isinstance(self.windowed.analysis, str) and PAIRS * self._run(self.reference, 0)[1] < PILOT_SHARE * work

    def longest(self, allowed: _Allowance, rank: float) -> tuple[np.ndarray, Values] | None:
        """The longest windows that change outputs by no more than is allowed, if they save work, and what they change. `rank`
        is how many times as many directions matrices will have as in the pilot."""
        ratio = LONGEST
        for _ in range(TRIES):
            bounds = geometric(self.steps, ratio)
            if not self._saves(bounds, rank):
                return None
            change = self._change(bounds)
            excess = allowed.excess(change, self.values(self.reference)[0])
            if excess <= 1.0:
                return bounds, change
            # What windows change is of second order in their length.
            ratio *= SHRINK * min(1.0, excess**-0.5) if np.isfinite(excess) else SHRINK / 2
        return None

    def _saves(self, bounds: np.ndarray, rank: float) -> bool:
        """Whether windows save enough work. What can be told without running them comes first."""
        count, (every, driving) = len(bounds) - 1, self.sizes
        kernels = ENTRY * count * every * driving * self.windowed.form.families
        vectors = VECTORS * every * (2 * count + bounds[0] - self.steps.start)
        left = (1.0 - SAVED) * self.exact_work(rank) - PILOT * (kernels + vectors)
        return left > 0 and not isinstance(self.windowed.analysis, str) and self._run(bounds, 0)[1] * rank <= left

    def _change(self, bounds: np.ndarray) -> Values:
        """What windows change, element by element: the mean difference over pairs, with its standard error in quadrature, because
        single pairs differ by what few particles scatter as well."""
        found, exact = self.values(bounds), self.values(self.reference)
        change = {}
        for name in found[0]:
            with np.errstate(all="ignore"):  # windows that diverge are too long
                differences = [a[name] - b[name] for a, b in zip(found, exact)]
                size = np.hypot(np.mean(differences, axis=0), np.std(differences, axis=0, ddof=1) / PAIRS**0.5)
            change[name] = np.where(np.isfinite(size), size, np.inf)
        return change

    def values(self, bounds: np.ndarray | None) -> list[Values]:
        """The outputs of all pairs, with windows or (None) exact steps."""
        return [self._run(bounds, pair)[0] for pair in range(PAIRS)]

    def _run(self, bounds: np.ndarray | None, pair: int) -> tuple[Values, float]:
        """The outputs of a run, and its work."""
        key = (b"" if bounds is None else bounds.tobytes(), pair)
        if key not in self.runs:
            module = load_module(self.exact_text if bounds is None else self.text)
            env = self.env if bounds is None else self.windowed.environment(self.env, bounds)
            self.runs[key] = _replicate(module, env, np.random.SeedSequence([self.seed, STREAM, pair]), self.networks)
        return self.runs[key]


def _replicate(module: ModuleType, env: Mapping[str, Any], seed: np.random.SeedSequence, networks: bool) -> tuple[Values, float]:
    from threadpoolctl import threadpool_limits

    from tensorprog.runtime import Notes
    from tensorprog.runtime.sampling import NETWORK

    notes = Notes()
    # Matrices of 64 particles are too small for threads, and a run that diverges is told by its values.
    with threadpool_limits(1), np.errstate(all="ignore"):
        found = module.replicate(module.bind(env, {}), PILOT, seed, PILOT_TOLERANCE, lambda: None,
                                 plain=NETWORK if networks else False, notes=notes)
    return {name: np.asarray(value, dtype=float) for name, value in found.items()}, float(notes.work)


def geometric(steps: range, ratio: float) -> np.ndarray:
    """The beginnings of windows, and the end. Each is `ratio` times as long as what is behind it, as training slows down; none
    is of fewer than `SHORTEST` steps, which would save nothing, but for the last."""
    # Exact steps until a window of `SHORTEST` steps is `ratio` times what is behind it.
    bounds = [min(steps.start + int(np.ceil(SHORTEST / ratio)), steps.stop)]
    while bounds[-1] < steps.stop:
        length = max(SHORTEST, int(ratio * (bounds[-1] - steps.start)))
        bounds.append(min(steps.stop, bounds[-1] + length))
    return np.array(bounds)


def _iterations(loops: tuple[For, ...], env: Mapping[str, Any]) -> int:
    """How often loops run; those whose bounds depend on others, as often as at the beginning of these."""
    values, count = dict(env), 1
    for loop in loops:
        start, stop = (int(evaluate_int(end, values)) for end in (loop.start, loop.stop))
        values[loop.var] = start
        count *= len(range(start, stop, loop.step))
    return count


def _typical(values: np.ndarray) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values), initial=0.0))
