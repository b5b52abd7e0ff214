"""The folder in which tensorprog keeps what it computed once, and files in it that nobody else can have written.

    store("plans/abc", data)        whole or not at all; a full disk, or no folder at all, is no error
    recall("plans/abc")             what was stored, or None

What is kept here is unpickled and run as machine code. So the folder is private to the user, and a file counts only if the
user owns it, nobody else can write to it and its checksum, which covers its name as well, is right. Anything else is as if it
were not there, and is made again.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

#: Bytes of the cache folder unless TENSORPROG_CACHE_MB says otherwise; beyond, what was not used for the longest time goes.
MOST_BYTES = 300_000_000
SIZE_VARIABLE = "TENSORPROG_CACHE_MB"

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
OTHERS_WRITE = 0o022

_DIGEST_SIZE = hashlib.sha256().digest_size


# --- the folder ----------------------------------------------------------------------------------------------


def cache_folder() -> Path | None:
    """The user's cache folder; else one of this user's in the system's temporary files; else a new one, which goes with
    the process. None if nothing can be written anywhere."""
    return lasting_folder() or _fresh_folder(os.getpid())


def lasting_folder() -> Path | None:
    """The cache folder, if it will be there when the process has ended."""
    # Looked up at every call, so that a changed environment (XDG_CACHE_HOME) is obeyed.
    import platformdirs

    return (_private(platformdirs.user_cache_path("tensorprog", appauthor=False))
            or _private(Path(_temporary_files(), f"tensorprog-{os.geteuid()}")))


@cache
def _private(folder: Path) -> Path | None:
    """A folder as an absolute path, made if need be, if it is the user's alone and can be written to; else None."""
    try:
        folder = Path(os.path.abspath(folder))
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        # No link is followed here: whoever may write to the folder above could point it at another folder of the user's.
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            found = os.fstat(handle)
            if found.st_uid != os.geteuid():
                return None
            if found.st_mode & OTHERS_WRITE:
                os.fchmod(handle, PRIVATE_FOLDER)
        finally:
            os.close(handle)
        return folder if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else None
    except (OSError, ValueError):  # a path with a null character is a ValueError
        return None


def _temporary_files() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.devnull  # no folder can be made below it


@cache
def _fresh_folder(process: int) -> Path | None:
    """A new folder that is removed when the process (a number, since a forked one needs its own) ends."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="tensorprog-"))
    except OSError:
        return None
    atexit.register(_remove, folder, process)
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


# --- files ---------------------------------------------------------------------------------------------------


def recall(name: str) -> bytes | None:
    """The content that was stored under a name; None if there is none, or it is damaged or not ours."""
    folder = cache_folder()
    return None if folder is None else read_trusted(folder / name)


def store(name: str, content: bytes) -> None:
    """Keep a content under a name (a relative path), if there is room for it."""
    folder = cache_folder()
    if folder is not None:
        write_trusted(folder / name, content)


def read_trusted(path: Path) -> bytes | None:
    """The content that `write_trusted` wrote; None if the file is missing, damaged, or not the user's alone."""
    try:
        # Not blocking, so that a pipe in the place of the file is no wait.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not _is_ours(os.fstat(handle)):
                return None
            digest, content = file.read(_DIGEST_SIZE), file.read()
    except (OSError, ValueError):
        return None
    return content if digest == _digest(path, content) else None


def write_trusted(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, with its checksum before the content. No error is raised if it cannot be written."""
    temporary = None
    try:
        path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".tpc-", dir=path.parent)  # of mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(_digest(path, content))
            file.write(content)
        os.replace(temporary, path)
    except (OSError, ValueError):
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _digest(path: Path, content: bytes) -> bytes:
    """A checksum of the file's name and content, so that a file that was renamed does not count either."""
    digest = hashlib.sha256(os.fsencode(path.name) + b"\0")
    digest.update(content)
    return digest.digest()


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & OTHERS_WRITE


# --- room ----------------------------------------------------------------------------------------------------


def most_bytes() -> int:
    """How large the cache folder may be: TENSORPROG_CACHE_MB megabytes, or 300."""
    try:
        return max(int(float(os.environ[SIZE_VARIABLE]) * 1e6), 0)
    except (KeyError, ValueError, OverflowError):
        return MOST_BYTES


def stored_files(folder: Path) -> list[tuple[float, int, str]]:
    """The files below a folder, oldest use first: time, bytes, path."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with suppress(OSError):
                status = os.lstat(path)
                found.append((status.st_mtime, status.st_size, path))
    return sorted(found)


def evict(folder: Path, most_bytes: int) -> None:
    """Remove the oldest files below a folder until it takes no more than three quarters of `most_bytes`, if it takes
    more than that. Other processes may do the same."""
    found = stored_files(folder)
    taken = sum(size for _, size, _ in found)
    if taken <= most_bytes:
        return
    for _, size, path in found:
        if taken <= most_bytes * 3 / 4:
            return
        with suppress(OSError):
            os.unlink(path)
            taken -= size


def clear(folder: Path) -> int:
    """Remove all files below a folder, and the folders in it; the bytes that they took."""
    freed = 0
    for _, size, path in stored_files(folder):
        with suppress(OSError):
            os.unlink(path)
            freed += size
    for parent, folders, _ in os.walk(folder, topdown=False):
        for name in folders:
            with suppress(OSError):
                os.rmdir(os.path.join(parent, name))
    return freed
