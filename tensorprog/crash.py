"""What happens when tpc itself is wrong: a short apology, and a file with everything a bug report needs."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tensorprog import __version__
from tensorprog.cache_folder import lasting_folder


def write_report(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write the traceback, the command and the programs it read to the user's cache folder, or else to the temporary
    files; None if that fails."""
    stamp = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-"
    folder = lasting_folder()
    try:
        if folder is not None:
            folder /= "crashes"
            folder.mkdir(exist_ok=True)
        handle, path = tempfile.mkstemp(prefix=stamp, suffix=".txt", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_report(error, arguments))
    except OSError:
        return None
    return Path(path)


def _report(error: BaseException, arguments: Sequence[str]) -> str:
    parts = [f"tpc {__version__}, Python {platform.python_version()}, {platform.platform()}",
             "command: tpc " + " ".join(map(str, arguments)),
             "".join(traceback.format_exception(error))]
    parts += [f"--- {name}\n{text}" for name, text in _programs(arguments)]
    return "\n\n".join(parts) + "\n"


def _programs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """The program files among the arguments, with their texts."""
    found = []
    for argument in arguments:
        if str(argument).endswith(".tp") and os.path.isfile(argument):
            found.append((str(argument), Path(argument).read_text(encoding="utf-8", errors="replace")))
    return found


def apologize(error: BaseException, arguments: Sequence[str]) -> None:
    """Say on stderr that this is a bug in tpc, and where its report is."""
    path = write_report(error, arguments)
    summary = traceback.format_exception_only(error)[-1].strip()
    where = f"A report is in {path}" if path else "(Its report could not be written.)"
    print(f"tpc: internal error: {summary}\nThis is a bug in tpc, not in your program. {where}", file=sys.stderr)
