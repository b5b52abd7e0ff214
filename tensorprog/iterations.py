"""The iterations of a program's loops as arrays, and integer expressions evaluated on whole arrays of iterations.

A `Walker` lays a bound program out in time. `grids(frames, names)` enumerates what is around a statement: one column a
loop variable, in the order in which the iterations run. Two devices keep this cheap.

* A loop that no index, bound or condition depends on is not enumerated: its first iteration stands for all of them.
  For questions of "which values" and "when first" that is exact.
* Enumeration comes in pieces of at most `PIECE` iterations, so that memory stays bounded.

Time is one integer: a statement's position plus, for each loop around it, iteration * duration of the body. It grows in
the order of execution.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import assert_never

import numpy as np

from tensorprog.diagnostics import Note, Reporter, Span
from tensorprog.ir.integers import (
    COMPARISONS,
    OPERATIONS,
    BoolExpr,
    Comparison,
    Environment,
    IntBin,
    IntChoice,
    IntExpr,
    IntLit,
    IntLoad,
    IntSym,
    Logic,
    loop_names,
)
from tensorprog.ir.program import For, If, Program, Statement

# 8 MB a column of 64-bit integers.
PIECE = 2**20

Column = np.ndarray | int
Interval = tuple[int, int]


# --- where a statement stands --------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Loop:
    """A loop around a statement. `offset` is its position in its block, `duration` the time that its body takes."""

    var: str
    start: IntExpr
    stop: IntExpr
    step: int
    offset: int = 0
    span: Span | None = None
    duration: int = 0
    trips: int = 0

    @property
    def depends(self) -> set[str]:
        return loop_names(self.start) | loop_names(self.stop)


@dataclass(slots=True, eq=False)
class Branch:
    """One side of an `if` around a statement."""

    condition: BoolExpr
    taken: bool
    offset: int
    span: Span | None

    @property
    def depends(self) -> set[str]:
        return loop_names(self.condition)


Frames = tuple[Loop | Branch, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StatementSite:
    """A statement that is not a block, what is around it, and its position in its own block."""

    statement: Statement
    frames: Frames
    offset: int


@dataclass(frozen=True, slots=True)
class IterationGrid:
    """Iterations in the order in which they run: a column a loop variable, and the time of each."""

    size: int
    columns: dict[str, Column]
    time: np.ndarray

    def select(self, chosen: np.ndarray) -> IterationGrid:
        """The iterations that a mask or a list of positions keeps."""
        time = self.time[chosen]
        columns = {name: c[chosen] if isinstance(c, np.ndarray) else c for name, c in self.columns.items()}
        return IterationGrid(len(time), columns, time)

    def full(self, column: Column) -> np.ndarray:
        """A value as one column."""
        return np.broadcast_to(np.asarray(column, dtype=np.int64), (self.size,))


# --- enumeration ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Walker:
    """A program laid out in time, with the enumeration of its loops and the evaluation of its integer expressions."""

    program: Program
    env: Environment
    reporter: Reporter = field(init=False)
    sites: list[StatementSite] = field(default_factory=list)
    ranges: dict[str, Interval] = field(default_factory=dict)
    duration: int = 0
    _cached_frames: Frames | None = None
    _cached: dict[frozenset[str], IterationGrid] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reporter = Reporter(self.program.source)
        self.duration = self._lay_out(self.program.body, ())
        # Loops get `trips` and `duration` only while the program is laid out: grids of before are void.
        self._cached_frames = None
        self.reporter.raise_errors()

    def _lay_out(self, body: tuple[Statement, ...], frames: Frames) -> int:
        """Enter the statements of a block into `sites`; the time that the block takes at most."""
        clock = 0
        for statement in body:
            match statement:
                case For():
                    clock += self._lay_out_loop(statement, frames, clock)
                case If(condition, then, orelse):
                    self._try_condition(condition, frames, statement.span)
                    for block, taken in ((then, True), (orelse, False)):
                        branch = Branch(condition, taken, clock, statement.span)
                        # Both sides take time, although one runs: times stay distinct and in the order of the text.
                        clock += 1 + self._lay_out(block, (*frames, branch))
                case _:
                    self.sites.append(StatementSite(statement, frames, clock))
                    clock += 1
        return clock

    def _lay_out_loop(self, statement: For, frames: Frames, clock: int) -> int:
        loop = Loop(statement.var, statement.start, statement.stop, statement.step, clock, statement.span)
        self._measure(loop, frames)
        loop.duration = self._lay_out(statement.body, (*frames, loop))
        # By the most iterations that the loop ever makes, so that shorter runs of it do not reach what comes after.
        return 1 + loop.trips * loop.duration

    def _measure(self, loop: Loop, frames: Frames) -> None:
        """The most iterations that a loop makes, and the range of its variable."""
        for grid in self.grids(frames, loop.depends):
            start, counts = self._bounds(loop, grid)
            used = counts > 0
            if used.any():
                loop.trips = max(loop.trips, int(counts.max()))
                # The last value by steps from the start: `stop` itself may be off the grid of steps, or behind it.
                ends = np.concatenate([start[used], (start + loop.step * (counts - 1))[used]])
                self._widen(loop.var, int(ends.min()), int(ends.max()))

    def _try_condition(self, condition: BoolExpr, frames: Frames, span: Span | None) -> None:
        """Evaluate a condition in every iteration, for what is wrong with its indices."""
        for grid in self.grids(frames, loop_names(condition)):
            GridEvaluator(self, grid, span).condition(condition)

    def _widen(self, var: str, low: int, high: int) -> None:
        old_low, old_high = self.ranges.get(var, (low, high))
        self.ranges[var] = (min(low, old_low), max(high, old_high))

    def _bounds(self, loop: Loop, grid: IterationGrid) -> tuple[np.ndarray, np.ndarray]:
        """Where a loop starts and how often it runs, in each iteration of what is around it."""
        evaluate = GridEvaluator(self, grid, loop.span)
        start, stop = grid.full(evaluate.integer(loop.start)), grid.full(evaluate.integer(loop.stop))
        toward = 1 if loop.step > 0 else -1
        # ceil((stop - start) / step) for steps of either sign, by a floored division.
        return start, np.maximum(0, (stop - start + loop.step - toward) // loop.step)

    def relevant(self, frames: Frames, names: set[str]) -> frozenset[str]:
        """The loops around that must be enumerated when `names` are: those that a bound or condition needs, too."""
        needed = set(names).union(*(frame.depends for frame in frames))
        return frozenset(needed & {frame.var for frame in frames if isinstance(frame, Loop)})

    def volume(self, frames: Frames, names: set[str]) -> int:
        """At most how many iterations `grids` enumerates."""
        needed = self.relevant(frames, names)
        return math.prod(f.trips for f in frames if isinstance(f, Loop) and f.var in needed)

    def grids(self, frames: Frames, names: set[str]) -> Iterator[IterationGrid]:
        """The iterations of the loops around a statement, in order; a loop that does not matter stays at its start."""
        needed = self.relevant(frames, names)
        if frames != self._cached_frames:
            self._cached_frames, self._cached = frames, {}
        if needed in self._cached:
            yield self._cached[needed]
            return
        pieces = self._extend(IterationGrid(1, {}, np.zeros(1, np.int64)), frames, needed)
        # A grid of one piece is kept for the next statement in the same frames; the second piece tells whether there is
        # one only.
        first, second = next(pieces, None), next(pieces, None)
        # A consumer may have asked for other frames in between.
        if first is not None and second is None and frames == self._cached_frames:
            self._cached[needed] = first
        yield from (piece for piece in (first, second) if piece is not None)
        yield from pieces

    def _extend(self, grid: IterationGrid, frames: Frames, needed: frozenset[str]) -> Iterator[IterationGrid]:
        if not frames:
            yield grid
            return
        inner = self._enter(grid, frames[0]) if isinstance(frames[0], Branch) else self._iterate(
            grid, frames[0], frames[0].var in needed)
        for piece in inner:
            if piece.size:
                yield from self._extend(piece, frames[1:], needed)

    def _enter(self, grid: IterationGrid, branch: Branch) -> Iterator[IterationGrid]:
        """The iterations that take one side of an `if`."""
        holds = GridEvaluator(self, grid, branch.span).condition(branch.condition)
        chosen = np.flatnonzero(np.broadcast_to(holds, (grid.size,)) == branch.taken)
        inner = grid.select(chosen)
        yield IterationGrid(inner.size, inner.columns, inner.time + branch.offset)

    def _iterate(self, grid: IterationGrid, loop: Loop, enumerated: bool) -> Iterator[IterationGrid]:
        """The iterations of one more loop, in pieces; or only its first iteration."""
        start, counts = self._bounds(loop, grid)
        if not enumerated:
            chosen = np.flatnonzero(counts)
            inner = grid.select(chosen)
            yield IterationGrid(inner.size, inner.columns | {loop.var: start[chosen]}, inner.time + loop.offset)
            return
        ends = np.cumsum(counts)
        begins = ends - counts
        for low in range(0, int(ends[-1]), PIECE):
            high = min(low + PIECE, int(ends[-1]))
            # Iterations of the loops outside whose runs of this loop meet the piece; those without iterations drop out.
            first, last = np.searchsorted(ends, [low, high - 1], side="right")
            outer = np.arange(first, last + 1)
            outer = np.repeat(outer, np.minimum(ends[outer], high) - np.maximum(begins[outer], low))
            count = np.arange(low, high) - begins[outer]
            inner = grid.select(outer)
            yield IterationGrid(inner.size, inner.columns | {loop.var: start[outer] + loop.step * count},
                        inner.time + loop.offset + loop.duration * count)

    # --- intervals -------------------------------------------------------------------------------------------

    def interval(self, expr: IntExpr) -> Interval | None:
        """Bounds of an expression over all iterations; None if they are not easily known."""
        match expr:
            case IntLit(value):
                return value, value
            case IntSym(name, "loop"):
                return self.ranges.get(name)
            case IntSym(name, _):
                return self.env[name], self.env[name]
            case IntLoad(name, items):
                return self._loaded_interval(self.env[name], [self.interval(item) for item in items])
            case IntBin(op, left, right):
                return _combined(op, self.interval(left), self.interval(right))
            case IntChoice(_, then, orelse):
                one, two = self.interval(then), self.interval(orelse)
                return (min(one[0], two[0]), max(one[1], two[1])) if one and two else None
            case _:
                assert_never(expr)

    def _loaded_interval(self, array: np.ndarray, items: list[Interval | None]) -> Interval | None:
        inside = array.size and all(item and 0 <= item[0] and item[1] < length
                                    for item, length in zip(items, array.shape, strict=True))
        return (int(array.min()), int(array.max())) if inside else None


def _combined(op: str, left: Interval | None, right: Interval | None) -> Interval | None:
    if left is None or right is None or op == "**" or (op in ("//", "%") and right[0] < 1):
        return None
    if op == "%":
        return left if 0 <= left[0] and left[1] < right[0] else (0, right[1] - 1)
    # Monotone in each argument over the intervals: `//` by positive numbers, sums, products, `min` and `max`.
    corners = [OPERATIONS[op](a, b) for a, b in product(left, right)]
    return min(corners), max(corners)


# --- evaluation on columns -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GridEvaluator:
    """Integer expressions and conditions on a grid. A value that does not exist is reported and replaced by another.

    `active` masks the iterations in which the expression is evaluated at all (`a and b` stops at a false `a`).
    """

    walker: Walker
    grid: IterationGrid
    span: Span | None
    active: np.ndarray | None = None

    def integer(self, expr: IntExpr) -> Column:
        match expr:
            case IntLit(value):
                return value
            case IntSym(name, "loop"):
                return self.grid.columns[name]
            case IntSym(name, _):
                return self.walker.env[name]
            case IntLoad(name, items):
                return self._load(name, [self.integer(item) for item in items])
            case IntBin(op, left, right):
                return self._binary(op, self.integer(left), self.integer(right))
            case IntChoice(condition, then, orelse):
                holds = np.broadcast_to(self.condition(condition), (self.grid.size,))
                # Each side where it is chosen only: the other may divide by zero or read outside of an array there.
                return np.where(holds, self._where(holds).integer(then), self._where(~holds).integer(orelse))
            case _:
                assert_never(expr)

    def _where(self, mask: np.ndarray) -> GridEvaluator:
        """The evaluator of what is evaluated in some iterations only."""
        return GridEvaluator(self.walker, self.grid, self.span, mask if self.active is None else mask & self.active)

    def _binary(self, op: str, left: Column, right: Column) -> Column:
        if op in ("min", "max"):
            return np.minimum(left, right) if op == "min" else np.maximum(left, right)
        if op in ("//", "%"):
            right = self._repaired(np.equal(right, 0), right, 1, lambda i: f"integer division by zero in `{op}`")
        if op == "**":
            right = self._repaired(np.less(right, 0), right, 0, lambda i: "a negative power of an integer")
            with np.errstate(over="ignore"):
                # In float64, as 64-bit integers wrap around silently.
                large = np.abs(np.asarray(left, dtype=float)) ** np.asarray(right, dtype=float) >= 2.0**63
            right = self._repaired(large, right, 0, lambda i: "an integer power too large for 64 bits")
        return OPERATIONS[op](left, right)

    def _repaired(self, bad: np.ndarray, value: Column, instead: int, message: Callable[[int], str]) -> Column:
        """`value` with `instead` where it is bad, after reporting the first place."""
        if not np.any(bad):
            return value
        self.report("TP603", bad, message, "change the expression, or guard the statement with `if`")
        return np.where(bad, instead, value)

    def _load(self, name: str, items: list[Column]) -> Column:
        array = self.walker.env[name]
        inside = []
        for axis, (item, length) in enumerate(zip(items, array.shape, strict=True)):
            outside = np.less(item, 0) | np.greater_equal(item, length)
            if np.any(outside):
                self._report_outside(outside, item, f"{axis_text(axis, len(items))}the input '{name}', {indices_text(length)}")
                # The report is made; an index inside lets the rest of the expression be evaluated, and reported.
                item = np.clip(item, 0, max(0, length - 1))
            inside.append(item)
        return array[tuple(inside)].astype(np.int64) if array.size else 0

    def _report_outside(self, outside: np.ndarray, item: Column, place: str) -> None:
        self.report("TP601", outside, lambda i: f"index {at(item, i)} is out of range for {place}")

    def condition(self, expr: BoolExpr) -> np.ndarray:
        match expr:
            case Comparison(op, left, right):
                return np.asarray(COMPARISONS[op](self.integer(left), self.integer(right)))
            case Logic("not", (operand,)):
                return ~self.condition(operand)
            case Logic(op, operands):
                return self._chain(op == "and", operands)
            case _:
                assert_never(expr)

    def _chain(self, conjunction: bool, operands: tuple[BoolExpr, ...]) -> np.ndarray:
        """`and`, `or`: each operand is evaluated only where those before it left the answer open."""
        result = np.full(self.grid.size, conjunction)
        for operand in operands:
            undecided = result == conjunction
            value = self._where(undecided).condition(operand)
            result = result & value if conjunction else result | value
        return result

    def report(self, code: str, bad: np.ndarray, message: Callable[[int], str], advice: str | None = None,
               notes: Iterable[Note] = ()) -> None:
        """Report the first active iteration in which something is bad, with the values of the loop variables."""
        bad = np.broadcast_to(bad, (self.grid.size,))
        bad = bad if self.active is None else bad & self.active
        if not bad.any():
            return
        i = int(np.argmax(bad))
        text = self.walker.program.source.text
        shown = [f"{_written(name, text)} = {at(column, i)}" for name, column in self.grid.columns.items()
                 # A name with a colon stands for an axis that a slice runs along, and is no loop of the program.
                 if name[0] != ":"]
        where = f" ({', '.join(shown)})" if shown else ""
        self.walker.reporter.error(code, message(i) + where, self.span, help=advice, notes=notes)


def _written(name: str, text: str) -> str:
    """A loop variable as the user wrote it: `a` for the unique name `a_2`, unless the program says `a_2` itself."""
    base, _, number = name.rpartition("_")
    return base if base and number.isdigit() and not re.search(rf"\b{re.escape(name)}\b", text) else name


def at(column: Column, i: int) -> int:
    """The value of a column in one iteration."""
    return int(column[i]) if isinstance(column, np.ndarray) and column.ndim else int(column)


def axis_text(axis: int, axes: int) -> str:
    """Which axis a message speaks of, if there are several."""
    return f"axis {axis} of " if axes > 1 else ""


def indices_text(length: int) -> str:
    """What the indices of an axis may be, as part of a sentence."""
    if length == 0:
        return "which is empty"
    return f"whose indices are 0 to {length - 1}" if length > 1 else "whose only index is 0"
