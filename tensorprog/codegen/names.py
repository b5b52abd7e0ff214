"""Names and integer expressions of the program as source text of an emitted module."""

from __future__ import annotations

import keyword

from tensorprog.ir.functions.nonlinearity import MATH
from tensorprog.ir.integers import BoolExpr, IntExpr
from tensorprog.ir.integers import bool_text as plain_bool_text
from tensorprog.ir.integers import int_text as plain_int_text

RESERVED = frozenset(
    "np rt env samples seed seeds tolerance tick steps vectorize run bind replicate spaces ratios defaultdict max min "
    "start stop step part low high zero counter slots threads rank scratch phase dtype njit "
    "initial evaluate dimensions int float range len abs lengths integers".split()) | set(MATH)


def python_name(name: str) -> str:
    """A name of the program as a name of the module, no two as the same.

    Names that mean something there get one more underscore, and so do those that have underscores behind such a name
    already. What the emitter makes up for itself has two in a row (`i__`, `lane__0`, `start__`), so that a name with
    two anywhere gets another at its end.
    """
    base = name.rstrip("_")
    # `lambda` is `lambda_`, and `lambda_` is `lambda__`. (`a_grid` is the index grid of a parallel loop over a.)
    if keyword.iskeyword(base) or base in RESERVED or base.endswith("_grid"):
        return f"{name}_" if name == base else f"{name}__"
    return f"{name}_" if "__" in name else name


def wide(entry: str) -> str:
    """An entry of an integer array, which may be of few bytes, as an operand."""
    return f"np.int64({entry})"


def int_text(expr: IntExpr, outer: int = 0) -> str:
    """An integer expression as source text of the module."""
    return plain_int_text(expr, outer, python_name, wide)


def bool_text(expr: BoolExpr) -> str:
    """A condition as source text of the module."""
    return plain_bool_text(expr, python_name)
