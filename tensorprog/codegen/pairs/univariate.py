"""Functions of one variable: whether two agree, where a series converges, and their source text for quadrature."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import sympy
from sympy.printing.numpy import NumPyPrinter

from tensorprog.codegen.pairs.pieces import KINKED, has_kink

#: The symbol that every function is written in.
X = sympy.Symbol("x", real=True)

_RUNTIME = ("erf", "gelu", "relu", "sigmoid", "sigmoid_slope", "silu", "softplus", "step", "tanh_slope")


class UnsupportedDual(Exception):
    """A function with kinks and without a closed two-point function: another evaluator is needed."""


class _Printer(NumPyPrinter):
    """NumPy text, with the primitives that NumPy lacks from `tensorprog.runtime`."""

    def _print_Function(self, expr: sympy.Expr) -> str:
        arguments = ", ".join(self._print(a) for a in expr.args)
        name = expr.func.__name__
        if name == "normal_cdf":
            return f"(0.5 + 0.5*rt.erf({arguments}*{np.sqrt(0.5)!r}))"
        if name in _RUNTIME:
            return f"rt.{name}({arguments})"
        raise UnsupportedDual(f"no NumPy form of {name}")

    _print_erf = _print_Function


def canonical(phi: sympy.Expr) -> sympy.Expr:
    """The function written in `X`."""
    phi = sympy.sympify(phi)
    return phi.subs({symbol: X for symbol in phi.free_symbols})


def numpy_source(phi: sympy.Expr) -> str:
    """Source text of a function of the array x; `np` and `rt` (tensorprog.runtime) are in scope."""
    text = _Printer().doprint(canonical(phi).evalf(17)).replace("numpy.", "np.")
    return text if canonical(phi).free_symbols else f"{text} + 0.0*x"


@lru_cache(maxsize=256)
def is_derivative(f: sympy.Expr, phi: sympy.Expr) -> bool:
    """Whether `f` is the derivative of the smooth function `phi`; both canonical."""
    if has_kink(f) or has_kink(phi):
        return False
    difference = phi.diff(X) - f
    if difference == 0:
        return True
    points = np.array([-2.3, -0.71, 0.18, 0.64, 1.9])
    return bool(np.all(np.abs(_values(difference, points)) < 1e-12))


def _values(phi: sympy.Expr, points: np.ndarray) -> np.ndarray:
    from tensorprog import runtime

    own = {name: getattr(runtime, name) for name in _RUNTIME}
    own["normal_cdf"] = lambda x: 0.5 + 0.5 * runtime.erf(x * np.sqrt(0.5))
    return sympy.lambdify(X, phi, [own, "numpy"])(points) + 0.0 * points


def check_series(phi: sympy.Expr, psi: sympy.Expr) -> None:
    """Raises UnsupportedDual where a Hermite series converges too slowly: kinks on both sides, or away from zero."""
    kinked = [f for f in (phi, psi) if has_kink(f)]
    if len(kinked) == 2 or not all(_kinks_at_zero(f) for f in kinked):
        raise UnsupportedDual(f"E[phi(u) psi(v)] with phi = {phi}, psi = {psi}")


def _kinks_at_zero(phi: sympy.Expr) -> bool:
    nodes = [node for node in sympy.preorder_traversal(phi) if node.func.__name__ in KINKED]
    simple = all(node.func.__name__ in ("Abs", "sign", "step", "relu", "leaky_relu") for node in nodes)
    return simple and all((node.args[0] / X).is_number for node in nodes)
