"""-x."""

from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.functions.expr import num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def negative(a: Bound, problems: Problems | None = None) -> Bound:
    """The bound of -x."""
    return Bound(-a.high, -a.low, a.zero, a.down, a.up)


NEG = Nonlinearity(
    name="neg", description="-x", scalar="-{x}", numpy="-{x}", derivative=num(-1), bound=negative,
    sympy=lambda x: -x, parity="odd", degree=1, lipschitz=True)
