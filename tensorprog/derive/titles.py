"""Names for long arguments of matrices, which the program leaves nameless.

What backpropagation sends through a matrix is the adjoint of that matrix's product: if the update of W adds
`outer(g, x)` and the program has `h = W @ x`, then g is `dh`.
"""

from __future__ import annotations

import re

import sympy
from sympy import Expr

from tensorprog.derive.entries import Trace, TracedProduct
from tensorprog.derive.matrices import MatrixSum, OuterSummand
from tensorprog.derive.symbols import Z
from tensorprog.derive.system import LimitSystem


def placeholder_names(trace: Trace, system: LimitSystem) -> dict[Expr, Expr]:
    """The symbol of each placeholder's final name."""
    sites = [e for e in trace.entries if isinstance(e, TracedProduct)]
    matrices = [*(s.matrix for s in sites), *(m for s in trace.states.values() for m in (s.step, s.start))]
    names = {}
    for name in trace.placeholders:
        stem = _stem(name, trace, sites, matrices)
        if stem in trace.labels.taken and not _is_backward(name, trace, sites):
            # A vector inside of what has the name already.
            stem = next((free for free in ("x", f"x_{stem}") if free not in trace.labels.taken), stem)
        names[sympy.Symbol(name)] = sympy.Symbol(trace.labels.new(stem))
    return names


def _stem(name: str, trace: Trace, sites: list[TracedProduct], matrices: list[MatrixSum]) -> str:
    if not _is_backward(name, trace, sites):
        return "x" if _is_nameless(trace.placeholders[name]) else _without_numbers(trace.placeholders[name])
    if name in trace.adjoints:
        return "d" + _without_numbers(trace.adjoints[name])
    forward = [s for s in sites if not s.transposed]
    rights = [term.factor.right for matrix in matrices for term in matrix.terms
              # Of `W -= c*outer(g, x)`: the forward product with the argument x is what g is the adjoint of.
              if isinstance(term.factor, OuterSummand) and _is_named(term.factor.left, name)]
    found = [s for right in rights for s in forward if _is_recorded(s.arg, right, trace)]
    return "d" + _title((found or forward)[0].left) if found or len(forward) == 1 else "dh"


def _is_backward(name: str, trace: Trace, sites: list[TracedProduct]) -> bool:
    """Whether backpropagation made it: what a cell of a sweep has collected, or a value without a name on its way
    through a transposed matrix."""
    return name in trace.adjoints or (_is_nameless(trace.placeholders[name])
                                      and any(s.transposed and _is_named(s.arg, name) for s in sites))


def _is_recorded(argument: Expr, right: Expr, trace: Trace) -> bool:
    """Whether a factor of an update is the argument of a product: the same expression, or a variable's record."""
    if isinstance(argument, Z) and isinstance(right, Z):
        one, other = (trace.placeholders.get(str(z.args[0])) for z in (argument, right))
        if one is not None and other is not None:
            return _without_numbers(one) == _without_numbers(other)
    return shape(argument) == shape(right)


def _is_nameless(variable: str) -> bool:
    """Whether it is a temporary that a sweep of a gradient computes."""
    return re.fullmatch(r"e(_\d+)*", variable) is not None


def _without_numbers(variable: str) -> str:
    return re.sub(r"(_\d+)+$", "", variable)


def _is_named(expr: Expr, name: str) -> bool:
    return isinstance(expr, Z) and str(expr.args[0]) == name


def _title(left: Expr) -> str:
    return str(left.args[0]) if isinstance(left, Z) else "h"


# Sums of indices, numbers and index symbols become one mark in the text of the tree.
def shape(expr: Expr) -> str:
    """The expression without its indices."""
    return re.sub(r"Symbol\('[^']*', integer=True\)|Integer\(-?\d+\)|Add\([^()]*\)", "_", sympy.srepr(expr))
