"""The exponential function."""

import math
from typing import Any

from tensorprog.ir.functions.bounds import MOST, Bound, Problems
from tensorprog.ir.functions.expr import X, call
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _bound(a: Bound, problems: Problems) -> Bound:
    order = MOST if a.up[0] > 0 else a.up[1]
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
