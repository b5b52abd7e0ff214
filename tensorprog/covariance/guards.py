"""Conditions on integers in limits: what follows from others, and expressions by cases.

A guard is `AtLeastZero(e)`, `IsZero(e)` or one minus such a thing, with `e` linear; a fact is an `e` known to be >= 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.budget import Unsupported
from tensorprog.covariance.nodes import AtLeastZero, Call, IsZero, Mean, Total, flat


def known(guard: Expr) -> list[Expr]:
    """Linear expressions that a guard says are >= 0."""
    if isinstance(guard, AtLeastZero):
        return [guard.args[0]]
    if isinstance(guard, IsZero):
        return [guard.args[0], -guard.args[0]]
    # Integers: e >= 0 does not hold where -e - 1 >= 0.
    inner = flat(1 - guard)
    if isinstance(inner, AtLeastZero):
        return [flat(-inner.args[0] - 1)]
    return []


def under(expr: Expr, guards: tuple[Expr, ...]) -> Expr:
    """An expression where guards hold: indices that they fix put in, factors that they decide left out."""
    for guard in guards:
        if isinstance(guard, IsZero):
            fixed = _solved(guard.args[0])
            if fixed is not None:
                expr = expr.subs(*fixed)
    facts = tuple(f for g in guards for f in known(g))
    return simplify_guards(expr, facts)


def _solved(e: Expr) -> tuple[Symbol, Expr] | None:
    """A symbol and its value where `e` is 0: an index rather than a size (which is known to be >= 0)."""
    e = flat(e)
    # Indices come before sizes and parameters, which stand for all iterations.
    for symbol in sorted(e.free_symbols, key=lambda s: (bool(s.is_nonnegative), str(s))):
        slope = e.coeff(symbol, 1)
        if slope in (1, -1):
            # Solutions in integers: a slope of 2 would leave fractions.
            return symbol, flat(-(e - slope * symbol) / slope)
    return None


def split_cases(expr: Expr, facts: tuple[Expr, ...], limit: int = 16) -> list[tuple[tuple[Expr, ...], Expr]]:
    """An expression by cases of the 0-1 factors in it; `facts` are linear expressions known to be >= 0."""
    done: list[tuple[tuple[Expr, ...], Expr]] = []

    def visit(expr: Expr, guards: tuple[Expr, ...], facts: tuple[Expr, ...]) -> None:
        expr = flat(simplify_guards(expr, facts))
        found = next(iter(_guards(expr)), None)
        if found is None:
            done.append((guards, expr))
            return
        if len(done) > limit:
            raise Unsupported("too many cases")
        visit(expr.xreplace({found: Integer(1)}), (*guards, found), (*facts, *_positive(found)))
        no = expr.xreplace({found: Integer(0)})
        no, new = _negative(found, no, facts)
        visit(no, (*guards, 1 - found), (*facts, *new))

    visit(expr, (), facts)
    return done


def _guards(expr: Expr) -> list[Expr]:
    found = [g for g in _outer_atoms(expr) if not any(isinstance(s, sympy.Dummy) and s in _bound(expr)
                                                      for s in g.free_symbols)]
    return sorted(found, key=str)


def _outer_atoms(expr: Expr) -> set[Expr]:
    if isinstance(expr, AtLeastZero | IsZero):
        return {expr}
    if isinstance(expr, Mean | Call):
        return set()
    return set().union(*(_outer_atoms(a) for a in expr.args)) if expr.args else set()


def _bound(expr: Expr) -> set[Symbol]:
    return {t.args[1] for t in expr.atoms(Total)} if expr.has(Total) else set()


def _positive(guard: Expr) -> tuple[Expr, ...]:
    e = guard.args[0]
    return (e,) if isinstance(guard, AtLeastZero) else (e, -e)


def denied(guard: Expr, facts: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Linear expressions that are >= 0 because a guard does not hold."""
    e = guard.args[0] if guard.args else guard
    if isinstance(guard, AtLeastZero):
        return (flat(-e - 1),)
    if isinstance(guard, IsZero):
        # e != 0 and s*e >= 0 make s*e >= 1 for integers.
        return tuple(flat(s * e - 1) for s in (1, -1) if any(nonnegative(flat(s * e - f), {}) for f in facts))
    return ()


def _negative(guard: Expr, expr: Expr, facts: tuple[Expr, ...]) -> tuple[Expr, tuple[Expr, ...]]:
    if not isinstance(guard, AtLeastZero):
        return expr, denied(guard, facts)
    opposite = flat(-guard.args[0] - 1)
    for fact in facts:
        # f >= 0, and in this case -f >= 0 as well: f is 0, which fixes an index.
        if flat(fact + opposite) == 0:
            fixed = _solved(fact)
            if fixed is not None:
                return expr.subs(*fixed), (opposite,)
    return expr, (opposite,)


def simplify_guards(expr: Expr, facts: tuple[Expr, ...]) -> Expr:
    """0-1 factors that the facts decide, replaced."""
    mapping = {}
    for guard in _outer_atoms(expr):
        e = guard.args[0]
        if isinstance(guard, AtLeastZero):
            # e >= f >= 0.
            if any(nonnegative(flat(e - f), {}) for f in facts):
                mapping[guard] = Integer(1)
            elif any(nonnegative(flat(-e - 1 - f), {}) for f in facts):
                mapping[guard] = Integer(0)
        # e = 0 is excluded by e >= 1 as well as by -e >= 1.
        elif any(nonnegative(flat(s * e - 1 - f), {}) for f in facts for s in (1, -1)):
            mapping[guard] = Integer(0)
    return expr.xreplace(mapping) if mapping else expr


class Ends(Protocol):
    """What a loop variable runs from and to."""

    @property
    def start(self) -> Expr: ...

    @property
    def stop(self) -> Expr: ...


def decide(guard: Expr, ranges: Mapping[Symbol, Ends]) -> Expr:
    """A guard that the ranges of the loop variables decide, as 1 or 0; else itself."""
    if not isinstance(guard, AtLeastZero):
        return guard
    e = guard.args[0]
    if nonnegative(e, ranges):
        return Integer(1)
    return Integer(0) if nonnegative(flat(-e - 1), ranges) else guard


def nonnegative(e: Expr, ranges: Mapping[Symbol, Ends]) -> bool:
    """Whether a linear expression is provably >= 0, taking every loop variable at its worse end."""
    # The ends of inner ranges may hold outer variables. After eight nested ones nothing is claimed.
    for _ in range(8):
        e = flat(e)
        loop = next((s for s in e.free_symbols if s in ranges), None)
        if loop is None:
            break
        slope = e.coeff(loop, 1)
        if not slope.is_Integer:
            return False
        b = ranges[loop]
        # A linear expression is smallest at an end of the range: at the lower one if it rises.
        e = e.subs(loop, b.start if slope > 0 else b.stop - 1)
    # By the assumptions about sizes, which are >= 0.
    return bool(e.is_nonnegative)
