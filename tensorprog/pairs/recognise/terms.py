"""Expressions in calls, entries, sums and expectations as expressions in values of pairs (`nodes`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.nodes import AtLeastZero, Call, Entry, Expectation, IsZero, Total, flat, fresh_index, total
from tensorprog.covariance.system import System
from tensorprog.pairs.nodes import LEVEL, At, Inner, Item, Key, NotPairs, Own, RowSymbols, Two, Undecided
from tensorprog.pairs.recognise.cases import DecidedGuards
from tensorprog.pairs.recognise.level_arguments import Levels
from tensorprog.pairs.recognise.means import GaussianPair, algebra, polynomial, products

#: Sums over so many terms with fixed ends are written out, of which the tests' networks have 2 at most.
MOST_LITERAL = 8


class Terms(DecidedGuards, ABC):
    """Translates expressions under facts.

    With `extend` an expression is of rows of side 0 alone, and its translation is one of pairs that is right at equal
    rows.

    Attributes:
        duals: the pairs (phi, psi), numbered.
    """

    def __init__(self, system: System, rows: RowSymbols, sizes: dict[int, tuple[Expr, ...]]):
        super().__init__(system, rows)
        self.sizes = sizes
        self.kinds = Levels(system)
        self.duals: list[tuple[Expr, Expr]] = []
        self._column, self._level = fresh_index(), fresh_index()

    @abstractmethod
    def _call(self, call: Expr, extend: bool) -> Expr:
        """A call as a node."""

    @abstractmethod
    def _placed(self, key: Key, level: Expr) -> Expr:
        """A definition's value at a level."""

    @abstractmethod
    def _number(self, key: Key) -> int:
        """The number of a definition."""

    # --- expressions ---

    def translated(self, expr: Expr, extend: bool) -> Expr:
        """An expression in calls, entries and expectations in the nodes of `nodes`."""
        expr = self._decided(expr)
        if isinstance(expr, AtLeastZero | IsZero):
            raise Undecided(expr)
        if isinstance(expr, sympy.Add | sympy.Mul):
            # A guard that does not hold makes its term zero, even where the rest is not defined.
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
        key = Key(None, (expr,), extend, leveled)
        return self._placed(key, LEVEL) if leveled else At(Integer(self._number(key)))

    # --- entries and sums ---

    def _item(self, entry: Expr) -> Expr:
        number, row, *index = entry.args
        if row not in self.rows or any(self.rows.sides(i) or i.has(LEVEL) or i.has(sympy.Dummy) for i in index):
            raise NotPairs(f"it reads an input at {entry.args[1:]}")
        return Item(number, Integer(self.rows.side(row)), *index)

    def _total(self, expr: Expr, extend: bool) -> Expr:
        body, var, start, stop = expr.args
        if self._is_level(body, var):
            return self._over_levels(expr, extend)
        fresh = fresh_index()
        body = body.xreplace({var: fresh})
        # Inside of the sum its variable is in range.
        outer, self._facts = self._facts, (*self._facts, fresh - start, stop - 1 - fresh)
        try:
            body = flat(self._decided(self._summand(body, fresh, var == self._column)))
        finally:
            self._facts = outer
        return self._carried_out(total(body, fresh, start, stop), extend)

    def _is_level(self, body: Expr, var: Symbol) -> bool:
        return any((int(c.args[0]), k) in self.kinds.moving for c in body.atoms(Call)
                   for k, a in enumerate(c.args[1:]) if a.has(var))

    def _over_levels(self, expr: Expr, extend: bool) -> Expr:
        """A sum over levels, as the partial sum up to a level."""
        body, var, start, stop = expr.args
        if start.is_Integer and stop.is_Integer and stop - start <= MOST_LITERAL:
            return self._written_out(body, var, range(int(start), int(stop)), extend)
        last = flat(stop - 1)
        if not start.is_Integer or last.has(LEVEL) and not flat(last - LEVEL).is_Integer:
            raise NotPairs(f"it holds a sum over levels from {start} to {stop}")
        whole = Total(body.xreplace({var: self._level}), self._level, start, LEVEL + 1)
        return self._placed(Key(None, (whole,), extend, True), last)

    def _written_out(self, body: Expr, var: Symbol, values: range, extend: bool) -> Expr:
        return sympy.Add(*(self.translated(body.xreplace({var: Integer(j)}), extend) for j in values))

    def partial_sum(self, expr: Expr, extend: bool) -> Expr:
        """The step of the sum of values at levels up to LEVEL."""
        body, var, start, _ = expr.args
        if not any(flat(LEVEL - start - f).is_nonnegative for f in self._facts):
            raise Undecided(AtLeastZero(LEVEL - start))
        before = self._placed(Key(None, (expr,), extend, True), LEVEL - 1)
        return before + self._place(body.xreplace({var: LEVEL}), extend)

    def _carried_out(self, expr: Expr, extend: bool) -> Expr:
        if isinstance(expr, sympy.Add | sympy.Mul):
            return expr.func(*(self._carried_out(a, extend) for a in expr.args))
        if not isinstance(expr, Total):
            return self.translated(expr, extend)
        body, var, start, stop = expr.args
        return self._inner(body, var, start, stop, extend)

    def _summand(self, body: Expr, var: Symbol, step: bool) -> Expr:
        """A body with the calls unfolded that depend on the index of an input; with `step` once also
        those of recursions."""
        for k in range(20):
            body = self._decided(body)
            # Calls without recursion end after as many rounds as equations are nested.
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
        whole = Total(body.xreplace({LEVEL: LEVEL - shift, var: self._column}), self._column, start, stop)
        return self._placed(Key(None, (whole,), extend, True), LEVEL + shift)

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
            return self._written_out(body, var, range(int(start), int(stop)), extend)
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
        # Moments of polynomials are polynomials in the covariances (Isserlis).
        if formula is not None and polynomial(self.system, number):
            return self._algebra(formula, values, extend)
        covariance = self.system.integrands[number][1]

        def value(i: Symbol, j: Symbol) -> Expr:
            # A Gaussian that enters linearly has no variance among the arguments: E[u g(v)] = Cov(u, v) E g'(v).
            found = covariance[(i, j) if (i, j) in covariance else (j, i)]
            if found.is_Symbol and found not in values:
                own = self._own_variance(i, covariance, values) if i == j else None
                if own is not None:
                    return own
                raise NotPairs(f"{found} is not among the arguments of {self.system.integrands[number][0]}")
            return values.get(found, found)

        try:
            found = products(self.system, number, lambda i, j: self._is_zero(value(i, j), self._facts, 0), extend)
            return sympy.Add(*(self.translated(c.xreplace(values), extend) * sympy.Mul(*(
                self._mean(part, value, extend) for part in parts)) for c, parts in found))
        # Not a product of two functions, but a formula in covariances may still do.
        except NotPairs:
            if formula is None:
                raise
            return self._algebra(formula, values, extend)

    def _own_variance(self, z: Symbol, covariance: Mapping[tuple[Symbol, Symbol], Expr], values: Mapping) -> Expr | None:
        """The variance of a Gaussian that an expectation does not depend on, as of u in E[u g(v)], if u and v are
        elements of one family: from the covariance of both and the variance of v."""
        for pair, symbol in covariance.items():
            other = next((g for g in pair if g != z), z)
            both, alone = values.get(symbol), values.get(covariance.get((other, other)))
            if z not in pair or other == z or not isinstance(both, Call) or not isinstance(alone, Call):
                continue
            number, *args = both.args
            halves = tuple(args[:len(args) // 2]), tuple(args[len(args) // 2:])
            known = tuple(alone.args[1:])
            if int(number) in self.system.symmetric and alone.args[0] == number and known[:len(halves[0])] in halves:
                # The half of the arguments that is not v's.
                own = halves[known[:len(halves[0])] == halves[0]]
                return Call(number, *own, *own)
        return None

    def _algebra(self, formula: Expr, values: dict, extend: bool) -> Expr:
        return self.translated(flat(formula.xreplace(values)), extend)

    def _mean(self, part: GaussianPair, value: Callable[[Symbol, Symbol], Expr], extend: bool) -> Expr:
        phi, psi = part.phi, part.psi
        if part.is_odd:
            return Integer(0)
        kab = value(part.first, part.second)
        if part.is_covariance:
            return self.translated(kab, extend)
        kaa, kbb = value(part.first, part.first), value(part.second, part.second)
        if not extend:
            sides = [self.rows.sides(k) for k in (kaa, kbb)]
            if any(len(s) > 1 for s in sides):
                raise NotPairs(f"E[{phi} {psi}] mixes rows in one function")
            if sides[0] and sides[0] == sides[1]:
                if part.first != part.second:
                    raise NotPairs(f"E[{phi} {psi}] mixes rows in one function")
                return self._of_one_row(phi * psi, kaa, sides[0] == {0})
            # The function of row 0 comes first.
            if 1 in sides[0] or 0 in sides[1]:
                phi, psi, kaa, kbb = psi, phi, kbb, kaa
        return Two(Integer(self._functions(phi, psi)), self.extended(kaa), self._place(kab, extend), self.extended(kbb))

    def _of_one_row(self, f: Expr, variance: Expr, first: bool) -> Expr:
        """The mean of a function of one row, as that of its product with a constant function of the other."""
        covariance = self.extended(variance)
        return Two(Integer(self._functions(*((f, Integer(1)) if first else (Integer(1), f)))), *[covariance] * 3)

    def _functions(self, phi: Expr, psi: Expr) -> int:
        x = Symbol("x", real=True)
        pair = tuple(f.subs(dict.fromkeys(f.free_symbols, x)) for f in (phi, psi))
        if pair not in self.duals:
            self.duals.append(pair)
        return self.duals.index(pair)
