"""Which arguments of a system's equations are levels: those that a recursion moves."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr

from tensorprog.covariance.nodes import Call, flat
from tensorprog.covariance.system import System

Position = tuple[int, int]


def components(edges: dict[int, set[int]]) -> list[set[int]]:
    """The strongly connected components of a graph, each after those that it has edges to (Tarjan)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    found: list[set[int]] = []

    def visit(node: int) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        # In order of the numbers, so that lowerings are the same in every process.
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = set()
            while node not in part:
                part.add(stack.pop())
            found.append(part)

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


class Levels:
    """Of the equations of a system.

    Attributes:
        recursive: those that need themselves.
        turning: (equation, position) of the arguments that change on the way round.
        moving: those, and the arguments that are handed on to them.
        rising: of the arguments that an equation needs itself at larger values of.
    """

    def __init__(self, system: System) -> None:
        calls = {number: list(_calls(system, number)) for number in system.equations}
        edges = {number: {int(c.args[0]) for c in found} for number, found in calls.items()}
        self.recursive: dict[int, int] = {}
        for k, part in enumerate(components(edges)):
            if len(part) > 1 or any(n in edges[n] for n in part):
                # A component of one equation is a recursion only if it calls itself.
                self.recursive |= dict.fromkeys(part, k)
        self.turning = self._turning(system, calls)
        self.moving = _leading_to(self.turning, system, calls)
        self.rising = {(number, k) for number, found in calls.items() for call in found if int(call.args[0]) == number
                       for k, param in enumerate(system.equations[number].params)
                       if flat(call.args[k + 1] - param).is_positive}

    def _turning(self, system: System, calls: dict[int, list[Expr]]) -> set[Position]:
        leader: dict[Position, Position] = {}

        def find(p: Position) -> Position:
            while leader.get(p, p) != p:
                p = leader[p]
            return p

        marked: list[Position] = []
        for number, found in calls.items():
            params = system.equations[number].params
            for call in found:
                callee = int(call.args[0])
                # Calls out of a recursion move nothing on its way round.
                if callee not in self.recursive or self.recursive.get(number) != self.recursive[callee]:
                    continue
                for q, arg in enumerate(call.args[1:]):
                    for p, param in enumerate(params):
                        if arg.has(param):
                            # Arguments that are handed on to each other form a class, which moves if any call on the
                            # way changes it.
                            leader[find((callee, q))] = find((number, p))
                            if flat(arg - param) != 0:
                                marked.append((number, p))
        classes = {find(p) for p in marked}
        return {(n, q) for n in self.recursive for q in range(len(system.equations[n].params))
                if find((n, q)) in classes}


def _leading_to(moving: set[Position], system: System, calls: dict[int, list[Expr]]) -> set[Position]:
    """With the arguments of other equations that are handed on to them."""
    while True:
        more = {(number, p) for number, found in calls.items() for call in found for q, arg in enumerate(call.args[1:])
                if (int(call.args[0]), q) in moving
                for p, param in enumerate(system.equations[number].params) if arg.has(param)}
        if more <= moving:
            return moving
        moving = moving | more


def _calls(system: System, number: int) -> Iterator[Expr]:
    for guards, expr in system.equations[number].cases:
        for e in (*guards, expr):
            yield from sorted(e.atoms(Call), key=str)
