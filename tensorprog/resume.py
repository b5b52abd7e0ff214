"""Checkpoints of a run: which run a file belongs to, and what the user hears if it is another one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tensorprog.diagnostics import ProgramError, Source
from tensorprog.files import mistake
from tensorprog.registry import digest

if TYPE_CHECKING:
    from tensorprog.runtime.checkpoints import Checkpoint, Finished


@contextmanager
def kept(path: str | os.PathLike[str] | None, every: float, source: Source, env: Mapping[str, object],
         *kind: object) -> Iterator[Checkpoint | None]:
    """A checkpoint at `path`, if one is wanted, for the run of a program with `env`; `kind` says what else matters.

    Raises:
        ProgramError: TP714, if the file belongs to another run; TP707, if it cannot be written.
    """
    if path is None:
        yield None
        return
    from tensorprog.runtime.checkpoints import Checkpoint, NotWritten, OtherRun

    if not Path(path).parent.is_dir():
        raise _not_written(path, "its folder does not exist")
    try:
        yield Checkpoint(path, every, _identity(source, env, kind))
    except OtherRun:
        raise mistake("TP714", f"'{path}' is not a checkpoint of this run",
                      "name another file, or delete this one to begin anew") from None
    except NotWritten as error:
        raise _not_written(path, str(error)) from None


@contextmanager
def finished(path: str | os.PathLike[str] | None, source: Source, env: Mapping[str, object]) -> Iterator[Finished | None]:
    """Where replicates of particles are kept for the checkpoint `path`: a folder beside it.

    Raises:
        ProgramError: TP714, if the folder belongs to another run; TP707, if it cannot be written.
    """
    if path is None:
        yield None
        return
    from tensorprog.runtime.checkpoints import Finished, OtherReplicates, ReplicatesNotWritten

    folder = f"{os.fspath(path)}.replicates"
    try:
        yield Finished(folder, _identity(source, env, ("replicates",)))
    except OtherReplicates:
        raise mistake("TP714", f"'{folder}' does not hold replicates of this run",
                      "name another checkpoint, or delete this folder to begin anew") from None
    except ReplicatesNotWritten as error:
        raise _not_written(folder, str(error)) from None


def _not_written(path: str | os.PathLike[str], why: str) -> ProgramError:
    return mistake("TP707", f"the checkpoint '{path}' cannot be written: {why}",
                   "check that its folder exists and has room")


def numbered(path: str | os.PathLike[str] | None, number: int, count: int) -> Path | None:
    """The file of one of `count` runs."""
    if path is None:
        return None
    return Path(path) if count == 1 else Path(f"{os.fspath(path)}.{number}")


def _identity(source: Source, env: Mapping[str, object], kind: tuple) -> str:
    """A digest of the program's text, its data and settings, and of what was registered, which decides what the text means."""
    extensions = digest()
    return digest_of(env, source.text, kind, *([extensions] if extensions else []))


def digest_of(env: Mapping[str, object], *described: object) -> str:
    """A digest of arrays and numbers by name, and of what else is described."""
    import numpy as np

    digest = hashlib.blake2b(repr(described).encode(), digest_size=16)
    for name in sorted(env):
        array = np.ascontiguousarray(env[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()
