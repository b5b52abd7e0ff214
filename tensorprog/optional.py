"""Packages that extras install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tensorprog.files import mistake


def optional(name: str, extra: str, what: str) -> ModuleType:
    """A package that an extra installs.

    Raises:
        ProgramError: TP731, if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise mistake("TP731", f"{what} needs the package '{name.partition('.')[0]}', which is not installed",
                      f"pip install tensorprog[{extra}]") from None
