"""What the compiler has to know of a coordinatewise function of one argument: the table of record."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tensorprog.ir.functions.bounds import BoundOf
from tensorprog.ir.functions.expr import Expr

if TYPE_CHECKING:
    from tensorprog.expectations.table import TableRow

#: Functions of `math` that `Nonlinearity.scalar` may use, which emitted modules import.
MATH = ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "gamma", "inf",
        "lgamma", "log", "log1p", "pi", "sin", "sinh", "sqrt", "tan", "tanh")

Parity = Literal["odd", "even", "none"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nonlinearity:
    """A function of one real number. A NaN stays a NaN in every form.

    Attributes:
        name: as in the language; derivatives are `name'`, `name''`.
        description: a few words for editors.
        scalar: its value at a number of the name `{x}`, as Python source that Numba compiles, with functions of `math`
            (`MATH`), `abs`, `max` and `min`.
        derivative: an expression in primitives over `x`, itself included; derivatives of any order follow. Where it jumps,
            that is left to Stein's lemma in the limit: step' = sign' = 0 here.
        bound: its bound, from that of the argument (`functions.bounds`).
        numpy: NumPy source of an array or number `{x}`, where a function of NumPy or an operator is the whole of it.
        array: else, its NumPy form, which emitted modules call by `rt.name`; None: `scalar`, vectorized by Numba. It imports
            NumPy itself: checking a program does without.
        sympy: the function in SymPy, if SymPy knows it and has its derivatives and its closed forms.
        formula: else, an expression for it in functions that SymPy knows. Without one, it is a SymPy function of its own of which
            its derivative and its values are known. Kinks that are not at 0 are found in `sympy` or `formula`.
        parity: whether it is odd or even.
        degree: f(c x) = c**degree f(x) for every c > 0: such functions commute with powers of n (docs/language.md, section 6).
        kink: whether it jumps at 0, or has a derivative that does.
        lipschitz: whether its derivative is bounded.
        slope: its derivative as an expression over its own value, where backpropagation writes it so: 1 - x**2 of tanh.
        closed_forms: makes rows of the table of expectations (`expectations.table`).
    """

    name: str
    description: str
    scalar: str
    derivative: Expr
    bound: BoundOf
    numpy: str | None = None
    array: Callable[[Any], Any] | None = None
    sympy: Callable[[Any], Any] | None = None
    formula: Callable[[Any], Any] | None = None
    parity: Parity = "none"
    degree: int | None = None
    kink: Literal["jump", "kink"] | None = None
    lipschitz: bool = False
    slope: Expr | None = None
    closed_forms: Callable[[], Sequence[TableRow]] | None = None

    def at(self, x: float) -> float:
        """Its value at a number; NaN or infinite where it has none."""
        try:
            # Python raises where compiled code has infinities and NaN: log(0), 1/0, exp(1000).
            return float(_at_number(self.scalar)(x))
        except (ValueError, ZeroDivisionError, OverflowError):
            return math.nan

    @property
    def vanishes_at_zero(self) -> bool:
        """Whether f(0) = 0."""
        return self.at(0.0) == 0.0


@cache
def _at_number(scalar: str) -> Callable[[float], float]:
    """A function of numbers from its text."""
    found: Callable[[float], float] = eval(f"lambda x: {scalar.format(x='x')}", {name: getattr(math, name) for name in MATH})
    return found
