"""The definitions that outputs need as a graph, and which of them run through their levels downwards.

Values at levels form a recursion that goes up, from the values before its first level. One in which a level needs a
later one goes down (a gradient does): it begins with its values at the `tops`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sympy import Expr

from tensorprog.covariance.nodes import flat
from tensorprog.pairs.nodes import LEVEL, At, NotPairs
from tensorprog.pairs.recognise.level_arguments import components

#: Literal levels up to this one are written out.
MOST_LITERAL = 8


@dataclass(slots=True)
class UsedDefinition:
    """A definition in use. With levels: `expr` is the step, and `bases` the nodes {level: number} before its first.

    Attributes:
        group: the loop that a node with levels is computed in.
        start: the first level that the step is computed at.
        holds: the first level that the step holds at.
        tops: of a recursion that goes down, the nodes {level: number} after the last level that the step holds at.
    """

    expr: Expr
    leveled: bool = False
    group: int = 0
    start: int = 0
    bases: dict[int, int] = field(default_factory=dict)
    tops: dict[Expr, int] = field(default_factory=dict)
    holds: int = 0


@dataclass(slots=True)
class Graph:
    """Nodes by number and the numbers or constants of the outputs.

    Attributes:
        ends: group -> the last level at which all steps hold of what goes down.
    """

    nodes: dict[int, UsedDefinition]
    outputs: list[Expr]
    ends: dict[int, Expr] = field(default_factory=dict)

    def starts(self) -> dict[int, int]:
        """The first level of each group's loop."""
        found: dict[int, int] = {}
        for node in self.nodes.values():
            if node.leveled:
                found[node.group] = max(found.get(node.group, 0), node.start)
        return found


@dataclass(frozen=True, slots=True)
class Roles:
    """`down`: nodes that go down or need such; `sums`: sums over levels of those."""

    down: frozenset[int]
    sums: frozenset[int]


@lru_cache(maxsize=4096)
def references(expr: Expr) -> tuple[Expr, ...]:
    """The At nodes of an expression, in a fixed order."""
    # Of a set, whose order is another one in every process: texts of kernels are kept on disk by their words.
    return tuple(sorted(expr.atoms(At), key=str))


def shift_of(ref: Expr) -> int | None:
    """s of At(k, LEVEL + s); None without a level or with a fixed one."""
    if len(ref.args) == 1 or not ref.args[1].has(LEVEL):
        return None
    return int(flat(ref.args[1] - LEVEL))


def leveled_references(expr: Expr) -> Iterator[tuple[Expr, int]]:
    """The references to levels that are not fixed, each with its shift."""
    for ref in references(expr):
        shift = shift_of(ref)
        if shift is not None:
            yield ref, shift


def shifted(expr: Expr, by: int) -> Expr:
    """An expression with its level moved."""
    return expr.xreplace({r: At(r.args[0], r.args[1] + by) for r, _ in leveled_references(expr)})


def summand(number: int, expr: Expr) -> int | None:
    """k if the step is that of a sum over levels of definition k."""
    # The sum of before, and one other value at the present level.
    refs = {(int(r.args[0]), shift_of(r)) for r in references(expr)}
    others = refs - {(number, -1)}
    if len(refs) != 2 or len(others) != 1 or {s for _, s in others} != {0}:
        return None
    ((other, _),) = others
    return other if expr == At(number, LEVEL - 1) + At(other, LEVEL) else None


def roles(steps: Mapping[int, Expr]) -> Roles:
    """The roles of nodes with levels, from their steps.

    Raises:
        NotPairs: if a recursion that goes up needs one that goes down, and is no sum over levels.
    """
    shifts = {k: [(int(r.args[0]), shift) for r, shift in leveled_references(e)] for k, e in steps.items()}
    down: set[int] = set()
    sums: set[int] = set()
    for part in components({k: {o for o, _ in found if o in steps} for k, found in shifts.items()}):
        inside = [s for k in part for o, s in shifts[k] if o in part]
        below = any(o in down for k in part for o, _ in shifts[k] if o not in part)
        # A gradient's covariance needs that of the next layer.
        if any(s > 0 for s in inside):
            if any(s < 0 for s in inside):
                raise NotPairs("a recursion goes through its levels in both directions")
            down |= part
        elif below and not inside:
            down |= part
        # A tangent kernel adds up, over layers, covariances of gradients: an upward sum of what goes down, which
        # `transpose` can take over. Other recursions would need all values at once.
        elif below:
            (number, *others) = part
            if others or summand(number, steps[number]) is None:
                raise NotPairs("a recursion that goes up needs one that goes down")
            sums |= part
        if any(o in sums for k in part for o, _ in shifts[k] if o not in part):
            raise NotPairs("a recursion needs partial sums of one that goes down")
    return Roles(frozenset(down), frozenset(sums))


def restricted(graph: Graph, outputs: list[Expr]) -> Graph:
    """The part of a graph that some outputs need."""
    found: dict[int, UsedDefinition] = {}
    pending = [int(r.args[0]) for e in outputs for r in references(e)]
    while pending:
        number = pending.pop()
        if number in found:
            continue
        node = found[number] = graph.nodes[number]
        pending += [*(int(r.args[0]) for r in references(node.expr)), *node.bases.values(), *node.tops.values()]
    return Graph(found, outputs, graph.ends)
