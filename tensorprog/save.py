"""Results to files, by their extension: `.npz`, `.csv`, `.json`, `.nc`."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tensorprog.data import DAMAGE
from tensorprog.files import mistake, write_whole

if TYPE_CHECKING:
    from tensorprog.results import Result


@dataclass(frozen=True, slots=True)
class ResultFormat:
    """A kind of file for results.

    Attributes:
        name: the extension, with its dot.
        description: a few words.
        write: writes a result to a binary file.
    """

    name: str
    description: str
    write: Callable[[Result, BinaryIO], None]

    def check(self) -> None:
        """Raises ValueError for a name that is no extension."""
        if not (self.name.startswith(".") and self.name[1:].isalnum() and self.name == self.name.lower()):
            raise ValueError(f"the name of a format of files is an extension like '.txt', not {self.name!r}")


def save_results(path: str | os.PathLike[str], result: Result) -> None:
    """Write a result. The file appears whole, or, when something fails, stays what it was.

        .npz   `f`, `f.error`, `f.method` for each output `f`; if its limit is random, `f.draws` and `f.factor` (the
               covariance is the sum over the first axis of products); what the columns of a sample are as `f.columns`, and
               `.settings` and `.about` as JSON text
        .csv   a row for every element: output, indices, value, error
        .json  `Result.to_json()`
        .nc    netCDF, with the program's indices as dimensions

    Raises:
        ProgramError: TP612 for another extension, TP707 when the file cannot be written.
    """
    write = WRITERS[result_format(path)].write
    write_whole(path, lambda file: write(result, file))


def result_format(path: str | os.PathLike[str]) -> str:
    """The extension of a file for results.

    Raises:
        ProgramError: TP612, for another one.
    """
    extension = Path(path).suffix.lower()
    if extension not in WRITERS:
        raise mistake("TP612", f"results are written as {', '.join(WRITERS)} files, and '{os.fspath(path)}' is none of these",
                      f"write `-o {Path(path).with_suffix('.npz')}`")
    return extension


def load_result(path: str | os.PathLike[str]) -> Result:
    """A result from a `.npz` file that `save_results` wrote; warnings are not kept. Nothing is unpickled.

    Raises:
        ProgramError: TP610, TP611, if it is missing, damaged, or was not written by that.
    """
    from tensorprog.results import Result

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        settings, about = (json.loads(str(arrays[name])) for name in (".settings", ".about"))
        names = [name.removesuffix(".method") for name in arrays if name.endswith(".method")]
        parts = {part: {n: arrays[f"{n}.{part}"] for n in names if f"{n}.{part}" in arrays}
                 for part in ("error", "method", "samples", "no_limit")}
        return Result({n: arrays[n] for n in names}, parts["error"], {n: str(m) for n, m in parts["method"].items()},
                      settings=settings, samples=parts["samples"], unresolved=parts["no_limit"], diverged=about["diverged"],
                      columns={n: tuple(c) for n, c in about["columns"].items()}, coordinates=about["coordinates"],
                      axes={n: tuple(a) for n, a in about["axes"].items()})
    except FileNotFoundError:
        raise mistake("TP610", f"there is no file '{os.fspath(path)}'") from None
    except (OSError, *DAMAGE, TypeError, AttributeError) as error:
        raise mistake("TP611", f"'{os.fspath(path)}' is not a result, or is damaged: {error}",
                      "give a .npz file that `-o` wrote") from None


def _npz(result: Result, file: BinaryIO) -> None:
    about = {"columns": result.columns, "axes": result.axes, "diverged": result.diverged, "coordinates": result.coordinates}
    arrays = {".settings": np.array(json.dumps(result.settings)), ".about": np.array(json.dumps(about))}
    for name in result:
        arrays |= {name: result[name], f"{name}.error": result.error[name],
                   f"{name}.method": np.array(result.method[name])}
        if name in result.samples:
            arrays[f"{name}.samples"] = result.samples[name]
        if name in result.spread:
            arrays |= {f"{name}.factor": result.spread[name].factor, f"{name}.draws": result.draws[name]}
        if name in result.columns:
            arrays[f"{name}.columns"] = np.array(result.columns[name])
        if name in result.unresolved:
            arrays[f"{name}.no_limit"] = result.unresolved[name]
    np.savez(file, **arrays)  # type: ignore[arg-type]  # no output is `allow_pickle`


def _csv(result: Result, file: BinaryIO) -> None:
    from tensorprog.tables import tidy_columns, tidy_rows

    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, tidy_columns(result), lineterminator="\n")
    writer.writeheader()
    writer.writerows(tidy_rows(result))
    text.detach()


def _json(result: Result, file: BinaryIO) -> None:
    file.write(result.to_json().encode("utf-8") + b"\n")


def _netcdf(result: Result, file: BinaryIO) -> None:
    from tensorprog.tables import write_netcdf

    write_netcdf(result, file)


#: By extension.
WRITERS: dict[str, ResultFormat] = {f.name: f for f in (
    ResultFormat(".npz", "arrays by name; the one that can be read back", _npz),
    ResultFormat(".csv", "a row for every element", _csv),
    ResultFormat(".json", "for other programs", _json),
    ResultFormat(".nc", "netCDF, with the program's indices as dimensions", _netcdf))}
