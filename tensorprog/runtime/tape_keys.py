"""What finds the order of a tape: lists of keys, and the places that these have in it.

Functions of one call each, which are compiled once: in the code of every module they would take seconds to compile.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.typed import List

from tensorprog.runtime.compiling import njit


@njit(cache=True)
def bound(slope, rest, extent, flags):
    """Whether slope * row + rest >= 0, which raises flags[0] if rows below `extent` differ in it."""
    # Linear in the row: extreme at the first and the last.
    ends = rest, rest + slope * (extent - 1)
    if (min(ends) >= 0) != (max(ends) >= 0):
        flags[0] = 1
    return min(ends) >= 0


@njit(cache=True)
def ask(keys, key):
    """Appends a key."""
    keys.append(key)


@njit(cache=True)
def ask_lesser(keys, key, other):
    """Appends the lesser of two keys."""
    for k in range(len(key)):
        if key[k] != other[k]:
            keys.append(key if key[k] < other[k] else other)
            return
    keys.append(key)


@njit(cache=True)
def begun(stack):
    """An empty tape: keys, those that one reads, places of what all read, and where those of each begin."""
    starts = List.empty_list(types.int64)
    starts.append(0)
    return stack.copy(), stack.copy(), List.empty_list(types.int64), starts


@njit(cache=True)
def unknown(places, stack, flags):
    """Whether there is a key without a place, which is then the last of the stack, and the tape may go on."""
    while len(stack) > 0 and stack[-1] in places:
        stack.pop()
    return len(stack) > 0 and not (flags[0] or flags[1])


@njit(cache=True)
def note(places, stack, keys, found, operands, starts):
    """Appends the last key of the stack to the tape, or asks for those that it reads first."""
    known = len(stack)
    # Backwards, so that what is read first is on top of the stack.
    for k in range(len(found) - 1, -1, -1):
        if found[k] not in places:
            stack.append(found[k])
    if len(stack) > known:
        return
    key = stack.pop()
    places[key] = len(keys)
    keys.append(key)
    for read in found:
        operands.append(int(places[read]))
    starts.append(len(operands))


@njit(cache=True)
def packed(keys):
    """A list of keys as an array."""
    found = np.empty((len(keys), len(keys[0]) if len(keys) else 1), np.int64)
    for k in range(len(keys)):
        for i in range(len(keys[0])):
            found[k, i] = keys[k][i]
    return found


@njit(cache=True)
def listed(numbers):
    """A list of integers as an array."""
    found = np.empty(len(numbers), np.int64)
    for k in range(len(numbers)):
        found[k] = numbers[k]
    return found
