"""The limit beside networks of several widths: does what the networks tend to agree with it?

    verify_program -> Verification     runs the limit and the networks
    judge(limit, networks)             compares their results

The means over networks are extrapolated to infinite width without the limit (`verify/statistics.py`), and an output
fails if the limit is further from that than noise explains. What is allowed is such that, were all numbers right and
the noise normal, one of them would fail with probability `LEVEL`: Student's t, Bonferroni's correction for their count.
Besides single numbers, the projection of each array onto its limit is tested, where errors that elements share add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorprog.api import require_positive
from tensorprog.diagnostics import Reporter
from tensorprog.files import mistake
from tensorprog.progress import shown
from tensorprog.results import Result, first_divergence
from tensorprog.scheduler import Scheduler, connected
from tensorprog.verify.report import AGREES, DIFFERS, DIVERGED, NO_LIMIT, UNRESOLVED, Finding, Verification
from tensorprog.verify.statistics import (
    Estimate,
    concentrates,
    distance_of_means,
    distance_of_networks,
    extrapolate,
    fit_power,
    keeps_scattering,
    significance,
)

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram
    from tensorprog.compiled import Compiled

# Two for a bias, one for the limit, and one left to see whether they describe the means; three networks give a variance of
# which something is known.
FEWEST_WIDTHS = 4
FEWEST_SEEDS = 3
FEWEST_REPLICATES = 2

# The probability that noise makes a right program fail.
LEVEL = 1e-3

# An error this many standard errors beyond what is allowed is seen with probability 90 %.
MARGIN = 1.28

# Elements of an output whose limit is random, up to which all pairs of them are compared.
MOST_PAIRED = 12

Progress = Callable[[int, int], None]


# --- running ---------------------------------------------------------------------------------------------------


def verify_program(compiled: CompiledProgram, data: Mapping[str, object] | None, settings: Mapping[str, object], *,
                   widths: Sequence[int], seeds: int, replicates: int, seed: int = 0,
                   progress: Progress | bool | None = None, scheduler: Scheduler | None = None,
                   **limit_options: Any) -> Verification:
    """Run the limit, and `seeds` independent networks of each width; compare them.

    Args:
        widths: at least four different ones; a geometric sequence says most.
        scheduler: as for `CompiledProgram.run`.
        limit_options: what `CompiledProgram.run_with` takes: samples, tolerance, method, threads.

    Raises:
        ProgramError: TP710, for too few widths, seeds or replicates; all that running may raise.
    """
    for name, value in (*(("width", width) for width in widths), ("seeds", seeds), ("replicates", replicates)):
        require_positive(name, value)
    widths = sorted({int(width) for width in widths})
    for name, given, fewest in (("widths", len(widths), FEWEST_WIDTHS), ("seeds", seeds, FEWEST_SEEDS),
                                ("replicates", replicates, FEWEST_REPLICATES)):
        if given < fewest:
            raise mistake("TP710", f"verification needs at least {fewest} {name}, not {given}",
                          "errors and trends cannot be told apart with fewer")
    if not compiled.program.outputs:
        raise mistake("TP710", "verification compares outputs that are numbers, and this program has draws alone",
                      "output moments of what is sampled as well, as in `moment(x*y) as second`")
    parts = len(widths) + 1
    with shown(progress) as report, connected(scheduler) as cluster:
        limit = compiled.run_with(data, settings, replicates=replicates, seed=seed, progress=_part(report, 0, parts),
                                  scheduler=cluster, **limit_options).numbers()
        networks = [compiled.simulate_with(data, settings, width=width, seeds=seeds, seed=_seed_of(seed, width),
                                           progress=_part(report, k, parts), scheduler=cluster).numbers()
                    for k, width in enumerate(widths, 1)]
    return judge(limit, networks, _vanishing(compiled, limit.settings))


def _vanishing(compiled: CompiledProgram, settings: Mapping[str, Any]) -> dict[str, float]:
    """The outputs whose limit is 0 because they carry a negative power of n: that power of 1/n."""
    from tensorprog.pipeline import compile_program

    limit: Compiled = compiled.compiled
    if limit.powers.fixed:
        chosen = {name: settings[name] for name in limit.powers.fixed}
        limit = compile_program(compiled.program, compiled.settings | chosen, Reporter(compiled.source))
    return {output.name: -float(power) for output in limit.differentiated.outputs
            if output.name in limit.vanishing and (power := limit.powers[output.cell]) is not None}


def _seed_of(seed: int, width: int) -> int:
    """A seed of its own for each width: networks of different widths must not share random numbers."""
    return int(np.random.SeedSequence((seed, width)).generate_state(1)[0])


def _part(progress: Progress | None, index: int, parts: int) -> Progress | None:
    """Progress of one of several parts, in percent of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(round(100 * (index + done / max(total, 1)) / parts), 100)


# --- judging ---------------------------------------------------------------------------------------------------


def judge(limit: Result, networks: Sequence[Result], vanishing: Mapping[str, float] | None = None,
          level: float = LEVEL) -> Verification:
    """Compare a limit with simulations.

    Args:
        networks: of at least four widths, smallest first, and at least three networks of each.
        vanishing: the powers of 1/n of outputs that are known to vanish.
        level: the probability that noise makes a right limit fail.
    """
    powers = vanishing or {}
    limit, networks, random = with_covariances(limit, networks)
    runs = {"the limit": limit} | {f"width {result.settings['width']}": result for result in networks}
    diverged = {name: {run: result.diverged[name] for run, result in runs.items()
                       if name in result.diverged and _diverged(name, limit, result)} for name in limit}
    compared = {name: _Comparison(name, limit, networks, powers.get(name), name in random) for name in limit
                if not diverged[name] and np.isfinite(limit[name]).any()}
    # All tests of all outputs: elements and projections.
    count = sum(len(comparison.limit.value) for comparison in compared.values())
    # Bonferroni: all numbers together fail with the probability `level` at most.
    findings = {name: compared[name].finding(level / count) if name in compared else
                Finding(DIVERGED if diverged[name] else UNRESOLVED, diverged=diverged[name]) for name in limit}
    findings |= {name: _without_limit(findings[name], mask) for name, mask in limit.unresolved.items()}
    unknown = {name: np.full(limit[name].shape, np.nan) for name in limit}
    values = unknown | {name: comparison.filled(comparison.tends_to.value) for name, comparison in compared.items()}
    errors = unknown | {name: comparison.filled(np.sqrt(comparison.tends_to.variance))
                        for name, comparison in compared.items()}
    extrapolated = Result(values, errors, dict.fromkeys(values, "extrapolated"))
    return Verification(limit, tuple(networks), extrapolated, findings)


def with_covariances(limit: Result, networks: Sequence[Result]) -> tuple[Result, list[Result], frozenset[str]]:
    """The results with the covariance of every output whose limit is random as an output of its own (of large ones, the
    variances of its elements), and the names of all these outputs."""
    random = [name for name in limit if name in limit.spread and limit.spread[name].factor.any()]
    if not random:
        return limit, list(networks), frozenset()
    names = {name: f"covariance of {name}" for name in random}
    values, errors = {}, {}
    for name, title in names.items():
        spread, size = limit.spread[name], limit[name].size
        paired = size <= MOST_PAIRED
        values[title] = spread.covariance if paired else spread.variance
        errors[title] = spread.covariance_error if paired else spread.variance_error
    method = limit.method | {title: limit.method[name] for name, title in names.items()}
    extended = Result(dict(limit) | values, limit.error | errors, method, settings=limit.settings,
                      warnings=limit.warnings, diverged=limit.diverged, unresolved=limit.unresolved, spread=limit.spread)
    found = [_with_products(result, names) for result in networks]
    return extended, found, frozenset((*names, *names.values()))


def _with_products(networks: Result, names: Mapping[str, str]) -> Result:
    """Networks with products of what outputs deviate from their means: their mean is the covariance, without bias."""
    samples = dict(networks.samples)
    for name, title in names.items():
        drawn = networks.samples[name]
        count = len(drawn)
        # With the factor count/(count - 1), the mean of products is the covariance without bias.
        centred = (drawn - drawn.mean(axis=0)).reshape(count, -1) * math.sqrt(count / (count - 1))
        paired = centred.shape[1] <= MOST_PAIRED
        products = centred[:, :, None] * centred[:, None, :] if paired else centred ** 2
        shape = drawn.shape[1:] * (2 if paired else 1)
        samples[title] = products.reshape(count, *shape)
    more = {title: samples[title] for title in names.values()}
    values = dict(networks) | {title: drawn.mean(axis=0) for title, drawn in more.items()}
    errors = networks.error | {title: drawn.std(axis=0, ddof=1) / math.sqrt(len(drawn)) for title, drawn in more.items()}
    method = networks.method | dict.fromkeys(more, "finite")
    return Result(values, errors, method, settings=networks.settings, warnings=networks.warnings,
                  diverged=networks.diverged, samples=samples)


def _diverged(name: str, limit: Result, result: Result) -> bool:
    """Whether an output is not finite somewhere else than where there is no limit."""
    if name not in limit.unresolved:
        return True
    expected = limit.unresolved[name] | np.isnan(limit[name])
    return first_divergence(result[name], expected) is not None


def _without_limit(finding: Finding, mask: np.ndarray) -> Finding:
    """The finding of an output with elements that have no limit; about the others, it stays."""
    if finding.verdict in (DIFFERS, DIVERGED):
        return finding
    return Finding(NO_LIMIT, where=tuple(map(int, np.argwhere(mask)[0])))


class _Comparison:
    """One output as J numbers: its elements that are ever assigned and, if there are several, their projection onto the
    limit, where errors that elements share add up.

    Attributes:
        assigned: which elements are assigned, in the shape of the output.
        random: whether networks scatter at every width, because the limit is random.
        widths, samples: K widths, and [K, S, J]: S networks of each.
        limit, tends_to: what the limit says, and what the networks tend to.
    """

    def __init__(self, name: str, limit: Result, networks: Sequence[Result], power: float | None, random: bool = False):
        self.random = random
        self.assigned = np.isfinite(limit[name])
        value, error = limit[name][self.assigned], limit.error[name][self.assigned]
        samples = np.stack([result.samples[name][:, self.assigned] for result in networks])
        self.elements = len(value)
        self.size = float(np.linalg.norm(value))
        if self.elements > 1 and self.size > 0:
            along = value / self.size
            samples = np.concatenate([samples, samples @ along[:, None]], axis=2)
            # Errors of elements may be one and the same: they add up, and not their squares.
            value, error = np.append(value, self.size), np.append(error, np.abs(along) @ error)
        self.widths = [result.width for result in networks]
        self.samples = samples
        self.limit = Estimate(value, error ** 2, np.full(len(value), limit.replicates - 1.0))
        self.tends_to = extrapolate(self.widths, samples, power)

    def filled(self, numbers: np.ndarray) -> np.ndarray:
        """The numbers of the elements, in the shape of the output."""
        whole = np.full(self.assigned.shape, np.nan)
        whole[self.assigned] = numbers[:self.elements]
        return whole

    def finding(self, level: float) -> Finding:
        """The verdict at a significance level for a single number."""
        deviation, allowed, error = significance(self.tends_to, self.limit, level)
        # Where networks do not concentrate, means over few of them say little, however small their errors seem.
        concentrated = concentrates(self.widths, self.samples) | self.random
        smallest, relative = self._smallest_seen((allowed + MARGIN) * error)
        scattering = keeps_scattering(self.widths, self.samples, level) & (not self.random)
        off = deviation > allowed
        differs = (off & concentrated).any()
        unresolved = off.any() or scattering.any() or (relative and smallest >= 1)
        verdict = DIFFERS if differs else UNRESOLVED if unresolved else AGREES
        shown = concentrated if differs else scattering if scattering.any() and not off.any() else 1
        worst = int(np.argmax(deviation / allowed * shown))
        places = np.argwhere(self.assigned)
        elements = (self.samples[:, :, :self.elements], self.limit.first(self.elements))
        return Finding(verdict, where=tuple(map(int, places[worst])) if worst < self.elements else None,
                       deviation=float(deviation[worst]), allowed=float(allowed[worst]),
                       concentrated=bool(concentrated[worst] and not scattering[worst]),
                       smallest_seen=smallest, relative=relative,
                       network_power=None if self.random else fit_power(self.widths, *distance_of_networks(*elements)),
                       mean_power=fit_power(self.widths, *distance_of_means(*elements)))

    def _smallest_seen(self, seen: np.ndarray) -> tuple[float, bool]:
        """By how much the limit as a whole must be off to be found out, and whether that is relative: not for an output
        that vanishes, where it is the median over elements.

        Args:
            seen: the smallest error of each number that would have been found, [J].
        """
        # A limit that is not told from zero has no relative errors.
        if self.size <= 3 * math.sqrt(self.limit.variance[:self.elements].sum()):
            return float(np.median(seen)), False
        return float(seen[-1]) / self.size, True
