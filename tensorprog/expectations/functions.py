"""The coordinatewise primitives as SymPy functions of a real argument.

SymPy's own are used where it has them (`Abs`, `sign`, `tanh`, `erf`, `exp`, `log`, `sin`, `cos`, `Max`, `Min`); of others, the
records in `ir/functions` have a formula, or a derivative and values alone. The values at kinks are those of the records:
step(0) = sign(0) = relu'(0) = 0. Unlike there, the derivative of a jump is a Dirac delta, which Stein's lemma needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import sympy
from sympy import DiracDelta, Dummy, Expr, Function, Mul, S, erf, exp, pi, sqrt

from tensorprog.ir.functions import NONLINEARITIES, Nonlinearity
from tensorprog.ir.functions import expr as derivatives


class _Homogeneous(Function):
    """A function with f(c x) = c**degree f(x) for every c > 0; numbers that multiply its argument are taken out."""

    degree = 0
    at_one = S.One

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        # step and relu alike are 0 there.
        if x.is_extended_nonpositive:
            return S.Zero
        if x.is_extended_positive:
            return cls.at_one * x**cls.degree
        # Only numbers: of a parameter the sign is not known. What is left has the factor 1 or -1.
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


class _OfRecord(Function):
    """A function of `ir.functions` that is none of SymPy's; subclasses are made by `_class_of`."""

    record: Nonlinearity

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        # Values that are multiples of 1/2 are exact, as sigmoid(0).
        if x.is_zero and (value := 2 * cls.record.at(0.0)).is_integer():
            return sympy.Rational(int(value), 2)
        # f(-x) in one form only, so that f(x) + f(-x) of an odd f is seen to be 0.
        if cls.record.parity != "none" and x.could_extract_minus_sign():
            return cls(-x) if cls.record.parity == "even" else -cls(-x)
        return None

    def fdiff(self, argindex: int = 1) -> Expr:
        return _SLOPES.get(self.record.name, lambda x: expression(self.record.derivative, x))(self.args[0])

    def _eval_evalf(self, prec: int) -> Expr | None:
        if self.record.formula is not None:
            return self.record.formula(self.args[0])._eval_evalf(prec)
        # Without a formula it has the digits of a float, whatever is asked for.
        x = self.args[0].evalf(prec)
        return sympy.Float(self.record.at(float(x))) if x.is_number and x.is_real else None


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
        # 1 - 2 sigmoid(x) = -tanh(x/2).
        return -sympy.tanh(self.args[0] / 2) * self


def normal_cdf(x: Expr) -> Expr:
    """Phi(x), by erf."""
    return (1 + erf(x / sqrt(2))) / 2


def _gelu_slope(x: Expr) -> Expr:
    return normal_cdf(x) + x * exp(-x**2 / 2) / sqrt(2 * pi)


#: Derivatives with what is more accurate than the expression of the record, or exact where that has rounded numbers.
_SLOPES: dict[str, Callable[[Expr], Expr]] = {
    "sigmoid": sigmoid_slope, "gelu": _gelu_slope, "silu": lambda x: unary("sigmoid")(x) + x * sigmoid_slope(x)}
#: Functions with classes above.
_OWN: dict[str, Callable[[Expr], Expr]] = {"relu": relu, "step": step}


def unary(name: str) -> Callable[..., Expr]:
    """A primitive of one argument: SymPy's own function, or a class made of its record."""
    return _unary(NONLINEARITIES[name])


@cache
def _unary(record: Nonlinearity) -> Callable[..., Expr]:
    # A kink has to be seen where it is: a function with one is written by its formula.
    known = _OWN.get(record.name) or record.sympy or (record.formula if record.kink else None)
    return known or type(record.name, (_OfRecord,), {"record": record, "__module__": __name__, "nargs": 1})


def __getattr__(name: str) -> type:
    """Classes of functions, by which pickles name them."""
    if name in NONLINEARITIES and isinstance(found := unary(name), type):
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


sigmoid, gelu, silu, softplus = map(unary, ("sigmoid", "gelu", "silu", "softplus"))


def expression(expr: derivatives.Expr, x: Expr) -> Expr:
    """An expression in primitives at `x`."""
    if expr.fn == "x":
        return x
    if expr.fn == "num":
        # 0.5 is 1/2: with floats in them, terms that cancel would leave 1e-17.
        return sympy.nsimplify(expr.value, rational=True)
    args = [expression(a, x) for a in expr.args]
    return unary(expr.fn)(*args) if len(args) == 1 else BINARY[expr.fn](*args)


def own_names() -> tuple[str, ...]:
    """The functions that are classes of this module, which what is emitted calls by their names."""
    found = (name for name in NONLINEARITIES if isinstance(function := unary(name), type)
             and issubclass(function, _OfRecord | _Homogeneous))
    return (*found, "sigmoid_slope", "tanh_slope")


def parity_of(function: type) -> str:
    """'odd', 'even' or 'none': of a function of one argument."""
    return _parities(tuple(NONLINEARITIES)).get(function, "none")


@cache
def _parities(names: tuple[str, ...]) -> dict[type, str]:
    x = Dummy("x", real=True)
    # A formula is no function of its own, and its parity is that of its parts.
    found = {type(value): NONLINEARITIES[name].parity for name in names
             if isinstance(value := unary(name)(x), Function) and value.args == (x,)}
    return found | dict.fromkeys((sympy.sinh, sympy.atan), "odd") | dict.fromkeys((sympy.cosh, DiracDelta), "even")


BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b, "max": sympy.Max, "min": sympy.Min,
}


def with_slopes(expr: Expr) -> Expr:
    """The expression with 1 - tanh(x)**2 and sigmoid(x) (1 - sigmoid(x)) as one function each."""
    if not expr.has(sympy.tanh, sigmoid):
        return expr
    # SymPy differentiates tanh to 1 - tanh**2; see `_Slope`.
    expr = expr.replace(lambda e: _complement(e, 2, sympy.tanh) is not None,
                        lambda e: tanh_slope(_complement(e, 2, sympy.tanh)))
    return expr.replace(lambda e: e.is_Mul and _complementary(e) is not None, _sigmoid_product)


def _complement(expr: Expr, power: int, function: Callable[..., Expr]) -> Expr | None:
    """The argument x of 1 - function(x)**power."""
    if not (expr.is_Add and len(expr.args) == 2 and expr.args[0] == 1):
        return None
    base, exponent = (-expr.args[1]).as_base_exp()
    return base.args[0] if base.func is function and exponent == power else None


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
    if name in NONLINEARITIES and len(args) == 1:
        if order == 0:
            return unary(name)(args[0])
        x = Dummy("x", real=True)
        # At a symbol of its own first: by the chain rule, the derivative of f at 2*z would have another factor of 2.
        return with_slopes(unary(name)(x).diff(x, order)).xreplace({x: args[0]})
    if name in BINARY and len(args) == 2 and order == 0:
        return BINARY[name](*args)
    raise ValueError(f"no primitive `{name}` of {len(args)} arguments with a derivative of order {order}")
