"""gelu(x) = x Phi(x), with the normal distribution function Phi (Hendrycks and Gimpel, arXiv:1606.08415)."""

from math import pi, sqrt
from typing import Any

from tensorprog.ir.functions.bounds import rectified
from tensorprog.ir.functions.expr import X, add, call, mul, num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def gelu(x: Any) -> Any:
    from scipy.special import ndtr

    return x * ndtr(x)


def _formula(x: Any) -> Any:
    import sympy

    return x * (1 + sympy.erf(x / sympy.sqrt(2))) / 2


_DENSITY = mul(num(1 / sqrt(2 * pi)), call("exp", mul(num(-0.5), call("square"))))
_DISTRIBUTION = mul(num(0.5), add(num(1), call("erf", mul(num(1 / sqrt(2)), X))))

GELU = Nonlinearity(
    name="gelu", description="x Phi(x), with the normal distribution function Phi",
    # erfc keeps the digits of the tail, where 1 + erf would cancel.
    scalar="0.5 * {x} * erfc(-0.7071067811865476 * {x})", array=gelu, derivative=add(_DISTRIBUTION, mul(X, _DENSITY)),
    # Its least value is -0.16997, at -0.7518; and x/2 <= gelu(x) <= x for x > 0.
    bound=rectified(-0.17, 0.5), formula=_formula, lipschitz=True)
