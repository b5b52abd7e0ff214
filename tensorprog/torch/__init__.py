"""From PyTorch: one function `make(n)` builds a module of width n, everything else is derived.

    from tensorprog.torch import trace
    traced = trace(make, torch.randn(8, 10))
    table = traced.parametrize(optimizer="adamw", base=64)
    print(table)

Needs torch (`pip install tensorprog[torch]`); the names below are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorprog.torch.command import coordcheck_command as coordcheck_command
    from tensorprog.torch.command import mup_command as mup_command
    from tensorprog.torch.coordinates import coordcheck as coordcheck
    from tensorprog.torch.network import ProgramModule as ProgramModule
    from tensorprog.torch.parametrize import MuTable as MuTable
    from tensorprog.torch.tracing import Traced as Traced
    from tensorprog.torch.tracing import trace as trace

_HOMES = {
    "trace": "tensorprog.torch.tracing",
    "Traced": "tensorprog.torch.tracing",
    "MuTable": "tensorprog.torch.parametrize",
    "coordcheck": "tensorprog.torch.coordinates",
    "ProgramModule": "tensorprog.torch.network",
    "mup_command": "tensorprog.torch.command",
    "coordcheck_command": "tensorprog.torch.command",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Torch first: without it, a name of ours would fail deep inside with an error about another module.
    try:
        import_module("torch")
    except ModuleNotFoundError:
        from tensorprog.diagnostics import Diagnostic, ProgramError

        raise ProgramError(
            [Diagnostic("TP800", "torch is not installed", help="pip install tensorprog[torch]")]
        ) from None
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
