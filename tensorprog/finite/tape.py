"""Reverse mode on a dynamic tape.

A value is a plain array, or a `TapeNode`: an array that remembers how it was computed. `primitive` makes an operation on
arrays work on both; its rule for the backward pass is itself written with primitives, so gradients can be
differentiated again.

A gradient is always asked with respect to a *version*: the node that a cell's element held when the scalar was stored.
Once the element is overwritten no later scalar can ask for that version. A new node therefore remembers its operands
only if it depends on a version that is still current, and the history of a long training run is not kept.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable
from itertools import count
from typing import Any, TypeAlias

#: What an element is depends on who runs the program: an array, a node of a tape, an array of another library.
Value: TypeAlias = Any


class TapeNode:
    """A recorded array. `serial` grows with time; `versions` holds the serials of the versions that it depends on."""

    __slots__ = ("__weakref__", "args", "serial", "static", "tape", "value", "versions", "vjp")

    def __init__(self, tape: GradientTape, value: Value, vjp: Callable | None, args: tuple, static: dict, versions: frozenset[int]):
        self.tape = tape
        self.value = value
        self.vjp = vjp
        self.args = args
        self.static = static
        self.serial = tape.tick()
        self.versions = versions


class GradientTape:
    """The clock and the set of current versions that the nodes of one run share."""

    def __init__(self) -> None:
        self._clock = count(1)
        self._current: set[int] = set()

    def tick(self) -> int:
        """The next point in time."""
        return next(self._clock)

    def record(self, value: Value, vjp: Callable, args: tuple, static: dict) -> Value:
        """`value` as a node, or as it is when no gradient can be asked through it any more."""
        versions = self._versions(args)
        return TapeNode(self, value, vjp, args, static, versions) if versions else value

    def new_version(self, value: Value, old: TapeNode | None) -> TapeNode:
        """The node that replaces the version `old` of a cell's element."""
        if old is not None:
            self.retire(old)
        inherited = self._versions((value,))
        args = (value,) if inherited else ()
        node = TapeNode(self, plain(value), _identity_vjp, args, {}, inherited)
        # A version depends on itself, thus `_depends` holds at the end of the way back.
        node.versions = inherited | {node.serial}
        self._current.add(node.serial)
        return node

    def retire(self, version: TapeNode) -> None:
        """No scalar that is stored from now on can be differentiated with respect to this version."""
        self._current.discard(version.serial)

    def _versions(self, args: tuple) -> frozenset[int]:
        return frozenset().union(*(a.versions for a in args if isinstance(a, TapeNode))) & self._current


def _identity_vjp(_: int, g: Value, out: Value, value: Value) -> Value:
    return g


def plain(x: Value) -> Value:
    """The array of a value."""
    return x.value if isinstance(x, TapeNode) else x


def primitive(vjp: Callable) -> Callable:
    """Make `forward(*arrays, **static)` an operation on values.

    `vjp(i, g, out, *args, **static)` is the cotangent of argument `i` when that of the result `out` is `g`.
    """

    def decorate(forward: Callable) -> Callable:
        @functools.wraps(forward)
        def operation(*args: Value, **static: Value) -> Value:
            # Any node will do: all nodes of a run share a tape.
            node = next((a for a in args if isinstance(a, TapeNode)), None)
            if node is None:
                return forward(*args, **static)
            value = forward(*(plain(a) for a in args), **static)
            return node.tape.record(value, vjp, args, static)

        return operation

    return decorate


def gradient(value: Value, seed: Value, version: TapeNode, add: Callable) -> Value:
    """The gradient of the inner product of `value` and `seed` with respect to a version; None if it is not used.

    `add` is the taped addition of two cotangents. Nodes are visited from the latest to the earliest, thus each one
    after everything computed from it.
    """
    if not _depends(value, version):
        return None
    cotangents = {value: seed}
    queue = [(-value.serial, value)]
    while True:
        _, node = heapq.heappop(queue)
        g = cotangents.pop(node)
        if node is version:
            return g
        for i, arg in enumerate(node.args):
            if not _depends(arg, version):
                continue
            part = node.vjp(i, g, node, *node.args, **node.static)
            if arg in cotangents:
                cotangents[arg] = add(cotangents[arg], part)
            else:
                cotangents[arg] = part
                heapq.heappush(queue, (-arg.serial, arg))


def _depends(value: Value, version: TapeNode) -> bool:
    return isinstance(value, TapeNode) and version.serial in value.versions
