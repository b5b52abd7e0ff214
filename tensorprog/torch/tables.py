"""A parametrization as a table: text, Markdown, pandas."""

from __future__ import annotations

from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING

from tensorprog.torch.errors import module_error

if TYPE_CHECKING:
    from tensorprog.torch.exponents import MultiplierSite
    from tensorprog.torch.parametrize import MuTable

FORMATS = ("text", "markdown", "pandas")


def power(exponent: Fraction | None) -> str:
    """A power of n as people write it: 1, n, 1/n, n^(-1/2)."""
    if exponent is None:
        return "-"
    match exponent:
        case 0:
            return "1"
        case 1:
            return "n"
        case -1:
            return "1/n"
    return f"n^{exponent}" if exponent.denominator == 1 and exponent > 0 else f"n^({exponent})"


def table(found: MuTable, format: str) -> object:
    """The rows, the sites that need a multiplier, and the clipping threshold."""
    if format not in FORMATS:
        raise module_error("TP805", f"there is no format {format!r}", help=f"there is: {', '.join(FORMATS)}")
    header, lines = _cells(found)
    if format == "pandas":
        return import_module("pandas").DataFrame(lines, columns=header).set_index(header[0])
    text = _markdown(header, lines) if format == "markdown" else _text(header, lines)
    return "\n".join([text, "", *_notes(found)])


def _cells(found: MuTable) -> tuple[list[str], list[list[str]]]:
    # Muon leaves some parameters to AdamW; otherwise the column would be one word.
    mixed = len({row.optimizer for row in found.rows}) > 1
    with_eps = any(row.exponents.eps is not None for row in found.rows)
    header = [
        "parameter",
        "shape",
        *(["by"] if mixed else []),
        "std",
        "multiplier",
        "lr",
        *(["eps"] if with_eps else []),
        "weight decay",
    ]
    lines = []
    for row in found.rows:
        e = row.exponents
        lines.append(
            [
                row.name,
                row.shape,
                *([row.optimizer] if mixed else []),
                power(e.std),
                power(e.multiplier),
                *(power(p if row in found.trained else None) for p in (e.lr, *([e.eps] if with_eps else []), e.weight_decay)),
            ]
        )
    return header, lines


def _text(header: list[str], lines: list[list[str]]) -> str:
    sizes = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(size) for cell, size in zip(line, sizes, strict=True)).rstrip()
        for line in (header, *lines)
    )


def _markdown(header: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines))


def _notes(found: MuTable) -> list[str]:
    notes = [f"multiply {site_text(site)} by {power(site.exponent)}" for site in found.sites]
    notes.append(f"a threshold that clips the norm of the whole gradient: {power(found.clipping)}")
    return [*notes, f"n stands for width/{found.base}"]


def site_text(site: MultiplierSite) -> str:
    """What is to be multiplied, and where."""
    value = site.value
    what = f"the output of {', '.join(site.params)}" if site.params else f"`{value.name}`"
    module = f" in {value.module}" if value.module else ""
    return f"{what}{module}" + (f" ({value.place})" if value.place else "")
