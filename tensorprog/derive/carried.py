"""What a loop carries from one iteration to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import Expr, S

from tensorprog.derive.arrays import Array, ArrayWrite, Items, Value, lookup, substitute
from tensorprog.derive.binders import Binder
from tensorprog.derive.entries import LimitEquation, MatrixState
from tensorprog.derive.integers import to_integer
from tensorprog.derive.matrices import initial
from tensorprog.derive.symbols import element, index, matrix_label, z
from tensorprog.ir.program import Cell, For, Item, MatrixType, Range, access_indices, walk, written

if TYPE_CHECKING:
    from tensorprog.derive.trace import Tracer


class Head:
    """A cell at the head of a loop's iteration. Asked for an element that no earlier iteration wrote, it answers with
    what was there before the loop; otherwise it gives the cell a name with a time index."""

    def __init__(self, tracer: Tracer, cell: Cell, statement: For, loop: Binder, before: Array):
        self.tracer, self.cell, self.statement, self.loop, self.before = tracer, cell, statement, loop, before
        self.around = tuple(b.symbol for b in tracer.loops)
        self.carried = False
        self._label = ""
        self.patterns = [items for s in walk(statement.body) if written(s) is cell
                         for items in access_indices(s, cell)]

    @property
    def head(self) -> Expr:
        """The time index at the head: the variable, or one more where the loop counts down."""
        return self.loop.symbol if self.statement.step > 0 else self.loop.symbol + 1

    @property
    def label(self) -> str:
        """The name of what the loop carries, taken when it is first asked for."""
        self._label = self._label or self.tracer.labels.carried(self.cell, len(self.around))
        return self._label

    def __call__(self, items: Items) -> Value:
        # Where all writes of the body go to `h[t, ...]`, no earlier iteration has written that element.
        if self._own(items):
            return lookup(self.tracer.scope, self.before, items)
        self.carried = True
        return self._at(self.head, items)

    def _own(self, items: Items) -> bool:
        """Whether every write of an iteration is to elements of its own, of which this is one."""
        for position, item in enumerate(items):
            if (item - self.loop.symbol).is_Integer and all(
                    len(p) > position and _same_index(p[position], item) for p in self.patterns):
                return True
        return False

    def _at(self, time: Expr, items: Items) -> Value:
        label, indices = self.label, (*self.around, time, *items)
        if isinstance(self.cell.type, MatrixType):
            return initial(matrix_label(label, indices), state=True)
        return z(label, indices) if self.cell.type.width else element(label, indices)

    def after(self, array: Array) -> Array:
        """The cell after the loop."""
        if array.base is not self:
            # A cell merged from branches asks for the head when it is looked up, which sets `carried`.
            lookup(self.tracer.scope, array, self._formal())
        if self.carried or any(self._is_undecided(w) for w in array.writes):
            self._recurrence(array)
            # `v[t]` is v at the head of iteration t, so that `v[stop]` is what the last one leaves; counting down,
            # iteration t reads `v[t + 1]` and leaves `v[t]`.
            stop = self.loop.high + 1 if self.statement.step > 0 else self.loop.low
            return Array(lambda items: self._at(stop, items))
        if array.base is not self:
            return self._last(array)
        return self.before.write(*(self._bound(w) for w in array.writes))

    def _is_undecided(self, write: ArrayWrite) -> bool:
        """A store at computed places: which iteration was the last one there is not known."""
        return not write.accumulates and any(i.has(self.loop.symbol) and not (i - self.loop.symbol).is_Integer
                                             for i in write.items)

    def _last(self, array: Array) -> Array:
        """A cell that every iteration makes anew."""
        last = {self.loop.symbol: self.loop.high if self.statement.step > 0 else self.loop.low}
        scope = self.tracer.scope
        return Array(lambda items: substitute(lookup(scope, array, items), last))

    def _bound(self, write: ArrayWrite) -> ArrayWrite:
        # An addition, or a store at the loop's index, is one write for each iteration; of stores at fixed places the
        # last iteration's remains.
        if write.accumulates or any(i.has(self.loop.symbol) for i in write.items):
            return ArrayWrite(write.items, write.value, write.accumulates, (self.loop, *write.binders), write.condition)
        last = {self.loop.symbol: self.loop.high if self.statement.step > 0 else self.loop.low}
        return ArrayWrite(write.items, substitute(write.value, last), False, write.binders, write.condition)

    def _recurrence(self, array: Array) -> None:
        tracer, cell = self.tracer, self.cell
        formal = self._formal()
        forward = self.statement.step > 0
        after = self.head + (1 if forward else -1)
        step, start = (lookup(tracer.scope, a, formal) for a in (array, self.before))
        if isinstance(cell.type, MatrixType):
            state = MatrixState(self.label, self.loop, forward, self.around, formal, step, start)
            tracer.trace.states[self.label, len(self.around)] = state
            return
        axes = tuple(Binder(f, *tracer.scope.ranges[f]) for f in formal)
        first = self.loop.low if forward else self.loop.high + 1
        if start != self._at(first, formal):
            loops = (*tracer.loops, *axes)
            tracer.emit(LimitEquation(self._at(first, formal), start, loops, tracer.condition, "start"))
        loops = (*tracer.loops, self.loop, *axes)
        tracer.emit(LimitEquation(self._at(after, formal), step, loops, tracer.condition, "update"))

    def _formal(self) -> tuple[Expr, ...]:
        return tuple(self.tracer.scope.fresh(index(stem), low, high) for stem, low, high in self._sizes())

    def _sizes(self) -> list[tuple[str, Expr, Expr]]:
        """A stem and a range for each index of the cell; the range of a family's index is not declared."""
        known = self.tracer.extents.get(self.cell, ())
        sizes = [to_integer(e) for e in known] or [index(f"size({self.cell.display})")] * self.cell.rank
        extents = [("k", S.Zero, size - 1) for size in sizes]
        if isinstance(self.cell.type, MatrixType):
            return extents
        return extents + [("i", S.Zero, to_integer(size) - 1) for size in self.cell.type.shape]


def _same_index(pattern: Item, item: Expr) -> bool:
    return not isinstance(pattern, Range) and to_integer(pattern) == item
