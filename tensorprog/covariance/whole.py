"""Primitives of random expressions, with powers inside of functions and arguments beside them kept whole (`Whole`).

Multiplied out, erf'(u + v) = 2/sqrt(pi) exp(-(u + v)**2) would be a function of two Gaussians, and the factor x of
gelu'(x), with x a sum over columns, a sum over them of functions of all; whole, both are functions of one Gaussian.
"""

from __future__ import annotations

from sympy import Add, Dummy, Expr, Function, Mul, Pow

from tensorprog.covariance.nodes import Call, Hat, Init, Node, Product, Total, Whole


def function_of(name: str, order: int, args: tuple[Expr, ...]) -> Expr:
    """An IR primitive, or the `order`-th derivative of a unary one, at expressions."""
    from tensorprog.expectations.functions import from_primitive, with_slopes

    # Of a single Gaussian there is nothing to keep together.
    if order and not isinstance(args[0], Hat | Init):
        x = Dummy("x", real=True)
        derivative = from_primitive(name, order, (x,))
        if derivative.atoms(Function):
            derivative = _beside_functions(derivative, x)
        return _inside_functions(derivative.xreplace({x: args[0]}))
    value = from_primitive(name, order, args)
    value = _inside_functions(with_slopes(value) if name in ("sub", "mul") else value)
    return _beside_their_functions(value) if name in ("mul", "div") and value.is_Mul else value


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
    if isinstance(expr, Add | Mul) or isinstance(expr, Pow) and expr.exp.is_Integer and expr.exp > 0:
        return expr.func(*args)
    return expr.func(*(a.replace(_is_power, lambda power: Whole(*power.args)) for a in args))


def _beside_their_functions(product: Expr) -> Expr:
    """With sums and their powers whole that stand beside functions of them, as x does in x sigmoid(x)."""
    functions = [f for f in product.args if _is_function(f)]
    inside = frozenset().union(*(_parts(f) for f in functions))
    return product.func(*(_whole_sum(f) if _parts(f) and _parts(f) <= inside else f for f in product.args))


def _whole_sum(factor: Expr) -> Expr:
    """A sum, or a power of one, whole; other factors as they are."""
    base, k = factor.as_base_exp()
    if isinstance(base, Add | Total) and k.is_Integer and k > 0:
        return Whole(base, k, evaluate=False)
    return factor


def _is_function(factor: Expr) -> bool:
    if isinstance(factor, Pow) and factor.exp.is_Integer and factor.exp > 0:
        return _is_function(factor.base)
    return bool(_parts(factor)) and not isinstance(factor, Node | Add | Mul)


def _parts(expr: Expr) -> frozenset[Expr]:
    """The largest random nodes of an expression."""
    if isinstance(expr, Whole):
        return _parts(expr.args[0])
    if isinstance(expr, Node):
        return frozenset([expr]) if expr.has(Hat, Product, Init, Call) else frozenset()
    return frozenset().union(*(_parts(a) for a in expr.args))


def _is_power(expr: Expr) -> bool:
    return expr.is_Pow and expr.exp.is_Integer and expr.exp > 1 and expr.base.has(Hat, Product, Init, Call)
