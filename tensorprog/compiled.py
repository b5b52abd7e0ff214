"""What the passes make of a program: plain data, which everything after them reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorprog.ir.program import Cell, Program
from tensorprog.passes.powers import Powers

if TYPE_CHECKING:
    from tensorprog.series.draws import Gaussians


@dataclass(frozen=True)
class Drawn:
    """The limit program of the samples alone, the readouts among what they need, and the columns whose limit is zero."""

    limit: Program
    mirrored: frozenset[Cell]
    vanishing: frozenset[Cell]


@dataclass(frozen=True, eq=False)
class Compiled:
    """Everything between the typed program and the module.

    `limit` is that of the outputs, `drawn` that of the samples, if there are any; their parallel loops are marked. If the limit
    is by series and has training as equations between numbers, `coefficients` names the families of these, and else
    `on_vectors` says why not; if it is
    random, `gaussians` says which inputs of it hold draws, and `Gaussians.covariances` is the program of their covariances.
    """

    original: Program
    differentiated: Program
    limit: Program
    powers: Powers
    vanishing: frozenset[str]
    mirrored: frozenset[Cell]
    env: Mapping[str, object]
    drawn: Drawn | None = None
    by_series: bool = False
    coefficients: frozenset[str] = frozenset()
    on_vectors: str = ""
    gaussians: Gaussians | None = None
