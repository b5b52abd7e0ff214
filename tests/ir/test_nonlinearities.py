"""Every form in which a nonlinearity is computed, beside mpmath, at kinks, in the tails, and at NaN."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import tensorprog
import tensorprog.runtime as rt
from tensorprog.codegen.expressions import numpy_text
from tensorprog.finite.functions import apply_unary
from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.runtime import expectations as numeric
from tensorprog.runtime.functions import array_form

RIGHT = {
    "neg": lambda x: -x, "relu": lambda x: max(x, mpmath.mpf(0)), "abs": abs, "sign": mpmath.sign,
    "step": lambda x: mpmath.mpf(x > 0), "tanh": mpmath.tanh, "erf": mpmath.erf,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "gelu": lambda x: x * mpmath.ncdf(x),
    "silu": lambda x: x / (1 + mpmath.exp(-x)), "softplus": lambda x: mpmath.log1p(mpmath.exp(x)), "exp": mpmath.exp,
    "log": mpmath.log, "sqrt": mpmath.sqrt, "sin": mpmath.sin, "cos": mpmath.cos, "square": lambda x: x * x,
}
POINTS = [-30.0, -3.0, -.4, -1e-9, 0.0, 1e-9, .4, 3.0, 30.0]


def forms(name):
    """The NumPy form, on an array and as it is emitted; the interpreter's; the scalar form, and compiled if it is."""
    def emitted(x):
        return eval(numpy_text(name, ["x"]), {"np": np, "rt": rt, "x": x})

    def scalar(x):
        return np.array([eval(NONLINEARITIES[name].scalar.format(x="x"), {**vars(math), "x": float(v)}) for v in x])

    found = [array_form(NONLINEARITIES[name]), emitted, lambda x: apply_unary(name, 0, x), scalar]
    compiled = getattr(numeric, name, None)
    return found if compiled is None else [*found, lambda x: np.array([compiled(float(v)) for v in x])]


def test_the_table_has_every_function():
    assert set(NONLINEARITIES) == set(RIGHT)


@pytest.mark.parametrize("name", NONLINEARITIES)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_every_form_is_the_function_and_keeps_nan(name):
    points = [x for x in POINTS if name not in ("log", "sqrt") or x > 0]
    with mpmath.workdps(40):
        right = [float(RIGHT[name](mpmath.mpf(x))) for x in points]
    for form in forms(name):
        assert form(np.array(points)) == pytest.approx(right, rel=1e-13, abs=0)
        assert np.all(np.isnan(form(np.array([math.nan]))))


PROGRAM = """
width n
size P
input d : [P]
vector v : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
for k in range(P):
    c[k] = exp(d[k]) / (2 + exp(d[k]))  # NaN where d is large; with a 1 it would be a sigmoid, and 1
    s[k] = step(c[k]) + sign(c[k]) + relu(c[k]) + max(c[k], 0) + min(0, c[k])
    x = c[k] * v + 0.1 * w
    g[k] = moment(sign(x) * sign(v)) + moment(relu(x)**2)
    q[k] = moment(step(x)) + moment(tanh(x) * tanh(v))
output s, g, q
"""
LOOP = """
width n
param T : int = 300
param d = 1000
vector v : [n] ~ normal(0, 1)
c = exp(d) / (2 + exp(d))
u = v
for t in range(T):
    u = step(c * u + v) - sign(u)
    e[t] = moment(u * v)
output e
"""


def no_numbers(found, names="sgq"):
    return all(np.isnan(found[name][0]) and np.isfinite(found[name][1]) for name in names)


def test_what_is_not_a_number_gives_no_number():
    """In kernels of arrays, by closed forms, in a network, in a compiled loop."""
    program, data = tensorprog.compile(PROGRAM), {"d": [1000.0, 1.0]}
    assert no_numbers(program.run(data, method="particles", samples=64, replicates=2))
    assert no_numbers(program.run(data, method="covariance"), "sg")
    assert no_numbers(program.simulate(data, width=16, seeds=2))
    assert np.isnan(tensorprog.compile(LOOP).run(method="particles", samples=64, replicates=2)["e"]).all()
