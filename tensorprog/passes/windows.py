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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from tensorprog.diagnostics import Span
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
    KernelStmt,
    Program,
    Size,
    Statement,
    Store,
    Var,
    Variable,
    cells_written,
    walk,
)
from tensorprog.passes.copying import Copy
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.rewrite import in_loops, with_own_variables
from tensorprog.passes.training import Average, NotDescent, Training, training_of

ONE = IntLit(1)


@dataclass(frozen=True)
class Windows:
    """What a program with windows is to be given, and what they cost.

    Attributes:
        bounds, count: an input and its size. Window w is of the steps bounds[w] <= t < bounds[w+1]; those before bounds[0] are exact.
        loop, start, stop: the variable of the loop, and its steps.
        averages, driving: the loops over the indices of each family of averages, and of those that the loss reads: tangent
            kernels are of all of the former with the latter.
        states: how many families of states the loop updates.
    """

    bounds: str
    count: str
    loop: str
    start: IntExpr
    stop: IntExpr
    averages: tuple[tuple[For, ...], ...]
    driving: tuple[tuple[For, ...], ...]
    states: int


def with_windows(program: Program) -> tuple[Program, Windows] | str:
    """The program with windows in its first training loop, or why there are none: '' if nothing is trained."""
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
        self.rates = {rate.state: self._rate(rate.factors) for rate in training.rates}
        names = builder.names
        self.bounds, self.count, self.window = names.fresh("window"), names.fresh("windows"), names.fresh("w")
        self.moved = {a.cell: self._family("moved", a) for a in training.averages}
        self.slopes = {a.cell: self._family("slope", a) for a in training.driving}

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
        return made, Windows(self.bounds, self.count, loop.var, loop.start, loop.stop, averages, driving, len(self.rates))

    def _rate(self, factors: Sequence[tuple[str, Var | None]]) -> Var:
        rate = self.builder.const(1)
        for fn, number in factors:
            rate = self.builder.neg(rate) if number is None else self.builder.elementwise(fn, rate, number)
        return rate

    def _bound(self, index: IntExpr) -> IntExpr:
        return IntLoad(self.bounds, (index,))

    def _family(self, hint: str, average: Average) -> Cell:
        return self.builder.cell(hint, SCALAR, len(average.loops))

    # --- a window ---

    def _body(self) -> tuple[Statement, ...]:
        training, window = self.training, IntSym(self.window, "loop")
        low, high = self._bound(window), self._bound(int_bin("+", window, ONE))
        last = int_bin("-", high, ONE)
        sums = {a.cell: self._family("early", a) for a in training.driving}
        late = {a.cell: self._family("late", a) for a in training.driving}
        with self.builder.nested() as body:
            first, kernel = self._stage()
            self._begin(training.driving, first, [(sums, 0)])
            # One step less than the window has: g1 and K1 are those of the state before its last step.
            self._steps(low, last, training.loss, cells_written(training.loss), lambda step: self._predict(sums, kernel))
            self._move_states([(first, sums)])
            second, other = self._stage()
            # The states hold g0 times the sums of the prediction, which is taken back by beginning at their negative.
            self._begin(training.averages, first, [(sums, -1), (late, 0)])
            # Other numbers may be carried from step to step.
            fresh = {c for c in cells_written(training.scalars) if training.loop.var in c.home}
            self._steps(low, high, training.scalars, fresh,
                        lambda step: self._correct(step, low, last, sums, late, kernel, other))
            self._move_states([(first, sums), (second, late)])
        return tuple(body)

    def _stage(self) -> tuple[dict[Cell, Cell], dict[tuple[Cell, Cell], Cell]]:
        """The averages at the present state, and their tangent kernels: families by those of `training`."""
        training = self.training
        copy = Copy(self.builder.names, {training.loop.var: self._bound(IntSym(self.window, "loop"))}, {})
        for statement in copy.of(training.forward, cells_written(training.forward)):
            self.builder.append(statement)
        averages = {a.cell: copy.cells[a.cell] for a in training.averages}
        return averages, {(a.cell, b.cell): self._kernel(a, b, averages) for a in training.averages for b in training.driving}

    def _kernel(self, left: Average, right: Average, averages: Mapping[Cell, Cell]) -> Cell:
        builder = self.builder
        kernel = builder.cell("kernel", SCALAR, len(left.loops) + len(right.loops))

        def element(first: tuple[IntExpr, ...], second: tuple[IntExpr, ...]) -> None:
            total = builder.const(0)
            for state, rate in self.rates.items():
                part = builder.cell("tangent", SCALAR)
                builder.append(KernelStmt(part, "ntk", averages[left.cell], first, averages[right.cell], second,
                                          (Variable(state),), span=self._span))
                total = builder.add(total, builder.mul(rate, builder.load(part)))
            builder.append(Store(kernel, (*first, *second), total))

        self._for_each((left.loops, right.loops), element)
        return kernel

    def _begin(self, averages: Sequence[Average], values: Mapping[Cell, Cell], sums: list[tuple[dict[Cell, Cell], int]]) -> None:
        """Numbers at the beginning of a window: averages, and every sum of `sums` times a factor."""
        builder = self.builder

        def element(average: Average, items: tuple[IntExpr, ...]) -> None:
            builder.append(Store(self.moved[average.cell], items, builder.load(values[average.cell], items)))
            for families, factor in sums:
                if (family := families.get(average.cell)) is None:
                    continue
                value = builder.neg(builder.load(family, items)) if factor else builder.const(0)
                builder.append(Store(family, items, value))

        for average in averages:
            self._for_each((average.loops,), partial(element, average))

    def _steps(self, start: IntExpr, stop: IntExpr, part: tuple[Statement, ...], own: set[Cell],
               move: Callable[[IntExpr], None]) -> None:
        """A loop of steps on numbers: a part of the scalars, the slopes of the loss, and `move`."""
        builder, training = self.builder, self.training
        var = builder.names.fresh("s")
        step = IntSym(var, "loop")
        copy = Copy(builder.names, {training.loop.var: step}, self.moved)
        with builder.nested() as body:
            for statement in copy.of(part, own):
                builder.append(statement)
            scalar = copy.cells.get(training.scalar, training.scalar)
            items = tuple(step if item == IntSym(training.loop.var, "loop") else item for item in training.items)
            for average in training.driving:
                self._for_each((average.loops,), partial(self._slope, scalar, items, average.cell))
            move(step)
        builder.append(For(var, start, stop, 1, tuple(body), span=self._span))

    def _slope(self, scalar: Cell, items: tuple[IntExpr, ...], average: Cell, at: tuple[IntExpr, ...]) -> None:
        builder = self.builder
        target = builder.cell("d_average", SCALAR)
        builder.append(GradStmt(target, scalar, items, self.moved[average], at, span=self._span))
        builder.append(Store(self.slopes[average], at, builder.load(target)))

    def _predict(self, sums: Mapping[Cell, Cell], kernel: Mapping[tuple[Cell, Cell], Cell]) -> None:
        builder, driving = self.builder, self.training.driving

        def element(average: Cell, at: tuple[IntExpr, ...]) -> None:
            builder.append(Accum(sums[average], at, builder.load(self.slopes[average], at)))

        for average in driving:
            self._for_each((average.loops,), partial(element, average.cell))
        self._move(driving, kernel, self.slopes)

    def _correct(self, step: IntExpr, low: IntExpr, last: IntExpr, early: Mapping[Cell, Cell], late: Mapping[Cell, Cell],
                 kernel: Mapping[tuple[Cell, Cell], Cell], other: Mapping[tuple[Cell, Cell], Cell]) -> None:
        builder, training = self.builder, self.training
        # In a window of one step K1 is K0, and all shares of them are exact; the 1 avoids 0/0.
        length = builder.from_int(int_bin("max", int_bin("-", last, low), ONE))
        passed = builder.from_int(int_bin("-", step, low))
        share = builder.div(passed, length)
        curved = builder.div(builder.add(passed, builder.const(Fraction(1, 4))), length)
        first, second = ({a.cell: self._family("slope", a) for a in training.driving} for _ in range(2))
        parts = ((share, early, late, Accum), (curved, first, second, Store))
        for average in training.driving:
            self._for_each((average.loops,), partial(self._share_out, average.cell, parts))
        self._move(training.averages, kernel, first)
        self._move(training.averages, other, second)

    def _share_out(self, cell: Cell, parts: Sequence[tuple], at: tuple[IntExpr, ...]) -> None:
        """Parts of a slope by their shares: those of the beginning of the window and of its end."""
        builder = self.builder
        slope = builder.load(self.slopes[cell], at)
        for share, early, late, kind in parts:
            end = builder.mul(share, slope)
            builder.append(kind(early[cell], at, builder.sub(slope, end)))
            builder.append(kind(late[cell], at, end))

    def _move(self, averages: Sequence[Average], kernel: Mapping[tuple[Cell, Cell], Cell], slopes: Mapping[Cell, Cell]) -> None:
        """Add a kernel times slopes to averages."""
        for left in averages:
            for right in self.training.driving:
                self._for_each((left.loops, right.loops), partial(self._move_element, kernel, slopes, left.cell, right.cell))

    def _move_element(self, kernel: Mapping[tuple[Cell, Cell], Cell], slopes: Mapping[Cell, Cell], left: Cell, right: Cell,
                      at: tuple[IntExpr, ...], of: tuple[IntExpr, ...]) -> None:
        builder = self.builder
        step = builder.mul(builder.load(kernel[left, right], (*at, *of)), builder.load(slopes[right], of))
        builder.append(Accum(self.moved[left], at, step))

    def _move_states(self, sums: list[tuple[Mapping[Cell, Cell], Mapping[Cell, Cell]]]) -> None:
        """Add gradients of averages, with sums of slopes, to all states. One block has all, because gradients by one
        state are to see no change of another."""
        builder = self.builder

        def element(average: Average, averages: Mapping[Cell, Cell], slopes: Mapping[Cell, Cell], at: tuple[IntExpr, ...]) -> None:
            slope = builder.load(slopes[average.cell], at)
            for state, rate in self.rates.items():
                builder.append(GradAdd(state, builder.mul(rate, slope), averages[average.cell], at, span=self._span))

        for averages, slopes in sums:
            for average in self.training.driving:
                self._for_each((average.loops,), partial(element, average, averages, slopes))

    # --- loops ---

    @property
    def _span(self) -> Span | None:
        return self.training.loop.span

    def _for_each(self, families: Sequence[tuple[For, ...]], element: Callable[..., None]) -> None:
        """`element`, called with indices of each of some families, in loops over them; `families` are these loops."""
        own, places = zip(*(with_own_variables(loops, self.builder.names) for loops in families))
        with self.builder.nested() as body:
            element(*(tuple(values.values()) for values in places))
        for statement in in_loops([loop for loops in own for loop in loops], tuple(body)):
            self.builder.append(statement)
