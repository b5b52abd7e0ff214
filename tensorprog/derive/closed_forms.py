"""Matrices that a loop updates, as the initial matrix plus the updates so far.

`W[t+1] = c*W[t] + G[t]` has the solution `W[t] = c**t W[0] + sum_{s<t} c**(t-1-s) G[s]`, in which G is made of outer
products and of other matrices. Where two matrices depend on each other in a circle no such form is tried.
"""

from __future__ import annotations

import sympy
from sympy import Expr, Product, S

from tensorprog.derive.binders import Binder, IndexScope
from tensorprog.derive.entries import MatrixState, Trace
from tensorprog.derive.matrices import Base, MatrixSum, MatrixSummand


class ClosedForms:
    """Matrices without states. `open` holds the states for which there is no closed form."""

    def __init__(self, trace: Trace):
        self.states, self.scope = trace.states, trace.scope
        self.open: set[str] = set()

    def resolve(self, matrix: MatrixSum, active: tuple[str, ...] = ()) -> MatrixSum:
        """The matrix with every state written out."""
        total = MatrixSum()
        for term in matrix.terms:
            factor = term.factor
            if isinstance(factor, Base) and factor.state:
                total += self._term(term, factor.label, active)
            else:
                total += MatrixSum((term,))
        return total

    def _term(self, term: MatrixSummand, label: Expr, active: tuple[str, ...]) -> MatrixSum:
        state, indices = self._state(label)
        form = None if state.label in active else self._closed(state, indices, (*active, state.label))
        if form is None:
            # A form of either of two matrices that are made of each other would hold the other one at earlier times,
            # without end.
            self.open.add(state.label)
            return MatrixSum((term,))
        form = form.transpose if term.transposed else form
        form = term.coefficient * form
        for binder in reversed(term.binders):
            form = form.bound(binder)
        return form

    def _state(self, label: Expr) -> tuple[MatrixState, tuple[Expr, ...]]:
        name = str(label.base.label)
        indices = tuple(label.indices)
        return next((s, indices) for s in self.states.values()
                    if s.label == name and len(indices) == len(s.around) + 1 + len(s.formal))

    def _closed(self, state: MatrixState, indices: tuple[Expr, ...], active: tuple[str, ...]) -> MatrixSum | None:
        around = len(state.around)
        mapping = dict(zip(state.around, indices[:around], strict=True))
        mapping |= dict(zip(state.formal, indices[around + 1:], strict=True))
        factor, rest = _split(state)
        if factor is None:
            return None
        time = indices[around]
        binder = _steps(self.scope, state, time, mapping)
        at = {**mapping, state.loop.symbol: binder.symbol}
        # Forms are put in at several places, also inside of each other: their sums must not share variables.
        update = self._fresh(self.resolve(rest.xreplace(at), active))
        start = self._fresh(self.resolve(state.start.xreplace(mapping), active))
        # The update holds a matrix that waits for this one: they form a circle.
        if self.open & set(active):
            return None
        # M[t+1] = f[t] M[t] + U[t]: M = prod(f) M[0] + sum over s of U[s] times the later f.
        decay = _Decay(factor.xreplace(mapping), state.loop.symbol, state.forward)
        return decay.over(binder.low, binder.high) * start + (decay.after(binder) * update).bound(binder)

    def _fresh(self, matrix: MatrixSum) -> MatrixSum:
        return MatrixSum(tuple(self._fresh_term(t) for t in matrix.terms))

    def _fresh_term(self, term: MatrixSummand) -> MatrixSummand:
        for binder in term.binders:
            renamed, mapping = self.scope.renamed(binder)
            term = term.xreplace(mapping)
        return term


def _split(state: MatrixState) -> tuple[Expr | None, MatrixSum]:
    """The factor of the state itself in its own update, and the rest of the update."""
    own, rest = S.Zero, []
    for term in state.step.terms:
        if not (isinstance(term.factor, Base) and term.factor.state and _name(term.factor.label) == state.label):
            rest.append(term)
        # The state transposed, under a sum, or another member of its family: no recursion with a number as its factor.
        elif term.transposed or term.binders or not _same_element(term.factor.label, state):
            return None, MatrixSum()
        else:
            own += term.coefficient
    return own, MatrixSum(tuple(rest))


def _same_element(label: Expr, state: MatrixState) -> bool:
    return tuple(label.indices[len(state.around) + 1:]) == state.formal


def _name(label: Expr) -> str:
    return str(label.base.label) if isinstance(label, sympy.Indexed) else str(label)


def _steps(scope: IndexScope, state: MatrixState, time: Expr, mapping: dict) -> Binder:
    """The iterations that have run when the state has a time index."""
    low, high = state.loop.low.xreplace(mapping), state.loop.high.xreplace(mapping)
    low, high = (low, time - 1) if state.forward else (time, high)
    return Binder(scope.fresh(state.loop.symbol, low, high), low, high)


class _Decay:
    """Products of a factor over iterations."""

    def __init__(self, factor: Expr, symbol: sympy.Symbol, forward: bool):
        self.factor, self.symbol, self.forward = factor, symbol, forward

    def over(self, low: Expr, high: Expr) -> Expr:
        # A factor that depends on the iteration is a schedule, as `W *= 1 - eta[t]*decay`.
        if self.factor.has(self.symbol):
            return Product(self.factor, (self.symbol, low, high))
        return self.factor ** (high - low + 1)

    def after(self, binder: Binder) -> Expr:
        """The factor of what came in at the binder's iteration."""
        s = binder.symbol
        return self.over(s + 1, binder.high) if self.forward else self.over(binder.low, s - 1)
