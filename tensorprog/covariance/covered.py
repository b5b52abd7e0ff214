"""What is found out about which outputs have equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorprog.ir.program import Cell

if TYPE_CHECKING:
    from tensorprog.covariance.system import System


@dataclass(frozen=True, slots=True)
class Covered:
    """The system of the covered outputs (None if there are none), and why the others are not."""

    system: System | None
    reasons: dict[Cell, str]

    @property
    def count(self) -> int:
        """How many outputs are covered."""
        return len(self.system.outputs) if self.system is not None else 0
