"""silu(x) = x sigmoid(x)."""

from tensorprog.ir.functions.bounds import rectified
from tensorprog.ir.functions.expr import X, add, call, mul
from tensorprog.ir.functions.nonlinearity import Nonlinearity
from tensorprog.ir.functions.sigmoid import SIGMOID, sigmoid


def silu(x):
    return x * sigmoid(x)


def _formula(x):
    import sympy

    return x / (1 + sympy.exp(-x))


SILU = Nonlinearity(
    name="silu", description="x sigmoid(x)", scalar="{x} / (1.0 + exp(-{x}))", array=silu,
    derivative=add(call("sigmoid"), mul(X, SIGMOID.derivative)), bound=rectified(-0.28, 0.5), formula=_formula, lipschitz=True)
