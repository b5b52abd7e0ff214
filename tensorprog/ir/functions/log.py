"""The natural logarithm."""

from math import inf
from typing import Any

from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.functions.expr import Expr, X, num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _bound(a: Bound, problems: Problems) -> Bound:
    # At 0 it is infinite, and below 0 it has no value: as a division by what can be zero.
    problems.division |= a.zero or a.low < 0
    # The logarithm of exp(c |x|**p) grows as |x|**p; that of a power slower than any, which counts as not at all.
    order = (0.0, a.up[0]) if a.up[0] > 0 else (0.0, 0.0)
    return Bound(-inf, inf, True, order, order)


def _sympy(x: Any) -> Any:
    import sympy

    return sympy.log(x)


LOG = Nonlinearity(
    name="log", description="the natural logarithm", scalar="log({x})", numpy="np.log({x})",
    derivative=Expr("div", (num(1), X)), bound=_bound, sympy=_sympy)
