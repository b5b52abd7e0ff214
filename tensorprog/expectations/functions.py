"""The coordinatewise primitives as SymPy functions of a real argument.

SymPy's own are used where it has them (`Abs`, `sign`, `tanh`, `erf`, `exp`, `log`, `sin`, `cos`, `Max`, `Min`). The
values at kinks are those of `tensorprog/ir/primitives.py`: step(0) = sign(0) = relu'(0) = 0. Unlike there, the
derivative of a jump is a Dirac delta, which Stein's lemma needs.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy
from sympy import DiracDelta, Dummy, Expr, Function, S, erf, exp, pi, sqrt


class _Homogeneous(Function):
    """A function with f(c x) = c**degree f(x) for every c > 0; numbers that multiply its argument are taken out."""

    degree = 0
    at_one = S.One

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        if x.is_extended_nonpositive:
            return S.Zero
        if x.is_extended_positive:
            return cls.at_one * x**cls.degree
        scale, rest = x.as_coeff_Mul()
        if abs(scale) != 1:
            return abs(scale)**cls.degree * cls(rest * sympy.sign(scale))
        return None


class step(_Homogeneous):
    """1 for x > 0, otherwise 0."""

    def fdiff(self, argindex: int = 1) -> Expr:
        return DiracDelta(self.args[0])


class relu(_Homogeneous):
    """max(x, 0)."""

    degree = 1

    def fdiff(self, argindex: int = 1) -> Expr:
        return step(self.args[0])


class _Smooth(Function):
    """A function with a formula in SymPy's own, which gives its numeric values."""

    def _eval_evalf(self, prec: int) -> Expr:
        return self.elementary(self.args[0])._eval_evalf(prec)


class sigmoid(_Smooth):
    """1 / (1 + exp(-x))."""

    @staticmethod
    def elementary(x: Expr) -> Expr:
        return 1 / (1 + exp(-x))

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return S.Half if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return self * (1 - self)


class gelu(_Smooth):
    """x Phi(x), with the normal distribution function Phi."""

    @staticmethod
    def elementary(x: Expr) -> Expr:
        return x * normal_cdf(x)

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return S.Zero if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> Expr:
        x = self.args[0]
        return normal_cdf(x) + x * exp(-x**2 / 2) / sqrt(2 * pi)


class silu(_Smooth):
    """x sigmoid(x)."""

    @staticmethod
    def elementary(x: Expr) -> Expr:
        return x / (1 + exp(-x))

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return S.Zero if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> Expr:
        x = self.args[0]
        return sigmoid(x) + x * sigmoid(x) * (1 - sigmoid(x))


class softplus(_Smooth):
    """log(1 + exp(x))."""

    @staticmethod
    def elementary(x: Expr) -> Expr:
        return sympy.log(1 + exp(x))

    def fdiff(self, argindex: int = 1) -> Expr:
        return sigmoid(self.args[0])


def square(x: Expr) -> Expr:
    """x**2."""
    return x**2


def normal_cdf(x: Expr) -> Expr:
    """Phi(x), by erf."""
    return (1 + erf(x / sqrt(2))) / 2


UNARY: dict[str, Callable[[Expr], Expr]] = {
    "neg": lambda x: -x, "relu": relu, "abs": sympy.Abs, "sign": sympy.sign, "step": step, "tanh": sympy.tanh,
    "erf": erf, "sigmoid": sigmoid, "gelu": gelu, "silu": silu, "softplus": softplus, "exp": exp, "log": sympy.log,
    "sqrt": sqrt, "sin": sympy.sin, "cos": sympy.cos, "square": square,
}

BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b, "max": sympy.Max, "min": sympy.Min,
}


def from_primitive(name: str, order: int, args: tuple[Expr, ...]) -> Expr:
    """The SymPy expression of an IR primitive, or of the `order`-th derivative of a unary one, at `args`.

    Raises ValueError for an unknown primitive, a wrong number of arguments, or a derivative of a binary one.
    """
    if name in UNARY and len(args) == 1:
        if order == 0:
            return UNARY[name](args[0])
        x = Dummy("x", real=True)
        return UNARY[name](x).diff(x, order).xreplace({x: args[0]})
    if name in BINARY and len(args) == 2 and order == 0:
        return BINARY[name](*args)
    raise ValueError(f"no primitive `{name}` of {len(args)} arguments with a derivative of order {order}")
