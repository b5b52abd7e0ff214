"""Tensor Programs, compiled: from a `.tp` file to its infinite-width limit.

    import tensorprog
    program = tensorprog.compile("model.tp")
    result = program.run({"X": X, "y": y}, eta=0.1)
    result["loss"], result.error["loss"]

The names below are loaded when they are first used, so that `import tensorprog` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__version__ = "0.2.0"

_HOMES = {
    "compile": "tensorprog.api",
    "CompiledProgram": "tensorprog.api",
    "Interrupted": "tensorprog.api",
    "Result": "tensorprog.results",
    "ProgramError": "tensorprog.diagnostics",
    "register": "tensorprog.extensions",
    "unregister": "tensorprog.extensions",
    "Nonlinearity": "tensorprog.ir.functions",
    "Ensemble": "tensorprog.ensembles",
    "Evaluator": "tensorprog.evaluators.evaluator",
    "DerivationFormat": "tensorprog.display",
    "ResultFormat": "tensorprog.save",
}

__all__ = [*_HOMES, "__version__"]


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """`%load_ext tensorprog`: the cell magic `%%tp`."""
    from tensorprog.notebook import TensorProgramMagics

    ipython.register_magics(TensorProgramMagics)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
