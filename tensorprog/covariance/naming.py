"""Expectations that occur in several equations, named once: each an equation of its own, evaluated once for all.

A kernel's forward and backward parts need the same E phi'(u) phi'(v); in the tangent kernel of a recurrent network it
stands in four equations. Equations that only hand their indices on to another are left out afterwards.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

from sympy import Expr, Integer, Symbol

from tensorprog.covariance.nodes import Call, Expectation, ordered
from tensorprog.covariance.system import Equation, System


def named(system: System, every: bool = False) -> System:
    """The system with common expectations (or all: `every`) as equations of their own, and without equations that are
    another's."""
    return _without_aliases(_with_names(system, 1 if every else 2))


@dataclass(frozen=True)
class _Shape:
    """An expectation in parameters for the arguments of its calls, equal ones for equal arguments."""

    expr: Expr
    params: tuple[Symbol, ...]

    def arguments(self, other: Expr) -> tuple[Expr, ...] | None:
        """What the parameters are in another expectation; None if it has another shape."""
        found: dict[Symbol, Expr] = {}

        def same(mine: Expr, its: Expr) -> bool:
            if mine in self.params:
                return found.setdefault(mine, its) == its
            if not mine.args:
                return mine == its
            return (mine.func == its.func and len(mine.args) == len(its.args)
                    and all(map(same, mine.args, its.args)))

        return tuple(found[p] for p in self.params) if same(self.expr, other) else None


def _with_names(system: System, least: int) -> System:
    occurrences = [e for equation in system.equations.values() for _, expr in equation.cases
                   for e in ordered(expr.atoms(Expectation)) if _in_indices(e)]
    shapes = sorted({_shape(e) for e in occurrences}, key=lambda s: (-len(s.params), str(s.expr)))
    general = {e: s for e in occurrences for s in [next((s for s in shapes if s.arguments(e) is not None), None)] if s}
    counts = Counter(general[e] for e in occurrences if e in general)
    common = [s for s in shapes if counts[s] >= least]
    numbers = dict(zip(common, range(1 + max(system.equations, default=0), 10**9)))
    names = {numbers[s]: Equation(numbers[s], f"mean{numbers[s]}", s.params, (((), s.expr),)) for s in common}
    calls = {e: Call(Integer(numbers[s]), *arguments) for e, s in general.items()
             if s in numbers and (arguments := s.arguments(e)) is not None}
    symmetric = [numbers[s] for s in common if _is_symmetric(system, s)]
    return system.replaced({**{n: _mapped(e, calls) for n, e in system.equations.items()}, **names}, symmetric)


def _in_indices(expectation: Expr) -> bool:
    """Whether an expectation depends on indices, and on them only through the arguments of calls."""
    def loose(expr: Expr) -> bool:
        if isinstance(expr, Symbol):
            return bool(expr.is_integer) and not expr.is_nonnegative  # sizes are no indices
        return not isinstance(expr, Call) and any(map(loose, expr.args))

    return expectation.has(Call) and not any(map(loose, expectation.args))


def _shape(expectation: Expr) -> _Shape:
    found: dict[Expr, Symbol] = {}

    def visit(expr: Expr) -> Expr:
        if isinstance(expr, Call):
            number, *arguments = expr.args
            return Call(number, *(found.setdefault(a, Symbol(f"_p{len(found)}", integer=True)) for a in arguments))
        return expr.func(*map(visit, expr.args)) if expr.args else expr

    return _Shape(visit(expectation), tuple(found.values()))


def _is_symmetric(system: System, shape: _Shape) -> bool:
    """Whether the two halves of the parameters may change places: the expectation is of a symmetric function of two
    Gaussians, which change places then, while other arguments, such as a threshold, stay what they are."""
    number, *values = shape.expr.args
    integrand, covariances = system.integrands[int(number)]
    variables = sorted({z for pair in covariances for z in pair}, key=str)
    if len(covariances) != 3 or len(variables) != 2 or len(shape.params) % 2:
        return False
    if integrand.xreplace(dict(zip(variables, reversed(variables)))) != integrand:
        return False
    given = dict(zip(system.recipes[int(number)].arguments, values))
    variance, covariance, other = (covariances[pair].xreplace(given)
                                   for pair in itertools.combinations_with_replacement(variables, 2))
    turned = _turned(shape.params)
    others = set(given) - set(covariances.values())
    if any(given[name].xreplace(turned) != given[name] for name in others):
        return False
    return (_lesser(variance.xreplace(turned), system) == _lesser(other, system)
            and _lesser(covariance.xreplace(turned), system) == _lesser(covariance, system))


def _lesser(expr: Expr, system: System) -> Expr:
    """An expression with calls of symmetric equations in one of the two ways to write them."""
    def written(call: Expr) -> Expr:
        number, *arguments = call.args
        half = len(arguments) // 2
        return Call(number, *sum(sorted([arguments[:half], arguments[half:]], key=str), []))

    return expr.xreplace({c: written(c) for c in expr.atoms(Call) if int(c.args[0]) in system.symmetric})


def _turned(params: tuple[Symbol, ...]) -> dict[Symbol, Symbol]:
    """The halves of the parameters in each other's place."""
    half = len(params) // 2
    return dict(zip(params, (*params[half:], *params[:half])))


def _without_aliases(system: System) -> System:
    """Calls of equations that have a single case, a call, replaced by it."""
    aliases = {number: e for number, e in system.equations.items()
               if len(e.cases) == 1 and not e.cases[0][0] and isinstance(e.cases[0][1], Call)}

    def meant(call: Expr) -> Expr:
        met: set[int] = set()
        while (number := int(call.args[0])) in aliases and number not in met:
            met.add(number)
            equation = aliases[number]
            call = equation.cases[0][1].xreplace(dict(zip(equation.params, call.args[1:])))
        return call

    calls = {call: meant(call) for e in system.equations.values() for call in e.calls()}
    symmetric = set()
    for number in system.symmetric & set(aliases):
        params = aliases[number].params
        target, *arguments = meant(Call(Integer(number), *params)).args
        half = len(arguments) // 2
        # T(a, 0, c, 0) may be symmetric where T(a, s, c, t) is not.
        everywhere = len(arguments) == len(params) and set(arguments) == set(params)
        if everywhere and [a.xreplace(_turned(params)) for a in arguments] == arguments[half:] + arguments[:half]:
            symmetric.add(int(target))
    return system.replaced({n: _mapped(e, calls) for n, e in system.equations.items()}, symmetric)


def _mapped(equation: Equation, mapping: dict[Expr, Expr]) -> Equation:
    cases = tuple((tuple(g.xreplace(mapping) for g in guards), expr.xreplace(mapping))
                  for guards, expr in equation.cases)
    return Equation(equation.number, equation.name, equation.params, cases)
