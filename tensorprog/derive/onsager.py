"""Cancellation of Onsager terms: where a program subtracts exactly the response of a product, the difference is
Gaussian.

In one line (`x2 = A @ f(x1) - moment(f'(x1)) * f(x0)`) the responses are explicit and cancel once they are put in. In
a loop this needs an induction: assume that the iterates so far consist of Gaussian parts alone; then the responses of
the next products are explicit, and if they cancel against the subtracted terms, the next iterate has no response
either (Bayati and Montanari, arXiv 1001.3448; Tensor Programs III, arXiv 2009.10685).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

import sympy
from sympy import Expr, S
from sympy.core.relational import Relational

from tensorprog.derive.entries import LimitEquation
from tensorprog.derive.responses import ResponsePieces
from tensorprog.derive.symbols import (
    Atom,
    Dot,
    E,
    NonlinearityBase,
    Prod,
    expectation,
    is_random,
    map_random,
    nonlinearity,
    random_atoms,
)
from tensorprog.derive.system import LimitSystem, match_all

Solve = Callable[[LimitSystem], ResponsePieces]
# All combinations of so many equations are tried, each of which solves for all responses anew: seven times.
MOST = 3
# Cases that a proof looks at one by one: conditions single out the first iterations, as t > 0.
MOST_CASES = 4


def has_correction(system: LimitSystem) -> bool:
    """Whether any equation has both a response and a term like an Onsager correction."""
    return any(_removable(system, system.equations[n], only_scaled=True) is not None for n in _open_equations(system))


def _open_equations(system: LimitSystem) -> list[int]:
    return [n for n, equation in enumerate(system.equations)
            # Equations of products only introduce their responses; what could cancel them is in the sums that use
            # these.
            if isinstance(equation.left, Atom) and equation.kind != "matmul"]


def put_in(system: LimitSystem, solve: Solve) -> list[LimitEquation]:
    """Put explicit responses into the equations in which they cancel something, until there are none; the equations
    that changed."""
    changed: list[LimitEquation] = []
    while True:
        responses = solve(system)
        found = next(_cancelling(system, responses, changed), None)
        if found is None:
            return changed
        equation, right = found
        equation.right = right
        changed.append(equation)


def by_induction(system: LimitSystem, solve: Solve) -> list[tuple[LimitEquation, Expr]]:
    """The equations whose responses cancel against other terms by induction, each with the terms that cancel, after
    removing them from the system."""
    candidates = [n for n in _open_equations(system) if _removable(system, system.equations[n]) is not None][:MOST]
    # Several iterates may have to be taken together, as the two vectors of asymmetric message passing, whose responses
    # cancel only if those of both do.
    for size in range(len(candidates), 0, -1):
        for chosen in combinations(candidates, size):
            trial = replace(system, equations=[replace(e) for e in system.equations])
            removed = {n: _remove(trial, trial.equations[n]) for n in chosen}
            # The hypothesis: without the terms, iterates are Gaussian parts alone.
            put_in(trial, solve)
            after = solve(trial)
            # The conclusion: responses that follow from it are the terms that were removed.
            if all(_is_zero(trial, after, terms) for terms in removed.values()):
                system.equations[:] = trial.equations
                return [(system.equations[n], terms) for n, terms in removed.items()]
    return []


# --- explicit responses --------------------------------------------------------------------------------------


def _cancelling(system: LimitSystem, responses: ResponsePieces, done: list[LimitEquation]) -> Iterator[tuple[LimitEquation, Expr]]:
    for equation in system.equations:
        if isinstance(equation.left, Atom) and equation.kind != "matmul" and not any(equation is d for d in done):
            full = written_out(system, equation.right)
            if full.has(Dot):
                explicit = _explicit(system, responses, full)
                # Only where something cancels is the explicit form the shorter one.
                if explicit is not None and len(collected(system, explicit)) < _count(full, explicit):
                    yield equation, sympy.Add(*collected(system, explicit))


def _explicit(system: LimitSystem, responses: ResponsePieces, expr: Expr) -> Expr | None:
    """The expression with its responses put in; None where one is a sum over iterations."""
    totals: dict[Expr, Expr] = {}
    for dot in expr.atoms(Dot):
        found = system.site_of(dot)
        if found is None:
            return None
        pieces = responses.pieces[system.hats.index(found[0])]
        if any(p.binders or p.coefficient.has(sympy.Derivative) for p in pieces):
            return None
        total = responses.without_rests(sympy.Add(*(p.total for p in pieces)))
        if total is None:
            return None
        totals[dot] = total.xreplace(found[1])
    return sympy.expand(map_random(expr, lambda a: totals.get(a, a)))


def _count(full: Expr, explicit: Expr) -> int:
    """The number of terms if nothing cancelled."""
    # What the sum would have if its responses met nothing equal.
    kept = sum(1 for t in sympy.Add.make_args(full) if not t.has(Dot))
    rest = sympy.Add(*(t for t in sympy.Add.make_args(full) if not t.has(Dot)))
    return kept + len([t for t in sympy.Add.make_args(sympy.expand(explicit - rest)) if t != 0])


def collected(system: LimitSystem, expr: Expr) -> list[Expr]:
    """The terms of a sum, without those that cancel in canonical form."""
    groups: dict[Expr, list[Expr]] = {}
    # By the random factors: products of different limit variables are not expected to cancel.
    for term in sympy.Add.make_args(sympy.expand(expr)):
        fixed, random = _split(term)
        groups.setdefault(random, []).append(fixed)
    kept = []
    for random, factors in groups.items():
        if canonical(system, sympy.Add(*factors)) != 0:
            kept.append(sympy.Add(*factors) * random)
    return kept


def written_out(system: LimitSystem, expr: Expr) -> Expr:
    """The expression with products in terms of their parts, as a sum of terms."""
    def change(atom: Atom) -> Expr:
        for equation, mapping, certain in system.definitions(atom):
            if equation.kind == "matmul" and certain and (isinstance(atom, Prod) or equation.right.has(Dot)):
                return equation.right.xreplace(mapping)
        return atom
    return sympy.expand(map_random(expr, change))


# --- induction -----------------------------------------------------------------------------------------------


def _removable(system: LimitSystem, equation: LimitEquation, only_scaled: bool = False) -> Expr | None:
    """The responses of an equation and the terms that could cancel them; None if there are none of either, or if
    `only_scaled` and none of the terms has a limit of a scalar as its factor."""
    terms = sympy.Add.make_args(written_out(system, equation.right))
    dots = [t for t in terms if any(isinstance(a, Dot) for a in random_atoms(t))]
    # A response that is a sum over iterations has no single argument that a correction could subtract.
    if not dots or any(t.has(sympy.Sum) for t in dots):
        return None
    sites = [system.site_of(a) for t in dots for a in random_atoms(t) if isinstance(a, Dot)]
    # ZDot of W consists of arguments of W.T (TP IV, Definition 7.3): no other terms can cancel it.
    opposite = [s for s in system.hats if any(f and f[0].matrix == s.matrix and f[0].transposed != s.transposed
                                              for f in sites)]
    others = [t for t in terms if t not in dots and _is_argument(t, opposite)]
    # An Onsager term is a moment times an argument of the transposed matrix, b_t f(x_{t-1}). Without one anywhere
    # nothing is tried; in an induction, plain multiples of arguments (b_t = 1, say) take part.
    if only_scaled and not any(t.has(E, sympy.Indexed) for t in others):
        return None
    return sympy.Add(*dots, *others) if others else None


def _is_argument(term: Expr, sites: list) -> bool:
    random = _split(term)[1]
    return any((found := match_all(s.arg, random, set(s.symbols))) and found[1] for s in sites)


def _split(term: Expr) -> tuple[Expr, Expr]:
    """The factors that are not random, and the random ones."""
    factors = sympy.Mul.make_args(term)
    return (sympy.Mul(*(f for f in factors if not is_random(f))), sympy.Mul(*(f for f in factors if is_random(f))))


def _remove(system: LimitSystem, equation: LimitEquation) -> Expr:
    terms = _removable(system, equation)
    equation.right = sympy.expand(written_out(system, equation.right) - terms)
    return terms


def _is_zero(system: LimitSystem, responses: ResponsePieces, terms: Expr) -> bool:
    explicit = _explicit(system, responses, terms)
    return explicit is not None and not any(collected(system, case) for case in cases(system, explicit))


def cases(system: LimitSystem, expr: Expr) -> list[Expr]:
    """The expression at each value of an index that a condition singles out, and at all later ones."""
    conditions = {*expr.atoms(Relational), *(sympy.Eq(*d.args) for d in expr.atoms(sympy.KroneckerDelta))}
    found = {(s, c) for condition in conditions for s, c in (condition.args, condition.args[::-1]) if c.is_Integer}
    symbols = {s for s, _ in found}
    if len(symbols) != 1 or not all(s in system.scope.ranges for s in symbols):
        return [expr]
    symbol = symbols.pop()
    first, last = system.scope.ranges[symbol][0], max(c for _, c in found)
    if not first.is_Integer or last - first > MOST_CASES:
        return [expr]
    # For all later iterations at once: conditions are as for the first of them.
    later = expr.xreplace({c: c.xreplace({symbol: last + 1}) for c in conditions if isinstance(c, Relational)})
    later = later.replace(sympy.KroneckerDelta, lambda a, b: S.Zero if symbol in (a, b) else sympy.KroneckerDelta(a, b))
    return [later, *(_named(system, expr.xreplace({symbol: first + k})) for k in range(int(last - first) + 1))]


def _named(system: LimitSystem, expr: Expr) -> Expr:
    """Variables that are other names for variables replaced by these."""
    def change(atom: Atom) -> Expr:
        same = [e.right.xreplace(m) for e, m, certain in system.definitions(atom) if certain]
        return same[0] if len(same) == 1 and isinstance(same[0], Atom) else atom
    return map_random(expr, change)


# --- canonical form ------------------------------------------------------------------------------------------


def canonical(system: LimitSystem, expr: Expr) -> Expr:
    """A coefficient with names of scalars and of coordinatewise functions written out, expectations as sums of
    expectations of products, and tanh' through tanh."""
    expr = _scalars(system, expr)
    expr = expr.xreplace({e: _linear(_smooth(_vectors(system, e.args[0]))) for e in expr.atoms(E)})
    return sympy.expand(expr)


def _scalars(system: LimitSystem, expr: Expr) -> Expr:
    found = {}
    for scalar in expr.atoms(sympy.Indexed):
        for equation, mapping, certain in system.definitions(scalar):
            if certain and equation.right.has(E):
                found[scalar] = equation.right.xreplace(mapping)
    return expr.xreplace(found)


def _vectors(system: LimitSystem, expr: Expr) -> Expr:
    def change(atom: Atom) -> Expr:
        definitions = [(e, m) for e, m, certain in system.definitions(atom) if certain]
        if len(definitions) == 1 and isinstance(definitions[0][0].right, NonlinearityBase):
            return definitions[0][0].right.xreplace(definitions[0][1])
        return atom
    return map_random(expr, change)


# Programs write 1 - tanh(x)**2 or tanh'(x) for one thing; as a polynomial in tanh its terms cancel one by one.
def _smooth(expr: Expr) -> Expr:
    return expr.replace(lambda e: isinstance(e, NonlinearityBase) and (e.fn, e.order) == ("tanh", 1),
                        lambda e: 1 - nonlinearity("tanh")(*e.args) ** 2)


def _linear(expr: Expr) -> Expr:
    return sympy.Add(*(expectation(t) for t in sympy.Add.make_args(sympy.expand(expr))))
