"""sign(x), with sign(0) = 0."""

from typing import Any

from tensorprog.ir.functions.bounds import between
from tensorprog.ir.functions.expr import num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def _sympy(x: Any) -> Any:
    import sympy

    return sympy.sign(x)


SIGN = Nonlinearity(
    name="sign", description="1, 0 or -1", numpy="np.sign({x})",
    # Only a NaN is not equal to itself; it stays one.
    scalar="{x} if {x} != {x} else (1.0 if {x} > 0.0 else (-1.0 if {x} < 0.0 else 0.0))", derivative=num(0),
    bound=between(-1.0, 1.0, zero_at_zero=True), sympy=_sympy, parity="odd", degree=0, kink="jump")
