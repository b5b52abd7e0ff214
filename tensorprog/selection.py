"""Elements of outputs by what a user writes for them: `loss[-1]`, `f[-1, 0]`, `f[::10, 2]`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from tensorprog.diagnostics import ProgramError, near_miss
from tensorprog.files import mistake

_SLICE = re.compile(r"(?P<start>[-+]?\d+)?\s*:\s*(?P<stop>[-+]?\d+)?(?:\s*:\s*(?P<step>[-+]?\d+)?)?")

Index = tuple[int | slice, ...]


def select(text: str, names: Iterable[str]) -> tuple[str, Index]:
    """The output that a text names, and the index into it.

    Raises:
        ProgramError: TP730, if there is no such output or the index is none.
    """
    names, text = list(names), text.strip()
    # The longest one: an output without a name of its own is called by its expression, which may end in an index.
    name = max((n for n in names if text == n or text.startswith(f"{n}[")), key=len, default=None)
    if name is None:
        raise _unknown(text.partition("[")[0], names)
    rest = text[len(name):].strip()
    return name, () if not rest else _index(text, rest)


def _index(text: str, rest: str) -> Index:
    if not (rest.startswith("[") and rest.endswith("]") and rest[1:-1].strip()):
        raise _no_index(text)
    return tuple(_item(text, part.strip()) for part in rest[1:-1].removesuffix(",").split(","))


def _item(text: str, part: str) -> int | slice:
    try:
        return int(part)
    except ValueError:
        pass
    found = _SLICE.fullmatch(part)
    if found is None or found["step"] is not None and int(found["step"]) == 0:
        raise _no_index(text)
    return slice(*(None if end is None else int(end) for end in found.group("start", "stop", "step")))


def element(text: str, index: Index, array: np.ndarray) -> np.ndarray:
    """The elements at an index.

    Raises:
        ProgramError: TP730, if the array has no such element.
    """
    try:
        return array[index]
    except IndexError:
        shape = ", ".join(map(str, array.shape))
        raise mistake("TP730", f"there is no `{text}`: the output has the shape [{shape}]",
                      "indices begin at 0; negative ones count from the end") from None


def _unknown(name: str, names: list[str]) -> ProgramError:
    meant = near_miss(name, names)
    return mistake("TP730", f"there is no output '{name}'",
                   f"did you mean '{meant}'?" if meant else f"there is: {', '.join(names)}")


def _no_index(text: str) -> ProgramError:
    return mistake("TP730", f"`{text}` is no element or part of an output",
                   "write whole numbers and slices, as in `loss[-1]`, `f[-1, 0]` or `f[::10]`")
