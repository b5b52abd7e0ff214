"""Kinds of command line arguments."""

from __future__ import annotations

import argparse
import math


def width_or_inf(text: str) -> float:
    """A width of networks, or `inf` for the limit."""
    return math.inf if text == "inf" else positive(text)


def positive(text: str) -> int:
    """1, 2, ..."""
    return _above(int(text), 0)


def several(text: str) -> int:
    """2, 3, ..."""
    return _above(int(text), 1)


def natural(text: str) -> int:
    """0, 1, ..."""
    return _above(int(text), -1)


def positive_real(text: str) -> float:
    """A finite number above 0."""
    return _above(float(text), 0)


def _above(value: float, least: int) -> float:
    if not least < value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not above {least}")
    return value
