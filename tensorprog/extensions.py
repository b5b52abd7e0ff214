"""What is added from outside of tensorprog: functions, laws of matrices, evaluators, formats of derivations and of results.

    import tensorprog

    tensorprog.register(tensorprog.Nonlinearity(name="mish", ...))

A module that registers when it is imported can be named in the environment variable TENSORPROG_EXTENSIONS (several, with commas),
or be an entry point of the group `tensorprog.extensions`; then `tpc` knows what it adds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from functools import cache
from importlib import import_module
from typing import Any

from tensorprog.ir.functions import NONLINEARITIES, Nonlinearity
from tensorprog.registry import REGISTERED

GROUP = "tensorprog.extensions"
VARIABLE = "TENSORPROG_EXTENSIONS"


def register(extension: Any) -> None:
    """Make an extension known: a `Nonlinearity`, an `Ensemble`, an `Evaluator`, a `DerivationFormat` or a `ResultFormat`, in
    this Python process.

    Raises:
        ValueError: its name is taken, or what it says of itself is not true.
        TypeError: it is none of these.
    """
    table, check = _kind(extension)
    if extension.name in table:
        raise ValueError(f"`{extension.name}` is there already")
    check(extension)
    table[extension.name] = extension
    if callable(getattr(extension, "operator", None)):
        _operators()[extension.name] = extension.operator
    REGISTERED.append(extension)


def unregister(extension: Any) -> None:
    """Take an extension out again."""
    REGISTERED.remove(extension)
    _operators().pop(extension.name, None)
    table, _ = _kind(extension)
    del table[extension.name]


def _operators() -> MutableMapping[str, Any]:
    from tensorprog.runtime.operators import OPERATORS

    return OPERATORS


def _kind(extension: Any) -> tuple[MutableMapping[str, Any], Callable[[Any], None]]:
    """The table of the extensions of its kind, and what checks them."""
    from tensorprog.display import FORMATS, DerivationFormat
    from tensorprog.ensembles import ENSEMBLES, Ensemble
    from tensorprog.evaluators.evaluator import Evaluator
    from tensorprog.evaluators.table import EVALUATORS
    from tensorprog.ir.function_checks import check_function
    from tensorprog.save import WRITERS, ResultFormat

    kinds: tuple[tuple[type, MutableMapping[str, Any], Callable[[Any], None]], ...] = (
        (Nonlinearity, NONLINEARITIES, check_function), (Ensemble, ENSEMBLES, Ensemble.check), (Evaluator, EVALUATORS, Evaluator.check),
        (DerivationFormat, FORMATS, DerivationFormat.check), (ResultFormat, WRITERS, ResultFormat.check))
    for kind, table, check in kinds:
        if isinstance(extension, kind):
            return table, check
    names = ", ".join(f"`{kind.__name__}`" for kind, *_ in kinds)
    raise TypeError(f"an extension is one of {names}, not {extension!r}")


@cache
def load() -> None:
    """Import the modules of extensions, once a process.

    Raises:
        ImportError: one of those in the environment variable cannot be imported.
    """
    from importlib.metadata import entry_points

    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        import_module(name.strip())
    for entry in entry_points(group=GROUP):
        entry.load()
