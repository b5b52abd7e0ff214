"""The sine."""

from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.functions.expr import call
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def wave(a: Bound, problems: Problems) -> Bound:
    """The bound of a sine or cosine."""
    return Bound(-1.0, 1.0, True)


def _sympy(x):
    import sympy

    return sympy.sin(x)


SIN = Nonlinearity(
    name="sin", description="the sine", scalar="sin({x})", numpy="np.sin({x})", derivative=call("cos"), bound=wave,
    sympy=_sympy, parity="odd", lipschitz=True)
