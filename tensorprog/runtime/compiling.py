"""Numba's `njit` and `vectorize`, with `cache=True` meaning a store of compiled kernels that cannot make a run fail.

Numba's own store unpickles whatever it finds: a damaged file is an exception at every run, a file of another user is run,
and where no folder can be written to the decorator fails. Here a kernel counts only if `read_trusted` vouches for it; whatever
cannot be read or loaded is compiled again, and what cannot be written is not kept.

Kernels lie where Numba would put them: in NUMBA_CACHE_DIR if that is set, in the `__pycache__` beside the source if that can be
written to, else in the cache folder.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol, TypedDict

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps
from numba.extending import intrinsic as numba_intrinsic

from tensorprog.cache_folder import cache_folder, read_trusted, write_trusted

PACKAGE = Path(__file__).parents[1]
# Whose functions are compiled into kernels of other modules.
INLINED = ("nonlinearities.py", "runtime/*.py", "expectations/*.py", "covariance/*.py")

_NAME_LENGTH = 80

# Numba's overloads do not tell what passes options on.
_njit: Callable[..., Callable] = numba.njit


class KernelOptions(TypedDict, total=False):
    """What kernels are compiled with."""

    cache: bool
    nogil: bool
    error_model: str
    fastmath: set[str]


class _Codegen(Protocol):
    def magic_tuple(self) -> tuple[object, ...]: ...


class _Target(Protocol):
    def codegen(self) -> _Codegen: ...

    def refresh(self) -> None: ...


class _Library(Protocol):
    has_dynamic_globals: bool
    codegen: _Codegen


class _Lifted(Protocol):
    can_cache: bool


class _Compiled(Protocol):
    """Numba's `CompileResult`, whose fields it sets by name."""

    library: _Library
    lifted: Sequence[_Lifted]
    codegen: _Codegen

    def _reduce(self) -> tuple[object, ...]: ...


def njit(*signatures: object, cache: bool = False, **options: object) -> Callable:
    """`numba.njit`, as `@njit`, `@njit(cache=True, ...)` or with a signature."""
    if len(signatures) == 1 and callable(signatures[0]) and not isinstance(signatures[0], numba.types.Type):
        return _njit(signatures[0])
    if not cache:
        return _njit(*signatures, **options)

    def decorate(function: Callable) -> Callable:
        dispatcher = _njit(**options)(function)
        if isinstance(dispatcher, Dispatcher):  # not where NUMBA_DISABLE_JIT is set
            kept = KernelCache(function, dispatcher.targetoptions)
            dispatcher._cache = kept  # type: ignore[attr-defined]  # where Numba looks for kernels
            for signature in _listed(signatures):
                dispatcher.compile(signature)
            if signatures:
                dispatcher.disable_compile()
        return dispatcher

    return decorate


def vectorize(signatures: Iterable[str], *, cache: bool = False, **options: object) -> Callable:
    """`numba.vectorize` for given signatures."""
    if not cache:
        return numba.vectorize(signatures, **options)

    def decorate(function: Callable) -> Callable:
        ufunc = numba.vectorize(**options)(function)
        ufunc._dispatcher.cache = KernelCache(function, options)
        for signature in signatures:
            ufunc.add(signature)
        ufunc.disable_compile()
        return ufunc

    return decorate


def intrinsic(function: Callable) -> Callable:
    """`numba.extending.intrinsic`: kernels call it without the typing context that its definition takes first."""
    return numba_intrinsic(function)


def _listed(signatures: tuple) -> Iterable:
    return signatures[0] if len(signatures) == 1 and isinstance(signatures[0], list) else signatures


class KernelCache:
    """The compiled versions of one function, a file each. Its interface is that of Numba's own caches."""

    def __init__(self, function: Callable, options: Mapping[str, object]):
        self._function = function
        self._options = [(name, sorted(value) if isinstance(value, set) else value)
                         for name, value in sorted(options.items())]
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        """The folder with the files; None if nothing can be kept."""
        folder = _folder(self._function.__code__.co_filename)
        return None if folder is None else str(folder)

    def load_overload(self, sig: object, target_context: _Target) -> CompileResult | None:
        """The kernel for a signature, if it was kept; None if it must be compiled."""
        path = self._path(sig, target_context.codegen())
        content = None if path is None else read_trusted(path)
        if content is None:
            return None
        target_context.refresh()
        try:
            return CompileResult._rebuild(target_context, *pickle.loads(content))
        except Exception:  # the checksum is right, so something else has changed; the kernel is compiled again
            return None

    def save_overload(self, sig: object, data: _Compiled) -> None:
        """Keep a kernel, if it can be kept."""
        path = self._path(sig, data.codegen)
        if path is None or data.library.has_dynamic_globals or any(not lifted.can_cache for lifted in data.lifted):
            return
        write_trusted(path, dumps(data._reduce()))

    def enable(self) -> None:
        """Keep kernels (as from the beginning)."""
        self._enabled = True

    def disable(self) -> None:
        """Keep no kernels, and take none."""
        self._enabled = False

    def flush(self) -> None:
        """Nothing: files are named by all that they depend on, so none is out of date."""

    def _path(self, sig: object, codegen: _Codegen) -> Path | None:
        """The file of a kernel, named by a digest of everything that the machine code depends on."""
        file = self._function.__code__.co_filename
        folder = _folder(file) if self._enabled else None
        text = f"{sig}"
        # An address in the signature (of a function that is an argument) says nothing about the next process.
        if folder is None or " at 0x" in text:
            return None
        place = self._function.__qualname__, self._function.__code__.co_firstlineno
        digest = hashlib.sha256(repr((text, place, self._options, codegen.magic_tuple(), _versions())).encode())
        digest.update(_package_digest())
        digest.update(_file_digest(file))
        digest.update(self._function.__code__.co_code)
        for cell in self._function.__closure__ or ():
            digest.update(dumps(cell.cell_contents))
        name = f"{Path(file).stem}.{self._function.__qualname__}"[:_NAME_LENGTH].replace("<", "").replace(">", "")
        return folder / f"{name}.{digest.hexdigest()[:32]}.nbc"


@cache
def _folder(file: str) -> Path | None:
    """Where the kernels of a source file are kept; None if the file is none or nothing can be written."""
    if not os.path.isfile(file):
        return None
    chosen: str = config.CACHE_DIR  # type: ignore[attr-defined]  # Numba's settings come from the environment
    if chosen:
        return Path(chosen) / _subfolder(file)
    beside = Path(file).parent / "__pycache__"
    with suppress(OSError):
        beside.mkdir(exist_ok=True)
    if os.access(beside, os.W_OK | os.X_OK):
        return beside
    own = cache_folder()
    return None if own is None else own / "kernels" / _subfolder(file)


def _subfolder(file: str) -> str:
    parent = os.path.dirname(os.path.abspath(file))
    return hashlib.sha256(os.fsencode(parent)).hexdigest()[:20]


@cache
def _versions() -> tuple[str, ...]:
    return sys.version, numba.__version__, llvmlite.__version__, np.__version__


@cache
def _package_digest() -> bytes:
    """Of the sources whose functions kernels of other modules contain: a new version of tensorprog makes all kernels anew."""
    digest = hashlib.sha256()
    for pattern in INLINED:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(_file_digest(str(path)))
    return digest.digest()


@cache
def _file_digest(file: str) -> bytes:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
