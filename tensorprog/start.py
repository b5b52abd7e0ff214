"""The `tpc` process from its first moment: what must be in place before anything else is imported.

Imports take seconds, in which Ctrl-C is pressed and readers of the output go away. So this module imports only what every
Python process has loaded already, or nearly so.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INTERRUPTED = 130


class LostOutput(Exception):
    """Standard output cannot be written any more: its disk is full, or its reader has gone (`closed`).

    No OSError, which click would turn into an exit code of its own.
    """

    def __init__(self, error: OSError):
        super().__init__(error.strerror or str(error))
        self.closed = isinstance(error, BrokenPipeError)


class _Stream(io.RawIOBase):
    """A file descriptor. The first write that fails raises `LostOutput`, unless `quiet`; all later ones do nothing, so that
    nothing is left over for the interpreter to complain about when it ends."""

    def __init__(self, raw: io.RawIOBase, quiet: bool):
        self._raw, self._quiet, self._lost = raw, quiet, False

    def write(self, data: ReadableBuffer) -> int | None:
        try:
            return memoryview(data).nbytes if self._lost else self._raw.write(data)
        except OSError as error:
            self._lost = True
            if self._quiet:
                return memoryview(data).nbytes
            raise LostOutput(error) from None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


def main() -> None:
    """Run `tpc` with the arguments of the process, and leave it with its exit code."""
    interrupts = prepared()
    try:
        from tensorprog.cli import main as tpc

        tpc(prog_name="tpc")
    except SystemExit:
        raise
    except BaseException:
        if not interrupts.happened:
            raise
        sys.stderr.write("tpc: interrupted\n")
        sys.exit(INTERRUPTED)


@cache
def prepared() -> Interrupts:
    """Put streams and Ctrl-C in order, unless somebody else, as a test, has taken the streams: then the process is not
    ours."""
    interrupts = Interrupts()
    if sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__:
        sys.stdout, sys.stderr = _guarded(sys.stdout, False), _guarded(sys.stderr, True)
        interrupts.watch()
    return interrupts


def _guarded(stream: io.TextIOWrapper | None, quiet: bool) -> io.TextIOBase:
    """A stream of text over `_Stream`; one that leads nowhere in the place of one that is closed."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    raw = getattr(getattr(stream, "buffer", None), "raw", None) or getattr(stream, "buffer", None)
    if raw is None:
        return stream
    errors = "backslashreplace" if quiet else "replace"
    return io.TextIOWrapper(io.BufferedWriter(_Stream(raw, quiet)), encoding=stream.encoding, errors=errors,
                            line_buffering=quiet or stream.isatty())


class Interrupts:
    """Remembers that Ctrl-C was pressed, since imports may turn its KeyboardInterrupt into other exceptions, or lose it.

    A process in which Ctrl-C is ignored, as one in the background, stays so.
    """

    def __init__(self) -> None:
        self.happened = False

    def watch(self) -> None:
        """Begin to note interruptions."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            sys.unraisablehook = self._unraisable

    def _note(self, number: int, frame: object) -> None:
        self.happened = True
        raise KeyboardInterrupt

    def _unraisable(self, problem: sys.UnraisableHookArgs) -> None:
        """What was raised where nothing can be raised, as in a destructor: an interruption is tried again."""
        if not issubclass(problem.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(problem)
            return
        from threading import Timer, main_thread

        again = Timer(0.01, signal.pthread_kill, (main_thread().ident, signal.SIGINT))
        again.daemon = True
        again.start()
