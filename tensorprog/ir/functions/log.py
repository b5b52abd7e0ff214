"""The natural logarithm."""

from math import inf

from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.functions.expr import Expr, X, num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _bound(a: Bound, problems: Problems) -> Bound:
    problems.division |= a.zero or a.low < 0
    order = (0.0, a.up[0]) if a.up[0] > 0 else (0.0, 0.0)
    return Bound(-inf, inf, True, order, order)


def _sympy(x):
    import sympy

    return sympy.log(x)


LOG = Nonlinearity(
    name="log", description="the natural logarithm", scalar="log({x})", numpy="np.log({x})",
    derivative=Expr("div", (num(1), X)), bound=_bound, sympy=_sympy)
