"""The order in which a person writes terms and factors."""

from __future__ import annotations

import sympy
from sympy import Expr

from tensorprog.derive.symbols import Atom, Cases, Dot, E, GaussianPart, NonlinearityBase, random_atoms


def ordered_terms(expr: Expr) -> list[Expr]:
    """Gaussian part, response, other variables, sums; numbers last."""
    terms = sorted(expr.args, key=lambda term: (_term_rank(term), term.could_extract_minus_sign(), _name(term)))
    # `b - a` rather than `-a + b`.
    first = next((t for t in terms if not t.could_extract_minus_sign()), terms[0])
    return [first, *(t for t in terms if t is not first)]


def _term_rank(term: Expr) -> int:
    factors = sympy.Mul.make_args(term)
    for rank, kind in ((0, GaussianPart), (1, Dot), (4, sympy.Sum), (2, Atom)):
        if any(isinstance(f, kind) for f in factors):
            return rank
    return 3 if next(random_atoms(term), None) is not None else 5 if term.is_number else 4


def ordered_factors(expr: Expr) -> list[Expr]:
    """Numbers, scalars, expectations, variables, functions of them, sums."""
    return sorted(expr.args, key=lambda factor: (_factor_rank(factor), _name(factor)))


def _factor_rank(factor: Expr) -> int:
    base = factor.base if factor.is_Pow else factor
    if base.is_number:
        return 0
    if isinstance(base, sympy.Symbol):
        return 1
    if isinstance(base, sympy.Indexed):
        return 2
    if isinstance(base, sympy.KroneckerDelta | Cases):
        return 3
    if isinstance(base, E):
        return 4
    if isinstance(base, Atom):
        return 6
    if isinstance(base, NonlinearityBase):
        return 7
    return 8 if isinstance(base, sympy.Sum) else 5


def _name(expr: Expr) -> str:
    return str(sympy.srepr(expr))
