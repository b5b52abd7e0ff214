"""The cosine."""

from tensorprog.ir.functions.expr import call
from tensorprog.ir.functions.nonlinearity import Nonlinearity
from tensorprog.ir.functions.sin import wave


def _sympy(x):
    import sympy

    return sympy.cos(x)


COS = Nonlinearity(
    name="cos", description="the cosine", scalar="cos({x})", numpy="np.cos({x})",
    derivative=call("neg", call("sin")), bound=wave, sympy=_sympy, parity="even", lipschitz=True)
