"""Sums of products that are a product of sums, put together again for a mean.

Programs are multiplied out on the way to their means, but E[(1 - a(u)) (1 - a(v))] is lost in the rounding of its four
parts where a is close to 1, and as much where functions vanish that are written as differences.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy import Add, Expr, Mul, Symbol

#: Terms of a sum that is looked at.
MOST_TERMS = 64

def put_together(terms: list[Expr], gaussians: Sequence[Symbol]) -> list[tuple[Expr, list[int]]]:
    """Products f(u) g(v) of functions of one Gaussian each that are the sum of some terms, with these terms' positions.

    Args:
        terms: products of functions of `gaussians` and of other symbols, with numbers.
    """
    names = frozenset(gaussians)
    of = [frozenset(t.free_symbols & names) for t in terms]
    left, found = set(range(len(terms))), []
    for pair in dict.fromkeys(s for s, t in zip(of, terms) if len(s) == 2 and _nonlinear(t)):
        # First with terms of one Gaussian or none, as in (1 - a(u)) (1 - b(v)), then without, since these may belong to
        # another product.
        for chosen in ([k for k in sorted(left) if of[k] <= pair], [k for k in sorted(left) if of[k] == pair]):
            both = any(of[k] == pair for k in chosen) and len(chosen) > 1
            product = _product([terms[k] for k in chosen], sorted(pair, key=str), names) if both else None
            if product is not None:
                found.append((product, chosen))
                left -= set(chosen)
                break
    return found


def _nonlinear(term: Expr) -> bool:
    return bool(term.atoms(sympy.Function, sympy.Max, sympy.Min)) or any(
        not p.exp.is_Integer or p.exp < 0 for p in term.atoms(sympy.Pow))


def _product(terms: list[Expr], pair: list[Symbol], names: frozenset[Symbol]) -> Expr | None:
    """The sum as f(u) g(v), if the matrix of its coefficients has rank one."""
    table: dict[tuple[Expr, Expr], Expr] = {}
    for term in terms:
        parts: dict[Symbol | None, list[Expr]] = {None: [], pair[0]: [], pair[1]: []}
        for factor in Mul.make_args(term):
            mine = factor.free_symbols & names
            if len(mine) > 1:
                return None
            parts[next(iter(mine), None)].append(factor)
        coefficient, key = Mul(*parts[None]), (Mul(*parts[pair[0]]), Mul(*parts[pair[1]]))
        table[key] = table.get(key, sympy.S.Zero) + coefficient
    rows, columns = (list(dict.fromkeys(key[side] for key in table)) for side in (0, 1))
    corner = next(iter(table))
    pivot = table[corner]
    left = [table.get((r, corner[1]), sympy.S.Zero) for r in rows]
    right = [table.get((corner[0], c), sympy.S.Zero) for c in columns]
    # Rank one: all minors with the pivot vanish. Multiplied by the pivot, there is no division by something symbolic.
    if any(sympy.expand(table.get((r, c), sympy.S.Zero) * pivot - x * y) != 0
           for r, x in zip(rows, left) for c, y in zip(columns, right)):
        return None
    first = Add(*(x / pivot * r for r, x in zip(rows, left)))
    return first * Add(*(y * c for c, y in zip(columns, right)))
