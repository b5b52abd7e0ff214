"""Expectations of functions of Gaussian variables: closed forms, a table that users can extend, and quadrature.

The names below are loaded when they are first used: emitted modules need the numeric functions alone, without SymPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorprog.expectations.functions import from_primitive as from_primitive
    from tensorprog.expectations.plan import NoRecipe as NoRecipe
    from tensorprog.expectations.plan import Recipe as Recipe
    from tensorprog.expectations.plan import plan_expectation as plan_expectation
    from tensorprog.expectations.table import K11 as K11
    from tensorprog.expectations.table import K12 as K12
    from tensorprog.expectations.table import K22 as K22
    from tensorprog.expectations.table import TableRow as TableRow
    from tensorprog.expectations.table import U as U
    from tensorprog.expectations.table import V as V
    from tensorprog.expectations.table import register as register
    from tensorprog.expectations.table import rows as rows
    from tensorprog.expectations.table import unregister as unregister

_HOMES = {
    "functions": ("from_primitive",),
    "plan": ("NoRecipe", "Recipe", "plan_expectation"),
    "table": ("K11", "K12", "K22", "TableRow", "U", "V", "register", "rows", "unregister"),
}

__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
