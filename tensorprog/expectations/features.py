"""Where an integrand is not smooth, or varies on a scale of its own: what quadrature places its panels by."""

from __future__ import annotations

import sympy
from sympy import Expr, Pow, S, Symbol

from tensorprog.expectations.affine import Affine, affine
from tensorprog.expectations.guarded import density, sign_mean, sign_of_sum, sign_pair
from tensorprog.expectations.products import KINKED, forms_of, kinks

Feature = tuple[Affine, Expr]

# What conditioning has made of jumps: an error function of the width of what was integrated out.
_ROUNDED = (density, sign_mean, sign_of_sum, sign_pair)


def features(expr: Expr, variables: frozenset[Symbol]) -> list[Feature]:
    """Affine forms and widths: where a form is 0, `expr` has a kink or jump (width 0) or changes while the form changes by
    the width. Functions of a form L are taken to vary for L about 1, and more slowly from there on."""
    found: dict[Feature, None] = {(form, S.Zero): None for form in kinks(expr, variables)}
    for node in sympy.preorder_traversal(expr):
        if node.free_symbols & variables:
            for form, width in _of(node, variables):
                found[Affine.of(dict(form.linear), form.constant), width] = None
    return [(form, width) for form, width in found if form.linear]


def _of(node: Expr, variables: frozenset[Symbol]) -> list[Feature]:
    if isinstance(node, _ROUNDED):
        return [(form, width) for mean, width in _means(node) if (form := affine(mean, variables)) is not None]
    # Their places are `kinks`; what they are made of is met on its own.
    if isinstance(node, KINKED):
        return []
    # Polynomials look the same on every scale.
    smooth = isinstance(node, sympy.Function) or isinstance(node, Pow) and not _polynomial(node)
    arguments = (node.base,) if isinstance(node, Pow) else node.args
    return [feature for argument in arguments for feature in _inside(argument, variables)] if smooth else []


def _polynomial(power: Pow) -> bool:
    return bool(power.exp.is_Integer and power.exp > 0)


def _means(node: Expr) -> list[tuple[Expr, Expr]]:
    """Means over their standard deviations that a rounded jump is a function of."""
    match node:
        case sign_pair():
            m1, k11, m2, k22, _ = node.args
            return [(m1, sympy.sqrt(k11)), (m2, sympy.sqrt(k22))]
        case sign_of_sum():
            return [(node.args[0] + node.args[1], node.args[2])]
    return [node.args]


def _inside(argument: Expr, variables: frozenset[Symbol]) -> list[Feature]:
    """Those of a smooth function of `argument`: its affine parts, and where a polynomial in one variable vanishes or
    turns."""
    found = [(form, S.One) for form in forms_of(argument, variables)]
    inner = argument.free_symbols & variables
    if len(inner) == 1 and not argument.free_symbols - inner and affine(argument, variables) is None:
        (x,) = inner
        if argument.is_polynomial(x):
            found += [(Affine(((x, S.One),), -place), S.One) for place in _turning_points(argument, x)]
    return found


def _turning_points(polynomial: Expr, x: Symbol) -> list[Expr]:
    parts = [p for p in (polynomial, polynomial.diff(x)) if p.has(x)]
    # As many digits as a double has.
    roots = {root for part in parts for root in sympy.Poly(part, x).nroots(n=17, maxsteps=200)}
    # A double root may come out as two with small imaginary parts. 0 is the zero of x itself, which `_inside` has found.
    return sorted(sympy.Float(sympy.re(r)) for r in roots if abs(sympy.im(r)) <= 1e-9 * (1 + abs(r)) and sympy.re(r) != 0)
