"""float32 or float64 for the particles of a run: found out by a small part of a replicate, run in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

#: One of so many parts of the particles is run in both precisions, of at least `LEAST` particles in all: with fewer,
#: float64 costs nothing.
PARTS, LEAST = 16, 512
#: Elements agree if they differ by less than `SCATTER` times what two parts differ by (the last digit may decide if a direction of a
#: matrix is counted, after which other random numbers are drawn), or by `EXACT` times the largest element: what does not hang on
#: random numbers, and what particles know to many digits, keeps them. `SHARE` of the elements need not.
EXACT, SCATTER, SHARE = 1e-8, 3.0, 0.2

Replicate = Callable[..., Mapping[str, np.ndarray]]


def in_precision(one: Replicate, dtype: str | None, possible: bool, samples: int, seed: int) -> Replicate:
    """A replicate with its precision chosen.

    Args:
        one: called with a seed, a function to call after each step, a part (i, k) and `dtype`.
        dtype: 'float32' or 'float64'; None for float32 where it is as good.
        possible: whether the program allows float32.
    """
    if dtype is None and possible and samples >= LEAST:
        dtype = "float32" if _agree(one, seed) else "float64"
    return partial(one, dtype=dtype if possible and dtype else "float64")


def _agree(one: Replicate, seed: int) -> bool:
    with np.errstate(all="ignore"):
        single, double, other = (one(np.random.SeedSequence(seed).spawn(1)[0], lambda: None, part=(i, PARTS), dtype=dtype)
                                 for i, dtype in ((0, "float32"), (0, "float64"), (1, "float64")))
        return all(close(*(np.asarray(of[name], float) for of in (single, double, other))) for name in double)


def close(single: np.ndarray, double: np.ndarray, other: np.ndarray) -> bool:
    """Whether float32 has given what float64 gives, as far as errors of averages over particles are concerned; `other` is
    what other particles give."""
    if not double.size:
        return True
    if not (np.all(np.isfinite(single)) and np.all(np.isfinite(double))):
        return False
    allowed = EXACT * np.max(np.abs(double)) + SCATTER * np.abs(double - other)
    return bool(np.mean(np.abs(single - double) > allowed) <= SHARE)
