"""Laws of width x width matrices, one file each (language reference, section 2). What a law must say is in `ensemble`;
a new one is a file and a line here, or, from outside of
the package, one call of `tensorprog.register`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tensorprog.ensembles.ensemble import Ensemble
from tensorprog.ensembles.iid import NORMAL, RADEMACHER, SPARSE_NORMAL, UNIFORM
from tensorprog.ensembles.orthogonal import ORTHOGONAL
from tensorprog.ensembles.symmetric import SYMMETRIC_NORMAL
from tensorprog.ir.laws import LAWS
from tensorprog.ir.program import Initial, Law

ENSEMBLES: dict[str, Ensemble] = {
    e.name: e for e in (NORMAL, UNIFORM, RADEMACHER, SPARSE_NORMAL, ORTHOGONAL, SYMMETRIC_NORMAL)}


class NamedLaw(Protocol):
    """A law by its name: of the typed program, or of the syntax tree."""

    @property
    def name(self) -> str: ...


def spread_of(law: NamedLaw) -> Mapping[int, int]:
    """The arguments of a law that scale with the spread of what is drawn, and their powers; nothing: it has no scale."""
    return LAWS[law.name].spread if law.name in LAWS else ENSEMBLES[law.name].spread if law.name in ENSEMBLES else {}


def size_of(law: Law) -> Mapping[int, int]:
    """The same where means scale, too."""
    return LAWS[law.name].size if law.name in LAWS else spread_of(law)


def ensemble_of(initial: Initial) -> Ensemble:
    """The law of a declared width x width matrix that is not zero."""
    return ENSEMBLES[(initial.drawn or initial.law).name]


__all__ = ["ENSEMBLES", "Ensemble", "ensemble_of", "size_of", "spread_of"]
