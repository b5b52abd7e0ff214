"""Results as text and as HTML: numbers with the digits that their errors leave, the first and the last rows of arrays, and
what draws are like."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tensorprog.random_limit import Spread

FIRST_ROWS, LAST_ROWS = 4, 2
SHOWN_ROWS = FIRST_ROWS + LAST_ROWS
SHOWN_COLUMNS = 5

# What is smaller than this is the rounding error of quantities of order one.
ROUNDING = 1e-14

# How an element without a limit is shown.
NO_LIMIT = "no limit"

QUANTILES = (0.05, 0.5, 0.95)


def array_lines(name: str, value: np.ndarray, error: np.ndarray, none: np.ndarray) -> Iterator[str]:
    """A scalar as `value +- error`; a larger array by its shape and the ends of its rows. `none` marks what has no limit."""
    if value.ndim == 0:
        yield f"{name} = {NO_LIMIT if none else with_error(float(value), float(error))}"
        return
    shape = ", ".join(map(str, value.shape))
    yield f"{name} [{shape}]" + _array_error(error, none)
    if value.ndim == 1:
        yield "  " + _row(value, none)
        return
    count = math.prod(value.shape[:-1])
    for flat in _shown(count):
        if flat is None:
            hidden = count - SHOWN_ROWS
            yield f"  ... {hidden} more row" + ("s" if hidden > 1 else "")
        else:
            index = tuple(int(i) for i in np.unravel_index(flat, value.shape[:-1]))
            yield f"  [{', '.join(map(str, index))}]  {_row(value[index], none[index])}"


def sweep_lines(name: str, value: np.ndarray, error: np.ndarray, none: np.ndarray,
                coordinates: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """An output of a sweep, a line for every point; of arrays the ends of a row, of larger ones those of the last row."""
    counts = tuple(map(len, coordinates.values()))
    own = value.shape[len(counts):]
    yield name + (f" [{', '.join(map(str, own))}]" if own else "") + (": the last rows" if len(own) > 1 else "")
    labels = [", ".join(f"{axis} = {number:g}" for axis, number in zip(coordinates, point))
              for point in itertools.product(*coordinates.values())]
    width = max(map(len, labels), default=0)
    for label, index in zip(labels, np.ndindex(counts), strict=True):
        if 0 in own:
            text = "empty"
        elif own:
            last = _last_row(value[index])
            text = _row(value[index][last], none[index][last])
        else:
            text = NO_LIMIT if none[index] else with_error(float(value[index]), float(error[index]))
        yield f"  {label:<{width}}  {text}"


def _last_row(value: np.ndarray) -> tuple[int, ...]:
    """The index of the last row with a number: points of a sweep may have fewer rows than others."""
    rows = np.argwhere(~np.isnan(value).all(axis=-1))
    return tuple(map(int, rows[-1])) if len(rows) else (-1,) * (value.ndim - 1)


def draws_lines(name: str, value: np.ndarray, columns: Sequence[str]) -> Iterator[str]:
    """Draws [draws, vectors]: mean, deviation and quantiles of each column, and their correlations."""
    yield f"{name} [{len(value)}, {len(columns)}]  draws"
    width = max(map(len, columns))
    titles = ["mean", "deviation", *(f"{100 * q:.0f} %" for q in QUANTILES)]
    yield f"  {'':<{width}}" + _cells(titles) + ("    correlations" if len(columns) > 1 else "")
    with np.errstate(all="ignore"):
        correlations = np.atleast_2d(np.corrcoef(value, rowvar=False))
    for k, (column, drawn) in enumerate(zip(columns, value.T, strict=True)):
        yield (f"  {column:<{width}}" + _cells(_described(drawn)) + "  " + _cells(f"{c:.3f}" for c in correlations[k, :k])).rstrip()


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"{text:>11}" for text in texts)


def _described(drawn: np.ndarray) -> list[str]:
    quantiles = np.quantile(drawn, QUANTILES) if np.isfinite(drawn).all() else np.full(len(QUANTILES), np.nan)
    numbers = (drawn.mean(), drawn.std(), *quantiles)
    return [f"{_cleared(number, drawn):.4g}" for number in numbers]


def _cleared(value: float, drawn: np.ndarray) -> float:
    """Zero for what rounding alone makes of zero, among numbers of this size."""
    return 0.0 if abs(value) < 1e-12 * np.abs(drawn).max(initial=0.0) else float(value)


def random_line(spread: Spread) -> str:
    """What is said of an output whose limit is random, below its mean."""
    deviation = spread.deviation
    low, high = (float(f(deviation)) if deviation.size else 0.0 for f in (np.min, np.max))
    width = _number(high) if deviation.ndim == 0 or low == high else f"{_number(low)} to {_number(high)}"
    law = "Gaussian over networks" if spread.gaussian else "random over networks"
    return f"the mean; it is {law}, with standard deviation {width}"


def html_row(name: str, value: np.ndarray, error: np.ndarray, none: np.ndarray, *more: str,
             spread: Spread | None = None) -> str:
    """An output as a row of a table: name, shape, value and `more`."""
    if value.ndim == 0:
        text = NO_LIMIT if none else with_error(float(value), float(error)).replace("+-", "&plusmn;")
    else:
        text = _row(value.reshape(-1), np.broadcast_to(none, value.shape).reshape(-1)) if value.size else "empty"
        text += _array_error(error, none)
    if spread is not None:
        text += f"<br>{html.escape(random_line(spread))}"
    return html_cells(name, value, text, *more)


def html_draws(name: str, value: np.ndarray, columns: Sequence[str], method: str) -> str:
    """Draws as a row of that table."""
    parts = [f"{html.escape(column)}: {_number(_cleared(drawn.mean(), drawn))} &plusmn; {_number(drawn.std())}"
             for column, drawn in zip(columns, value.T, strict=True)]
    return html_cells(name, value, "<br>".join(parts) + "<br>(mean &plusmn; deviation of the draws)", method)


def html_cells(name: str, value: np.ndarray, text: str, *more: str) -> str:
    """A row of a table of HTML; `text` is HTML already."""
    shape = " &times; ".join(map(str, value.shape)) or "scalar"
    cells = [html.escape(name), shape, text, *map(html.escape, more)]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def html_table(titles: Sequence[str], rows: Iterator[str]) -> str:
    """Rows below a line of titles."""
    return f"<table><tr>{''.join(f'<th>{title}</th>' for title in titles)}</tr>{''.join(rows)}</table>"


def with_error(value: float, error: float) -> str:
    """`0.1234 +- 0.0021`, with the digits that the error leaves meaningful."""
    if math.isfinite(value) and math.isnan(error):
        return f"{value:.12g} (error unknown: a single run)"
    if abs(value) < ROUNDING and abs(value) <= 10 * error < ROUNDING:
        return "0"
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0:
        return f"{value:.12g}"
    digits = 1 - math.floor(math.log10(error))
    if not 0 <= digits <= 15:
        return f"{value:.12g} +- {_short(error)}"
    return f"{value:.{digits}f} +- {error:.{digits}f}"


# --- parts -------------------------------------------------------------------------------------------------------


def _shown(count: int) -> Iterator[int | None]:
    """The first and the last of so many rows, with None for those between."""
    if count <= SHOWN_ROWS:
        yield from range(count)
        return
    yield from (*range(FIRST_ROWS), None, *range(count - LAST_ROWS, count))


def _row(values: np.ndarray, none: np.ndarray) -> str:
    """The first entries, and the last one if some are left out."""
    texts = [NO_LIMIT if gone else _number(v) for v, gone in zip(values[:SHOWN_COLUMNS + 1], none)]
    if len(values) <= SHOWN_COLUMNS + 1:
        return "  ".join(texts)
    return "  ".join(texts[:SHOWN_COLUMNS]) + "  ...  " + (NO_LIMIT if none[-1] else _number(values[-1]))


def _largest(error: np.ndarray) -> float:
    finite = error[np.isfinite(error)]
    return float(finite.max()) if finite.size else 0.0


def _array_error(error: np.ndarray, none: np.ndarray) -> str:
    if error.size and np.isnan(error).all() and not none.any():
        return "  (errors unknown: a single run)"
    largest = _largest(error)
    return f"  (errors up to {_short(largest)})" if largest > ROUNDING else ""


def _number(value: float) -> str:
    """Six digits; what rounding alone makes of zero is shown as zero."""
    return "0" if abs(value) < ROUNDING else f"{value:.6g}"


def _short(value: float) -> str:
    return f"{value:.1e}"
