"""A line that shows how a run proceeds."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Monitor:
    """Called with (steps done, steps in all), and the mean loss of late if the evaluator tells it; writes one line
    anew, at most once a second.

    Args:
        width: of the network; infinite for the limit.
        positions: the words to train on.
        negative: negative samples, which a word's loss is divided by.
        out: where to write; None for standard error.
    """

    def __init__(self, width: float, positions: int, negative: int, out: TextIO | None = None):
        self.width, self.positions, self.negative = width, positions, negative
        self.out = out or sys.stderr
        self.start = time.perf_counter()
        self.shown = 0.0

    def __call__(self, done: int, total: int, loss: float | None = None) -> None:
        now = time.perf_counter()
        if now - self.shown >= 1:
            self.shown = now
            self.out.write("\r" + self.line(done / total, now - self.start, loss))
            self.out.flush()

    def line(self, share: float, seconds: float, loss: float | None) -> str:
        """The text after `share` of the run and `seconds`."""
        speed = share * self.positions / seconds if seconds > 0 else 0.0
        text = f"width {self.width:g}: {share:6.1%}  {speed:,.0f} words/s"
        if 0 < share < 1:
            text += f"  {seconds * (1 - share) / share:,.0f} s left"
        if loss is not None:
            text += f"  loss {loss / self.negative:.5f}"
        return f"{text:<70}"

    def finish(self) -> None:
        """Write the line of the finished run, and end it."""
        self.out.write("\r" + self.line(1.0, time.perf_counter() - self.start, None) + "\n")
