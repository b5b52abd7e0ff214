"""What cells hold while a program is executed with powers of n: elements by their indices as far as these are known.

A loop is run once for its first iteration, once for its second, and so on until nothing changes. An index that names
the loop's current iteration tells this iteration's elements from those of earlier ones (`PAST`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeAlias, TypeVar

from tensorprog.ir.integers import symbols
from tensorprog.ir.program import Cell, Item, Range

PAST = "past"
#: Indices; `PAST` for those of an earlier iteration, and other words that no index is.
Index: TypeAlias = Item | str
Key: TypeAlias = tuple[Index, ...]
T = TypeVar("T")


def mentions(item: Index, var: str) -> bool:
    """Whether an index depends on a loop variable."""
    if isinstance(item, Range | str):
        return False
    return any(s.name == var for s in symbols(item))


class Elements(Generic[T]):
    """The elements of all cells, of any values that can be joined."""

    def __init__(self, join: Callable[[list[T]], T]):
        self._join = join
        self._of: dict[Cell, dict[Key, T]] = {}

    def copy(self) -> Elements[T]:
        other = Elements(self._join)
        other._of = {cell: dict(elements) for cell, elements in self._of.items()}
        return other

    def snapshot(self) -> Mapping[Cell, Mapping[Key, T]]:
        """All there is, to compare with."""
        return {cell: dict(elements) for cell, elements in self._of.items()}

    def merge(self, other: Elements[T]) -> None:
        """Join with what another course of the program has stored."""
        for cell, elements in other._of.items():
            mine = self._of.setdefault(cell, {})
            for key, value in elements.items():
                mine[key] = self._join([mine[key], value]) if key in mine else value

    def put(self, cell: Cell, items: Key, value: T) -> None:
        self._of.setdefault(cell, {})[self._key(cell, items)] = value

    def clear(self, cell: Cell) -> None:
        self._of.pop(cell, None)

    def read(self, cell: Cell, items: Key) -> list[T]:
        """What may be stored under these indices: of the elements that fit, those whose indices agree most."""
        wanted = self._key(cell, items)
        best = -1
        found: list[T] = []
        for key, value in self._of.get(cell, {}).items():
            # An element stored under the very indices hides those that agree in fewer of them.
            agreeing = sum(a == b for a, b in zip(key, wanted))
            if agreeing > best:
                best, found = agreeing, []
            if agreeing == best:
                found.append(value)
        return found

    @staticmethod
    def _key(cell: Cell, items: Key) -> Key:
        """The indices of a family's element; those of its finite axes make no difference."""
        return tuple(items[:cell.rank])

    def leave(self, var: str) -> None:
        """The loop's variable has another value now."""
        for cell, elements in self._of.items():
            renamed: dict[Key, T] = {}
            for key, value in elements.items():
                # Earlier iterations are not told apart: their sizes are joined.
                new = tuple(PAST if mentions(i, var) else i for i in key)
                renamed[new] = self._join([renamed[new], value]) if new in renamed else value
            self._of[cell] = renamed

    def cells(self) -> list[Cell]:
        return list(self._of)

    def change_all(self, cell: Cell, change: Callable[[T], T]) -> None:
        """Replace every element of a cell."""
        self._of[cell] = {key: change(value) for key, value in self._of.get(cell, {}).items()}

