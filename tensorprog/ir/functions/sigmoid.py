"""sigmoid(x) = 1 / (1 + exp(-x))."""

from tensorprog.ir.functions.bounds import between
from tensorprog.ir.functions.expr import X, call, compose, mul, num, sub
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def sigmoid(x):
    from scipy.special import expit

    return expit(x)


def _formula(x):
    import sympy

    return 1 / (1 + sympy.exp(-x))


_BY_VALUE = mul(X, sub(num(1), X))

SIGMOID = Nonlinearity(
    name="sigmoid", description="1 / (1 + exp(-x))", scalar="1.0 / (1.0 + exp(-{x}))", array=sigmoid,
    derivative=compose(_BY_VALUE, call("sigmoid")), slope=_BY_VALUE, bound=between(0.0, 1.0), formula=_formula, lipschitz=True)
