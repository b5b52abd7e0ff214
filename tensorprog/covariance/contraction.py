"""Sums over the axes of inputs, carried out first.

The gradient of `U @ x[t]` by U is an outer product, so a tangent kernel holds

    sum_j sum_ts E(t, s) X[a, t, j] X[c, s, j]  =  sum_ts E(t, s) G(a, t, c, s)

with Gram products G(a, t, c, s) = sum_j X[a, t, j] X[c, s, j]. Evaluated as on the left, everything under the sum over
j is computed for every j. Here it becomes what is on the right, with G as an equation of its own. Functions under such
a sum are replaced by their cases; of a recursion, the sums are a recursion too.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.cases import Case
from tensorprog.covariance.guards import simplify_guards
from tensorprog.covariance.nodes import (
    AtLeastZero,
    Call,
    Entry,
    Expectation,
    IsZero,
    Total,
    count,
    factors_of,
    flat,
    fresh_index,
    total,
)
from tensorprog.covariance.system import Equation, System

#: Factors under one sum; new equations and terms that a sum may lead to.
MOST_FACTORS, MOST_EQUATIONS, MOST_TERMS = 4, 12, 40

Facts = tuple[Expr, ...]


class _Left(Exception):
    """A sum is left as it is."""


def contracted(system: System) -> System:
    """The system with sums over axes of inputs as equations of their own, without those that nothing needs then."""
    work = _Contraction(system)
    equations = {number: Equation(number, e.name, e.params, tuple((g, work.rewritten(expr)) for g, expr in e.cases))
                 for number, e in system.equations.items()}
    return system.replaced({**equations, **work.added}, work.symmetric)


class _Contraction:
    """The equations that sums over axes become.

    Attributes:
        added: number -> equation.
        symmetric: those whose two halves of the arguments may change places.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.added: dict[int, Equation] = {}
        self.symmetric: set[int] = set()
        self._known: dict[tuple, int] = {}
        self._most = 0
        self._next = 1 + max(system.equations, default=0)
        self._reads: dict[tuple[int, int], bool] = {}

    def rewritten(self, expr: Expr) -> Expr:
        """An expression with its sums over axes carried out first."""
        if not expr.has(Total):
            return expr
        if isinstance(expr, Total):
            found = self._carried_out(expr)
            if found is not None:
                return found
        return expr.func(*map(self.rewritten, expr.args))

    def _carried_out(self, expr: Expr) -> Expr | None:
        body, var, start, stop = expr.args
        if not self._reads_entries(body, var):
            return None
        before = self._state()
        self._most = len(self.added) + MOST_EQUATIONS
        try:
            return _Sum(self, var, start, stop).of(body, False)
        except _Left:
            self._restore(before)
            return None

    def _state(self) -> tuple:
        return dict(self.added), dict(self._known), set(self.symmetric), self._next

    def _restore(self, state: tuple) -> None:
        self.added, self._known, self.symmetric, self._next = state
        # Numbers from here on will be those of other equations.
        self._reads = {key: reads for key, reads in self._reads.items() if key[0] < self._next}

    def _reads_entries(self, expr: Expr, var: Symbol) -> bool:
        """Whether `var` is an index of an input's entry, maybe in the equation of a call, outside of expectations."""
        if not expr.has(var) or isinstance(expr, Expectation):
            return False
        if isinstance(expr, Call):
            return any(self._reads_at(int(expr.args[0]), k) for k, a in enumerate(expr.args[1:]) if a.has(var))
        return isinstance(expr, Entry) or any(self._reads_entries(a, var) for a in expr.args)

    def _reads_at(self, number: int, position: int) -> bool:
        key = number, position
        if key not in self._reads:
            self._reads[key] = False  # while it is being looked at
            equation = self._equation(number)
            symbol = equation.params[position]
            self._reads[key] = any(self._reads_entries(expr, symbol) for _, expr in equation.cases)
        return self._reads[key]

    def _equation(self, number: int) -> Equation:
        equation = self.added.get(number) or self.system.equations[number]
        if not equation.cases:
            raise _Left  # it is being made
        return equation

    def call(self, sums: _Sum, factors: list[Expr], spread: bool) -> Expr:
        """The call of the equation for the sum over `var` of a product of entries and calls."""
        if len(factors) > MOST_FACTORS:
            raise _Left
        shape = _Shape(sums, factors)
        key = *shape.key, spread and any(isinstance(f, Call) for f in factors)
        if key not in self._known:
            if len(self.added) >= self._most:
                raise _Left
            number = self._known[key] = self._next
            self._next += 1
            name = f"sum{number}"
            self.added[number] = Equation(number, name, shape.params, ())  # a recursion may come back to it
            before = self._state()
            try:
                cases = tuple(self._cases(shape, spread))
            except _Left:
                self._restore(before)
                cases = (shape.plain,)
            self.added[number] = Equation(number, name, shape.params, cases)
            if shape.symmetric:
                self.symmetric.add(number)
        return Call(Integer(self._known[key]), *shape.arguments)

    def _cases(self, shape: _Shape, spread: bool) -> Iterator[Case]:
        """The sum by the cases of the first call in it.

        Raises:
            _Left: if the call is not a sum of products, or one that would take longer than the sum over the axis.
        """
        sums = _Sum(self, shape.var, shape.start, shape.stop)
        calls = [f for f in shape.factors if isinstance(f, Call)]
        if not calls:
            yield shape.plain
            return
        rest = list(shape.factors)
        rest.remove(calls[0])
        equation = self._equation(int(calls[0].args[0]))
        at = dict(zip(equation.params, calls[0].args[1:]))
        # Which case holds must not depend on the index that is summed over.
        for given, expr in equation.cases:
            guards = [simplify_guards(g.xreplace(at), sums.facts) for g in given]
            if any(g.has(shape.var) for g in guards):
                raise _Left
            expr = expr.xreplace(at)
            spreads = any(t.has(shape.var) for t in expr.atoms(Total))
            if spreads and spread:
                raise _Left  # a sum for each of two factors costs more than one over the axis
            if 0 not in guards:
                yield tuple(g for g in guards if g != 1), sums.of(sympy.Mul(expr, *rest), spread or spreads)


class _Sum:
    """The sum over start <= var < stop."""

    def __init__(self, contraction: _Contraction, var: Symbol, start: Expr, stop: Expr) -> None:
        self.contraction, self.var, self.start, self.stop = contraction, var, start, stop
        self.facts: Facts = (flat(var - start), flat(stop - 1 - var))

    def of(self, expr: Expr, spread: bool) -> Expr:
        """The sum of an expression. With `spread`, no more sums may come to stand under it.

        Raises:
            _Left: if something else than a sum of products of entries stands under the sum.
        """
        expr = flat(simplify_guards(flat(expr), self.facts))
        terms = sympy.Add.make_args(expr)
        if len(terms) > MOST_TERMS:
            raise _Left
        return sympy.Add(*(self._term(term, spread) for term in terms))

    def _term(self, term: Expr, spread: bool) -> Expr:
        if not term.has(self.var):
            return term * count(self.start, self.stop)
        outside: list[Expr] = []
        inside: list[Expr] = []
        for factor in factors_of(term):
            (inside if factor.has(self.var) else outside).append(factor)
        # More than one sum under the sum: those over other axes of inputs may turn into numbers.
        if sum(isinstance(f, Total) for f in inside) > 1:
            inside = factors_of(sympy.Mul(*map(self.contraction.rewritten, inside)))
        sums = [f for f in inside if isinstance(f, Total)]
        if len(sums) > 1 or any(b.has(self.var) for s in sums for b in s.args[2:]):
            raise _Left
        if not sums:
            if not all(isinstance(f, Entry | Call | AtLeastZero | IsZero) for f in inside):
                raise _Left
            return sympy.Mul(*outside) * self.contraction.call(self, inside, spread)
        body, inner, start, stop = sums[0].args
        fresh = fresh_index()
        rest = sympy.Mul(*(f for f in inside if f is not sums[0]))
        within = self.of(flat(body.xreplace({inner: fresh}) * rest), True)
        return sympy.Mul(*outside) * total(within, fresh, start, stop)


class _Shape:
    """A product under a sum, in parameters of its own: alike for all products that differ only in other indices.

    Attributes:
        factors: the product, in `params`.
        arguments: what `params` are in the product at hand.
    """

    def __init__(self, sums: _Sum, factors: list[Expr]) -> None:
        self._given, self.var = sums.var, Symbol("_sum", integer=True)
        self.params: tuple[Symbol, ...] = ()
        self.arguments: tuple[Expr, ...] = ()
        ends = []
        self.factors = []
        for factor in sorted(factors, key=self._kind):
            self.factors.append(self._abstract(factor))
            ends.append(len(self.params))
        self.start, self.stop = self._indices(sums.start), self._indices(sums.stop)
        self.key = *self.factors, self.start, self.stop
        named, self.var = self.var, fresh_index()  # equations that are put into others must not share the symbol
        self.factors = [f.xreplace({named: self.var}) for f in self.factors]
        self.symmetric = (len(factors) == 2 and len(self.params) == ends[1] == 2 * ends[0] > 0
                          and self._kind(factors[0]) == self._kind(factors[1]))

    @property
    def plain(self) -> Case:
        """The sum, as the only case of its equation."""
        return (), Total(sympy.Mul(*self.factors), self.var, self.start, self.stop)

    def _kind(self, factor: Expr) -> tuple[str, ...]:
        """What two factors that differ only in other indices have in common."""
        texts = [str(a) if a.has(self._given) else "" for a in factor.args[1:]]
        return type(factor).__name__, str(factor.args[0]), *texts

    def _abstract(self, factor: Expr) -> Expr:
        if isinstance(factor, AtLeastZero | IsZero):
            return factor.func(*map(self._indices, factor.args))
        number, *arguments = factor.args
        return factor.func(number, *(self._indices(a) if a.has(self._given) else self._param(a) for a in arguments))

    def _indices(self, expr: Expr) -> Expr:
        """An expression with parameters for its indices (sizes are no indices)."""
        found = sorted((s for s in expr.free_symbols if s != self._given and s.is_integer and not s.is_nonnegative),
                       key=str)
        return expr.xreplace({self._given: self.var, **{s: self._param(s) for s in found}})

    def _param(self, argument: Expr) -> Symbol:
        self.params = (*self.params, Symbol(f"_p{len(self.params)}", integer=True))
        self.arguments = (*self.arguments, argument)
        return self.params[-1]
