"""Whether one expression is another one at other values of its indices.

Unlike `system.match_all`, which takes arguments in the order in which they stand, this search tries every order of the
terms and factors, and takes the square of a variable for the product of two.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy
from sympy import Expr, Product, Sum

from tensorprog.derive.symbols import index
from tensorprog.derive.system import is_index, match_index

Values = dict[Expr, Expr]


def values_of(pattern: Expr, query: Expr, variables: tuple[Expr, ...]) -> Values | None:
    """Values of the variables that make the pattern the query; None if there are none. Both are `canonical`."""
    for values in _matches(pattern, query, set(variables), {}):
        if len(values) == len(variables) and canonical(pattern.xreplace(values)) == query:
            # The search takes indices one at a time; that all fit together is only certain if the whole is the query.
            return values
    return None


def canonical(expr: Expr, depth: int = 0) -> Expr:
    """The expression with the variables of its sums named by their depth."""
    if not expr.args or not expr.has(Sum, Product):
        return expr
    if not isinstance(expr, Sum | Product):
        return expr.func(*(canonical(a, depth) for a in expr.args))
    # By depth (de Bruijn levels): sums that differ in the names of their variables alone become equal.
    names = {limit[0]: index(f"#{depth + k}") for k, limit in enumerate(expr.limits)}
    limits = [(names[s], low.xreplace(names), high.xreplace(names)) for s, low, high in expr.limits]
    return expr.func(canonical(expr.function.xreplace(names), depth + len(names)), *limits)


def skeleton(expr: sympy.Basic) -> str:
    """What expressions that differ in the values of indices have in common."""
    if is_index(expr):
        return "_"
    if not expr.args:
        return str(expr)
    head, args = _parts(expr)
    inner = [skeleton(a) for a in args]
    return f"{head.__name__}({', '.join(sorted(inner) if _commutes(head) else inner)})"


def index_parts(expr: sympy.Basic) -> Iterator[Expr]:
    """The indices in an expression, each as a whole."""
    if is_index(expr):
        yield expr
    else:
        for arg in expr.args:
            yield from index_parts(arg)


def _parts(expr: sympy.Basic) -> tuple[type, tuple[sympy.Basic, ...]]:
    """The operation and its arguments, powers written out as products."""
    if expr.is_Mul or _is_power(expr):
        factors = ((f.base,) * int(f.exp) if _is_power(f) else (f,) for f in sympy.Mul.make_args(expr))
        return sympy.Mul, tuple(f for group in factors for f in group)
    return expr.func, expr.args


def _is_power(expr: sympy.Basic) -> bool:
    # A higher power is compared as a power: written out, its factors would be tried in every order.
    return expr.is_Pow and expr.exp.is_Integer and 0 < expr.exp < 10


def _commutes(head: type) -> bool:
    return head in (sympy.Mul, sympy.Add)


def _matches(pattern: sympy.Basic, query: sympy.Basic, variables: set[Expr], values: Values) -> Iterator[Values]:
    if is_index(pattern):
        found = dict(values)
        if is_index(query) and match_index(pattern, query, variables, found):
            yield found
    elif not pattern.args:
        if pattern == query:
            yield values
    elif query.args:
        (head, left), (other, right) = _parts(pattern), _parts(query)
        if head is other and len(left) == len(right):
            yield from _all_match(left, right, variables, values, _commutes(head))


def _all_match(left: tuple, right: tuple, variables: set[Expr], values: Values, commutes: bool) -> Iterator[Values]:
    if not left:
        yield values
        return
    for position in range(len(right) if commutes else 1):
        rest = right[:position] + right[position + 1:]
        # Equal factors would give the same matches again, and factors of another shape none.
        if commutes and (right[position] in right[:position] or skeleton(left[0]) != skeleton(right[position])):
            continue
        for found in _matches(left[0], right[position], variables, values):
            yield from _all_match(left[1:], rest, variables, found, commutes)
