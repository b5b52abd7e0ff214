"""The exponential function."""

import math
from typing import Any

from tensorprog.ir.functions.bounds import MOST, Bound, Problems
from tensorprog.ir.functions.expr import X, call
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _bound(a: Bound, problems: Problems) -> Bound:
    # exp of |x|**d is of the order d, of an exponential the most there is. Only what is large and positive makes it large.
    order = MOST if a.up[0] > 0 else a.up[1]
    # exp(x**2) of a Gaussian x: whether its expectation exists hangs on the variance (TP I wants less than this order).
    problems.growth |= order >= MOST
    return Bound(_exp(a.low), _exp(a.high), False, (order, 0.0))


def _exp(x: float) -> float:
    # Larger ones overflow from 710 on.
    return math.exp(x) if x < 700 else math.inf


def _sympy(x: Any) -> Any:
    import sympy

    return sympy.exp(x)


EXP = Nonlinearity(
    name="exp", description="the exponential function", scalar="exp({x})", numpy="np.exp({x})",
    derivative=call("exp"), slope=X, bound=_bound, sympy=_sympy)
