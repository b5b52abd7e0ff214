"""Numbers as the reports of the gallery show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns of equal width: the first is text, the others are numbers."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) if k == 0 else cell.rjust(width)
                               for k, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
                     for row in cells)


def _cell(value: object) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
