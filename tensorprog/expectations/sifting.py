"""Dirac deltas beside functions that the calculus of `basis.py` has no rule for: f(z) delta(a z + b) = f(-b/a) delta(a z + b).

They come from derivatives of what jumps: that of sign(z) log(1 + abs(z)) has the term 2 delta(z) log(1 + abs(z)), which is 0."""

from __future__ import annotations

from collections.abc import Collection

import sympy
from sympy import Add, DiracDelta, Expr, Mul, Symbol

from tensorprog.expectations.affine import Affine, affine
from tensorprog.expectations.functions import step

_JUMPS = (sympy.sign, step, DiracDelta, sympy.Heaviside, sympy.floor, sympy.ceiling)


def sifted(integrand: Expr, gaussians: Collection[Symbol]) -> Expr:
    """The integrand with what stands beside a delta taken at its place, where it does not jump there."""
    if not integrand.has(DiracDelta):
        return integrand
    return Add(*(_product(term, frozenset(gaussians)) for term in Add.make_args(sympy.expand_mul(integrand))))


def _product(term: Expr, gaussians: frozenset[Symbol]) -> Expr:
    factors = Mul.make_args(term)
    for delta in factors:
        form = affine(delta.args[0], gaussians) if isinstance(delta, DiracDelta) and len(delta.args) == 1 else None
        if form is not None and form.linear:
            return Mul(*(f if f is delta else _at(f, form) for f in factors))
    return term


def _at(factor: Expr, form: Affine) -> Expr:
    """A factor where the form is 0; unchanged if it jumps, or has no value there."""
    (z, slope), *_ = form.linear
    if z not in factor.free_symbols or factor.has(*_JUMPS):
        return factor
    found = factor.xreplace({z: -(form.expr - slope * z) / slope}).doit()
    return factor if found.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) else found
