"""What a run gives: values with their errors and methods, shown as a table, in a notebook, or as JSON."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.diagnostics import Diagnostic

if TYPE_CHECKING:
    from tensorprog.random_limit import Spread

SHOWN_ROWS = 6
SHOWN_COLUMNS = 5

# Elements of an output up to which its covariance is written out.
MOST_SHOWN_PAIRED = 64

# What is smaller than this is the rounding error of quantities of order one.
ROUNDING = 1e-14

# How an element without a limit is shown.
NO_LIMIT = "no limit"


@dataclass(frozen=True)
class Approach:
    """What a second limit was extrapolated from: outputs [k, ...] and their errors at the k values `at` of a size."""

    name: str
    at: tuple[int, ...]
    values: Mapping[str, np.ndarray]
    error: Mapping[str, np.ndarray]


class Result(Mapping[str, np.ndarray]):
    """A mapping from output names to arrays.

    Attributes:
        error: the standard error of each output, zero where it is exact.
        method: the evaluator that computed each output.
        settings: everything that fixes the run: sizes, parameters, seed, samples, width.
        warnings: what the compiler and the run have to say.
        diverged: for each output that is not finite everywhere, the first index on its leading axis where it is not
            (None for a scalar).
        samples: for a simulation, each output for every seed, [seeds, ...].
        unresolved: for each output with elements that have no limit, because a scalar on which they jump tends to the
            jump (TP513), or do not converge (TP644): the mask of these. Their values and errors are NaN.
        approach: for a second limit, the outputs at the values that it was extrapolated from.
        spread: for each output whose limit is random, its distribution; the output itself is then the mean.
    """

    def __init__(self, values: Mapping[str, np.ndarray], error: Mapping[str, np.ndarray], method: Mapping[str, str], *,
                 settings: Mapping[str, object] | None = None, warnings: Sequence[Diagnostic] = (),
                 diverged: Mapping[str, int | None] | None = None,
                 samples: Mapping[str, np.ndarray] | None = None,
                 unresolved: Mapping[str, np.ndarray] | None = None, approach: Approach | None = None,
                 spread: Mapping[str, Spread] | None = None):
        self._values = {name: np.asarray(value) for name, value in values.items()}
        self.error = {name: np.broadcast_to(error[name], v.shape) for name, v in self._values.items()}
        self.method = dict(method)
        self.settings = dict(settings or {})
        self.warnings = tuple(warnings)
        self.diverged = dict(diverged or {})
        self.samples = dict(samples or {})
        self.unresolved = {name: mask for name, mask in (unresolved or {}).items() if mask.any()}
        self.approach = approach
        self.spread = dict(spread or {})

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """Joint draws of the outputs whose limit is random, [draws, ...]; the same draw of all outputs belongs together."""
        return {name: spread.draws for name, spread in self.spread.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Scalars as `value +- error`; larger arrays by their shape and the first entries of each row."""
        return "\n".join(line for name in self for line in self._lines(name))

    def _lines(self, name: str) -> Iterator[str]:
        yield from _lines(name, self[name], self.error[name], self._none(name))
        if name in self.spread:
            yield f"  {_random(self.spread[name])}"

    def _none(self, name: str) -> np.ndarray:
        """Which elements of an output have no limit."""
        return self.unresolved.get(name, np.broadcast_to(False, self[name].shape))

    def _repr_html_(self) -> str:
        rows = "".join(_html_row(name, self[name], self.error[name], self.method[name], self._none(name),
                                 self.spread.get(name)) for name in self)
        return f"<table><tr><th>output</th><th>shape</th><th>value</th><th>method</th></tr>{rows}</table>"

    def to_json(self) -> str:
        """Everything but the samples, as JSON; numbers that are not finite become null. An output with elements that
        have no limit has an array `no_limit` that marks them; one whose limit is random an object `random` with its
        variance, its draws and, if it is not large, its covariance."""
        return json.dumps(self.as_dict(), allow_nan=False)

    def as_dict(self) -> dict[str, object]:
        """The content of `to_json` as lists and dictionaries."""
        results = {name: {"value": _plain(self[name]), "error": _plain(self.error[name]), "method": self.method[name]}
                   for name in self}
        for name, mask in self.unresolved.items():
            results[name]["no_limit"] = mask.tolist()
        for name, spread in self.spread.items():
            results[name]["random"] = {"variance": _plain(spread.variance), "gaussian": spread.gaussian,
                                       "draws": _plain(spread.draws)}
            if self[name].size <= MOST_SHOWN_PAIRED:
                results[name]["random"]["covariance"] = _plain(spread.covariance)
        return {"results": results, "settings": self.settings, "diverged": self.diverged,
                "warnings": [{"code": w.code, "message": w.message} for w in self.warnings]}


RUNAWAY = 1e12


def first_divergence(values: np.ndarray, *expected: np.ndarray | None) -> tuple[int | None] | None:
    """Where an output stops being finite, or grows beyond `RUNAWAY`, which a quantity of order one does only on its way
    there: None if it never does, else (the first index on the leading axis,), with None for a scalar. Elements marked
    in one of `expected`, masks on the leading axes, may be anything."""
    if values.size and values.min() > -RUNAWAY and values.max() < RUNAWAY:
        return None
    bad = np.array(~(np.abs(values) < RUNAWAY))
    for mask in expected:
        if mask is not None:
            bad[mask] = False
    if not bad.any():
        return None
    return (int(np.argwhere(bad)[0][0]),) if bad.ndim else (None,)


# What an output that is not a number has reached before, if the computation diverges.
LARGE = 1e6


def grows(values: np.ndarray, where: int | None) -> bool:
    """Whether an output grows on its way to what is not finite, at index `where` of its leading axis: it is infinite or
    large there, or large before."""
    upto = values if where is None else values[: where + 1]
    with np.errstate(invalid="ignore"):
        return bool((np.abs(upto) > LARGE).any())


def _plain(array: np.ndarray) -> object:
    """Nested lists of numbers, with None for those that are not finite."""
    if np.isfinite(array).all():
        return array.tolist()
    return np.where(np.isfinite(array), array, None).tolist()


def _lines(name: str, value: np.ndarray, error: np.ndarray, none: np.ndarray) -> Iterator[str]:
    if value.ndim == 0:
        yield f"{name} = {NO_LIMIT if none else with_error(float(value), float(error))}"
        return
    shape = ", ".join(map(str, value.shape))
    yield f"{name} [{shape}]" + _array_error(error, none)
    if value.ndim == 1:
        yield "  " + _row(value, none)
        return
    for index in _leading(value.shape[:-1]):
        yield f"  [{', '.join(map(str, index))}]  {_row(value[index], none[index])}"
    hidden = math.prod(value.shape[:-1]) - SHOWN_ROWS
    if hidden > 0:
        yield f"  ... {hidden} more row" + ("s" if hidden > 1 else "")


def _leading(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for flat in range(min(SHOWN_ROWS, math.prod(shape))):
        yield tuple(int(i) for i in np.unravel_index(flat, shape))


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


def _random(spread: Spread) -> str:
    """What is said of an output whose limit is random, below its mean."""
    deviation = spread.deviation
    low, high = (float(f(deviation)) if deviation.size else 0.0 for f in (np.min, np.max))
    width = _number(high) if deviation.ndim == 0 or low == high else f"{_number(low)} to {_number(high)}"
    law = "Gaussian over networks" if spread.gaussian else "random over networks"
    return f"the mean; it is {law}, with standard deviation {width}"


def _html_row(name: str, value: np.ndarray, error: np.ndarray, method: str, none: np.ndarray,
              spread: Spread | None) -> str:
    shape = " &times; ".join(map(str, value.shape)) or "scalar"
    if value.ndim == 0:
        text = NO_LIMIT if none else with_error(float(value), float(error)).replace("+-", "&plusmn;")
    else:
        text = _row(value.reshape(-1), none.reshape(-1)) if value.size else "empty"
        text += _array_error(error, none)
    if spread is not None:
        text += f"<br>{html.escape(_random(spread))}"
    return f"<tr><td>{html.escape(name)}</td><td>{shape}</td><td>{text}</td><td>{html.escape(method)}</td></tr>"
