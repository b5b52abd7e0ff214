"""Whether what the record of a function says is true, as far as values can tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tensorprog.ir.functions import Nonlinearity
from tensorprog.ir.primitives import value_at

# Of both signs, near 0 and away from it, and none the negative of another one: a function that is odd by accident at one point
# and its mirror image would be called odd. 0 is where kinks are.
_POINTS = (-2.3, -1.1, -0.4, -0.07, 0.0, 0.06, 0.3, 0.9, 1.7, 2.6)


def check_function(function: Nonlinearity) -> None:
    """Raises ValueError where what a record says of its function is not true, as far as values can tell."""
    if not function.name.isidentifier():
        raise ValueError(f"the name of a function is a word, not {function.name!r}")
    _check_values(function)
    if function.kink is not None and function.sympy is None and function.formula is None:
        raise ValueError(f"`{function.name}` has a kink: say what it is in functions that SymPy knows (`sympy` or `formula`)")
    points = [x for x in _POINTS if math.isfinite(function.at(x))]
    if function.parity != "none":
        sign = 1 if function.parity == "even" else -1
        _require(function, f"is {function.parity}", points, lambda x: sign * function.at(-x))
    if (degree := function.degree) is not None:
        # One factor is enough: f(3 x) = 3**d f(x) at ten points is no accident.
        _require(function, f"has the degree {degree}", points, lambda x: function.at(3 * x) / 3.0**degree)
    for what, form in (("sympy", function.sympy), ("formula", function.formula)):
        if form is not None:
            _require(function, f"is its `{what}`", points, _at_numbers(form))
    _check_slope(function, points)


def _check_values(function: Nonlinearity) -> None:
    try:
        compile(function.scalar.format(x="x"), "<scalar>", "eval")
        values = [function.at(x) for x in _POINTS]
    except Exception as error:
        raise ValueError(f"`scalar` of `{function.name}` is not the value at a number {{x}} in Python: {error}") from error
    if not any(map(math.isfinite, values)):
        raise ValueError(f"`{function.name}` has no values")


def _check_slope(function: Nonlinearity, points: Sequence[float]) -> None:
    known = lambda name: function if name == function.name else None
    for x in points:
        # A central difference, with an error of order step**2 and rounding of 1e-16/step.
        step = 1e-5 * max(1.0, abs(x))
        around = function.at(x - step), function.at(x + step)
        # At 0 there may be a kink.
        if x == 0.0 or not all(map(math.isfinite, around)):
            continue
        slope, measured = value_at(function.derivative, x, known), (around[1] - around[0]) / (2 * step)
        # 1e-5 is far above that error and far below what a wrong derivative would be off by.
        if math.isfinite(slope) and not math.isclose(slope, measured, rel_tol=1e-5, abs_tol=1e-6):
            raise ValueError(f"`derivative` of `{function.name}` is {slope:.6g} at {x:g}, where its values rise by {measured:.6g}")


def _require(function: Nonlinearity, what: str, points: Sequence[float], other: Callable[[float], float]) -> None:
    for x in points:
        if math.isfinite(value := other(x)) and not math.isclose(function.at(x), value, rel_tol=1e-9, abs_tol=1e-12):
            raise ValueError(f"it is not true at {x:g} that `{function.name}` {what}: {function.at(x):.6g} beside {value:.6g}")


def _at_numbers(form: Callable[[Any], Any]) -> Callable[[float], float]:
    """A form in SymPy as a function of numbers."""
    import sympy

    return lambda x: float(form(sympy.Float(x)))
