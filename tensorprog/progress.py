"""What takes long, said while it goes on: stages that have no steps, and steps with the time that is left.

    with shown(progress) as report:       True: a bar on stderr; else whatever is called with (steps done, steps in all)
        announce("planning")              anywhere inside; reaches the method `stage` of `progress`, if it has one
        report(3, 10)
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[int, int], None]

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def announce(stage: str) -> None:
    """Say what is done from now on, to whoever wants to know."""
    listener = _listener.get()
    if listener is not None:
        listener(stage)


@contextmanager
def shown(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """What to call with steps, while `announce` reaches the same listener."""
    if progress is True:
        with Bar(True) as bar, shown(bar):
            yield bar
        return
    token = _listener.set(getattr(progress, "stage", None) or _listener.get())
    try:
        yield progress or None
    finally:
        _listener.reset(token)


class Bar:
    """A progress bar on stderr, gone when the work is done. Without a terminal, a line at most every `LINES` seconds.

    Args:
        wanted: whether to show anything.
        label: stands before the bar.
        unit: what the steps are called.
    """

    WIDTH = 30
    INTERVAL = 0.1
    LINES = 10.0
    #: Seconds that a stage may take without a word.
    PATIENCE = 1.0

    def __init__(self, wanted: bool, label: str = "", unit: str = "steps"):
        self.shown, self.label, self.unit = wanted, label, unit
        self.terminal = sys.stderr.isatty()
        self.start: float | None = None
        self.last = 0.0
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Bar:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Draw the bar, not more often than ten times a second."""
        self._silence()
        now = time.monotonic()
        if self.start is None:
            self.start = now
        interval = self.INTERVAL if self.terminal else self.LINES
        if not self.shown or now - self.last < interval and (done < total or not self.terminal):
            return
        self.last = now
        filled = self.WIDTH * done // max(total, 1)
        bar = f"[{'#' * filled}{' ' * (self.WIDTH - filled)}] " if self.terminal else ""
        self._write(f"{self.label}{bar}{done}/{total} {self.unit}{_left(now - self.start, done, total)}")

    def stage(self, text: str) -> None:
        """Say what is done, if it takes longer than a second."""
        self._silence()
        self.start = None
        if self.shown:
            self._timer = threading.Timer(self.PATIENCE, self._write, (f"{self.label}{text} ...",))
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *exception: object) -> None:
        self._silence()
        if self.shown and self.terminal and self.last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _silence(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self, text: str) -> None:
        with self._lock:
            self.last = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{text}" if self.terminal else f"{text}\n")
            sys.stderr.flush()


def _left(elapsed: float, done: int, total: int) -> str:
    """The time that is left if steps go on as fast; nothing while it is too early to say."""
    if elapsed < Bar.PATIENCE or not 0 < done < total:
        return ""
    seconds = round(elapsed * (total - done) / done)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f", {hours}:{minutes:02}:{seconds:02} left" if hours else f", {minutes}:{seconds:02} left"
