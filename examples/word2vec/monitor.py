"""A line that shows how a run proceeds."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO

import numpy as np

RECENT = 20_000


class Monitor:
    """Called with (steps done, steps in all); writes one line anew, at most once a second. `watch` is called with the
    outputs as they are.

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
        self.loss: float | None = None
        self.first: float | None = None

    def watch(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Take the mean loss of the last `RECENT` words."""
        losses = outputs["loss"]
        done = int(np.count_nonzero(np.isfinite(losses)))
        self.loss = float(losses[max(0, done - RECENT):done].mean()) if done else None

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        # A run that goes on from a checkpoint did not do the first part now.
        self.first = done / total if self.first is None else self.first
        if now - self.shown >= 1:
            self.shown = now
            self.out.write("\r" + self.line(done / total, now - self.start))
            self.out.flush()

    def line(self, share: float, seconds: float) -> str:
        """The text after `share` of the run and `seconds`."""
        made = share - (self.first or 0.0)
        speed = made * self.positions / seconds if seconds > 0 else 0.0
        text = f"width {self.width:g}: {share:6.1%}  {speed:,.0f} words/s"
        if 0 < made and share < 1:
            text += f"  {seconds * (1 - share) / made:,.0f} s left"
        if self.loss is not None:
            text += f"  loss {self.loss / self.negative:.5f}"
        return f"{text:<70}"

    def finish(self) -> None:
        """Write the line of the finished run, and end it."""
        self.out.write("\r" + self.line(1.0, time.perf_counter() - self.start) + "\n")
