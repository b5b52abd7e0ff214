"""Names for long arguments of matrices, which the program leaves nameless.

What backpropagation sends through a matrix is the adjoint of that matrix's product: if the update of W adds
`outer(g, x)` and the program has `h = W @ x`, then g is `dh`.
"""

from __future__ import annotations

import re

import sympy
from sympy import Expr

from tensorprog.derive.entries import Site, Trace
from tensorprog.derive.matrices import Matrix, Outer
from tensorprog.derive.symbols import Z
from tensorprog.derive.system import System


def placeholder_names(trace: Trace, system: System) -> dict[Expr, Expr]:
    """The symbol of each placeholder's final name."""
    sites = [e for e in trace.entries if isinstance(e, Site)]
    matrices = [*(s.matrix for s in sites), *(m for s in trace.states.values() for m in (s.step, s.start))]
    names = {}
    for name, variable in trace.placeholders.items():
        stem = _stem(name, variable, sites, matrices)
        if stem in trace.labels.taken and "x" not in trace.labels.taken:
            stem = "x"
        names[sympy.Symbol(name)] = sympy.Symbol(trace.labels.new(stem))
    return names


def _stem(name: str, variable: str, sites: list[Site], matrices: list[Matrix]) -> str:
    for matrix in matrices:
        for term in matrix.terms:
            if isinstance(term.factor, Outer) and _is_named(term.factor.left, name):
                found = [s for s in sites if not s.transposed and shape(s.arg) == shape(term.factor.right)]
                if found:
                    return "d" + _title(found[0].left)
    forward = [s for s in sites if not s.transposed]
    own = [s for s in sites if _is_named(s.arg, name)]
    if own and own[0].transposed and re.fullmatch(r"e(_\d+)*", variable) and len(forward) == 1:
        return "d" + _title(forward[0].left)
    return "x" if re.fullmatch(r"e(_\d+)*", variable) else re.sub(r"(_\d+)+$", "", variable)


def _is_named(expr: Expr, name: str) -> bool:
    return isinstance(expr, Z) and str(expr.args[0]) == name


def _title(left: Expr) -> str:
    return str(left.args[0]) if isinstance(left, Z) else "h"


def shape(expr: Expr) -> str:
    """The expression without its indices."""
    return re.sub(r"Symbol\('[^']*', integer=True\)|Integer\(-?\d+\)|Add\([^()]*\)", "_", sympy.srepr(expr))
