"""Signs and kinks of multiples of one Gaussian: sign(c*z) is sign(c) sign(z), relu(c*z) is relu(c) relu(z) + relu(-c) relu(-z).

Beside another function of z, the correlation of c*z and z is 1 or -1, which rounded covariances do not say exactly; and where a
correlation is 1 up to the last digit, a mean of two signs has lost half of its digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy import Abs, Expr, Symbol

from tensorprog.expectations.functions import relu, step

_KINKED = (sympy.sign, step, Abs, relu)


def multiples_apart(integrand: Expr, gaussians: Sequence[Symbol]) -> Expr:
    """The integrand with numbers taken out of signs and kinks, of Gaussians of which it has several such functions."""
    calls = integrand.atoms(*_KINKED)
    for z in gaussians:
        # One alone is beside no other with which its correlation is 1.
        own = [call for call in calls if call.args[0].free_symbols & set(gaussians) == {z}]
        if len(own) > 1:
            integrand = integrand.xreplace({call: _apart(call, z) for call in own})
    return integrand


def _apart(call: Expr, z: Symbol) -> Expr:
    # With a constant beside it, as in relu(c*z + b), the kink moves with c, and nothing can be taken out.
    factor = sympy.factor_terms(sympy.collect(sympy.expand(call.args[0]), z)).coeff(z)
    if factor.is_number or sympy.expand(call.args[0] - factor * z) != 0:
        return call
    if isinstance(call, sympy.sign | Abs):
        return call.func(factor) * call.func(z)
    return call.func(factor) * call.func(z) + call.func(-factor) * call.func(-z)
