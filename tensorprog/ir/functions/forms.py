"""The NumPy forms of functions, for what computes with arrays and does without Numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tensorprog.ir.functions.nonlinearity import Nonlinearity


@cache
def numpy_form(record: Nonlinearity) -> Callable[[Any], Any] | None:
    """A function of arrays or numbers; None where a record has its value at a number alone."""
    if record.array is not None or record.numpy is None:
        return record.array
    # The text of a record in this package, or of an extension, which is code as well: nothing of a program gets in.
    return eval(f"lambda x: {record.numpy.format(x='x')}", {"np": np})
