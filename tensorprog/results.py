"""What a run gives: values with their errors and methods, shown as a table, in a notebook, or as JSON."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tensorprog.diagnostics import Diagnostic
from tensorprog.results_text import (
    array_lines,
    draws_lines,
    html_draws,
    html_row,
    html_table,
    random_line,
    sweep_lines,
)

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure

    from tensorprog.accuracy import Accuracy
    from tensorprog.random_limit import Spread

# Elements of an output up to which its covariance is written out.
MOST_SHOWN_PAIRED = 64


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
        columns: for each output that is a `sample`, what the columns of its draws [draws, vectors] are. At a finite width
            the draws are the coordinates of all networks. They have no error: it is NaN.
        axes: for each other output, what its indices are called in the program, as ("t", "a") for f[t, a].
        coordinates: of a sweep, the values that its indices stand for, by the names of axes.
        accuracy: for a run with `error=`, a `tensorprog.accuracy.Accuracy`: whether it was reached, and how; else None.
    """

    def __init__(self, values: Mapping[str, np.ndarray], error: Mapping[str, np.ndarray], method: Mapping[str, str], *,
                 settings: Mapping[str, object] | None = None, warnings: Sequence[Diagnostic] = (),
                 diverged: Mapping[str, int | None] | None = None,
                 samples: Mapping[str, np.ndarray] | None = None,
                 unresolved: Mapping[str, np.ndarray] | None = None, approach: Approach | None = None,
                 columns: Mapping[str, tuple[str, ...]] | None = None,
                 axes: Mapping[str, tuple[str, ...]] | None = None,
                 coordinates: Mapping[str, Sequence[float]] | None = None,
                 spread: Mapping[str, Spread] | None = None):
        self._values = {name: np.asarray(value) for name, value in values.items()}
        # An error may be one number for all elements.
        self.error = {name: np.broadcast_to(error[name], v.shape) for name, v in self._values.items()}
        self.method = dict(method)
        self.settings = dict(settings or {})
        self.warnings = tuple(warnings)
        self.diverged = dict(diverged or {})
        self.samples = dict(samples or {})
        # Only outputs that have such an element.
        self.unresolved = {name: mask for name, mask in (unresolved or {}).items() if mask.any()}
        self.approach = approach
        self.spread = dict(spread or {})
        self.columns = dict(columns or {})
        self.accuracy: Accuracy | None = None
        self.coordinates = {name: tuple(values) for name, values in (coordinates or {}).items()}
        self.axes = {name: _axes((axes or {}).get(name, ()), v.ndim) for name, v in self._values.items()}

    @property
    def width(self) -> int:
        """The width of the networks of a simulation."""
        return self._whole("width")

    @property
    def replicates(self) -> int:
        """The number of replicates of a run."""
        return self._whole("replicates")

    @property
    def particles(self) -> int:
        """The number of particles of a run."""
        return self._whole("samples")

    def _whole(self, name: str) -> int:
        value = self.settings[name]
        assert isinstance(value, int), f"{name} is no integer"
        return value

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """Joint draws of the outputs whose limit is random, [draws, ...]; the same draw of all outputs belongs together."""
        return {name: spread.draws for name, spread in self.spread.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._values:
            raise KeyError(f"there is no output {name!r}; outputs are {', '.join(self._values) or 'none'}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Scalars as `value +- error`; larger arrays by their shape and the ends of their rows; draws by their moments."""
        return "\n".join(line for name in self for line in self._lines(name))

    def _lines(self, name: str) -> Iterator[str]:
        if name in self.columns:
            return draws_lines(name, self[name], self.columns[name])
        if any(axis in self.coordinates for axis in self.axes[name]):
            return sweep_lines(name, self[name], self.error[name], self._none(name), self.coordinates)
        lines = array_lines(name, self[name], self.error[name], self._none(name))
        return itertools.chain(lines, [f"  {random_line(self.spread[name])}"]) if name in self.spread else lines

    def _none(self, name: str) -> np.ndarray:
        """Which elements of an output have no limit."""
        return self.unresolved.get(name, np.broadcast_to(False, self[name].shape))

    def _repr_html_(self) -> str:
        rows = (html_draws(name, self[name], self.columns[name], self.method[name]) if name in self.columns else
                html_row(name, self[name], self.error[name], self._none(name), self.method[name],
                         spread=self.spread.get(name)) for name in self)
        return html_table(("output", "shape", "value", "method"), rows)

    def only(self, wanted: Iterable[str]) -> Result:
        """The outputs, or elements and parts of them, that texts like `loss`, `loss[-1]` and `f[::10, 0]` name.

        Raises:
            ProgramError: TP730, for what is not there.
        """
        from tensorprog.selection import element, select

        chosen = {text.strip(): select(text, self) for text in wanted}

        def part(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {text: element(text, index, arrays[name]) for text, (name, index) in chosen.items() if name in arrays}

        whole = {text: name for text, (name, index) in chosen.items() if not index}
        return Result(part(self._values), part(self.error), {text: self.method[name] for text, (name, _) in chosen.items()},
                      settings=self.settings, warnings=self.warnings,
                      diverged={text: self.diverged[name] for text, (name, _) in chosen.items() if name in self.diverged},
                      unresolved=part(self.unresolved),
                      samples={text: self.samples[name][:, *index] for text, (name, index) in chosen.items()
                               if name in self.samples and (not index or name not in self.columns)},
                      columns={text: self.columns[name] for text, name in whole.items() if name in self.columns},
                      axes={text: self.axes[name] for text, name in whole.items()}, coordinates=self.coordinates,
                      spread={text: self.spread[name].part(index) for text, (name, index) in chosen.items()
                              if name in self.spread})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """A result from a `.npz` file that `save` or `-o` wrote; without its warnings.

        Raises:
            ProgramError: TP610, TP611, if it is missing, damaged, or was not written by these.
        """
        from tensorprog.save import load_result

        return load_result(path)

    def numbers(self) -> Result:
        """The result without draws."""
        return self.only([name for name in self if name not in self.columns]) if self.columns else self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as `.npz`, `.csv` (one row an element), `.json` or `.nc` (netCDF), by the extension.

        Raises:
            ProgramError: TP612 for another extension, TP707 when the file cannot be written.
        """
        from tensorprog.save import save_results

        save_results(path, self)

    def to_pandas(self, name: str | None = None) -> pandas.DataFrame:
        """A table with a row for every element: columns `output`, the indices by their names in the program, `value` and
        `error`; of one output, without the first column. The draws of a `sample` are asked for by its name, and have a
        column for each vector.

        Raises:
            ProgramError: TP731, without pandas; TP730, if there is no such output.
        """
        from tensorprog.tables import to_pandas

        return to_pandas(self, name)

    def to_xarray(self) -> xarray.Dataset:
        """A dataset: every output `f` with the dimensions that its indices are called in the program, its error as
        `f_error`, and the settings as attributes.

        Raises:
            ProgramError: TP731, without xarray.
        """
        from tensorprog.tables import to_xarray

        return to_xarray(self)

    def plot(self, path: str | os.PathLike[str] | None = None, *, beside: Sequence[Result] = ()) -> Figure:
        """Draw every output: numbers and families over their first index with error bands, arrays over two indices as heat
        maps, draws as histograms and scatter plots.

        Args:
            path: a .png, .pdf or .svg file to write as well.
            beside: other results of the same program, drawn into the same panels, as networks beside their limit.

        Raises:
            ProgramError: TP711, for another kind of file; TP707, when it cannot be written.
        """
        from tensorprog.plots.results import plot_results

        return plot_results([self, *beside], path)

    def to_json(self) -> str:
        """Everything but the samples, as JSON; numbers that are not finite become null. An output with elements that
        have no limit has an array `no_limit` that marks them; one whose limit is random an object `random` with its
        variance, its draws and, if it is not large, its covariance."""
        return json.dumps(self.as_dict(), allow_nan=False)

    def as_dict(self) -> dict[str, object]:
        """The content of `to_json` as lists and dictionaries."""
        results: dict[str, dict[str, object]] = {
            name: {"value": _plain(self[name]), "error": _plain(self.error[name]), "method": self.method[name]} for name in self}
        for name, mask in self.unresolved.items():
            results[name]["no_limit"] = mask.tolist()
        for name, spread in self.spread.items():
            random = {"variance": _plain(spread.variance), "gaussian": spread.gaussian, "draws": _plain(spread.draws)}
            if self[name].size <= MOST_SHOWN_PAIRED:
                random["covariance"] = _plain(spread.covariance)
            results[name]["random"] = random
        for name, columns in self.columns.items():
            results[name]["columns"] = list(columns)
        swept = {"coordinates": self.coordinates, "axes": self.axes} if self.coordinates else {}
        return {"results": results, "settings": self.settings, "diverged": self.diverged, **swept,
                "warnings": [{"code": w.code, "message": w.message} for w in self.warnings]}


def _axes(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    return names if len(names) == count else tuple(f"dim_{i}" for i in range(count))


# Of a quantity of order one: far beyond any that converges, and far from the end of float32.
RUNAWAY = 1e12


def first_divergence(values: np.ndarray, *expected: np.ndarray | None) -> tuple[int | None] | None:
    """Where an output stops being finite, or grows beyond `RUNAWAY`, which a quantity of order one does only on its way
    there: None if it never does, else (the first index on the leading axis,), with None for a scalar. Elements marked
    in one of `expected`, masks on the leading axes, may be anything."""
    # Without an array of flags, for kernels are large; NaN fails both comparisons.
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
    # JSON has no NaN and no infinities.
    numbers = array.astype(object)
    numbers[~np.isfinite(array)] = None
    return numbers.tolist()
