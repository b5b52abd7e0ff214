"""softplus(x) = log(1 + exp(x))."""

from math import inf
from typing import Any

from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.functions.expr import call
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def softplus(x: Any) -> Any:
    import numpy as np

    return np.logaddexp(0.0, x)


def _bound(a: Bound, problems: Problems) -> Bound:
    # Between max(x, 0) and max(x, 0) + log(2), and never 0.
    return Bound(0.0, inf, False, a.up)


def _formula(x: Any) -> Any:
    import sympy

    return sympy.log(1 + sympy.exp(x))


SOFTPLUS = Nonlinearity(
    # Nothing overflows for large x, and log1p keeps the digits of small values.
    name="softplus", description="log(1 + exp(x))", scalar="max({x}, 0.0) + log1p(exp(-abs({x})))", array=softplus,
    derivative=call("sigmoid"), bound=_bound, formula=_formula, lipschitz=True)
