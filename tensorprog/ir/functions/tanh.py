"""The hyperbolic tangent."""

from tensorprog.ir.functions.bounds import between
from tensorprog.ir.functions.expr import X, call, num, sub
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _sympy(x):
    import sympy

    return sympy.tanh(x)


TANH = Nonlinearity(
    name="tanh", description="the hyperbolic tangent", scalar="tanh({x})", numpy="np.tanh({x})",
    derivative=sub(num(1), call("square", call("tanh"))), slope=sub(num(1), call("square", X)),
    bound=between(-1.0, 1.0, zero_at_zero=True), sympy=_sympy, parity="odd", lipschitz=True)
