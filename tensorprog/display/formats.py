"""The formats in which a derivation is written. A new one is a file and a line in `display.FORMATS`, or, from outside of the
package, one call of `tensorprog.register`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorprog.derive.rules import Derivation


@dataclass(frozen=True, slots=True)
class DerivationFormat:
    """A format of `tpc derive --format`.

    Attributes:
        name: as it is asked for.
        description: a few words.
        render: the text of a derivation, with the simplifications that led to it or without.
    """

    name: str
    description: str
    render: Callable[[Derivation, bool], str]

    def check(self) -> None:
        """Raises ValueError for a name that cannot be asked for."""
        if not self.name.replace("-", "_").isidentifier():
            raise ValueError(f"the name of a format is a word, not {self.name!r}")
