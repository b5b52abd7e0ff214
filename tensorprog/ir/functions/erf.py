"""The error function."""

from math import pi, sqrt

from tensorprog.ir.functions.bounds import between
from tensorprog.ir.functions.expr import X, call, mul, num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def erf(x):
    from scipy.special import erf as special_erf

    return special_erf(x)


def _sympy(x):
    import sympy

    return sympy.erf(x)


ERF = Nonlinearity(
    name="erf", description="the error function", scalar="erf({x})", array=erf,
    derivative=mul(num(2 / sqrt(pi)), call("exp", call("neg", call("square", X)))),
    bound=between(-1.0, 1.0, zero_at_zero=True), sympy=_sympy, parity="odd", lipschitz=True)
