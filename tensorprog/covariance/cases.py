"""Functions by cases: the first case all of whose guards are 1."""

from __future__ import annotations

from collections.abc import Iterable

import sympy
from sympy import Expr, Integer

from tensorprog.covariance.nodes import flat
from tensorprog.covariance.writes import FunctionDef

Case = tuple[tuple[Expr, ...], Expr]


def cases_at(function: FunctionDef, cases: Iterable[Case], indices: tuple[Expr, ...]) -> list[Case]:
    """Cases in a function's parameters, at given indices."""
    return [(tuple(function.at(g, indices) for g in guards), function.at(expr, indices)) for guards, expr in cases]


def sum_of_cases(cases: Iterable[Case]) -> Expr:
    """Cases as one expression: the sum of them, each times its guards and times one minus those of the cases before."""
    result, remaining = Integer(0), Integer(1)
    for guards, expr in cases:
        guard = sympy.Mul(*guards)
        result += remaining * guard * expr
        remaining *= 1 - guard
    return flat(result)
