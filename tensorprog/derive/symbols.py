"""The SymPy objects of a derivation: limit variables, expectations, nonlinearities.

    Z(name, *indices)          the limit variable of a vector that has a name
    Prod(matrix, tr, x)        the limit variable of `matrix @ x` (tr = 0) or `matrix.T @ x` (tr = 1)
    GaussianPart(matrix, tr, x)  its Gaussian part, for an initial matrix
    Dot(matrix, tr, x)         its response part
    Rest(matrix, tr, x)        what products with the transpose have not told of x, for an orthogonal matrix
    E(x)                       expectation
    Cov(x, y)                  covariance
    Response(x, hat)           the partial derivative of x by a Gaussian part
    f(x), f'(x), ...           coordinatewise functions, made by `nonlinearity`

`x` is an expression in limit variables; `matrix` a Symbol, or an Indexed for a member of a family. Scalars and inputs
are Symbols and Indexed objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import SupportsIndex

import sympy
from sympy import Expr, Function, Integer, S

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.primitives import slope_of_kink


class Atom(Function):
    """A random variable of the limit: opaque to everything that works on coordinatewise expressions."""


class Z(Atom):
    pass


class Prod(Atom):
    pass


class GaussianPart(Atom):
    pass


class Dot(Atom):
    pass


class Rest(Atom):
    pass


class E(Function):
    """Expectation."""


class Cov(Function):
    """Covariance."""


class OuterProduct(Function):
    """The outer product of two vectors, divided by the width: applied to z it is Z^u E[Z^x Z^z]."""


class InnerOfMatrices(Function):
    """The inner product of two matrices, a number."""


class Transpose(Function):
    """The transpose of a matrix."""


class Response(Function):
    """d x / d hat."""


class Cases(Function):
    """Cases(value, condition, otherwise). (SymPy moves a Piecewise out of a sum, with the sum's index.)"""

    @classmethod
    def eval(cls, value: Expr, condition: sympy.Basic, otherwise: Expr) -> Expr | None:
        if condition == S.true or value == otherwise:
            return value
        return otherwise if condition == S.false else None


class NonlinearityBase(Function):
    """A coordinatewise function or its `order`-th derivative; subclasses are made by `nonlinearity`. (SymPy's
    printers look for methods of bases only if their names end in Base.)"""

    fn = ""
    order = 0

    def fdiff(self, argindex: int = 1) -> Expr:
        return derivative(self.fn, self.order, argindex, self.args)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple:
        # The class is made at run time: a pickle names it by what it is made from.
        return _applied, (self.fn, self.order, self.args)



def nonlinearity(fn: str, order: int = 0) -> type[NonlinearityBase]:
    """The SymPy function of a primitive's derivative of the given order."""
    return _nonlinearity(fn, order)


def _applied(fn: str, order: int, args: tuple[Expr, ...]) -> Expr:
    return nonlinearity(fn, order)(*args)


@cache
def _nonlinearity(fn: str, order: int) -> type[NonlinearityBase]:
    return type(fn + "'" * order, (NonlinearityBase,), {"fn": fn, "order": order, "__module__": __name__})


def derivative(fn: str, order: int, argindex: int, args: tuple[Expr, ...]) -> Expr:
    """The derivative of an unevaluated nonlinearity; that of a jump stays a derivative, for Stein's lemma."""
    if fn in ("max", "min"):
        # The larger one has the slope 1; on a tie, by step(0) = 0, the second one.
        first = nonlinearity("step")(args[0] - args[1] if fn == "max" else args[1] - args[0])
        return first if argindex == 1 else 1 - first
    if order == 0 and (slope := slope_of_kink(fn)) is not None:
        return nonlinearity(slope)(args[0])
    return nonlinearity(fn, order + 1)(*args)


NATIVE: dict[str, Callable[..., Expr]] = {
    "neg": lambda a: -a, "square": lambda a: a**2, "exp": sympy.exp, "log": sympy.log, "sqrt": sympy.sqrt,
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
}


def apply_primitive(fn: str, order: int, args: list[Expr]) -> Expr:
    """A primitive, or its derivative of some order, at SymPy arguments; `1 - tanh(x)**2` becomes `tanh'(x)`."""
    if fn in NATIVE:
        if order == 0:
            return recognized(NATIVE[fn](*args))
        x = sympy.Dummy()
        return NATIVE[fn](x).diff(x, order).xreplace({x: args[0]})
    if order == 1 and (slope := slope_of_kink(fn)) is not None:
        fn, order = slope, 0
    # SymPy does not know our functions: relu(0) would stay in a formula.
    if order == 0 and args[0].is_zero and fn in NONLINEARITIES and NONLINEARITIES[fn].vanishes_at_zero:
        return S.Zero
    return nonlinearity(fn, order)(*args)


def recognized(expr: Expr) -> Expr:
    """tanh' and sigmoid' where backpropagation writes them through tanh and sigmoid."""
    # SymPy keeps the number of a sum as its first argument.
    if expr.is_Add and len(expr.args) == 2 and expr.args[0] == 1:
        square = -expr.args[1]
        if square.is_Pow and square.exp == 2 and square.base.func == nonlinearity("tanh"):
            return nonlinearity("tanh", 1)(*square.base.args)
    if expr.is_Mul:
        expr = reduced(expr)
        for factor in sympy.Mul.make_args(expr):
            if factor.func == nonlinearity("sigmoid") and 1 - factor in expr.args:
                rest = expr / factor / (1 - factor)
                return rest * nonlinearity("sigmoid", 1)(*factor.args)
    return expr


def reduced(expr: Expr) -> Expr:
    """`(2*x - 2*y)/(2*P)` as `(x - y)/P`."""
    content, rest = S.One, []
    for factor in expr.args:
        if factor.is_Add:
            number, factor = factor.primitive()
            content *= number
        rest.append(factor)
    return expr if content == 1 else content * sympy.Mul(*rest)


OPAQUE = (E, Cov, Response, OuterProduct, InnerOfMatrices)


def is_random(expr: Expr) -> bool:
    """Whether an expression holds a limit variable outside of expectations."""
    return next(random_atoms(expr), None) is not None


def random_atoms(expr: Expr) -> Iterator[Atom]:
    """The limit variables outside of expectations, with repetitions."""
    if isinstance(expr, Atom):
        yield expr
    elif not isinstance(expr, OPAQUE):
        for arg in expr.args:
            yield from random_atoms(arg)


def map_random(expr: Expr, change: Callable[[Atom], Expr]) -> Expr:
    """The expression with its limit variables outside of expectations replaced."""
    if isinstance(expr, Atom):
        return change(expr)
    if isinstance(expr, OPAQUE) or not expr.args or not is_random(expr):
        return expr
    return recognized(expr.func(*(map_random(a, change) for a in expr.args)))


def expectation(expr: Expr) -> Expr:
    """E of an expression: linear, with everything that is not random taken out."""
    expr = sympy.sympify(expr)
    if not is_random(expr):
        return expr
    if expr.is_Add:
        fixed = [a for a in expr.args if not is_random(a)]
        if fixed:
            return sympy.Add(*fixed) + expectation(sympy.Add(*(a for a in expr.args if is_random(a))))
    if expr.is_Mul:
        fixed = [a for a in expr.args if not is_random(a)]
        if fixed:
            return sympy.Mul(*fixed) * expectation(sympy.Mul(*(a for a in expr.args if is_random(a))))
    return E(expr)


def matrix_label(name: str, items: tuple[Expr, ...]) -> Expr:
    """A matrix, or a member of a family."""
    return element(name, items)


def element(name: str, indices: tuple[Expr, ...]) -> Expr:
    """A scalar, or an element of a family of scalars or of an input."""
    if not indices:
        return sympy.Symbol(name)
    return sympy.Indexed(sympy.IndexedBase(sympy.Symbol(name)), *indices)


def z(name: str, indices: tuple[Expr, ...] = ()) -> Expr:
    """The limit variable of a vector."""
    return Z(sympy.Symbol(name), *indices)


def index(name: str) -> sympy.Symbol:
    return sympy.Symbol(name, integer=True)


def integer(value: int) -> Integer:
    return Integer(value)
