"""Gradient descent in windows of several steps: an exponential integrator on the typed program.

Within a few steps of training, what a step adds to the averages f that the loss reads is a tangent kernel times d loss / d f,
and the kernel changes slowly. A window of m steps therefore computes vectors twice and iterates numbers alone
(c[s] = d loss / d f at f[s]; g = grad(f, state); K = g . g, with the rates of the states):

    g0, K0   at the state at the beginning
    predict  f[s+1] = f[s] + K0 c[s],   s < m-1;       state += g0 sum of c[s]
    g1, K1   at this state, that of the last step of the window
    correct  f[s+1] = f[s] + ((1 - u) K0 + u K1) c[s],  u = (s + 1/4)/(m-1)
             state  = that at the beginning + g0 sum of (1 - w) c[s] + g1 sum of w c[s],  w = s/(m-1)

which is exact for one step, and of second order in what K changes in a window (as exponential Runge-Kutta methods are:
Hochbruck & Ostermann, Acta Numerica 2010, section 2). The quarter is for the curvature of f within a step: with D = rate g c,
what the step adds to a state, f changes by g.D + D.HD/2 (H: the second derivative), and K = rate g.g by 2 rate g.HD = 2 D.HD/c,
so that K at a quarter of the step makes up for it, exactly for a single average.

Steps are the user's, so that nothing is assumed about their size; what the loop computes from f in every step, outputs included, is
computed in every step of a window, and averages that are only looked at move with those that the loss reads. The program that is
made takes the beginnings of windows as an input; steps before the first window are exact. It is an ordinary program: it goes
through the passes that all programs go through, and can be run at finite widths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntLit, IntLoad, IntSym, int_bin
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    For,
    GradAdd,
    GradStmt,
    Input,
    Program,
    Size,
    Statement,
    Store,
    cells_written,
    walk,
)
from tensorprog.passes.by_rows import by_rows
from tensorprog.passes.copying import Copy
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.linear_updates import NotDescent
from tensorprog.passes.simplify import simplify
from tensorprog.passes.training import Average, Training, training_of
from tensorprog.passes.window_frame import Families, Items, Kernel, WindowFrame
from tensorprog.passes.window_motions import Moving

ONE = IntLit(1)


@dataclass(frozen=True)
class Windows:
    """What a program with windows is to be given, and what they cost.

    Attributes:
        bounds, count: an input and its size. Window w is of the steps bounds[w] <= t < bounds[w+1]; those before bounds[0] are exact.
        loop, start, stop: the variable of the loop, and its steps.
        averages, driving: the loops over the indices of each family of averages, and of those that the loss reads: tangent
            kernels are of all of the former with the latter.
        families: how many families of states tangent kernels are by, in all that a window takes.
        by_rows: whether steps are given all rows of which the program picks some.
    """

    bounds: str
    count: str
    loop: str
    start: IntExpr
    stop: IntExpr
    averages: tuple[tuple[For, ...], ...]
    driving: tuple[tuple[For, ...], ...]
    families: int
    by_rows: bool = False


def with_windows(program: Program) -> tuple[Program, Windows] | str:
    """The program with windows in its first training loop, or why there are none: '' if nothing is trained. Steps that pick rows of
    data are given all rows."""
    found = _with_windows(program)
    if not isinstance(found, str) or not found:
        return found
    # Forwarding shows that what a step stores and reads again depends on the row alone, and may part what is of one row.
    for plain in (simplify(program), program):
        rows = by_rows(plain)
        if rows is not plain and not isinstance(made := _with_windows(rows), str):
            return made[0], replace(made[1], by_rows=True)
    return found


def _with_windows(program: Program) -> tuple[Program, Windows] | str:
    reason = ""
    for position, loop in enumerate(program.body):
        if not isinstance(loop, For) or not any(isinstance(s, GradStmt) for s in walk(loop.body)):
            continue
        builder = Builder(used_names(program))
        builder.span = loop.span
        try:
            training = training_of(program, loop, builder)
        except NotDescent as error:
            reason = reason or f"{loop.var}: {error}"
            continue
        return _Writer(program, training, builder).written(position)
    return reason


class _Writer:
    """`builder.block` has the rates, which come in front of the loop."""

    def __init__(self, program: Program, training: Training, builder: Builder):
        self.program, self.training, self.builder = program, training, builder
        self.rates = {m.state: m.rate for m in training.motions if m.rate is not None}
        names = builder.names
        self.bounds, self.count, self.window = names.fresh("window"), names.fresh("windows"), names.fresh("w")
        self.frame = WindowFrame(training, builder)
        extents = {i.cell: i.extents for i in program.initials}
        self.moving = [Moving(self.frame, m, extents[m.state]) for m in training.motions if m.rate is None]

    def written(self, position: int) -> tuple[Program, Windows]:
        training, program = self.training, self.program
        exact = replace(training.loop, stop=self._bound(IntLit(0)))
        last = int_bin("-", IntSym(self.count, "size"), ONE)
        rates = tuple(self.builder.block)
        windows = For(self.window, IntLit(0), last, 1, self._body(), span=training.loop.span)
        body = (*program.body[:position], *rates, exact, windows, *program.body[position + 1:])
        made = replace(program, body=body, sizes=(*program.sizes, Size(self.count, None)),
                       inputs=(*program.inputs, Input(self.bounds, (IntSym(self.count, "size"),), "int")))
        loop = training.loop
        averages, driving = (tuple(tuple(replace(f, body=()) for f in a.loops) for a in part)
                             for part in (training.averages, training.driving))
        families = 2 * len(self.rates) + 4 * len(self.moving)
        return made, Windows(self.bounds, self.count, loop.var, loop.start, loop.stop, averages, driving, families)

    def _bound(self, index: IntExpr) -> IntExpr:
        return IntLoad(self.bounds, (index,))

    # --- a window ---

    def _body(self) -> tuple[Statement, ...]:
        training, frame, window = self.training, self.frame, IntSym(self.window, "loop")
        low, high = self._bound(window), self._bound(int_bin("+", window, ONE))
        last = int_bin("-", high, ONE)
        sums, late = (frame.families(hint, training.driving) for hint in ("early", "late"))
        with self.builder.nested() as body:
            for moving in self.moving:
                moving.keep()
            first, kernel = self._stage([])
            self._begin(training.driving, first, [(sums, 0)])
            # One step less than the window has: g1 and K1 are those of the state before its last step.
            self._steps(low, last, training.loss, cells_written(training.loss),
                        lambda step, cells: self._predict(cells, sums, kernel))
            self._move_states([(first, sums)])
            for moving in self.moving:
                moving.place([moving.state], [first])
            second, other = self._stage([first])
            # The states hold g0 times the sums of the prediction, which is taken back by beginning at their negative.
            self._begin(training.averages, first, [(sums, -1), (late, 0)])
            # Other numbers may be carried from step to step.
            fresh = {c for c in cells_written(training.scalars) if training.loop.var in c.home}
            self._steps(low, high, training.scalars, fresh,
                        lambda step, cells: self._correct(step, cells, low, last, sums, late, kernel, other))
            self._move_states([(first, sums), (second, late)])
            for moving in self.moving:
                moving.place(moving.slots, [first, second])
        return tuple(body)

    def _stage(self, before: Sequence[Families]) -> tuple[Families, Kernel]:
        """The averages at the present state, and what windows need of their gradients: families by those of `training`."""
        training = self.training
        copy = Copy(self.builder.names, {training.loop.var: self._bound(IntSym(self.window, "loop"))}, {})
        for statement in copy.of(training.forward, cells_written(training.forward)):
            self.builder.append(statement)
        averages = {a.cell: copy.cells[a.cell] for a in training.averages}
        for moving in self.moving:
            moving.stage(len(before), [*before, averages])
        return averages, self.frame.kernel(averages, averages, self.rates) if self.rates else {}

    def _begin(self, averages: Sequence[Average], values: Families, sums: list[tuple[Families, int]]) -> None:
        """Numbers at the beginning of a window: averages, and every sum of `sums` times a factor."""
        builder = self.builder

        def element(average: Average, items: Items) -> None:
            builder.append(Store(self.frame.moved[average.cell], items, builder.load(values[average.cell], items)))
            for families, factor in sums:
                if not self.rates or (family := families.get(average.cell)) is None:
                    continue
                value = builder.neg(builder.load(family, items)) if factor else builder.const(0)
                builder.append(Store(family, items, value))

        for average in averages:
            self.frame.for_each((average.loops,), partial(element, average))
        for moving in self.moving:
            moving.begin()

    def _steps(self, start: IntExpr, stop: IntExpr, part: tuple[Statement, ...], own: set[Cell],
               move: Callable[[IntExpr, dict[Cell, Cell]], None]) -> None:
        """A loop of steps on numbers: a part of the scalars, the slopes of the loss, and `move`, which is given the step and
        the cells that stand for those of the scalars."""
        builder, training = self.builder, self.training
        var = builder.names.fresh("s")
        step = IntSym(var, "loop")
        copy = Copy(builder.names, {training.loop.var: step}, self.frame.moved)
        with builder.nested() as body:
            for statement in copy.of(part, own):
                builder.append(statement)
            scalar = copy.cells.get(training.scalar, training.scalar)
            items = tuple(step if item == IntSym(training.loop.var, "loop") else item for item in training.items)
            for average in training.driving:
                self.frame.for_each((average.loops,), partial(self._slope, scalar, items, average.cell))
            move(step, copy.cells)
        builder.append(For(var, start, stop, 1, tuple(body), span=self.frame.span))

    def _slope(self, scalar: Cell, items: Items, average: Cell, at: Items) -> None:
        builder = self.builder
        target = builder.cell("d_average", SCALAR)
        builder.append(GradStmt(target, scalar, items, self.frame.moved[average], at, span=self.frame.span))
        builder.append(Store(self.frame.slopes[average], at, builder.load(target)))

    def _predict(self, cells: dict[Cell, Cell], sums: Families, kernel: Kernel) -> None:
        builder, driving = self.builder, self.training.driving

        def element(average: Cell, at: Items) -> None:
            builder.append(Accum(sums[average], at, builder.load(self.frame.slopes[average], at)))

        if self.rates:
            for average in driving:
                self.frame.for_each((average.loops,), partial(element, average.cell))
            self.frame.move(driving, kernel, self.frame.slopes)
        for moving in self.moving:
            moving.step(cells, driving, None, None)

    def _correct(self, step: IntExpr, cells: dict[Cell, Cell], low: IntExpr, last: IntExpr, early: Families, late: Families,
                 kernel: Kernel, other: Kernel) -> None:
        builder, training = self.builder, self.training
        # In a window of one step K1 is K0, and all shares of them are exact; the 1 avoids 0/0.
        length = builder.from_int(int_bin("max", int_bin("-", last, low), ONE))
        passed = builder.from_int(int_bin("-", step, low))
        share = builder.div(passed, length)
        if self.rates:
            curved = builder.div(builder.add(passed, builder.const(Fraction(1, 4))), length)
            first, second = (self.frame.families("slope", training.driving) for _ in range(2))
            parts = ((share, early, late, Accum), (curved, first, second, Store))
            for average in training.driving:
                self.frame.for_each((average.loops,), partial(self._share_out, average.cell, parts))
            self.frame.move(training.averages, kernel, first)
            self.frame.move(training.averages, other, second)
        for moving in self.moving:
            middle = builder.div(builder.add(passed, builder.const(Fraction(1, 2))), length)
            moving.step(cells, training.averages, share, middle)

    def _share_out(self, cell: Cell, parts: Sequence[tuple], at: Items) -> None:
        """Parts of a slope by their shares: those of the beginning of the window and of its end."""
        builder = self.builder
        slope = builder.load(self.frame.slopes[cell], at)
        for share, early, late, kind in parts:
            end = builder.mul(share, slope)
            builder.append(kind(early[cell], at, builder.sub(slope, end)))
            builder.append(kind(late[cell], at, end))

    def _move_states(self, sums: list[tuple[Families, Families]]) -> None:
        """Add gradients of averages, with sums of slopes, to the states with fixed rates. One block has all, because gradients
        by one state are to see no change of another."""
        builder = self.builder

        def element(average: Average, averages: Families, slopes: Families, at: Items) -> None:
            slope = builder.load(slopes[average.cell], at)
            for state, rate in self.rates.items():
                builder.append(GradAdd(state, builder.mul(rate, slope), averages[average.cell], at, state, span=self.frame.span))

        for averages, slopes in sums if self.rates else ():
            for average in self.training.driving:
                self.frame.for_each((average.loops,), partial(element, average, averages, slopes))
