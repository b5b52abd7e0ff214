"""Limits where a scalar tends to a jump: does the output have one?

    run_limit -> Limit     `evaluate`, and what is said of outputs that depend on a jump that is met
    run_draws              `draw`, and a warning if a jump is met

At a width n a moment is its limit plus a fluctuation of order n**-1/2, so that a scalar which tends to a jump lies on
either side of it. The exact value at the point is then no limit, and the limit need not exist: sign(f) is +1 or -1 by
network, sign(f)**2 is 1, f*step(f) tends to 0. What decides is whether outputs settle while the fluctuations get
smaller. They are made in two sizes:

    span                     the basis is not quite orthonormal, by 1e-3 and by 1e-8: all moments move together
    covariance, particles    the moments that decide are nudged by 1e-3 and by 1e-8, each by itself, in the equations
                             or on the same samples; and independent samples, 64 and 1024 of them, which are like
                             networks of these widths, are drawn (`_sharpened` says which of the two is believed)

An output has no limit where it scatters (nearly) as much under the smaller fluctuations as under the larger ones.
Runs of exact evaluators end when they have shown enough: no output has a limit, or few scalars are at their jumps and
have taken all sides of them.
`passes.jumps` finds the scalars to look at; only where one is at its jump, this costs anything.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TypedDict, TypeVar, Unpack

import numpy as np

from tensorprog.audit import unassigned_outputs
from tensorprog.diagnostics import Diagnostic, Source
from tensorprog.evaluators import particles, span
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.covariance import evaluated_often
from tensorprog.evaluators.evaluate import evaluate
from tensorprog.evaluators.options import RunOptions
from tensorprog.evaluators.particles import draw
from tensorprog.evaluators.table import EVALUATORS
from tensorprog.ir.integers import Environment
from tensorprog.modules import load_module
from tensorprog.passes.jumps import Jump, Nudged, Probed, always_computed, find_jumps, nudge, place_of, probed
from tensorprog.progress import announce
from tensorprog.runtime.jumps import AT_JUMP, AT_JUMP_SINGLE, at_jump, hides_jump, largest, within_errors
from tensorprog.runtime.replicates import coverage_factor, run_each, standard_error

# Noise on the basis or on moments, its seeds (each is used with both signs), and the ratio of scatters beyond which
# there is no limit. The signs of two scalars agree for all seeds once in two thousand times. So many runs are not
# needed where up to SIDES scalars have taken all combinations of signs, not counting multiples of each other, up to
# the relative difference SAME_DIRECTION.
COARSE, FINE = 1e-3, 1e-8
SEEDS = {COARSE: 2, FINE: 12}
SETTLES = 0.25
SIDES, SAME_DIRECTION = 3, 1e-5
FEWEST = 3

STAGE = "looking whether limits exist at jumps"

# Independent samples: their numbers, how often they are drawn, and the ratios of standard deviations, and of the ranges
# between the deciles (for heavy tails), beyond which there is no limit; smooth functions of moments have 1/4.
FEW, MANY = 64, 1024
DRAWS = 48
DEVIATIONS, DECILES = 0.5, 0.7

# A range under nudges (three standard deviations or so), and a distance of means, both in standard deviations of
# samples, that these would show.
SEEN, NEAR = 10.0, 3.0

# Samples on which nudges are compared, how many sets of them, and the range over nudges, in standard errors, that noise
# does not reach.
SAME, DRAWS_OF_SAME = 256, 4
RANGE_OF_NOISE = 7.0

# The deviation of replicates, in that of independent samples, below which they resolve the sides of a jump.
HIDDEN = 0.6

# What a nudge makes of something smooth, in units of its size.
SMOOTH = 100.0

Run = Callable[[float, int], Mapping[str, np.ndarray]]

# Scatter that is rounding, relative to the output's largest number and absolute.
ROUNDING = 1e-12, 1e-14


@dataclass(frozen=True)
class JudgedLimit:
    """The outputs of a run. `unresolved` marks elements without a limit, for outputs that have some: their values and
    errors are NaN."""

    values: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    methods: dict[str, str]
    unresolved: dict[str, np.ndarray] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class _Verdict:
    """What disturbed runs say of an output, element by element.

    Attributes:
        value, error: a value with its error.
        none: whether there is no limit.
        scatter: that under small fluctuations.
        allowed: how far from the value that of the undisturbed run may be, if it is the limit.
    """

    value: np.ndarray
    error: np.ndarray
    none: np.ndarray
    scatter: np.ndarray
    allowed: np.ndarray


@dataclass(frozen=True)
class _Search:
    """A run that met jumps.

    Attributes:
        whole: the program with probes.
        met: the jumps, `noisy` whether for one of them that is within the noise of samples alone.
        scalars: the probes that report scalars at their jumps, with the elements that are there up to rounding.
        methods: the evaluators of outputs and probes.
        squares: the probes that are second moments of vectors, which have no sides.
    """

    whole: Analysis
    env: Mapping[str, object]
    met: Sequence[Jump]
    noisy: bool
    scalars: Mapping[str, np.ndarray]
    methods: Mapping[str, str]
    options: RunOptions
    squares: frozenset[str]

    @property
    def threads(self) -> int | None:
        return self.options.get("threads")

    def scalars_by(self, method: str) -> dict[str, np.ndarray]:
        """The scalars, if one evaluator gave all of them; else none."""
        seen = all(self.methods[name] == method and name not in self.squares for name in self.scalars)
        return dict(self.scalars) if seen else {}


_Found = TypeVar("_Found")


class DrawOptions(TypedDict):
    """What draws are asked for."""

    samples: int
    seed: int
    tolerance: float | None
    threads: int | None


def run_limit(analysis: Analysis, env: Mapping[str, object], method: str, source: Source,
              **options: Unpack[RunOptions]) -> JudgedLimit:
    """Every output in the limit, as `evaluate` gives it, but for what depends on a jump that a scalar tends to."""
    if not analysis.limit.outputs:
        return JudgedLimit({}, {}, {})
    found = _places(analysis, env)
    with_probes = _with_probes(analysis, found) if found else None
    # Asked for by name, an evaluator that has no value of a probe is not refused for the probe: the run goes without.
    if with_probes is None or _refused(*with_probes, method):
        return JudgedLimit(*evaluate(analysis, env, method, source, **options))
    whole, probes = with_probes
    # Whether a scalar is at its jump is told in its last digits.
    options["dtype"] = options.get("dtype") or "float64"
    values, errors, methods = evaluate(whole, env, method, source, **_without_probes(options, probes))
    at = AT_JUMP if options.get("dtype") != "float32" else AT_JUMP_SINGLE
    met, noisy, near = _met(whole, probes, env, values, errors, methods, at)
    added = probes.added
    limit = JudgedLimit(_without(values, added), _without(errors, added), _without(methods, added))
    judged = {name for jump in met for name in jump.outputs} - analysis.vanishing
    if judged:
        scalars = {name: near[name] for jump in met for name in jump.probes if near[name].any()}
        search = _Search(whole, env, met, noisy, scalars, methods, options, probes.squares)
        for name, verdict in _verdicts(search, judged, limit).items():
            _apply(limit, name, verdict)
    return replace(limit, warnings=tuple(_warnings(met, limit, source)))


def _without(found: Mapping[str, _Found], added: Container[str]) -> dict[str, _Found]:
    return {name: value for name, value in found.items() if name not in added}


def run_draws(analysis: Analysis, env: Mapping[str, object],
              **options: Unpack[DrawOptions]) -> tuple[dict[str, np.ndarray], tuple[Diagnostic, ...]]:
    """The draws of the program's samples, and a warning for each place where a scalar that they depend on is at a jump."""
    drawn = analysis.drawn
    if drawn is None:
        return {}, ()
    found = find_jumps(drawn.limit, env)
    if not found:
        return draw(analysis, env, **options), ()
    probes = probed(drawn.limit, found)
    whole = replace(analysis, drawn=replace(drawn, limit=probes.limit), shelf=None)
    # In single precision, whose rounding depends on the machine, a scalar at a jump is not told from one beside it.
    values = draw(whole, env, **options, dtype="float64")
    run = max([1.0, *map(largest, values.values())])
    missing = unassigned_outputs(probes.limit, env)
    # A number that no iteration computes is 0 in the array of all of them, and at no jump.
    near = {name: _at_jump(name, probes, values, run, AT_JUMP)
            & ~_whole(np.atleast_1d(missing.get(name, False)), np.atleast_1d(values[name]).shape) for name in probes.probes}
    names = [s.name for s in drawn.limit.samples]
    met = {jump.span: jump for jump in probes.jumps if any(near[name].any() for name in jump.probes)}
    return ({name: values[name] for name in names},
            tuple(Diagnostic("TP513", f"{place_of(jump)}: the draws of {', '.join(f'`{n}`' for n in names)} may have no limit, "
                             "because in each network fluctuations decide the side", span, help=_help(jump, analysis.original.source),
                             severity="warning") for span, jump in met.items()))


def _without_probes(options: RunOptions, probes: Probed) -> RunOptions:
    """The options of a run, so that a user who watches it does not see the probes."""
    watch = options.get("watch")
    if watch is None:
        return options
    return {**options, "watch": lambda found: watch(_without(found, probes.added))}


def _places(analysis: Analysis, env: Environment) -> Sequence:
    """The statements that may jump; looked for once for the values of parameters and sizes."""
    numbers = {name: value for name, value in env.items() if np.ndim(value) == 0}
    places, key = analysis.made.places, tuple(numbers.items())
    if key not in places:
        places[key] = find_jumps(analysis.limit, numbers)
    return places[key]


def _with_probes(analysis: Analysis, found: Sequence) -> tuple[Analysis, Probed]:
    """The program with probes; made once for each set of statements that may jump."""
    made, key = analysis.made.probed, tuple(id(statement) for statement, _ in found)
    if key not in made:
        probes = probed(analysis.limit, found)
        made[key] = analysis.changed(probes.limit), probes
    return made[key]


def for_module(analysis: Analysis) -> tuple[Analysis, Probed] | None:
    """The program with probes for a module that is written, and the probes; None if nothing jumps.

    Elements that are never assigned would look like zeros. A run knows them from the data; here only scalars that are
    computed in every iteration are looked at.
    """
    every = always_computed(analysis.limit)
    found = [(s, vars) for s, vars in _places(analysis, analysis.env) if every.issuperset(vars)]
    return _with_probes(analysis, found) if found else None


def possible_jumps(analysis: Analysis, env: Mapping[str, object]) -> tuple[Jump, ...]:
    """The places at which a scalar may tend to a jump."""
    found = _places(analysis, env)
    return _with_probes(analysis, found)[1].jumps if found else ()


def _refused(whole: Analysis, probes: Probed, method: str) -> bool:
    """Whether the method that is asked for does not cover a probe."""
    if method not in ("span", "covariance"):
        return False
    reasons = whole.linear.reasons if method == "span" else whole.covered.reasons
    return any(o.cell in reasons for o in whole.limit.outputs if o.name in probes.probes)


# --- which jumps are met -----------------------------------------------------------------------------------------


def _at_jump(name: str, probes: Probed, values: Mapping[str, np.ndarray], run: float, at: float) -> np.ndarray:
    """Which elements of a probe are at the jump up to rounding."""
    terms = [values[term] for term in probes.terms[name]]
    return at_jump(values[name], terms, None if name in probes.squares else run, at)


def _whole(missing: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which elements of a family are never assigned, those beyond the last one that is, as under conditions, included."""
    found = np.ones(shape, bool)
    found[tuple(slice(size) for size in missing.shape)] = missing
    return found


def _met(whole: Analysis, probes: Probed, env: Mapping[str, object], values: Mapping, errors: Mapping,
         methods: Mapping[str, str], at: float) -> tuple[list[Jump], bool, dict[str, np.ndarray]]:
    """The jumps whose scalars are at 0 somewhere, whether that is within the noise of samples alone for one of them,
    and which elements of the probes are there up to rounding."""
    run = max([1.0, *map(largest, values.values())])
    near, within = {}, {}
    for name in probes.probes:
        near[name] = _at_jump(name, probes, values, run, at)
        within[name] = within_errors(values[name], errors[name] * (methods[name] == "particles"))
    if any(mask.any() for mask in (*near.values(), *within.values())):
        missing = unassigned_outputs(whole.limit, env)
        for name in set(near) & set(missing):
            assigned = ~_whole(missing[name], near[name].shape)
            near[name] &= assigned
            within[name] &= assigned
    noisy = {name for name in near if hides_jump(near[name], within[name])}
    met = [jump for jump in probes.jumps if any(name in noisy or near[name].any() for name in jump.probes)]
    return met, any(noisy.intersection(jump.probes) for jump in met), near


# --- whether there is a limit ------------------------------------------------------------------------------------


def _verdicts(search: _Search, names: set[str], limit: JudgedLimit) -> dict[str, _Verdict]:
    """The verdicts of some outputs, by disturbing the evaluator that gave them."""
    linear = sorted(n for n in names if limit.methods[n] == "span")
    others = sorted(n for n in names if limit.methods[n] != "span")
    found = _by_basis(search, linear) if linear else {}
    if others:
        found |= _by_samples(search, others)
        for name, nudged in _by_nudges(search, others).items():
            replicates = search.options.get("replicates", 1)
            deviation = np.asarray(limit.errors[name]) * np.sqrt(replicates) if search.noisy else 0.0
            found[name] = _sharpened(found[name], nudged, deviation)
    return found


def _by_basis(search: _Search, names: list[str]) -> dict[str, _Verdict]:
    module = _loaded(span.emit(search.whole))

    def run(size: float, seed: int) -> Mapping[str, np.ndarray]:
        return module.run(search.env, jitter=(size, seed), threads=search.threads)[0]

    return _by_noise(run, names, search.scalars_by("span"))


def _loaded(text: str) -> ModuleType:
    module = load_module(text)
    announce(STAGE)
    return module


def _by_nudges(search: _Search, names: list[str]) -> dict[str, _Verdict]:
    """The verdicts with the moments nudged that decide: by equations, if the nudged program has them, else on the same
    samples for all nudges, so that what one of them changes stands out from the noise."""
    exact = any(search.methods[n] == "covariance" for n in names)
    scalars = search.scalars_by("covariance") if exact else {}
    whole, nudged = _nudged_program(search, [*names, *scalars])
    system = whole.covered.system if exact else None
    covered = [] if system is None else [o.name for o in whole.limit.outputs if o.cell in system.outputs]
    rest = [n for n in names if n not in covered]

    def environment(size: float, seed: int) -> dict[str, object]:
        # Phases that no two seeds have in common, and no multiples of each other: a nudge is `size` times a wave of it.
        return {**search.env, nudged.size: size, nudged.phase: 1.0 + 1.618 * seed + 0.3719 * seed**2}

    found = {}
    if set(covered) & set(names):
        values = evaluated_often(whole, covered, search.threads, (nudged.size, nudged.phase))
        announce(STAGE)
        found = _by_noise(lambda size, seed: values(environment(size, seed)), [n for n in names if n in covered],
                          scalars if set(scalars) <= set(covered) else {})
    return found | (_by_same_samples(search, whole, environment, rest) if rest else {})


def _nudged_program(search: _Search, names: list[str]) -> tuple[Analysis, Nudged]:
    """The program with nudges; made once for each set of jumps."""
    whole, key = search.whole, (tuple(names), tuple(jump.scalars for jump in search.met))
    made = whole.made.nudged
    if key not in made:
        nudged = nudge(whole.limit, {scalar for jump in search.met for scalar in jump.scalars}, names)
        made[key] = whole.changed(nudged.limit), nudged
    return made[key]


def _by_same_samples(search: _Search, whole: Analysis, environment: Callable[[float, int], dict[str, object]],
                     names: list[str]) -> dict[str, _Verdict]:
    """The verdicts of nudged samples: the values are those of a whole run. A scatter between nudges counts if it is
    more than the noise of few samples, on which both sides of a jump differ a little where they are the same in the
    limit."""
    module, options = _loaded(particles.emit(whole)), search.options

    def run(size: float, seed: int) -> Mapping[str, np.ndarray]:
        bound = module.bind(environment(size, seed), {})
        found = run_each(lambda child, tick: module.replicate(bound, SAME, child, options.get("tolerance"), tick),
                         replicates=DRAWS_OF_SAME, seed=0, threads=search.threads)
        return {name: np.stack([np.asarray(values[name]) for values in found]) for name in names}

    quiet: RunOptions = {**options, "progress": None}
    values, errors, _ = evaluate(whole, environment(FINE, 0), "particles", whole.original.source,
                                 **quiet)
    coarse, fine = (_noisy(run, size, range(seeds)) for size, seeds in SEEDS.items())
    found = {}
    for name in names:
        larger, smaller = _stacked(coarse, name), _stacked(fine, name)
        verdict = _judged(larger.mean(axis=1), smaller.mean(axis=1), ((_range, SETTLES),), _range_of_pairs, FINE)
        with np.errstate(all="ignore"):
            apart = smaller - smaller.mean(axis=0)
            noise = np.sqrt(apart.var(axis=1, ddof=1).mean(axis=0) / DRAWS_OF_SAME)
        # Undisturbed, the same samples give the same values, up to what is smooth.
        found[name] = replace(verdict, value=values[name], error=errors[name], allowed=_rounding(values[name]),
                              none=verdict.none & ~(verdict.scatter <= RANGE_OF_NOISE * noise))
    return found


def _by_noise(run: Run, names: list[str], scalars: Mapping[str, np.ndarray]) -> dict[str, _Verdict]:
    """The verdicts of an exact evaluator, run with noise of a size (of either sign) and a seed. What is smooth is the
    same on average over both signs, up to the square of the size.

    Args:
        scalars: outputs of `run` that report the scalars at their jumps, with the elements that do; none if it has no
            such outputs.
    """
    coarse, fine = _noisy(run, COARSE, range(SEEDS[COARSE])), []
    for seed in range(SEEDS[FINE]):
        fine += _noisy(run, FINE, [seed])
        verdicts = {name: _judged(_stacked(coarse, name), _stacked(fine, name), ((_range, SETTLES),), _range_of_pairs,
                                  FINE) for name in names}
        # Of one or two seeds the range says little.
        enough = scalars and _all_sides(fine, scalars) or all(v.none.all() for v in verdicts.values())
        if enough and seed + 1 >= FEWEST:
            break
    return verdicts


def _noisy(run: Run, size: float, seeds: Iterable[int]) -> list[Mapping[str, np.ndarray]]:
    """Runs with some seeds, each with both signs of the noise."""
    return [run(sign * size, seed) for seed in seeds for sign in (1.0, -1.0)]


def _stacked(found: list[Mapping[str, np.ndarray]], name: str) -> np.ndarray:
    """An output of all runs: [runs, ...]."""
    return np.stack([np.asarray(values[name]) for values in found])


def _all_sides(found: list[Mapping[str, np.ndarray]], scalars: Mapping[str, np.ndarray]) -> bool:
    """Whether runs have shown all combinations of signs of the scalars at jumps, if these are few: scalars that are
    multiples of each other in all runs count once, and those that nothing moves do not count."""
    columns = np.concatenate([_stacked(found, name).reshape(len(found), -1)[:, mask.ravel()]
                              for name, mask in scalars.items()], axis=1)
    apart: list[np.ndarray] = []
    for column in columns.T[np.abs(columns).max(axis=0) != 0.0]:
        column = column / np.linalg.norm(column)
        if all(np.linalg.norm(column - other @ column * other) > SAME_DIRECTION for other in apart):
            apart.append(column)
        if len(apart) > SIDES:
            return False
    return len({tuple(signs) for signs in np.sign(np.transpose(apart))}) == 2**len(apart)


def _sharpened(samples: _Verdict, nudged: _Verdict, deviation: np.ndarray | float) -> _Verdict:
    """Where there is a limit, and its value.

    Nudges decide if scalars are at their jumps up to rounding: they see a small scatter, and are not misled by other
    scalars that come close to a jump, as the margins of an accuracy do. But they move equal moments differently, and so
    do not know of all limits, as of that of sign(moment(x) + moment(y) - moment(x + y)): where independent samples
    should have seen what nudges say, these decide. They do as well where a scalar is at its jump up to the noise of
    the run, if that scatters as much.

    Args:
        deviation: of the run's replicates from each other; 0 if all scalars are at their jumps up to rounding.
    """
    with np.errstate(all="ignore"):
        smooth = SMOOTH * FINE * np.maximum(np.abs(nudged.value), np.sqrt(MANY) * samples.scatter)
        jumps = nudged.none & ~(nudged.scatter <= smooth)
        seen = jumps & (samples.none | ~(nudged.scatter > SEEN * samples.scatter))
        none = seen | samples.none & ~(deviation <= HIDDEN * samples.scatter)
        near = np.abs(nudged.value - samples.value) <= NEAR * samples.scatter + 4.0 * samples.error + smooth
        agree = ~(none | jumps) & near
    value, error, allowed = (np.where(agree, ours, theirs) for ours, theirs in (
        (nudged.value, samples.value), (nudged.error, samples.error), (nudged.allowed + smooth, samples.allowed)))
    return _Verdict(value, error, none, samples.scatter, allowed)


def _by_samples(search: _Search, names: list[str]) -> dict[str, _Verdict]:
    module, options = _loaded(particles.emit(search.whole)), search.options
    bound, tolerance = module.bind(search.env, {}), options.get("tolerance")

    def runs(samples: int) -> dict[str, np.ndarray]:
        found = run_each(lambda seed, tick: module.replicate(bound, samples, seed, tolerance, tick, True),
                         replicates=DRAWS, seed=options.get("seed", 0), threads=search.threads)
        return {name: np.stack([np.asarray(values[name]) for values in found]) for name in names}

    few, many = runs(FEW), runs(MANY)
    factor = coverage_factor(DRAWS)

    def error(few: np.ndarray, many: np.ndarray) -> np.ndarray:
        # The mean of a kink like abs(f) is off by the order of the fluctuations, N**-1/2.
        bias = np.abs(few.mean(axis=0) - many.mean(axis=0)) / (np.sqrt(MANY / FEW) - 1)
        return np.hypot(standard_error(many, factor), bias)

    return {name: _judged(few[name], many[name], ((_deviation, DEVIATIONS), (_deciles, DECILES)), error)
            for name in names}


def _judged(coarse: np.ndarray, fine: np.ndarray, scatters: Sequence,
            error: Callable[[np.ndarray, np.ndarray], np.ndarray], smallest: float = ROUNDING[0]) -> _Verdict:
    """The verdict from runs with larger and with smaller fluctuations, [runs, ...].

    Args:
        scatters: functions of runs, each with the largest ratio of its values for something that settles.
        error: that of the mean over the finer runs, a function of both.
        smallest: scatter, relative to the output's largest number, that is looked at.
    """
    with np.errstate(all="ignore"):
        finite = np.abs(fine[np.isfinite(fine)])
        rounding = smallest * finite.max(initial=0.0) + ROUNDING[1]
        undefined = ~np.isfinite(fine)
        none = undefined.any(axis=0) & ~undefined.all(axis=0)
        for scatter, ratio in scatters:
            smaller, larger = scatter(fine), scatter(coarse)
            none |= (smaller > rounding) & (smaller > ratio * np.where(np.isfinite(larger), larger, np.inf))
        value, known = fine.mean(axis=0), error(coarse, fine)
        return _Verdict(value, known, none, scatters[0][0](fine), 4.0 * known + _rounding(value))


def _rounding(value: np.ndarray) -> np.ndarray:
    return ROUNDING[0] * np.abs(value) + ROUNDING[1]


def _range(runs: np.ndarray) -> np.ndarray:
    return runs.max(axis=0) - runs.min(axis=0)


def _range_of_pairs(_: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """The range of averages over two runs each, whose noise has opposite signs."""
    return _range(fine.reshape(len(fine) // 2, 2, *fine.shape[1:]).mean(axis=1))


def _deviation(runs: np.ndarray) -> np.ndarray:
    return runs.std(axis=0, ddof=1)


def _deciles(runs: np.ndarray) -> np.ndarray:
    low, high = np.quantile(runs, (0.1, 0.9), axis=0)
    return high - low


def _apply(limit: JudgedLimit, name: str, verdict: _Verdict) -> None:
    """Mark what has no limit, and replace values at the point that are not the limit. A value from an exact evaluator
    is known as well as disturbed runs show it."""
    value, error = (np.array(part[name], dtype=float) for part in (limit.values, limit.errors))
    exact = EVALUATORS[limit.methods[name]].exact
    with np.errstate(all="ignore"):
        known = np.isfinite(verdict.value)
        other = known & ~(np.abs(value - verdict.value) <= verdict.allowed)
        doubted = other | known & exact & (verdict.error > _rounding(verdict.value))
        # The run's own error may come from a side that rounding chose.
        error = np.where(known & exact, np.fmin(error, verdict.allowed), error)
    value = np.where(other, verdict.value, value)
    error = np.where(doubted, np.fmax(error, verdict.error), error)
    limit.values[name] = np.where(verdict.none, np.nan, value)
    limit.errors[name] = np.where(verdict.none, np.nan, error)
    if verdict.none.any():
        limit.unresolved[name] = np.array(verdict.none)


# --- what is said ------------------------------------------------------------------------------------------------


def _warnings(met: Sequence[Jump], limit: JudgedLimit, source: Source) -> Iterator[Diagnostic]:
    """TP513 for each place where a jump leaves something without a limit."""
    said = set()
    for jump in met:
        without = [name for name in limit.unresolved if name in jump.outputs]
        if without and jump.span not in said:
            said.add(jump.span)
            yield Diagnostic("TP513", _message(jump, [_first(n, limit.unresolved[n]) for n in without]), jump.span,
                             help=_help(jump, source), severity="warning")


def _first(name: str, mask: np.ndarray) -> str:
    """The first element without a limit, and how many more there are."""
    if not mask.ndim:
        return f"`{name}`"
    index = ", ".join(map(str, np.argwhere(mask)[0]))
    more = int(mask.sum()) - 1
    return f"`{name}[{index}]`" + (f" and {more} more of it" if more else "")


def _message(jump: Jump, elements: list[str]) -> str:
    have = "have" if len(elements) > 1 else "has"
    return (f"{place_of(jump)}: {', '.join(elements)} {have} no limit, because in each network fluctuations decide the "
            "side")


def _help(jump: Jump, source: Source) -> str:
    if jump.fn not in ("sign", "step"):
        return "keep it away from zero, as in `x / sqrt(f*f + 0.01)`"
    text = source.line(jump.span.line) if jump.span is not None else ""
    if jump.fn not in text:
        return "the derivative of a kink jumps there: use a smooth function, as `sqrt(f*f + 0.01)` for `abs(f)`"
    if jump.counted:
        return ("at initialization every output of a network tends to 0, and so each network guesses in its own way: "
                "report an accuracy from the first step on, or with a margin, as in `step(f*y - 0.01)`")
    return "keep it away from the jump, as in `step(f - 0.01)`, or use a smooth function, as in `tanh(f/0.01)`"
