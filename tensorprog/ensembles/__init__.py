"""Laws of width x width matrices, one file each (language reference, section 2). What a law must say is in `ensemble`;
a new one is a file and a line here."""

from __future__ import annotations

from tensorprog.ensembles.ensemble import Ensemble
from tensorprog.ensembles.iid import NORMAL, RADEMACHER, SPARSE_NORMAL, UNIFORM
from tensorprog.ensembles.orthogonal import ORTHOGONAL
from tensorprog.ensembles.symmetric import SYMMETRIC_NORMAL
from tensorprog.ir.program import Initial

ENSEMBLES: dict[str, Ensemble] = {
    e.name: e for e in (NORMAL, UNIFORM, RADEMACHER, SPARSE_NORMAL, ORTHOGONAL, SYMMETRIC_NORMAL)}


def ensemble_of(initial: Initial) -> Ensemble:
    """The law of a declared width x width matrix that is not zero."""
    return ENSEMBLES[(initial.drawn or initial.law).name]


__all__ = ["ENSEMBLES", "Ensemble", "ensemble_of"]
