"""What `tpc explain CODE` says: one entry a code, one file a stage.

Each file `catalog_<stage>.py` of this folder defines `ENTRIES: dict[str, Entry]`. `CATALOG` is their union, made when
it is first asked for.

    TP1xx       catalog_syntax.py    reading the text
    TP2xx-TP5xx catalog_check.py     names, kinds, shapes, powers of n
                catalog_limit.py     taking the limit
    TP6xx-TP7xx catalog_data.py      data, settings, indices, files, the command line
    TP8xx       catalog_torch.py     modules of PyTorch
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    CATALOG: dict[str, CatalogEntry]

STAGES = ("syntax", "check", "limit", "data", "results", "torch")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A code explained: a title of a few words, why it is a mistake, an example of it, and the example put right."""

    title: str
    explanation: str
    bad: str
    good: str


@cache
def _merged() -> dict[str, CatalogEntry]:
    merged: dict[str, CatalogEntry] = {}
    for stage in STAGES:
        name = f"{__package__}.catalog_{stage}"
        if find_spec(name) is not None:
            merged.update(import_module(name).ENTRIES)
    return dict(sorted(merged.items()))


def __getattr__(name: str) -> object:
    if name == "CATALOG":
        return _merged()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
