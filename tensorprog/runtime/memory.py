"""The allocator's habits, where work of milliseconds depends on them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

#: Just below the size from which on glibc maps every array anew, whatever was freed before.
LARGEST_KEPT = 2**25 - 2**13


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """From now on the process keeps up to 64 MB that arrays leave, for the next ones.

    glibc returns the memory of a freed array to the system at once, until it has seen a large one freed; the next
    array then costs a page fault for every 4 KB, which is a third of the time of a kernel of 500 rows. The array here
    is never touched, so that it has no memory itself. Other allocators are not changed by it.
    """
    np.empty(LARGEST_KEPT, np.uint8)
