"""What `tpc mup mymodel.py:make` does: the table of the module that a function of a file makes."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from tensorprog.torch.errors import module_error, place_of_traceback
from tensorprog.torch.parametrize import Exponents
from tensorprog.torch.tracing import trace

INPUTS, TARGETS, LOSS = "example_inputs", "example_targets", "loss"


def mup_command(
    spec: str,
    optimizer: str = "sgd",
    base: int = 64,
    format: str = "text",
    why: str | None = None,
    lint: bool = True,
    **options: object,
) -> str:
    """The text that the command prints: the table, or one parameter's derivation, and what contradicts the table.

    `spec` is `file.py:function`; the file defines `example_inputs` too, a tensor, a tuple of them or a function.

    Raises:
        ProgramError: TP806, if there is no such file, function or inputs; those of `trace`.
    """
    table = _traced(spec).parametrize(optimizer, base, **options)
    if why is not None:
        return table.why(why)
    found = table.lint() if lint else []
    if format == "json":
        rows = {row.name: _json_row(row.exponents, row in table.trained) for row in table.rows}
        return json.dumps({**rows, **({"lint": found} if lint else {})})
    text = str(table.table(format))
    return "\n".join([text, *(["", "What contradicts it:"] if found else []), *(f"- {line}" for line in found)])


def _json_row(exponents: Exponents, trained: bool) -> dict[str, str | None]:
    """Powers as text; a frozen parameter has no rates."""
    rates = ("lr", "weight_decay")
    return {kind: None if power is None or not trained and kind in rates else str(power)
            for kind, power in asdict(exponents).items()}


def coordcheck_command(
    spec: str,
    optimizer: str = "sgd",
    base: int = 64,
    widths: Sequence[int] = (64, 128, 256, 512),
    plot: str | os.PathLike[str] | None = None,
    **options: object,
) -> tuple[str, str]:
    """The slopes of a coordinate check, and its verdict. The file of `spec` defines `loss` and
    `example_targets` too.

    Raises:
        ProgramError: TP806, if the file does not define these; TP805, for options that make no sense.
    """
    table = _traced(spec).parametrize(optimizer, base)
    module = _loaded(Path(spec.rpartition(":")[0]))
    loss, targets = getattr(module, LOSS, None), getattr(module, TARGETS, None)
    if not callable(loss) or targets is None:
        raise module_error(
            "TP806",
            f"a coordinate check trains, and {spec.rpartition(':')[0]} has no {TARGETS if callable(loss) else LOSS}",
            help=f"define `def {LOSS}(outputs, targets): ...` and `{TARGETS} = ...` there",
        )
    found = table.coordcheck(loss, (table.traced.inputs, targets), widths, **options)
    if plot is not None:
        found.plot(plot)
    return str(found), found.verdict


def _traced(spec: str):
    file, _, name = spec.rpartition(":")
    if not file or not name:
        raise module_error("TP806", f"'{spec}' does not name a function of a file", help="write `mymodel.py:make`")
    module = _loaded(Path(file))
    make, inputs = getattr(module, name, None), getattr(module, INPUTS, None)
    if not callable(make):
        raise module_error("TP806", f"{file} has no function {name}", help=f"define `def {name}(n): ...` there")
    if inputs is None:
        raise module_error(
            "TP806",
            f"{file} has no {INPUTS}",
            help=f"define what the module is called with there, as `{INPUTS} = torch.randn(4, 10)`",
        )
    return trace(make, inputs() if callable(inputs) else inputs)


def _loaded(path: Path) -> ModuleType:
    if not path.exists():
        raise module_error("TP806", f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise module_error("TP806", f"{path} is no file of Python's")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses and pickles of the file look their module up by name.
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise module_error(
            "TP806", f"{path} cannot be imported: {error}", place_of_traceback(error.__traceback__)
        ) from error
    return module
