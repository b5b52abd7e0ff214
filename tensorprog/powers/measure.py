"""Sizes of names at finite widths, and their slopes: the measured half of `tpc scale --measure`.

A network is run twice, with its updates and without, statement by statement: the difference of two values that the same
statement stores is what training has changed. Sizes are root mean squares over coordinates, elements and executions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from tensorprog.files import mistake
from tensorprog.finite.interpreter import Interpreter
from tensorprog.finite.tape import plain
from tensorprog.ir.program import Accum, Cell, For, MatAccum, MatrixType, MatStore, Range, Statement, Store, single
from tensorprog.powers.execution import Steps
from tensorprog.powers.scale import STAGES, ExecutedProgram, InferredSize, NamedSizes, Scale

# Values of one statement that are looked at in one stage: long runs repeat themselves.
MOST_VALUES = 64
# A slope that changes with the width (`_drift`) has three numbers.
FEWEST_WIDTHS = 3
# How far from a power the slope at the largest width may be to be called near it, at most.
ROOM = 0.25
# Relative sizes of changes that are rounding errors.
ROUNDING = 1e-13

Key = tuple[str, str]
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Slope:
    """Sizes against widths on logarithmic scales: the slope with its standard error, and how far from a power it may be
    besides, for the sake of corrections at finite widths.

    Attributes:
        last, last_error: the slope at the largest width, where it changes with the width (by a parabola), with its standard error.
        turns: how much the slope grows from the smallest width to the largest, if that is more than twice its standard error; else 0.
    """

    widths: tuple[int, ...]
    sizes: tuple[float, ...]
    scatter: tuple[float, ...]
    exponent: float | None
    error: float | None
    tolerance: float
    last: float = 0.0
    last_error: float = 0.0
    turns: float = 0.0

    @property
    def is_zero(self) -> bool:
        return not any(self.sizes)

    def agrees(self, least: Fraction, power: Fraction) -> bool | None:
        """Whether the slope is between two powers within its errors; None for sizes below rounding errors."""
        if self.exponent is None:
            return None if all(map(math.isfinite, self.sizes)) else False
        room = self.tolerance + 2 * (self.error or 0.0)
        return float(least) - room <= self.exponent <= float(power) + room

    def may_tend_to(self, least: Fraction, power: Fraction) -> bool:
        """Whether a slope that changes with the width may end up between two powers, though it is not there: it turns towards them,
        and would get there if it changed as much again; or at the largest width it is too near to them to tell, and does not turn
        away. What scatters much is not near for that reason: powers are half a unit apart, and ROOM is half of that."""
        if self.exponent is None:
            return False
        ends = sorted((self.last, self.last + self.turns))
        below = self.exponent < least
        away = self.turns < 0 if below else self.turns > 0
        room = min(2 * self.last_error, ROOM)
        return not away and ends[0] - room <= float(power) and float(least) <= ends[1] + room

    def text(self) -> str:
        if self.exponent is None:
            return "0" if self.is_zero else "below rounding" if all(map(math.isfinite, self.sizes)) else "not finite"
        return f"{self.exponent:.2f} +- {self.error:.2f}"


def measure(prepared: ExecutedProgram, scale: Scale, env: Mapping[str, object], *, widths: Sequence[int], seeds: Sequence[int],
            tolerance: float, progress: Callable[[int, int], None] | None = None) -> Scale:
    """The scale with slopes measured on networks of several widths.

    Raises:
        ProgramError: TP724, for too few widths or seeds; whatever running raises.
    """
    # A parabola takes three widths, and a scatter two seeds.
    if len(set(widths)) < FEWEST_WIDTHS or len(seeds) < 2:
        raise mistake("TP724", "a slope takes three different widths and two networks of each",
                      "write `--widths 64,128,256,512 --seeds 8`")
    logs: dict[Key, list[list[float]]] = defaultdict(list)
    done, ordered = 0, sorted(set(widths))
    for width in ordered:
        found: dict[Key, list[float]] = defaultdict(list)
        for seed in seeds:
            for key, size in _sizes(prepared, env, width, seed).items():
                found[key].append(size)
            done += 1
            if progress is not None:
                progress(done, len(ordered) * len(seeds))
        for key, sizes in found.items():
            logs[key].append(sizes)
    slopes = {key: _slope(tuple(ordered), sizes, tolerance)
              for key, sizes in logs.items() if len(sizes) == len(ordered)}
    names = {n.name: _with_slopes(n, slopes) for n in scale.names.values()}
    return replace(scale, names=names, measured=tuple(ordered))


def _with_slopes(name: NamedSizes, slopes: Mapping[tuple[str, str], Slope]) -> NamedSizes:
    def add(sizes: Mapping[str, InferredSize], what: str) -> dict[str, InferredSize]:
        return {stage: replace(s, slope=slopes.get((name.name, what + stage))) for stage, s in sizes.items()}

    return replace(name, sizes=add(name.sizes, ""), changes=add(name.changes, "change, "))


def _slope(widths: tuple[int, ...], sizes: list[list[float]], tolerance: float) -> Slope:
    """A weighted fit of the mean logarithms; the scatter about it counts where it is larger than that between seeds."""
    arrays = [np.asarray(s) for s in sizes]
    means = tuple(float(np.sqrt(np.mean(a**2))) for a in arrays)
    if not all(np.all(np.isfinite(a)) and np.all(a > 0) for a in arrays):
        return Slope(widths, means, (0.0,) * len(widths), None, None, tolerance)
    logs = np.array([np.log(a).mean() for a in arrays])
    # A thousandth at least: two seeds may agree by chance.
    errors = np.array([max(np.log(a).std(ddof=1) / np.sqrt(len(a)), 1e-3) for a in arrays])
    x, weights = np.log(np.asarray(widths, dtype=float)), errors**-2.0
    centre = np.average(x, weights=weights)
    curvature = np.sum(weights * (x - centre)**2)
    exponent = float(np.sum(weights * (x - centre) * logs) / curvature)
    residuals = logs - np.average(logs, weights=weights) - exponent * (x - centre)
    # Residuals that are larger than the scatter of seeds explains widen the error.
    excess = max(1.0, float(np.sum(weights * residuals**2)) / max(1, len(x) - 2))
    return Slope(widths, means, tuple(errors), exponent, float(np.sqrt(excess / curvature)), tolerance, *_drift(x, logs, errors))


def _drift(x: np.ndarray, logs: np.ndarray, errors: np.ndarray) -> tuple[float, float, float]:
    """The slope at the largest x of a weighted parabola, its standard error, and the change of the slope over all x, 0 within twice
    its standard error."""
    design = np.stack([np.ones_like(x), x - x[-1], (x - x[-1])**2], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    found = covariance @ (design.T @ (logs / errors))
    excess = max(1.0, float(np.sum((logs / errors - design @ found)**2)) / max(1, len(x) - 3))
    own = np.sqrt(excess * np.diag(covariance))
    change = 2 * found[2] * (x[-1] - x[0])
    return float(found[1]), float(own[1]), float(change) if abs(found[2]) > 2 * own[2] else 0.0


# --- one network ---------------------------------------------------------------------------------------------


def _sizes(prepared: ExecutedProgram, env: Mapping[str, object], width: int, seed: int) -> dict[Key, float]:
    """The sizes of a network's names and of their changes."""
    with np.errstate(all="ignore"):
        # Of the same seed, and so the same network: values differ by what training has changed.
        frozen = _Recorder(prepared, env, width, seed, frozen=True, still={})
        frozen.run()
        trained = _Recorder(prepared, env, width, seed, frozen=False, still=frozen.values)
        trained.run()
    return {key: float(np.sqrt(total / count)) for key, (total, count) in trained.squares.items() if count}


class _Recorder(Interpreter):
    """A run that notes the squares of what is stored under names.

    Args:
        frozen: leave out the updates (their steps count all the same), and keep the values.
        still: the values of a frozen run, to subtract.
    """

    def __init__(self, prepared: ExecutedProgram, env: Mapping[str, object], width: int, seed: int, *, frozen: bool,
                 still: Mapping[Place, list[np.ndarray]]):
        # Blocks run all iterations at once, and steps are to be told apart.
        super().__init__(prepared.differentiated, env, width, seed, blocks=False)
        self.shown, self.frozen, self.still = prepared.shown, frozen, still
        self.steps = Steps(prepared.updates, prepared.decays)
        self.around: list[str] = []
        self.seen: dict[Place, int] = defaultdict(int)
        self.values: dict[Place, list[np.ndarray]] = defaultdict(list)
        self.squares: dict[Key, list[float]] = defaultdict(lambda: [0.0, 0])
        self.trained = {cell for cell, _ in prepared.updates}
        self.initial = {(cell, key): np.array(value) for cell in self.trained
                        for key, value in self.storage.elements(cell).items()}
        for cell in (i.cell for i in self.program.initials):
            for value in self.storage.elements(cell).values():
                self._add(cell, STAGES[0], np.asarray(value))

    def _run_loop(self, loop: For) -> None:
        self.around.append(loop.var)
        super()._run_loop(loop)
        self.around.pop()

    def _run_statement(self, statement: Statement) -> None:
        update = self.steps.is_update(statement)
        if not (self.frozen and (update or self.steps.is_decay(statement))):
            super()._run_statement(statement)
        if update:
            self.steps.count(statement, {var: self.indices.values[var] for var in self.around})
        if isinstance(statement, Store | Accum | MatStore | MatAccum) and statement.cell in self.shown:
            self._note(statement)

    def _note(self, statement: Store | Accum | MatStore | MatAccum) -> None:
        cell, stage = statement.cell, self.steps.stage
        place = (id(statement), stage)
        self.seen[place] += 1
        items = statement.items[:cell.rank]
        # What stores a slice of a family has no single key.
        if self.seen[place] > MOST_VALUES or any(isinstance(item, Range) for item in items):
            return
        key = self.indices.integers(single(items))
        value = np.asarray(plain(self.storage.elements(cell)[key]))
        if self.frozen:
            if not isinstance(cell.type, MatrixType):
                self.values[place].append(np.array(value))
            return
        self._add(cell, STAGES[stage], value)
        if cell in self.trained and not stage:
            self.initial.setdefault((cell, key), np.array(value))
        before = self.initial.get((cell, key), self._without_training(place))
        if stage and before is not None:
            difference = value - before
            # Of a vector that has not changed, the difference of the two runs is rounding, and its slope means nothing.
            rounding = ROUNDING * np.max(np.abs(value), initial=0.0)
            self._add(cell, f"change, {STAGES[stage]}", np.where(np.abs(difference) > rounding, difference, 0.0))

    def _without_training(self, place: Place) -> np.ndarray | None:
        """What the frozen run stored here; of matrices that is not kept."""
        found = self.still.get(place, ())
        return found[self.seen[place] - 1] if self.seen[place] <= len(found) else None

    def _add(self, cell: Cell, what: str, value: np.ndarray) -> None:
        if cell in self.shown:
            squares = self.squares[self.shown[cell], what]
            squares[0] += float(np.sum(np.square(value)))
            squares[1] += value.size
