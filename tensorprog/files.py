"""Reading and writing the user's files: whole or not at all, with mistakes as diagnostics."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tensorprog.diagnostics import Diagnostic, ProgramError, Source, near_miss

NEW_FILE_MODE = 0o666


def mistake(code: str, message: str, help: str | None = None) -> ProgramError:
    """An error that is not about a place in a program."""
    return ProgramError([Diagnostic(code, message, help=help)])


def require_choice(code: str, what: str, given: str, known: Sequence[str]) -> None:
    """Refuse a word that is not in a short list."""
    if given not in known:
        raise mistake(code, f"there is no {what} '{given}'", meant(given, known))


def meant(name: str, known: Sequence[str]) -> str:
    """What to write instead of a name that is not in a list."""
    meant = near_miss(name, known)
    listed = ", ".join(known) if known else "nothing"
    return f"did you mean '{meant}'?" if meant else f"there is: {listed}"


def shown(path: str | os.PathLike[str]) -> str:
    """A path in one line of text that can be encoded: what cannot be seen, and bytes that are no UTF-8, are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def read_program(path: str | os.PathLike[str]) -> Source:
    """The text of a program file.

    Raises:
        ProgramError: TP701, when there is no such file or it is not UTF-8 text.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise mistake("TP701", f"there is no file '{shown(path)}'", _nearby(Path(path))) from None
    except OSError as error:
        raise mistake("TP701", f"cannot read '{shown(path)}': {error.strerror}") from None
    return decode_program(shown(path), content)


def decode_program(name: str, content: bytes) -> Source:
    """The text of a program from its bytes."""
    try:
        return Source(name, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise mistake("TP701", f"'{name}' is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None


def _nearby(path: Path) -> str | None:
    """Which file was probably meant, in the same folder."""
    with suppress(OSError):
        meant = near_miss(path.name, [p.name for p in path.parent.iterdir() if p.suffix == path.suffix])
        return f"did you mean '{shown(path.parent / meant)}'?" if meant else None
    return f"there is no folder '{shown(path.parent)}' either"


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode("utf-8")))


def write_whole(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file of the same folder and put it in place of `path`; on failure nothing changes.

    A symbolic link stays a link, and an existing file keeps its permissions. What is no file, as a device or a pipe, is
    written to.

    Raises:
        ProgramError: TP707, when the file cannot be written.
    """
    target = os.path.realpath(path)
    temporary = None
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            with open(target, "wb") as file:
                write(file)
            return
        handle, temporary = tempfile.mkstemp(prefix=".tpc-", dir=os.path.dirname(target))
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise mistake("TP707", f"cannot write '{shown(path)}': {error.strerror or error}",
                      "check that the folder exists and can be written to") from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _mode(target: str) -> int:
    """The permissions of an existing file, else those of a new one."""
    with suppress(OSError):
        return os.stat(target).st_mode & 0o7777
    umask = os.umask(0)
    os.umask(umask)
    return NEW_FILE_MODE & ~umask


PICTURES = ("png", "pdf", "svg")


def picture_format(path: str | os.PathLike[str]) -> str:
    """The format that a file's extension names.

    Raises:
        ProgramError: TP711, for another one.
    """
    extension = os.path.splitext(path)[1].lower().removeprefix(".")
    if extension not in PICTURES:
        raise mistake("TP711", f"'{os.fspath(path)}' does not end in {', '.join('.' + f for f in PICTURES)}",
                      "name the picture like `convergence.png`")
    return extension
