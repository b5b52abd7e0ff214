"""Expressions in calls, entries, sums and expectations as expressions in values of pairs (`pairs_nodes`)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.guards import known, simplify_guards
from tensorprog.covariance.nodes import AtLeastZero, Call, Entry, IsZero, Total, flat, fresh_index, total
from tensorprog.covariance.pairs_levels import Levels
from tensorprog.covariance.pairs_means import Part, algebra, polynomial, products
from tensorprog.covariance.pairs_nodes import LEVEL, At, Inner, Item, Key, NotPairs, Own, Rows, Two, Undecided
from tensorprog.covariance.system import Expectation, System

MOST_LITERAL = 8
MOST_UNFOLDINGS = 8


class Terms(ABC):
    """Translates expressions under `_facts`, linear expressions that are known to be >= 0.

    With `extend` an expression is of rows of side 0 alone, and its translation is one of pairs that is right at equal
    rows.

    Attributes:
        duals: the pairs (phi, psi), numbered.
    """

    def __init__(self, system: System, rows: Rows, sizes: dict[int, tuple[Expr, ...]]):
        self.system, self.rows, self.sizes = system, rows, sizes
        self.kinds = Levels(system)
        self.duals: list[tuple[Expr, Expr]] = []
        self._column = fresh_index()
        self._facts: tuple[Expr, ...] = ()

    @abstractmethod
    def _call(self, call: Expr, extend: bool) -> Expr:
        """A call as a node."""

    @abstractmethod
    def _defined(self, key: Key) -> Integer:
        """The number of a definition."""

    # --- cases ---

    def _unfolded(self, call: Expr) -> Expr:
        """The case of an equation that applies."""
        equation = self.system.equations[int(call.args[0])]
        mapping = dict(zip(equation.params, call.args[1:]))
        for guards, expr in equation.cases:
            decided = [self._decided(g.subs(mapping, simultaneous=True)) for g in guards]
            if any(g == 0 for g in decided):
                continue
            for g in decided:
                if g != 1:
                    raise Undecided(str(g))
            return expr.subs(mapping, simultaneous=True)
        raise NotPairs(f"{equation.name} is not defined at {call.args[1:]}")

    def _decided(self, expr: Expr) -> Expr:
        return simplify_guards(expr, self._facts)

    # --- expressions ---

    def translated(self, expr: Expr, extend: bool) -> Expr:
        """An expression in calls, entries and expectations in the nodes of `pairs_nodes`."""
        expr = self._decided(expr)
        if isinstance(expr, AtLeastZero | IsZero):
            raise Undecided(str(expr))
        if isinstance(expr, sympy.Add | sympy.Mul):
            if any(a == 0 for a in expr.args):
                return Integer(0)
            return expr.func(*(self.translated(a, extend) for a in expr.args))
        if isinstance(expr, sympy.Pow):
            if not expr.exp.is_Number:
                raise NotPairs(f"a power of {expr.exp}")
            return self.translated(expr.base, extend)**expr.exp
        if isinstance(expr, Call | Expectation | Total | Entry):
            return self._leaf(expr, extend)
        if self.rows.sides(expr) or expr.has(Call, LEVEL):
            raise NotPairs(f"it holds {expr}")
        return expr

    def _leaf(self, expr: Expr, extend: bool) -> Expr:
        sides = self.rows.sides(expr)
        if isinstance(expr, Entry):
            return self._item(expr)
        if len(sides) == 1 and not extend:
            (side,) = sides
            return Own(Integer(side), self.extended(expr))
        if isinstance(expr, Call):
            return self._call(expr, extend)
        return self._expectation(expr, extend) if isinstance(expr, Expectation) else self._total(expr, extend)

    def extended(self, expr: Expr) -> Expr:
        """The At or Inner that has the value of an expression of one row at equal rows."""
        return self._place(self.rows.on_side(expr, 0), True)

    def _place(self, expr: Expr, extend: bool) -> Expr:
        """An expression as an At or Inner, with a definition of its own if it is not one."""
        if isinstance(expr, Call | Total):
            found = self.translated(expr, extend)
            if isinstance(found, At | Inner):
                return found
        leveled = expr.has(LEVEL)
        number = self._defined(Key(None, (expr,), extend, leveled))
        return At(number, LEVEL) if leveled else At(number)

    # --- entries and sums ---

    def _item(self, entry: Expr) -> Expr:
        number, row, *index = entry.args
        if row not in self.rows or any(self.rows.sides(i) or i.has(LEVEL) or i.has(sympy.Dummy) for i in index):
            raise NotPairs(f"it reads an input at {entry.args[1:]}")
        return Item(number, Integer(self.rows.side(row)), *index)

    def _total(self, expr: Expr, extend: bool) -> Expr:
        body, var, start, stop = expr.args
        fresh = fresh_index()
        body = body.subs(var, fresh)
        outer, self._facts = self._facts, (*self._facts, fresh - start, stop - 1 - fresh)
        try:
            body = flat(self._decided(self._summand(body, fresh, var == self._column)))
        finally:
            self._facts = outer
        return self._carried_out(total(body, fresh, start, stop), extend)

    def _carried_out(self, expr: Expr, extend: bool) -> Expr:
        if isinstance(expr, sympy.Add | sympy.Mul):
            return expr.func(*(self._carried_out(a, extend) for a in expr.args))
        return self._inner(*expr.args, extend) if isinstance(expr, Total) else self.translated(expr, extend)

    def _summand(self, body: Expr, var: Symbol, step: bool) -> Expr:
        """A body with the calls unfolded that depend on the index of an input; with `step` once also
        those of recursions."""
        for k in range(20):
            body = self._decided(body)
            found = [c for c in body.atoms(Call) if c.has(var) and (step and k == 0 or not self._is_recursive(c))]
            if not found and not (step and k == 0):
                return body
            body = body.xreplace({c: self._unfolded(c) for c in found})
        raise NotPairs("a sum's terms are nested too deeply")

    def _is_recursive(self, call: Expr) -> bool:
        number = int(call.args[0])
        return number in self.kinds.recursive and not all(
            a.is_Integer for k, a in enumerate(call.args[1:]) if (number, k) in self.kinds.moving)

    def _recursive_sum(self, body: Expr, var: Symbol, start: Expr, stop: Expr, extend: bool) -> Expr:
        """A sum over columns of values at levels, as a definition of its own."""
        shifts = [flat(a - LEVEL) for c in body.atoms(Call) for a in c.args[1:] if a.has(LEVEL)]
        if not shifts or not all(s.is_Integer for s in shifts):
            raise NotPairs(f"it holds the sum of {body}")
        shift = max(shifts)
        whole = Total(body.subs({LEVEL: LEVEL - shift, var: self._column}), self._column, start, stop)
        return At(self._defined(Key(None, (whole,), extend, True)), LEVEL + shift)

    def _inner(self, body: Expr, var: Symbol, start: Expr, stop: Expr, extend: bool) -> Expr:
        """A sum over the entries of two rows, or over a literal range."""
        entries = [e for f in sympy.Mul.make_args(body) for e in ([f.base] * 2 if f.is_Pow and f.exp == 2 else [f])]
        if len(entries) == 2 and start == 0 and all(self._is_column(e, var, stop) for e in entries):
            sides = [self.rows.side(e.args[1]) for e in entries]
            first, second = (e.args[0] for e in sorted(entries, key=lambda e: self.rows.side(e.args[1])))
            found = Inner(first, second)
            return found if sides[0] != sides[1] or extend else Own(Integer(sides[0]), found)
        if any(c.has(var) and self._is_recursive(c) for c in body.atoms(Call)):
            return self._recursive_sum(body, var, start, stop, extend)
        if start.is_Integer and stop.is_Integer and stop - start <= MOST_LITERAL:
            return sympy.Add(*(self.translated(body.subs(var, j), extend) for j in range(int(start), int(stop))))
        raise NotPairs(f"it holds the sum of {body}")

    def _is_column(self, entry: Expr, var: Symbol, stop: Expr) -> bool:
        """Whether an expression is X[row, var], with `stop` the length of the row."""
        return (isinstance(entry, Entry) and len(entry.args) == 3 and entry.args[1] in self.rows
                and entry.args[2] == var and self.sizes[int(entry.args[0])][1] == stop)

    # --- expectations ---

    def _expectation(self, expr: Expr, extend: bool) -> Expr:
        number = int(expr.args[0])
        values = dict(zip(self.system.recipes[number].arguments, expr.args[1:]))
        formula = algebra(self.system, number)
        if formula is not None and polynomial(self.system, number):
            return self._algebra(formula, values, extend)
        covariance = self.system.integrands[number][1]

        def value(i: Symbol, j: Symbol) -> Expr:
            found = covariance.get((i, j), covariance.get((j, i)))
            if found.is_Symbol and found not in values:
                raise NotPairs(f"{found} is not among the arguments of {self.system.integrands[number][0]}")
            return values.get(found, found)

        try:
            found = products(self.system, number, lambda i, j: self._is_zero(value(i, j), self._facts, 0))
            return sympy.Add(*(self.translated(c.xreplace(values), extend) * sympy.Mul(*(
                self._mean(part, value, extend) for part in parts)) for c, parts in found))
        except NotPairs:
            if formula is None:
                raise
            return self._algebra(formula, values, extend)

    def _is_zero(self, expr: Expr, facts: tuple[Expr, ...], depth: int) -> bool:
        """Whether a covariance is zero in every case that the facts leave."""
        expr = flat(simplify_guards(expr, facts))
        return all(t == 0 or any(isinstance(f, Call) and self._call_is_zero(f, facts, depth)
                                 or isinstance(f, Total) and self._is_zero(f.args[0], facts, depth)
                                 for f in sympy.Mul.make_args(t)) for t in sympy.Add.make_args(expr))

    def _call_is_zero(self, call: Expr, facts: tuple[Expr, ...], depth: int) -> bool:
        if depth > MOST_UNFOLDINGS:
            return False
        equation = self.system.equations[int(call.args[0])]
        mapping = dict(zip(equation.params, call.args[1:]))
        for guards, expr in equation.cases:
            decided = [simplify_guards(g.subs(mapping, simultaneous=True), facts) for g in guards]
            more = (*facts, *(f for g in decided for f in known(g)))
            value = expr.subs(mapping, simultaneous=True)
            if all(g != 0 for g in decided) and not self._is_zero(value, more, depth + 1):
                return False
            if all(g == 1 for g in decided):
                break
        return True

    def _algebra(self, formula: Expr, values: dict, extend: bool) -> Expr:
        return self.translated(flat(formula.xreplace(values)), extend)

    def _mean(self, part: Part, value, extend: bool) -> Expr:
        phi, psi = part.phi, part.psi
        kab = value(part.first, part.second)
        if part.is_covariance:
            return self.translated(kab, extend)
        kaa, kbb = value(part.first, part.first), value(part.second, part.second)
        if not extend:
            sides = [self.rows.sides(k) for k in (kaa, kbb)]
            if any(len(s) > 1 for s in sides) or sides[0] and sides[0] == sides[1]:
                raise NotPairs(f"E[{phi} {psi}] mixes rows in one function")
            if 1 in sides[0] or 0 in sides[1]:
                phi, psi, kaa, kbb = psi, phi, kbb, kaa
        return Two(Integer(self._functions(phi, psi)), self.extended(kaa), self._place(kab, extend), self.extended(kbb))

    def _functions(self, phi: Expr, psi: Expr) -> int:
        x = Symbol("x", real=True)
        pair = tuple(f.subs({s: x for s in f.free_symbols}) for f in (phi, psi))
        if pair not in self.duals:
            self.duals.append(pair)
        return self.duals.index(pair)
