"""Functions of one variable: their canonical form, which have a series, and their source text for quadrature."""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np
import sympy
from sympy.printing.numpy import NumPyPrinter

from tensorprog.expectations.intervals import in_intervals
from tensorprog.expectations.source import less_one, log_of_one_more
from tensorprog.ir.functions import NONLINEARITIES

#: The symbol that every function is written in.
X = sympy.Symbol("x", real=True)

_NO_SERIES = ("DiracDelta", "floor", "ceiling", "Derivative", "Subs")
_T = sympy.Symbol("t")
#: Functions with two limits: a polynomial that vanishes at these, as a function of their value, and its name.
_SATURATING = {"tanh": (1 - _T**2, "tanh_slope"), "sigmoid": (_T - _T**2, "sigmoid_slope")}


def runtime_names() -> tuple[str, ...]:
    """Functions that NumPy lacks, which `tensorprog.runtime` has."""
    lacking = (name for name, function in NONLINEARITIES.items() if function.numpy is None)
    return (*lacking, "sigmoid_slope", "tanh_slope")


class UnsupportedDual(Exception):
    """A two-point function that is neither closed nor a series: another evaluator is needed."""


class _Printer(NumPyPrinter):
    """NumPy text, with the primitives that NumPy lacks from `tensorprog.runtime`."""

    def _print_Function(self, expr: sympy.Expr) -> str:
        arguments = ", ".join(self._print(a) for a in expr.args)
        name = expr.func.__name__
        if name == "normal_cdf":
            return f"(0.5 + 0.5*rt.erf({arguments}*{np.sqrt(0.5)!r}))"
        if name == "expm1":
            return f"np.expm1({arguments})"
        if name in runtime_names():
            return f"rt.{name}({arguments})"
        raise UnsupportedDual(f"no NumPy form of {name}")

    _print_erf = _print_Function

    def _print_by_interval(self, expr: sympy.Expr) -> str:
        x, text = self._print(expr.args[0]), self._print(expr.args[-1].evalf(17))
        for end, value, before in reversed(expr.cases):
            place = self._print(end.evalf(17))
            if value is not None:
                text = f"np.where({x} == {place}, {self._print(value.evalf(17))}, {text})"
            text = f"np.where({x} < {place}, {self._print(before.evalf(17))}, {text})"
        return text

    def _print_log(self, expr: sympy.Expr) -> str:
        if log_of_one_more(expr):
            return f"np.log1p({self._print(expr.args[0] - 1)})"
        return super()._print_log(expr)

    def _print_Max(self, expr: sympy.Expr) -> str:
        # The printer's own, `amax` of a tuple, does not broadcast a number against an array.
        return reduce(lambda one, two: f"np.maximum({one}, {two})", map(self._print, expr.args))

    def _print_Min(self, expr: sympy.Expr) -> str:
        return reduce(lambda one, two: f"np.minimum({one}, {two})", map(self._print, expr.args))


@lru_cache(maxsize=1024)
def canonical(phi: sympy.Expr) -> sympy.Expr:
    """The function written in `X`, with the slopes of what saturates by their names."""
    phi = sympy.sympify(phi)
    phi = phi.subs(dict.fromkeys(phi.free_symbols, X))
    # In a fixed order: the text names compiled kernels on disk.
    for call in sorted(phi.atoms(sympy.Function), key=str):
        if call.func.__name__ in _SATURATING:
            phi = _with_slope(phi, call)
    return phi


def _with_slope(phi: sympy.Expr, call: sympy.Expr) -> sympy.Expr:
    """With polynomials in a function that vanish at both of its limits as multiples of its slope: far out, their terms
    lose all digits, and where equations multiply a derivative out, this is the one that they leave whole elsewhere."""
    vanishing, name = _SATURATING[call.func.__name__]
    slope = sympy.Function(name)(call.args[0])
    whole = sympy.expand(phi.subs(call, _T))
    # A polynomial of the first degree does not vanish at both limits.
    if not whole.is_polynomial(_T) or sympy.degree(whole, _T) < 2:
        return phi
    parts: dict[sympy.Expr, sympy.Expr] = {}
    for term in sympy.Add.make_args(whole):
        coefficient, power = term.as_independent(_T)
        number, rest = coefficient.as_coeff_Mul()
        parts[rest] = parts.get(rest, sympy.S.Zero) + number * power
    found = {}
    for rest, part in parts.items():
        quotient, remainder = sympy.div(sympy.Poly(part, _T), sympy.Poly(vanishing, _T))
        found[rest] = quotient.as_expr() * slope if remainder.is_zero else part
    if found == parts:
        return phi
    return sympy.Add(*(rest * part for rest, part in found.items())).subs(_T, call)


def numpy_source(phi: sympy.Expr) -> str:
    """Source text of a function of the array x; `np` and `rt` (tensorprog.runtime) are in scope."""
    # 17 digits are read back as the same double.
    text = _Printer().doprint(_bounded(in_intervals(canonical(phi), frozenset({X}))).evalf(17)).replace("numpy.", "np.")
    # A constant has to come out as an array.
    return text if canonical(phi).free_symbols else f"{text} + 0.0*x"


def _bounded(phi: sympy.Expr) -> sympy.Expr:
    """With 1/(1 + exp(e)) as sigmoid(-e), exp(e) sigmoid(-e) as sigmoid(e) and log(1 + exp(e)) as softplus(e), as
    exponentials of large numbers would give infinity over infinity; and with exp(e) - 1 and its like so that the digits of
    a small e are kept (`less_one`)."""
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

    def total(*terms: sympy.Expr) -> sympy.Expr:
        whole = sympy.Add(*terms)
        for term in terms:
            factor, function = term.as_coeff_Mul()
            found = less_one(function) if whole.as_coeff_Add()[0] * factor < 0 else None
            if found is not None:
                whole += factor * (found + 1 - function)
        return whole

    # Numbers are printed by their values, which would write these functions out.
    lacking = runtime_names()
    phi = phi.replace(lambda e: e.func.__name__ in lacking and e.func is not sympy.erf,
                      lambda e: sympy.Function(e.func.__name__)(*e.args))
    phi = phi.replace(sympy.log, logarithm).replace(sympy.Pow, power).replace(sympy.Mul, product)
    return phi.replace(sympy.Add, total)


def check_series(phi: sympy.Expr, psi: sympy.Expr) -> None:
    """Raises UnsupportedDual for functions that have no values everywhere, or infinitely many kinks."""
    for f in (phi, psi):
        if any(node.func.__name__ in _NO_SERIES for node in sympy.preorder_traversal(f)):
            raise UnsupportedDual(f"E[phi(u) psi(v)] with phi = {phi}, psi = {psi}")
        # Raises UnsupportedDual where a function has no NumPy form.
        numpy_source(f)
