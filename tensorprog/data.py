"""Arrays from files.

    load_data(["data.npz", "X=features.npy", "y=labels.csv"])  ->  {"X": ..., "y": ..., and all of data.npz}

A `.npz` file gives all its arrays under their own names; a `.npy` or `.csv` file gives one, named by `name=` or else by
the file. Nothing is ever unpickled.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from tensorprog.diagnostics import near_miss
from tensorprog.files import mistake

EXTENSIONS = (".npz", ".npy", ".csv")
# What NumPy and zipfile raise of files that are cut off, or are something else.
DAMAGE = (ValueError, EOFError, RuntimeError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error, TokenError)

Row = tuple[int, list[str]]


def load_data(arguments: Iterable[str | os.PathLike[str]],
              check: Callable[[dict[str, np.ndarray]], None] | None = None,
              wanted: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays that the arguments name, in order.

    A file of a megabyte may hold a gigabyte of zeros. So `check` first sees arrays of the right shapes and types that take
    no memory, and raises what it has against them; and of the names that are not `wanted` nothing else is read.

    Raises:
        ProgramError: TP610 to TP616, for a file that is missing, damaged or of another kind, or a name given twice.
    """
    places = [_split(argument) for argument in arguments]
    if check is None:
        return _collected(places, _load)
    headers = _collected(places, load_headers)
    check(headers)
    names = set(headers if wanted is None else wanted)
    return _collected(places, lambda name, path: _load(name, path, names)) | {
        name: header for name, header in headers.items() if name not in names}


def _collected(places: list[tuple[str | None, Path]],
               load: Callable[[str | None, Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    data: dict[str, np.ndarray] = {}
    origins: dict[str, str] = {}
    for name, path in places:
        for key, array in load(name, path).items():
            if key in data:
                raise mistake("TP616", f"'{key}' is given twice: by '{origins[key]}' and by '{path}'",
                              "leave one of them out, or rename it: `name=file`")
            data[key], origins[key] = array, str(path)
    return data


def _split(argument: str | os.PathLike[str]) -> tuple[str | None, Path]:
    """`name=file` or `file`; a file whose own name contains `=` is a file."""
    text = os.fspath(argument)
    name, equals, file = text.partition("=")
    # `a=b.npy` may be a file of that name.
    if not equals or os.path.exists(text):
        return None, Path(text)
    if not name.isidentifier() or not file:
        raise mistake("TP616", f"'{text}' does not name an input and a file",
                      "write `name=file`, as in `X=features.npy`")
    return name, Path(file)


def load_headers(name: str | None, path: Path) -> dict[str, np.ndarray]:
    """Arrays of the shapes and types that a file declares, all of one zero in memory; those of a csv file as they are."""
    extension = path.suffix.lower()
    if extension not in (".npz", ".npy") or not path.is_file():
        return _load(name, path)
    try:
        if extension == ".npy":
            with open(path, "rb") as file:
                return {name or _stem(path): _header_of(file, os.fstat(file.fileno()).st_size)}
        with zipfile.ZipFile(path) as archive:
            found = {}
            for member in archive.infolist():
                with archive.open(member) as file:
                    found[member.filename.removesuffix(".npy")] = _header_of(file, member.file_size)
    except DAMAGE as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise mistake("TP611", f"cannot read '{path}': {error.strerror or error}") from None
    return found if name is None or len(found) != 1 else {name: next(iter(found.values()))}


def _header_of(file: IO[bytes], size: int) -> np.ndarray:
    """An array of the shape and type that begin a file of `size` bytes.

    Raises:
        ValueError: for another kind of file, for Python objects, or if the size is another than that of its array.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"it has {size - file.tell()} bytes where an array of shape {shape} and type {dtype} is declared")
    # Strides of 0: a shape of any size in the memory of one entry.
    return np.broadcast_to(np.zeros((), dtype), shape)


# Versions 2 and 3 differ in how a header is encoded, which matters for the names of fields alone.
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
            (3, 0): np.lib.format.read_array_header_2_0}


def _load(name: str | None, path: Path, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        known = ", ".join(EXTENSIONS)
        meant = near_miss(extension, EXTENSIONS) if extension else None
        advice = f"did you mean '{path.with_suffix(meant)}'?" if meant else "save it with `numpy.savez` or as .csv"
        raise mistake("TP612", f"'{path}' has the extension '{extension}', and data files are {known}", advice)
    if not path.is_file():
        raise mistake("TP610", f"there is no file '{path}'", "give the path from the current folder")
    try:
        if extension == ".npz":
            return _load_npz(name, path, wanted)
        array = _load_npy(path) if extension == ".npy" else read_csv(path)
    except OSError as error:
        raise mistake("TP611", f"cannot read '{path}': {error.strerror or error}") from None
    return {name or _stem(path): array}


def _stem(path: Path) -> str:
    if path.stem.isidentifier():
        return path.stem
    raise mistake("TP616", f"'{path.name}' does not say which input it is, since '{path.stem}' is not a name",
                  f"write `X={path}` with the input's name")


def _open(path: Path) -> np.ndarray | np.lib.npyio.NpzFile:
    try:
        return np.load(path, allow_pickle=False)
    except DAMAGE as error:
        raise _damaged(path, error) from None


def _load_npy(path: Path) -> np.ndarray:
    loaded = _open(path)
    if isinstance(loaded, np.ndarray):
        return loaded
    loaded.close()
    raise mistake("TP611", f"'{path}' holds several arrays", f"rename it to '{path.with_suffix('.npz')}'")


def _load_npz(name: str | None, path: Path, wanted: Collection[str] | None) -> dict[str, np.ndarray]:
    loaded = _open(path)
    if isinstance(loaded, np.ndarray):
        raise mistake("TP611", f"'{path}' holds a single array", f"rename it to '{path.with_suffix('.npy')}'")
    try:
        with loaded:
            keys = [key for key in loaded.files if name is not None or wanted is None or key in wanted]
            arrays = {key: loaded[key] for key in keys}
    except DAMAGE as error:
        raise _damaged(path, error) from None
    if name is None:
        return arrays
    if len(arrays) != 1:
        raise mistake("TP616", f"'{path}' holds {len(arrays)} arrays, so that `{name}=` does not say which",
                      f"give it without `{name}=`: its arrays have names ({', '.join(arrays)})")
    return {name: next(iter(arrays.values()))}


def _damaged(path: Path, error: Exception) -> Exception:
    if "allow_pickle" in str(error):
        return mistake("TP611", f"'{path}' holds Python objects, which tpc does not unpickle",
                       "save arrays of numbers")
    return mistake("TP611", f"'{path}' is not a file of NumPy arrays, or is damaged: {error}", "save it again")


# --- csv -----------------------------------------------------------------------------------------------------


def read_csv(path: Path) -> np.ndarray:
    """Numbers separated by commas, after an optional line of names; [rows, columns], or [rows] for a single column.

    Empty lines and lines that start with `#` do not count, nor do leading columns without a name before columns with
    one: the index that pandas writes.

    Raises:
        ProgramError: TP611, TP613, TP614 or TP615, with the line and column.
    """
    try:
        # Excel begins a file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise mistake("TP611", f"'{path}' is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    try:
        header_line, header = _header(text)
        index = _index_columns(header)
        # NumPy reads plain numbers in less than half of the time that looking at every cell takes.
        array = _read_fast(text, header_line, index and range(index, len(header)))
        if array is None:
            array = _read_checked(path, text, header_line, header, index)
    except csv.Error as error:
        raise mistake("TP611", f"'{path}' is not a csv file: {error}", "check its quotation marks") from None
    return array[:, 0] if array.shape[1] == 1 else array


def _header(text: str) -> tuple[int, list[str]]:
    """The names in the first row and the number of its line; 0 and none if it has numbers."""
    for line, cells in _rows(text):
        named = _numbered_columns(cells) or not any(_is_number(cell) for cell in cells)
        return (line, cells) if named else (0, [])
    return 0, []


def _numbered_columns(cells: list[str]) -> bool:
    """Whether a row names the columns 0, 1, 2, ... behind an index without a name, as pandas does."""
    return len(cells) > 1 and cells == ["", *map(str, range(len(cells) - 1))]


def _index_columns(header: list[str]) -> int:
    """How many leading columns are an index: pandas leaves its name empty, and calls it so when it is read back."""
    named = next((k for k, name in enumerate(header) if name.strip() and not re.fullmatch(r"Unnamed: \d+", name)), 0)
    return named if all(name.strip() for name in header[named:]) else 0


def _read_fast(text: str, skipped: int, columns: range | int) -> np.ndarray | None:
    """The columns (0: all) of the rows after the skipped lines, if they are plain numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            array = np.loadtxt(io.StringIO(text), delimiter=",", quotechar='"', skiprows=skipped, ndmin=2,
                               usecols=columns or None)
        except ValueError:
            return None
    return array if array.size else None


def _read_checked(path: Path, text: str, skipped: int, header: list[str], index: int) -> np.ndarray:
    """The rows cell by cell, which finds what is wrong and where."""
    rows = [(line, cells) for line, cells in _rows(text) if line > skipped]
    if not rows:
        raise mistake("TP613", f"'{path}' has no rows of numbers", "write one row of numbers a line")
    _check_lengths(path, rows)
    return np.array([[_number(path, line, column, cell, header) for column, cell in enumerate(cells)
                      if column >= index] for line, cells in rows])


def _rows(text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    for cells in reader:
        if any(cell.strip() for cell in cells) and not cells[0].startswith("#"):
            yield reader.line_num, cells


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check_lengths(path: Path, rows: list[Row]) -> None:
    first, width = rows[0][0], len(rows[0][1])
    for line, cells in rows:
        if len(cells) != width:
            raise mistake("TP614", f"'{path}', line {line}: {_columns(len(cells))}, but line {first} has "
                          f"{_columns(width)}", "give every row the same number of columns")


def _columns(count: int) -> str:
    return f"{count} column" + ("" if count == 1 else "s")


def _number(path: Path, line: int, column: int, cell: str, header: list[str]) -> float:
    try:
        return float(cell)
    except ValueError:
        pass
    named = f" ('{header[column].strip()}')" if column < len(header) else ""
    what = f"'{cell.strip()}' is not a number" if cell.strip() else "the cell is empty"
    raise mistake("TP615", f"'{path}', line {line}, column {column + 1}{named}: {what}", _cell_advice(cell))


def _cell_advice(cell: str) -> str:
    if re.fullmatch(r"\s*[-+0-9.eE]+\s*([;\t ]\s*[-+0-9.eE]+\s*)+", cell):
        return "separate the columns by commas"
    return "write numbers like 1, -0.5 or 2e-3, and encode categories as numbers first"
