"""silu(x) = x sigmoid(x)."""

from typing import Any

from tensorprog.ir.functions.bounds import rectified
from tensorprog.ir.functions.expr import X, add, call, mul
from tensorprog.ir.functions.nonlinearity import Nonlinearity
from tensorprog.ir.functions.sigmoid import SIGMOID, sigmoid


def silu(x: Any) -> Any:
    return x * sigmoid(x)


def _formula(x: Any) -> Any:
    import sympy

    return x / (1 + sympy.exp(-x))


SILU = Nonlinearity(
    name="silu", description="x sigmoid(x)", scalar="{x} / (1.0 + exp(-{x}))", array=silu,
    # Its least value is -0.27847, at -1.2785; and x/2 <= silu(x) <= x for x > 0.
    derivative=add(call("sigmoid"), mul(X, SIGMOID.derivative)), bound=rectified(-0.28, 0.5), formula=_formula, lipschitz=True)
