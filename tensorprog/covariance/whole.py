"""Primitives of random expressions, with powers inside of functions and arguments beside them kept whole (`Whole`).

Multiplied out, erf'(u + v) = 2/sqrt(pi) exp(-(u + v)**2) would be a function of two Gaussians, and the factor x of
gelu'(x), with x a sum over columns, a sum over them of functions of all; whole, both are functions of one Gaussian.
"""

from __future__ import annotations

from sympy import Add, Dummy, Expr, Function, Mul, Pow

from tensorprog.covariance.nodes import Call, Hat, Init, Node, Product, Whole


def function_of(name: str, order: int, args: tuple[Expr, ...]) -> Expr:
    """An IR primitive, or the `order`-th derivative of a unary one, at expressions."""
    from tensorprog.expectations.functions import from_primitive

    if order and not isinstance(args[0], Hat | Init):
        x = Dummy("x", real=True)
        derivative = from_primitive(name, order, (x,))
        if derivative.atoms(Function):
            derivative = _beside_functions(derivative, x)
        return _inside_functions(derivative.xreplace({x: args[0]}))
    return _inside_functions(from_primitive(name, order, args))


def _beside_functions(expr: Expr, x: Expr) -> Expr:
    """With x and its powers whole where they stand beside functions."""
    if expr == x:
        return Whole(x, 1, evaluate=False)
    if expr.is_Pow and expr.base == x and expr.exp.is_Integer and expr.exp > 0:
        return Whole(x, expr.exp, evaluate=False)
    if isinstance(expr, Add | Mul):
        return expr.func(*(_beside_functions(a, x) for a in expr.args))
    return expr


def _inside_functions(expr: Expr) -> Expr:
    if not expr.args or isinstance(expr, Node):
        return expr
    args = [_inside_functions(a) for a in expr.args]
    if isinstance(expr, Add | Mul | Pow):
        return expr.func(*args)
    return expr.func(*(a.replace(_is_power, lambda power: Whole(*power.args)) for a in args))


def _is_power(expr: Expr) -> bool:
    return expr.is_Pow and expr.exp.is_Integer and expr.exp > 1 and expr.base.has(Hat, Product, Init, Call)
