"""What compiling a program found out, kept on disk: a second run of an unchanged program goes straight to the numbers.

A `Shelf` holds parts of one program with one set of settings, pickled, in the cache folder: `program` (checked,
and what the passes made of it), `plan`, `covered` (the equations of `covariance`) and the texts of emitted modules. Its name is a
digest of everything that they depend on: the text, the settings, the sources of tensorprog, the versions of Python and
SymPy. What is damaged, or cannot be read for whatever reason, is as if it were not there.

Set TENSORPROG_NO_CACHE to compile everything anew.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tensorprog.cache_folder import cache_folder, evict, most_bytes, recall, store
from tensorprog.diagnostics import Source
from tensorprog.ir.program import Cell
from tensorprog.registry import digest

#: Where grammars are, beside the package or in it.
PACKAGE = Path(__file__).parent


class Shelf:
    """The parts of one program with one set of settings.

    Parts are pickled by themselves, but share the cells of the program: they are compared by identity.
    """

    def __init__(self, source: Source, settings: Mapping[str, object]):
        described = sorted((name, type(value).__name__, repr(value)) for name, value in settings.items())
        self._name = hashlib.sha256(repr((source.name, source.text, described, _versions(), digest())).encode()
                                    + _package_digest()).hexdigest()[:32]
        self._cells: list[Cell] = []

    def part(self, name: str) -> Shelf:
        """A shelf for a program that was made from this one."""
        found = copy(self)
        found._name = hashlib.sha256(f"{self._name} {name}".encode()).hexdigest()[:32]
        return found

    def program(self) -> tuple | None:
        """What `keep_program` kept."""
        found = self._recall("program", ())
        if found is None:
            return None
        assert isinstance(found, tuple), "a record of several parts"
        *record, self._cells = found
        return tuple(record)

    def keep_program(self, *record: object) -> None:
        """Keep the part that holds the program's cells, which others refer to."""
        file = io.BytesIO()
        self._cells = []
        if _dumped(_Noting(file, self._cells), (*record, self._cells)):
            self._store("program", file.getvalue())

    def recall(self, part: str) -> object:
        """A part, or None."""
        return self._recall(part, self._cells)

    def keep(self, part: str, value: object) -> None:
        """Keep a part, if it can be kept."""
        file = io.BytesIO()
        if self._cells and _dumped(_Referring(file, self._cells), value):
            self._store(part, file.getvalue())

    def _recall(self, part: str, cells: list[Cell] | tuple) -> object:
        data = self._data(part)
        if data is None:
            return None
        try:
            return _loaded(data, cells)
        except Exception:  # written by other versions of some library: made again
            return None

    def _data(self, part: str) -> bytes | None:
        if os.environ.get("TENSORPROG_NO_CACHE"):
            return None
        data = recall(self._path(part))
        if data is not None:
            _touch(self._path(part))
        return data

    def _store(self, part: str, data: bytes) -> None:
        if not os.environ.get("TENSORPROG_NO_CACHE"):
            _make_room()
            store(self._path(part), data)

    def _path(self, part: str) -> str:
        return f"programs/{self._name}.{hashlib.sha256(f'{part} {_registered()}'.encode()).hexdigest()[:12]}"


# --- pickles -------------------------------------------------------------------------------------------------


class _Noting(pickle.Pickler):
    """Notes every cell that it meets."""

    def __init__(self, file: io.BytesIO, cells: list[Cell]):
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._cells = cells
        self._met: set[int] = set()

    def persistent_id(self, obj: object) -> None:
        if type(obj) is Cell and id(obj) not in self._met:
            self._met.add(id(obj))
            self._cells.append(obj)


class _Referring(pickle.Pickler):
    """Writes cells of a list by their place in it."""

    def __init__(self, file: io.BytesIO, cells: list[Cell]):
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._places = {id(cell): k for k, cell in enumerate(cells)}

    def persistent_id(self, obj: object) -> int | None:
        return self._places.get(id(obj)) if type(obj) is Cell else None


class _Loading(pickle.Unpickler):
    def __init__(self, data: bytes, cells: list[Cell] | tuple):
        super().__init__(io.BytesIO(data))
        self._cells = cells

    def persistent_load(self, pid: int) -> Cell:
        return self._cells[pid]


def _dumped(pickler: pickle.Pickler, value: object) -> bool:
    """Whether a value could be pickled. One that cannot (nested too deeply, say) is made anew in the next process."""
    with suppress(Exception):
        pickler.dump(value)
        return True
    return False


def _loaded(data: bytes, cells: list[Cell] | tuple) -> object:
    return _Loading(data, cells).load()


# --- digests and room ----------------------------------------------------------------------------------------


@cache
def _package_digest() -> bytes:
    """Of all sources of tensorprog."""
    digest = hashlib.sha256()
    for path in sorted((*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.lark"), *PACKAGE.parent.glob("grammar/*.lark"))):
        digest.update(str(path.relative_to(PACKAGE.parent)).encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.digest()


def _registered() -> list[str]:
    """Rows that the user has added to the table of expectations, on which plans depend."""
    table = sys.modules.get("tensorprog.expectations.table")
    return [f"{row.integrand}: {row.formula}" for row in table.registered()] if table is not None else []


@cache
def _versions() -> tuple[str | None, ...]:
    return sys.version, *map(_version, ("sympy", "numpy", "lark"))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _touch(name: str) -> None:
    folder = cache_folder()
    if folder is not None:
        with suppress(OSError):
            os.utime(folder / name)


@cache
def _make_room() -> None:
    """Once in a process: what was not used for the longest time goes, if the cache folder is too large."""
    folder = cache_folder()
    if folder is not None:
        evict(folder, most_bytes())
