"""The coordinatewise primitives as SymPy functions of a real argument.

SymPy's own are used where it has them (`Abs`, `sign`, `tanh`, `erf`, `exp`, `log`, `sin`, `cos`, `Max`, `Min`). The
values at kinks are those of `tensorprog/ir/primitives.py`: step(0) = sign(0) = relu'(0) = 0. Unlike there, the
derivative of a jump is a Dirac delta, which Stein's lemma needs.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy
from sympy import DiracDelta, Dummy, Expr, Function, Mul, S, erf, exp, pi, sqrt


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


class _Slope(_Smooth):
    """The even derivative of a function that saturates, as a function of its own: written as 1 - tanh**2, it would be
    lost in the rounding of 1 where means of its parts are taken."""

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        if x.is_zero:
            return cls.elementary(x)
        return cls(-x) if x.could_extract_minus_sign() else None


class tanh_slope(_Slope):
    """tanh'(x) = 1 - tanh(x)**2."""

    @staticmethod
    def elementary(x: Expr) -> Expr:
        return 1 - sympy.tanh(x)**2

    def fdiff(self, argindex: int = 1) -> Expr:
        return -2 * sympy.tanh(self.args[0]) * self


class sigmoid_slope(_Slope):
    """sigmoid'(x) = sigmoid(x) (1 - sigmoid(x))."""

    @staticmethod
    def elementary(x: Expr) -> Expr:
        return exp(-x) / (1 + exp(-x))**2

    def fdiff(self, argindex: int = 1) -> Expr:
        return -sympy.tanh(self.args[0] / 2) * self


class sigmoid(_Smooth):
    """1 / (1 + exp(-x))."""

    @staticmethod
    def elementary(x: Expr) -> Expr:
        return 1 / (1 + exp(-x))

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return S.Half if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return sigmoid_slope(self.args[0])


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
        return sigmoid(x) + x * sigmoid_slope(x)


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


def absolute(x: Expr) -> Expr:
    """abs(x); that of a sign is its square, for which SymPy's `Abs` of a large expression does not end."""
    return x**2 if isinstance(x, sympy.sign) else sympy.Abs(x)


UNARY: dict[str, Callable[[Expr], Expr]] = {
    "neg": lambda x: -x, "relu": relu, "abs": absolute, "sign": sympy.sign, "step": step, "tanh": sympy.tanh,
    "erf": erf, "sigmoid": sigmoid, "gelu": gelu, "silu": silu, "softplus": softplus, "exp": exp, "log": sympy.log,
    "sqrt": sqrt, "sin": sympy.sin, "cos": sympy.cos, "square": square,
}

BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b, "max": sympy.Max, "min": sympy.Min,
}


def with_slopes(expr: Expr) -> Expr:
    """The expression with 1 - tanh(x)**2 and sigmoid(x) (1 - sigmoid(x)) as one function each."""
    if not expr.has(sympy.tanh, sigmoid):
        return expr
    expr = expr.replace(lambda e: _complement(e, 2, sympy.tanh) is not None,
                        lambda e: tanh_slope(_complement(e, 2, sympy.tanh)))
    return expr.replace(lambda e: e.is_Mul and _complementary(e) is not None, _sigmoid_product)


def _complement(expr: Expr, power: int, function: type) -> Expr | None:
    """The argument x of 1 - function(x)**power."""
    if not (expr.is_Add and len(expr.args) == 2 and expr.args[0] == 1):
        return None
    base, exponent = (-expr.args[1]).as_base_exp()
    return base.args[0] if isinstance(base, function) and exponent == power else None


def _complementary(product: Expr) -> Expr | None:
    """The argument of the sigmoid that is a factor beside one less it."""
    arguments = (_complement(f, 1, sigmoid) for f in product.args)
    return next((x for x in arguments if x is not None and sigmoid(x) in product.args), None)


def _sigmoid_product(product: Expr) -> Expr:
    x = _complementary(product)
    rest = list(product.args)
    rest.remove(sigmoid(x))
    rest.remove(next(f for f in rest if _complement(f, 1, sigmoid) == x))
    return Mul(*rest) * sigmoid_slope(x)


def from_primitive(name: str, order: int, args: tuple[Expr, ...]) -> Expr:
    """The SymPy expression of an IR primitive, or of the `order`-th derivative of a unary one, at `args`.

    Raises ValueError for an unknown primitive, a wrong number of arguments, or a derivative of a binary one.
    """
    if name in UNARY and len(args) == 1:
        if order == 0:
            return UNARY[name](args[0])
        x = Dummy("x", real=True)
        return with_slopes(UNARY[name](x).diff(x, order)).xreplace({x: args[0]})
    if name in BINARY and len(args) == 2 and order == 0:
        return BINARY[name](*args)
    raise ValueError(f"no primitive `{name}` of {len(args)} arguments with a derivative of order {order}")
