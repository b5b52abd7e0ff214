"""Reading and writing cells in symbolic execution (see `unwind`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.elements import in_order, one_iteration, summed
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.nodes import Call, fresh_index, index_symbol
from tensorprog.covariance.unwound import Unwound
from tensorprog.covariance.writes import (
    AxisExpression,
    Binding,
    Frame,
    Write,
    bound_symbols,
    expressions_of,
    leaves,
    shifted,
    solve,
)
from tensorprog.ir.program import Cell, MatrixType, Var


class CellContents:
    """What a cell holds at a point of the program, as a function of the loops around it."""

    def __init__(self, unwound: Unwound):
        self.unwound = unwound

    def write(self, kind: str, cell: Cell, items: tuple, value: AxisExpression) -> None:
        exprs, axes = self.unwound.items(items, len(value.axes))
        at = value.at(tuple(axes))
        bindings = tuple(Binding(a, Integer(0), n) for a, n in zip(axes, value.sizes))
        full = (*self._homes(cell), *exprs)
        self.log(cell, Write(kind, bindings, tuple(self.unwound.guards), full, at))

    def _homes(self, cell: Cell) -> tuple[Expr, ...]:
        if cell not in self.unwound.single:
            return ()
        return tuple(index_symbol(name) for name in self.unwound.single[cell])

    def log(self, cell: Cell, write: Write) -> None:
        self.unwound.frames[-1].log.setdefault(cell, []).append(write)

    def load(self, cell: Cell, items: tuple, var: Var) -> AxisExpression:
        exprs, axes = self.unwound.items(items, len(var.type.shape))
        return AxisExpression(self.read(cell, exprs), tuple(axes), self.unwound.sizes(var))

    def read(self, cell: Cell, items: tuple[Expr, ...]) -> Expr:
        if isinstance(cell.type, MatrixType):
            raise Unsupported("a matrix is read as a value")
        if cell in self.unwound.single:
            return self._family_call(cell, (*self._homes(cell), *items))
        if cell in self.unwound.initial and cell not in self.unwound.updated:
            return self._initial_value(cell, items)
        return self._read_frames(cell, items, len(self.unwound.frames) - 1)

    def _initial_value(self, cell: Cell, items: tuple[Expr, ...]) -> Expr:
        return self.unwound.laws.value(self.unwound.initial[cell], items)

    def _family_call(self, cell: Cell, items: tuple[Expr, ...]) -> Expr:
        if cell not in self.unwound.family:
            params = tuple(fresh_index() for _ in items)
            random = cell.tensor.width is not None
            number = self.unwound.function(cell.display or cell.name, params, random,
                                   lambda: self._cases_from_log(self.unwound.frames[0].log.get(cell, []), params))
            self.unwound.functions[number].family = True
            self.unwound.family[cell] = number
        return Call(Integer(self.unwound.family[cell]), *items)

    def _cases_from_log(self, log: list[Write], params: tuple[Symbol, ...]) -> list:
        """The cases of a family whose elements are stored once; later additions to an element are part of its value."""
        stores: list = []
        for write in log:
            for flat_bindings, leaf in leaves(write, ()):
                solved = solve((*flat_bindings, *leaf.bindings), leaf.items, params)
                if solved is None:
                    continue
                values, guards, free = solved
                if leaf.kind == "add":
                    # What is added to an element after it was stored is added in whichever case it was stored.
                    amount = summed(leaf, values, guards, free)
                    stores = [(g, e + amount) for g, e in stores]
                    continue
                if free:
                    raise Unsupported("a family's element is written in several iterations")
                holding = tuple(g for g in (*guards, *(g.xreplace(values) for g in leaf.guards)) if g != 1)
                # Cases are tried in order, and what was stored last holds.
                stores.insert(0, (holding, leaf.value.xreplace(values)))
        return stores

    def _read_frames(self, cell: Cell, items: tuple[Expr, ...], depth: int) -> Expr:
        """The value at the current point, looking from the frame at `depth` outwards."""
        frame = self.unwound.frames[depth]
        return self._read_log(cell, frame.log.get(cell, []), items, lambda: self._before(cell, items, depth),
                              self.unwound.guards if depth == len(self.unwound.frames) - 1 else [])

    def _before(self, cell: Cell, items: tuple[Expr, ...], depth: int) -> Expr:
        frame = self.unwound.frames[depth]
        if frame.binding is None:
            if cell in self.unwound.initial:
                return self._initial_value(cell, items)
            return Integer(0)
        if cell not in frame.written:
            return self._read_frames(cell, items, depth - 1)
        return self._carried(cell, items, depth)

    def _carried(self, cell: Cell, items: tuple[Expr, ...], depth: int) -> Expr:
        """The value that a loop carries into its current iteration, as a function of the iteration."""
        frame = self.unwound.frames[depth]
        binding = frame.loop
        if cell not in frame.carried:
            outer = tuple(f.binding.symbol for f in self.unwound.frames[:depth] if f.binding)
            params = tuple(fresh_index() for _ in items)
            initial = self._read_frames(cell, params, depth - 1)
            # The function is there before its cases, which call it at the iteration before.
            number = self.unwound.function(f"{cell.display or cell.name}", (*outer, binding.symbol, *params),
                                   cell.tensor.width is not None, list)
            self.unwound.functions[number].resolve = lambda: self._carried_cases(
                cell, frame, lambda i: Call(Integer(number), *outer, i, *params), params, initial)
            frame.carried[cell] = number
        outer = tuple(f.binding.symbol for f in self.unwound.frames[:depth] if f.binding)
        return Call(Integer(frame.carried[cell]), *outer, binding.symbol, *items)

    def _carried_cases(self, cell: Cell, frame: Frame, value: Callable[[Expr], Expr], params: tuple,
                       initial: Expr) -> list:
        binding = frame.loop
        log = frame.log.get(cell, [])
        elementwise = in_order(log, binding, params, initial, binding.symbol)
        if elementwise is not None:
            return [((), elementwise)]
        return self._iterated(cell, log, binding, binding.symbol, params, value, initial)

    def _iterated(self, cell: Cell, log: list[Write], binding: Binding, i: Expr, items: tuple[Expr, ...],
                  value: Callable[[Expr], Expr], initial: Expr) -> list:
        """The cases of what a cell holds before iteration `i` of a loop, where `value` says what it holds before
        others: what the iteration before left, or what it held before the loop."""
        before = binding.previous(i)
        # The body's writes as those of the iteration before `i`.
        moved = [shifted(w, binding.symbol, before) for w in log]
        left = self._read_log(cell, moved, items, lambda: value(before), [])
        return [((binding.later(i, binding.first),), left), ((), initial)]

    def _read_log(self, cell: Cell, log: list[Write], items: tuple[Expr, ...], otherwise: Callable[[], Expr],
                  known: list[Expr]) -> Expr:
        if not log:
            return otherwise()
        write, rest = log[-1], log[:-1]
        if write.kind == "zero":
            return Integer(0)

        def earlier() -> Expr:
            return self._read_log(cell, rest, items, otherwise, known)

        if write.kind == "loop":
            return self._after_loop(cell, write, items, earlier)
        solved = solve(write.bindings, write.items, items)
        if solved is None:
            return earlier()
        values, guards, free = solved
        guards = [*guards, *(g.xreplace(values) for g in write.guards if g not in known)]
        guards = [g for g in map(self.unwound.decided, guards) if g != 1]
        if any(g == 0 for g in guards):
            return earlier()
        expr = write.value.xreplace(values)
        if write.kind == "add":
            # Guards are 0 or 1: as factors, they say whether something is added.
            return earlier() + expr * sympy.Mul(*guards)
        return expr if not guards else self._either(cell, guards, expr, earlier())

    def _either(self, cell: Cell, guards: list[Expr], yes: Expr, no: Expr) -> Expr:
        free = self.unwound.free_indices(sympy.Tuple(yes, no, *guards))
        random = self.unwound.is_random(yes) or self.unwound.is_random(no)
        number = self.unwound.function(cell.display or cell.name, tuple(free), random,
                               lambda: [(tuple(guards), yes), ((), no)])
        return Call(Integer(number), *free)

    def _after_loop(self, cell: Cell, write: Write, items: tuple[Expr, ...], earlier: Callable[[], Expr]) -> Expr:
        """The value after a finished loop."""
        found = list(leaves(write, ()))
        kinds = {leaf.kind for _, leaf in found}
        if "zero" not in kinds:
            simple = self._simple_loop(cell, found, items, earlier)
            if simple is None and "store" in kinds:
                body = [replace(w, guards=(*write.guards, *w.guards)) for w in write.body]
                simple = in_order(body, write.bindings[0], items, earlier(), None)
            if simple is not None:
                return simple
        return self._loop_end(cell, write, items, earlier)

    def _simple_loop(self, cell: Cell, found: list, items: tuple, earlier: Callable[[], Expr]) -> Expr | None:
        """Sums, or stores to elements that the loop variables determine, each in one iteration."""
        solved = [(leaf, solve((*bindings, *leaf.bindings), leaf.items, items)) for bindings, leaf in found]
        stores = [(leaf, s) for leaf, s in solved if leaf.kind == "store" and s is not None]
        adds = [(leaf, s) for leaf, s in solved if leaf.kind == "add" and s is not None]
        # Sums alone or stores alone: where there are both, their order decides.
        if stores and adds or any(s[2] for _, s in stores) or not one_iteration([s[0] for _, s in stores]):
            return None
        value = earlier()
        for leaf, (values, guards, _) in stores:
            guards = [g for g in (*guards, *(g.xreplace(values) for g in leaf.guards)) if self.unwound.decided(g) != 1]
            expr = leaf.value.xreplace(values)
            value = expr if not guards else self._either(cell, guards, expr, value)
        for leaf, solution in adds:
            value = value + summed(leaf, *solution)
        return value

    def _loop_end(self, cell: Cell, write: Write, items: tuple[Expr, ...], earlier: Callable[[], Expr]) -> Expr:
        """A value carried round the loop, after its last iteration."""
        binding = write.bindings[0]
        i = fresh_index()
        initial = earlier()
        free = [s for s in self.unwound.free_indices(sympy.Tuple(initial, *items, *expressions_of(write.body), binding.start,
                                                         binding.stop)) if s != binding.symbol]
        free = [s for s in free if s not in bound_symbols(write.body)]
        number = self.unwound.function(cell.display or cell.name, (*free, i), cell.tensor.width is not None, list)
        self.unwound.functions[number].resolve = lambda: self._iterated(
            cell, list(write.body), binding, i, items, lambda before: Call(Integer(number), *free, before), initial)
        return Call(Integer(number), *free, binding.end)
