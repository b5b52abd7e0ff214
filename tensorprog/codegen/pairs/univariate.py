"""Functions of one variable: whether two agree, which have a series, and their source text for quadrature."""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np
import sympy
from sympy.printing.numpy import NumPyPrinter

from tensorprog.codegen.pairs.pieces import has_kink

#: The symbol that every function is written in.
X = sympy.Symbol("x", real=True)

_NO_SERIES = ("DiracDelta", "floor", "ceiling", "Derivative", "Subs")
_RUNTIME = ("erf", "gelu", "relu", "sigmoid", "sigmoid_slope", "silu", "softplus", "step", "tanh_slope")


class UnsupportedDual(Exception):
    """A two-point function that is neither closed nor a series: another evaluator is needed."""


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

    def _print_Max(self, expr: sympy.Expr) -> str:
        return reduce(lambda one, two: f"np.maximum({one}, {two})", map(self._print, expr.args))

    def _print_Min(self, expr: sympy.Expr) -> str:
        return reduce(lambda one, two: f"np.minimum({one}, {two})", map(self._print, expr.args))


def canonical(phi: sympy.Expr) -> sympy.Expr:
    """The function written in `X`."""
    phi = sympy.sympify(phi)
    return phi.subs({symbol: X for symbol in phi.free_symbols})


def numpy_source(phi: sympy.Expr) -> str:
    """Source text of a function of the array x; `np` and `rt` (tensorprog.runtime) are in scope."""
    text = _Printer().doprint(_bounded(canonical(phi)).evalf(17)).replace("numpy.", "np.")
    return text if canonical(phi).free_symbols else f"{text} + 0.0*x"


def _bounded(phi: sympy.Expr) -> sympy.Expr:
    """With 1/(1 + exp(e)) as sigmoid(-e), exp(e) sigmoid(-e) as sigmoid(e) and log(1 + exp(e)) as softplus(e): exponentials
    of large numbers would give infinity over infinity."""
    sigmoid, softplus = sympy.Function("sigmoid"), sympy.Function("softplus")

    def power(base: sympy.Expr, k: sympy.Expr) -> sympy.Expr:
        found = base - 1
        return sigmoid(-found.args[0])**-k if k.is_Integer and k < 0 and found.func is sympy.exp else base**k

    def product(*factors: sympy.Expr) -> sympy.Expr:
        whole = sympy.Mul(*factors)
        for factor in factors:
            if factor.func is sympy.exp and whole.has(sigmoid(-factor.args[0])):
                whole = whole / factor / sigmoid(-factor.args[0]) * sigmoid(factor.args[0])
        return whole

    def logarithm(x: sympy.Expr) -> sympy.Expr:
        return softplus((x - 1).args[0]) if (x - 1).func is sympy.exp else sympy.log(x)

    # Numbers are printed by their values, which would write these functions out.
    phi = phi.replace(lambda e: e.func.__name__ in _RUNTIME and e.func is not sympy.erf,
                      lambda e: sympy.Function(e.func.__name__)(*e.args))
    return phi.replace(sympy.log, logarithm).replace(sympy.Pow, power).replace(sympy.Mul, product)


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
    """Raises UnsupportedDual for functions that have no values everywhere, or infinitely many kinks."""
    for f in (phi, psi):
        if any(node.func.__name__ in _NO_SERIES for node in sympy.preorder_traversal(f)):
            raise UnsupportedDual(f"E[phi(u) psi(v)] with phi = {phi}, psi = {psi}")
        numpy_source(f)
