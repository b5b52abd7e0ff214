"""What a run of the limit is asked for, from the Python interface down to the evaluators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypedDict

import numpy as np

if TYPE_CHECKING:
    from tensorprog.evaluators.windows import Windowing
    from tensorprog.runtime.checkpoints import Checkpoint, Finished
    from tensorprog.runtime.sampling import Notes
    from tensorprog.scheduler import Cluster


class RunOptions(TypedDict, total=False):
    """Options of `evaluate`, which says what each means."""

    samples: int
    replicates: int
    seed: int
    tolerance: float | None
    threads: int | None
    dtype: str | None
    checkpoint: Checkpoint | None
    watch: Callable[[Mapping[str, np.ndarray]], None] | None
    progress: Callable[[int, int], None] | None
    biased: set[str]
    notes: Notes | None
    finished: Finished | None
    cluster: Cluster | None
    windows: Windowing | None
