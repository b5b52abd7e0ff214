"""Functions of one variable that are polynomials times waves, `x + sin(x)**2` or `x*sin(x)`, as sums of x**p exp(i w x)."""

from __future__ import annotations

from functools import lru_cache

import sympy

from tensorprog.pairs.codegen.univariate import X, canonical

#: Powers, and terms, beyond which expectations are left to series.
MOST_POWER, MOST_TERMS = 8, 24

Terms = dict[tuple[int, sympy.Expr], sympy.Expr]


@lru_cache(maxsize=256)
def waves(phi: sympy.Expr) -> tuple[tuple[int, float, float, float], ...] | None:
    """Terms (p, w, a, b), the function being the sum of x**p (a + i b) exp(i w x); None if it is no such sum or has no
    waves."""
    terms = _terms(canonical(phi))
    if terms is None or len(terms) > MOST_TERMS:
        return None
    values = {key: complex(c) for key, c in terms.items() if c != 0}
    found = [(p, float(w), a.real, a.imag) for (p, w), a in values.items()]
    if not any(w for _, w, _, _ in found) or max(p for p, *_ in found) > MOST_POWER:
        return None
    return tuple(sorted(found))


def _terms(phi: sympy.Expr) -> Terms | None:
    if not phi.has(X):
        return {(0, sympy.S.Zero): phi} if phi.is_number and phi.is_real else None
    if phi == X:
        return {(1, sympy.S.Zero): sympy.S.One}
    match phi.func:
        case sympy.Add:
            parts = [_terms(arg) for arg in phi.args]
            return _sum([p for p in parts if p is not None]) if None not in parts else None
        case sympy.Mul:
            product: Terms | None = {(0, sympy.S.Zero): sympy.S.One}
            for arg in phi.args:
                product = _product(product, _terms(arg))
            return product
        case sympy.Pow if phi.exp.is_Integer and 0 < phi.exp <= MOST_POWER:
            return _terms(sympy.Mul(*[phi.base] * int(phi.exp), evaluate=False))
        case sympy.sin | sympy.cos:
            return _wave(phi)
    return None


def _wave(phi: sympy.Expr) -> Terms | None:
    slope, rest = sympy.diff(phi.args[0], X), phi.args[0].subs(X, 0)
    if not (slope.is_number and slope.is_real and rest.is_real):
        return None
    phase, half = sympy.exp(sympy.I * rest), sympy.Rational(1, 2)
    if phi.func is sympy.cos:
        return {(0, slope): half * phase, (0, -slope): half / phase}
    return {(0, slope): -half * sympy.I * phase, (0, -slope): half * sympy.I / phase}


def _sum(parts: list[Terms]) -> Terms:
    found: Terms = {}
    for part in parts:
        for key, value in part.items():
            found[key] = found.get(key, sympy.S.Zero) + value
    return found


def _product(one: Terms | None, two: Terms | None) -> Terms | None:
    if one is None or two is None or len(one) * len(two) > MOST_TERMS**2:
        return None
    return _sum([{(p + q, v + w): sympy.expand(a * b)} for (p, v), a in one.items() for (q, w), b in two.items()])
