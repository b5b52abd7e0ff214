"""Which iterations of loops wrote an element: the loops' variables from the indices that were stored to.

Of the loops

    for i in range(T):
        for j in range(S):
            x[2*i + 1, j, 0] = ...

element x[p, q, r] was written where i = (p - 1)/2, which must be an integer, where j = q, and where r = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import sympy
from sympy import Expr, Symbol


@dataclass(frozen=True)
class Solution:
    """Values of loop variables, and what must hold besides.

    Attributes:
        values: of the variables that are determined.
        divisible: pairs of integers of which the second one must divide the first.
        equal: pairs of integers that must be equal, of which no variable could be found; the first holds what is known.
    """

    values: dict[Symbol, Expr]
    divisible: tuple[tuple[Expr, Expr], ...]
    equal: tuple[tuple[Expr, Expr], ...]


def solve_indices(unknown: Collection[Symbol], stored: Sequence[Expr], wanted: Sequence[Expr],
                  expanded: Callable[[Expr], Expr] = sympy.expand) -> Solution:
    """The loop variables for which `stored`, which every iteration stores to, is `wanted`.

    An index in which one variable is unknown, times an integer, gives its value; that may leave but one unknown in another.
    """
    values: dict[Symbol, Expr] = {}
    divisible = []
    # Substitution as in a triangular system, in whatever order the indices stand: x[i + j, j] gives j and then i.
    left, pending = set(unknown), list(zip(stored, wanted, strict=True))
    progress = True
    while progress:
        progress = False
        for pair in list(pending):
            found = _solved(expanded(pair[0].subs(values)), pair[1], left, expanded)
            if found is None:
                continue
            symbol, multiple, slope = found
            if abs(slope) == 1:
                # 1/slope is slope.
                values[symbol] = expanded(multiple * slope)
            else:
                # The floor is the quotient itself where the iteration exists, and an integer even where it does not.
                values[symbol] = expanded(sympy.floor(multiple / slope))
                divisible.append((multiple, abs(slope)))
            left.discard(symbol)
            pending.remove(pair)
            progress = True
    # An index without unknowns, as the 0 of x[i, 0], is a condition on what is wanted.
    return Solution(values, tuple(divisible), tuple((p.subs(values), target) for p, target in pending))


def _solved(pattern: Expr, target: Expr, unknown: set[Symbol],
            expanded: Callable[[Expr], Expr]) -> tuple[Symbol, Expr, Expr] | None:
    """The one unknown of an index, what its slope must divide, and the slope."""
    inside = pattern.free_symbols & unknown
    if len(inside) != 1:
        return None
    (symbol,) = inside
    # Products of two unknowns, or an unknown inside of a floor or an input's entry, leave a rest that holds it.
    slope = pattern.coeff(symbol, 1)
    rest = expanded(pattern - slope * symbol)
    if not slope.is_Integer or slope == 0 or symbol in rest.free_symbols:
        return None
    return symbol, expanded(target - rest), slope
