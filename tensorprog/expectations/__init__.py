"""Expectations of functions of Gaussian variables: closed forms, a table that users can extend, and quadrature.

The names below are loaded when they are first used: emitted modules need the numeric functions alone, without SymPy.
"""

from importlib import import_module

_HOMES = {
    "functions": ("from_primitive",),
    "plan": ("NoRecipe", "Recipe", "plan_expectation"),
    "table": ("K11", "K12", "K22", "Row", "U", "V", "register", "rows", "unregister"),
}

__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
