"""abs(x), with abs'(0) = 0."""

from typing import Any

from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.functions.expr import call
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _bound(a: Bound, problems: Problems) -> Bound:
    # The least value: `low` of what is positive, -`high` of what is negative, and 0 where both signs occur. It grows as the faster
    # side, upwards.
    return Bound(max(a.low, -a.high, 0.0), max(abs(a.low), abs(a.high)), a.zero, a.size)


def _sympy(x: Any) -> Any:
    """That of a sign is its square, for which SymPy's `Abs` of a large expression does not end."""
    import sympy

    return x**2 if isinstance(x, sympy.sign) else sympy.Abs(x)


ABS = Nonlinearity(
    name="abs", description="the absolute value", scalar="abs({x})", numpy="np.abs({x})", derivative=call("sign"),
    bound=_bound, sympy=_sympy, parity="even", degree=1, kink="kink", lipschitz=True)
