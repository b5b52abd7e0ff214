"""What a run that was stopped goes on from: the state of a long loop, and finished replicates, on disk."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


class OtherRun(Exception):
    """A checkpoint that is not of this run, or not a checkpoint."""


class NotWritten(Exception):
    """A checkpoint that cannot be written; the message says why."""


class OtherReplicates(Exception):
    """A folder of replicates that are not of this run."""


class ReplicatesNotWritten(Exception):
    """A folder of replicates that cannot be written; the message says why."""


class Checkpoint:
    """A file that holds the arrays of one loop after some of its iterations.

    Args:
        path: of the file; it is replaced as a whole.
        every: seconds between two states.
        identity: of program, data, settings and seed; a file of another identity is refused.
    """

    def __init__(self, path: str | os.PathLike[str], every: float, identity: str):
        self.path, self.every, self.identity = Path(path), every, identity
        self._saved = time.monotonic()
        self._reached = 0

    def restore(self, loop: int, state: Sequence[np.ndarray]) -> int:
        """Fill the arrays of loop number `loop`; how many of its iterations they are the state after (0 without file).

        Raises:
            OtherRun: if the file is not of this run.
        """
        if not self.path.exists():
            return 0
        try:
            with np.load(self.path) as file:
                if str(file["identity"]) != self.identity:
                    raise OtherRun(str(self.path))
                self._reached = int(file["loop"])
                if self._reached != loop:
                    return 0
                kept = [file[f"array_{i}"] for i in range(len(state))]
                if any(a.shape != b.shape for a, b in zip(kept, state)):
                    # The space was made anew, with more room, after this was saved.
                    return 0
                for array, value in zip(state, kept):
                    array[...] = value
                return int(file["done"])
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            raise OtherRun(str(self.path)) from None

    def offer(self, loop: int, done: int, state: Sequence[np.ndarray], *, now: bool) -> None:
        """Save the state if it is time for it, or `now`, but not over that of a later loop.

        Raises:
            NotWritten: if the file cannot be written.
        """
        if loop < self._reached or (not now and time.monotonic() - self._saved < self.every):
            return
        arrays = {f"array_{i}": array for i, array in enumerate(state)}
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            with open(temporary, "wb") as file:
                np.savez(file, identity=self.identity, loop=loop, done=done, **arrays)  # type: ignore[arg-type]  # none is `allow_pickle`
            os.replace(temporary, self.path)
        except OSError as error:
            raise NotWritten(error.strerror or str(error)) from error
        finally:
            temporary.unlink(missing_ok=True)
        self._saved = time.monotonic()


class Finished:
    """Results of replicates, each in a file of its own in a folder, so that a run which was stopped computes the others only.

    Args:
        folder: made when there is something to keep.
        identity: of program and data; a folder of another identity is refused.
        own: the name of the folder in it for replicates that depend on something else besides, which `of` gives.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: str, own: str = ""):
        self.folder, self.identity = Path(folder), identity
        self._own = self.folder / own

    def of(self, *described: object) -> Finished:
        """The results of the same run that depend on this: the text of the module, the particles, the seed.

        Raises:
            OtherReplicates: if the folder is not of this run.
            ReplicatesNotWritten: if it cannot be made.
        """
        found = Finished(self.folder, self.identity, hashlib.blake2b(repr(described).encode(), digest_size=12).hexdigest())
        mark = self.folder / "identity"
        try:
            found._own.mkdir(parents=True, exist_ok=True)
            if mark.exists() and mark.read_text() != self.identity:
                raise OtherReplicates(str(self.folder))
            mark.write_text(self.identity)
        except OSError as error:
            raise ReplicatesNotWritten(error.strerror or str(error)) from error
        return found

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """A result; None if it is not there or damaged."""
        try:
            with np.load(self._own / f"{name}.npz") as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, name: str, values: Mapping[str, np.ndarray]) -> None:
        """Keep a result: the whole file, or none if the process is killed.

        Raises:
            ReplicatesNotWritten: if the file cannot be written.
        """
        temporary = self._own / f"{name}.{os.getpid()}.part"
        try:
            with open(temporary, "wb") as file:
                np.savez(file, **values)  # type: ignore[arg-type]  # no output is `allow_pickle`
            os.replace(temporary, self._own / f"{name}.npz")
        except OSError as error:
            raise ReplicatesNotWritten(error.strerror or str(error)) from error
        finally:
            temporary.unlink(missing_ok=True)
