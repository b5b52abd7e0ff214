"""step(x): 1 for x > 0, otherwise 0."""

from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.functions.expr import num
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def step(x):
    import numpy as np

    return np.heaviside(x, 0.0)


def _bound(a: Bound, problems: Problems) -> Bound:
    return Bound(float(a.low > 0), float(a.high > 0), a.low <= 0)


def _formula(x):
    import sympy

    return (1 + sympy.sign(x)) / 2


STEP = Nonlinearity(
    name="step", description="1 for x > 0, else 0", scalar="{x} if {x} != {x} else (1.0 if {x} > 0.0 else 0.0)", array=step,
    derivative=num(0), bound=_bound, formula=_formula, degree=0, kink="jump")
