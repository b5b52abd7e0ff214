"""Exponents of the width: exact fractions, or SymPy expressions where some are unknown; and conditions on them.

A condition on fractions is a bool. On expressions it is a SymPy condition, or a bool where SymPy decides it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import sympy

    Exponent: TypeAlias = Fraction | sympy.Expr
    Condition: TypeAlias = bool | sympy.Basic

HALF = Fraction(1, 2)


def exponent(value: object) -> Exponent:
    """An exponent from a number, the text of one (`1/2`, `-0.5`), a name (`c`), or a SymPy expression.

    Raises:
        ValueError: for text that is neither a number nor a name, and for a number that is not finite.
    """
    if isinstance(value, Rational):
        return Fraction(value)
    if isinstance(value, float):
        if value != value or abs(value) == float("inf"):
            raise ValueError(f"an exponent is a finite number, not {value}")
        # 0.1 is meant as 1/10, and not as the binary fraction next to it.
        return Fraction(Decimal(repr(value)))
    if isinstance(value, str):
        return _from_text(value.strip())
    return _exact(value)


def _from_text(text: str) -> Exponent:
    if re.fullmatch(r"[-+]?\d+\s*/\s*\d+|[-+]?(\d+\.?\d*|\.\d+)", text):
        try:
            return Fraction(text.replace(" ", ""))
        except ZeroDivisionError:
            raise ValueError(f"'{text}' divides by zero") from None
    # No expressions: `sympify` evaluates text as Python.
    if text.isidentifier():
        import sympy

        return sympy.Symbol(text, real=True)
    raise ValueError(f"'{text}' is neither a number such as 1/2 or -0.5 nor the name of an unknown")


def _exact(value: object) -> Exponent:
    import sympy

    expression = sympy.sympify(value)
    if expression.is_Rational:
        return Fraction(int(expression.p), int(expression.q))
    if not isinstance(expression, sympy.Expr) or expression.is_finite is False:
        raise ValueError(f"an exponent is a number or an expression, not {value!r}")
    # Floats inside of an expression, too, are meant as the decimals that they were written as.
    return sympy.nsimplify(expression, rational=True)


def is_exact(*values: Exponent) -> bool:
    """Whether all exponents are known fractions."""
    return all(isinstance(v, Fraction) for v in values)


def symbolic(value: Exponent) -> sympy.Expr:
    """An exponent as a SymPy expression."""
    import sympy

    return sympy.Rational(value.numerator, value.denominator) if isinstance(value, Fraction) else value


def plus(*values: Exponent) -> Exponent:
    """The sum."""
    if is_exact(*values):
        return sum(values, Fraction(0))
    return _exact(sum(map(symbolic, values)))


def smallest(values: Iterable[Exponent]) -> Exponent:
    """The minimum."""
    values = tuple(values)
    if is_exact(*values):
        return min(values)
    import sympy

    return _exact(sympy.Min(*map(symbolic, values)))


def equal(left: Exponent, right: Exponent | int) -> Condition:
    """left = right."""
    return _compared(left, right, "Eq")


def at_least(left: Exponent, right: Exponent | int) -> Condition:
    """left >= right."""
    return _compared(left, right, "Ge")


def more_than(left: Exponent, right: Exponent | int) -> Condition:
    """left > right."""
    return _compared(left, right, "Gt")


def _compared(left: Exponent, right: Exponent | int, relation: str) -> Condition:
    right = Fraction(right) if isinstance(right, int) else right
    if is_exact(left, right):
        return {"Eq": left == right, "Ge": left >= right, "Gt": left > right}[relation]
    import sympy

    return _decided(getattr(sympy, relation)(symbolic(left), symbolic(right)))


def all_of(*conditions: Condition) -> Condition:
    """All conditions hold."""
    return _joined(conditions, "And", decisive=False)


def any_of(*conditions: Condition) -> Condition:
    """At least one condition holds."""
    return _joined(conditions, "Or", decisive=True)


def _joined(conditions: tuple[Condition, ...], operation: str, decisive: bool) -> Condition:
    """Conditions joined by SymPy's `operation`; one that is `decisive` settles it, the opposite says nothing."""
    if any(c is decisive for c in conditions):
        return decisive
    open_ones = [c for c in conditions if c is not (not decisive)]
    if not open_ones:
        return not decisive
    import sympy

    return _decided(getattr(sympy, operation)(*open_ones))


def _decided(condition: sympy.Basic) -> Condition:
    import sympy

    return bool(condition) if condition in (sympy.true, sympy.false) else condition
