"""Results as tidy tables and labelled arrays: rows for CSV, pandas, xarray, netCDF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tensorprog.optional import optional
from tensorprog.selection import select

if TYPE_CHECKING:
    import pandas
    import xarray
    from scipy.io import netcdf_file, netcdf_variable

    from tensorprog.results import Result

#: The dimensions of draws.
DRAW, VECTOR = "draw", "vector"

Row = dict[str, object]


def tidy_rows(result: Result) -> Iterator[Row]:
    """A row for every element of every output: `output`, its indices, `value` and `error`."""
    for name in result:
        if name in result.columns:
            for column, drawn in zip(result.columns[name], result[name].T, strict=True):
                yield from ({"output": name, DRAW: i, VECTOR: column, "value": float(value)} for i, value in enumerate(drawn))
            continue
        axes = result.axes[name]
        places = [result.coordinates.get(axis, range(n)) for axis, n in zip(axes, result[name].shape, strict=True)]
        for index in np.ndindex(result[name].shape):
            where = {axis: at[i] for axis, at, i in zip(axes, places, index, strict=True)}
            yield {"output": name, **where, "value": float(result[name][index]),
                   "error": float(result.error[name][index])}


def tidy_columns(result: Result) -> list[str]:
    """The columns of `tidy_rows`: those of all outputs together."""
    names = [axis for name in result for axis in ((DRAW, VECTOR) if name in result.columns else result.axes[name])]
    return ["output", *dict.fromkeys(names), "value", "error"]


def to_pandas(result: Result, name: str | None = None) -> pandas.DataFrame:
    """See `Result.to_pandas`."""
    pandas = optional("pandas", "tables", "`to_pandas`")
    if name is None:
        numbers = result.numbers()
        return _indices_as_integers(pandas.DataFrame(tidy_rows(numbers), columns=tidy_columns(numbers)), result.coordinates)
    chosen, _ = select(name, result)
    if chosen in result.columns:
        return pandas.DataFrame(result[chosen], columns=list(result.columns[chosen]))
    one = result.only([chosen])
    return pandas.DataFrame(tidy_rows(one), columns=tidy_columns(one)).drop(columns="output")


def _indices_as_integers(frame: pandas.DataFrame, coordinates: Iterable[str]) -> pandas.DataFrame:
    """Indices that some outputs do not have are missing there; they stay integers elsewhere."""
    indices = [c for c in frame.columns if c not in ("output", "value", "error", *coordinates)]
    return frame.astype(dict.fromkeys(indices, "Int64"))


def dimensions(result: Result) -> dict[str, tuple[str, ...]]:
    """The dimensions of every output. An index that runs over other numbers than in the outputs before is another
    dimension, and has the output's name in its own."""
    sizes: dict[str, int] = {}
    found = {}
    for name in result:
        plain = (DRAW, VECTOR) if name in result.columns else result.axes[name]
        own = []
        for axis, length in zip(plain, result[name].shape, strict=True):
            # The columns of two samples are different vectors, whatever their number is.
            shared = axis != VECTOR and sizes.setdefault(axis, length) == length
            own.append(axis if shared else f"{name}_{axis}")
            sizes.setdefault(own[-1], length)
        found[name] = tuple(own)
    return found


def to_xarray(result: Result) -> xarray.Dataset:
    """See `Result.to_xarray`."""
    xarray = optional("xarray", "tables", "`to_xarray`")
    named = dimensions(result)
    variables: dict[str, tuple] = {}
    coordinates: dict[str, list] = {name: list(values) for name, values in result.coordinates.items()}
    for name, axes in named.items():
        variables[name] = (axes, result[name], {"method": result.method[name]})
        if name in result.columns:
            coordinates[axes[1]] = list(result.columns[name])
        else:
            variables[f"{name}_error"] = (axes, result.error[name])
    return xarray.Dataset(variables, coordinates, attrs=_attributes(result))


def write_netcdf(result: Result, file: BinaryIO) -> None:
    """Write a result as netCDF (the classic format, which all readers know), named as in `to_xarray`."""
    from scipy.io import netcdf_file

    data = netcdf_file(file, "w", version=2)
    for name, axes in dimensions(result).items():
        axes = tuple(map(_netcdf_name, axes))
        for axis, length in zip(axes, result[name].shape, strict=True):
            if axis not in data.dimensions:
                data.createDimension(axis, length)
        _variable(data, name, axes, result[name]).method = result.method[name]
        if name not in result.columns:
            _variable(data, f"{name}_error", axes, result.error[name])
        else:
            data.variables[_netcdf_name(name)].columns = ", ".join(result.columns[name])
    for axis, values in result.coordinates.items():
        if axis in data.dimensions:
            _variable(data, axis, (axis,), np.array(values, dtype=float))
    for key, value in _attributes(result).items():
        setattr(data, key, value)
    data.flush()


def _variable(data: netcdf_file, name: str, axes: tuple[str, ...], values: np.ndarray) -> netcdf_variable:
    variable = data.createVariable(_netcdf_name(name), "d", axes)
    variable[...] = values
    return variable


def _netcdf_name(name: str) -> str:
    """`/` may not be in a name."""
    return name.replace("/", "|")


def _attributes(result: Result) -> dict[str, float | int | str]:
    """The settings as attributes: numbers, and what is none as text."""
    return {name: value if isinstance(value, int | float) else str(value) for name, value in result.settings.items()}
