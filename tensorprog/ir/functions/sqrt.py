"""The square root."""

from typing import Any

from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.functions.expr import Expr, call, num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _bound(a: Bound, problems: Problems) -> Bound:
    # The root of exp(c |x|**p) is exp(c/2 |x|**p), of the same order; only powers are halved.
    return Bound(max(a.low, 0.0)**0.5, max(a.high, 0.0)**0.5, a.zero, (a.up[0], a.up[1] / 2))


def _sympy(x: Any) -> Any:
    import sympy

    return sympy.sqrt(x)


SQRT = Nonlinearity(
    name="sqrt", description="the square root", scalar="sqrt({x})", numpy="np.sqrt({x})",
    derivative=Expr("div", (num(0.5), call("sqrt"))), bound=_bound, sympy=_sympy)
