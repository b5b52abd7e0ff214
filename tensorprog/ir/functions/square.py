"""x**2."""

from tensorprog.ir.functions.bounds import Bound, Problems, grown
from tensorprog.ir.functions.expr import X, mul, num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _bound(a: Bound, problems: Problems) -> Bound:
    # The least value is at the end nearer to 0, unless 0 lies between them.
    ends = [a.low * a.low, a.high * a.high]
    return Bound(0.0 if a.low <= 0 <= a.high else min(ends), max(ends), a.zero, grown(a.size, a.size))


SQUARE = Nonlinearity(
    name="square", description="x**2", scalar="{x} * {x}", numpy="np.square({x})",
    derivative=mul(num(2), X), bound=_bound, sympy=lambda x: x**2, parity="even", degree=2)
