"""Integrands as sums of products of factors, and the affine forms that factors are functions of."""

from __future__ import annotations

from collections.abc import Callable

import sympy
from sympy import Add, Expr, Max, Min, Mul, Pow, S, Symbol, expand, tanh

from tensorprog.expectations.affine import Affine, affine
from tensorprog.expectations.basis import MOST_TERMS, pieces
from tensorprog.expectations.functions import relu, sigmoid, silu, step
from tensorprog.expectations.inside import JUMPS

Summand = tuple[Expr, tuple[Expr, ...]]  # a coefficient without Gaussians and the factors

KINKED = (relu, step, sympy.sign, sympy.Abs, Max, Min)

# Products of two functions of one argument.
# step(x)**2 = step(x), relu(x) step(x) = relu(x), and so on, also at 0 where each is 0. (Not sign(x)**2, which is not 1 there.)
_MERGED = {
    (step, step): step, (relu, step): relu, (sympy.sign, step): step, (sympy.Abs, step): relu, (relu, sympy.sign): relu,
}


def summands(expr: Expr, gaussians: frozenset[Symbol]) -> list[Summand]:
    """`expr` as a sum of products, multiplied out where that gives at most MOST_TERMS terms."""
    # With their odd parts in sight, terms vanish by symmetry.
    odd_parts = expr.replace(silu, lambda x: x * sigmoid(x)).replace(sigmoid, lambda x: (1 + tanh(x / 2)) / 2)
    combined: dict[tuple[Expr, ...], list[Expr]] = {}
    for coefficient, factors in _multiplied(odd_parts, gaussians):
        merged = _merge(factors)
        combined.setdefault(tuple(sorted(merged, key=sympy.default_sort_key)), []).append(coefficient)
    return [(Add(*coefficients), factors) for factors, coefficients in combined.items()]


def _multiplied(expr: Expr, gaussians: frozenset[Symbol]) -> list[Summand]:
    if not expr.free_symbols & gaussians:
        return [(expr, ())]
    if isinstance(expr, Add):
        return [summand for arg in expr.args for summand in _multiplied(arg, gaussians)]
    if isinstance(expr, Mul):
        parts = [_multiplied(arg, gaussians) for arg in expr.args]
    elif isinstance(expr, Pow) and expr.exp.is_Integer and 1 < expr.exp <= 12:
        parts = [_multiplied(expr.base, gaussians)] * int(expr.exp)
    else:
        return [(S.One, (expr,))]
    result: list[Summand] = [(S.One, ())]
    for part in parts:
        # As it is, as one factor: a quadrature does not mind.
        if len(result) * len(part) > MOST_TERMS:
            return [(S.One, (expr,))]
        result = [(a * b, f + g) for a, f in result for b, g in part]
    return result


def _merge(factors: tuple[Expr, ...]) -> tuple[Expr, ...]:
    rest = list(factors)
    for i, a in enumerate(rest):
        for j in range(i):
            b = rest[j]
            # Functions of one argument alike; the pair is replaced, and the rest is looked through again.
            if a.args and a.args == b.args:
                merged = _MERGED.get((a.func, b.func)) or _MERGED.get((b.func, a.func))
                if merged is not None:
                    others = [f for k, f in enumerate(rest) if k not in (i, j)]
                    return _merge((*others, merged(*a.args)))
    return factors


def forms_of(expr: Expr, gaussians: frozenset[Symbol]) -> list[Affine]:
    """The largest affine parts of `expr` that have Gaussians in them, each once."""
    found: dict[Affine, None] = {}

    def collect(part: Expr) -> Expr:
        form = affine(part, gaussians)
        assert form is not None, "`replaced` changes affine parts alone"
        found[form] = None
        return part

    replaced(expr, gaussians, collect)
    return list(found)


def replaced(expr: Expr, gaussians: frozenset[Symbol], change: Callable[[Expr], Expr]) -> Expr:
    """`expr` with each of its largest affine parts changed."""
    if not expr.free_symbols & gaussians:
        return expr
    if affine(expr, gaussians) is not None:
        return change(expr)
    # From the top: of tanh(x + y) the affine part is x + y, and neither x nor y.
    return expr.func(*(replaced(arg, gaussians, change) for arg in expr.args))


def is_odd(factors: tuple[Expr, ...], gaussians: frozenset[Symbol]) -> bool:
    """Whether the product changes its sign with those of all Gaussians, as far as SymPy's functions know."""
    flip = {g: -g for g in gaussians}
    result = 1
    for factor in factors:
        # SymPy takes minus signs out of odd functions and drops them in even ones when it makes an expression.
        flipped = factor.xreplace(flip)
        if flipped != factor:
            if flipped != -factor:
                return False
            result = -result
    return result < 0


def kinks(expr: Expr, variables: frozenset[Symbol]) -> list[Affine]:
    """The affine forms at whose zeros `expr` has kinks or jumps, as far as they are affine."""
    found: dict[Affine, None] = {}
    for node in sympy.preorder_traversal(expr):
        if isinstance(node, KINKED):
            for difference in _differences(node):
                for form in _zeros(difference, variables):
                    found[form] = None
    return list(found)


def _differences(node: Expr) -> list[Expr]:
    if isinstance(node, (Max, Min)):
        return [a - b for i, a in enumerate(node.args) for b in node.args[:i]]
    return [node.args[0]]


def _zeros(expr: Expr, variables: frozenset[Symbol]) -> list[Affine]:
    form = affine(expr, variables)
    if form is not None:
        return [form] if form.linear else []
    if isinstance(expr, Mul):
        return [form for arg in expr.args for form in _zeros(arg, variables)]
    # |x| - 1 is zero where x - 1 is, or -x - 1: by the pieces of what is kinked itself.
    for node in sympy.preorder_traversal(expr) if isinstance(expr, Add) else ():
        if isinstance(node, KINKED) and node.free_symbols & variables:
            return [form for piece in _values(node) for form in _zeros(expand(expr.xreplace({node: piece})), variables)]
    return []


def _values(node: Expr) -> tuple[Expr, ...]:
    """What a kinked function is on one or the other side."""
    return (S.One, S.Zero if isinstance(node, step) else S.NegativeOne) if isinstance(node, JUMPS) else pieces(node)
