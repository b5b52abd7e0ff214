"""The definitions that outputs need, collected to a graph, and those that are equal by induction made one.

A covariance and its transpose are the same recursion, and so is that of another data set: definitions are equal if they
are the same expression in equal definitions (partition refinement, Moore 1956).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sympy import Expr, Integer

from tensorprog.covariance.nodes import flat
from tensorprog.covariance.pairs_derive import Derivation
from tensorprog.covariance.pairs_nodes import LEVEL, At, Inner, Item, NotPairs, Own, Two

#: Literal levels up to this one are written out.
MOST_LITERAL = 8


@dataclass(slots=True)
class Node:
    """A definition in use. With levels: `expr` is the step from `start` on, `bases` the nodes {level: number}
    before that.

    `group` names the loop that a node with levels is computed in.
    """

    expr: Expr
    leveled: bool = False
    group: int = 0
    bases: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Graph:
    """Nodes by number, the first level of each group's loop, and the numbers or constants of the outputs."""

    nodes: dict[int, Node]
    starts: dict[int, int]
    outputs: list[Expr]


def references(expr: Expr) -> Iterator[Expr]:
    """The At nodes of an expression, in a fixed order."""
    yield from sorted(expr.atoms(At), key=str)


def shift_of(ref: Expr) -> int | None:
    """s of At(k, LEVEL + s); None without a level or with a fixed one."""
    if len(ref.args) == 1 or not ref.args[1].has(LEVEL):
        return None
    return int(flat(ref.args[1] - LEVEL))


class _Collector:
    def __init__(self, derivation: Derivation, inputs: Mapping[int, int]):
        self.derivation, self.inputs = derivation, inputs
        self.nodes: dict[int, Node] = {}
        self.shifts: dict[int, set[int]] = {}
        self.leader: dict[int, int] = {}
        self._literals: dict[tuple[int, int], int] = {}

    def graph(self, outputs: list[Expr]) -> Graph:
        found = [self._converted(e) for e in outputs]
        while True:
            count = len(self.nodes)
            starts = self._starts()
            for number, shifts in list(self.shifts.items()):
                for s in shifts:
                    level = starts[self._group(number)] + s
                    self.nodes[number].bases[level] = self._literal(number, level)
            if len(self.nodes) == count and starts == self._starts():
                break
        for number, node in self.nodes.items():
            node.group = self._group(number)
        return Graph(self.nodes, starts, found)

    def _starts(self) -> dict[int, int]:
        starts: dict[int, int] = {}
        for number, node in self.nodes.items():
            if node.leveled:
                group = self._group(number)
                starts[group] = max(starts.get(group, 0), self.derivation.derive(number).start)
        return starts

    def _group(self, number: int) -> int:
        while self.leader.get(number, number) != number:
            number = self.leader[number]
        return number

    def _add(self, number: int) -> None:
        if number in self.nodes:
            return
        definition = self.derivation.derive(number)
        node = self.nodes[number] = Node(definition.expr, definition.key.leveled)
        if node.leveled:
            self.shifts.setdefault(number, set())
        node.expr = self._converted(definition.expr)
        for ref in references(node.expr):
            shift = shift_of(ref)
            if shift is None:
                continue
            if shift > 0:
                raise NotPairs("a recursion runs through its levels backwards")
            other = int(ref.args[0])
            self.leader[self._group(other)] = self._group(number)
            if shift:
                self.shifts[other].add(shift)

    def _converted(self, expr: Expr) -> Expr:
        """With the numbers of nodes and of canonical inputs, what it needs added."""
        mapping = {e: e.func(*(Integer(self.inputs[int(a)]) for a in e.args)) for e in expr.atoms(Inner)}
        mapping |= {e: Item(Integer(self.inputs[int(e.args[0])]), *e.args[1:]) for e in expr.atoms(Item)}
        for ref in references(expr):
            number = int(ref.args[0])
            if len(ref.args) == 2 and ref.args[1].is_Integer and int(ref.args[1]) <= MOST_LITERAL:
                mapping[ref] = At(Integer(self._literal(number, int(ref.args[1]))))
                continue
            self._add(number)
            if len(ref.args) == 2 and not ref.args[1].has(LEVEL):
                self.shifts[number].add(-1)
        return expr.xreplace(mapping)

    def _literal(self, number: int, level: int) -> int:
        """The node of a value at a literal level."""
        if level < 0:
            raise NotPairs("a recursion has no beginning")
        if (number, level) not in self._literals:
            made = -1 - len(self._literals)
            if len(self._literals) > 200:
                raise NotPairs("the recursion's beginning is too long")
            self._literals[number, level] = made
            self.nodes[made] = Node(Integer(0))
            self.nodes[made].expr = self._converted(self.derivation.base(number, level))
        return self._literals[number, level]


def collected(derivation: Derivation, outputs: list[Expr], inputs: Mapping[int, int]) -> Graph:
    """What the outputs need, merged, without what is constant. `inputs` numbers the inputs, equal for those that stand
    for the same quantity of the two data sets.

    Raises:
        NotPairs: if a recursion has no uniform step or no beginning.
    """
    graph = _Collector(derivation, inputs).graph(outputs)
    _fold_constants(graph)
    return _merged(graph)


def _fold_constants(graph: Graph) -> None:
    """Puts numbers in the place of references to them, but in duals."""
    while True:
        known = {number: node.expr for number, node in graph.nodes.items() if node.expr.is_number}
        changed = False
        for node in graph.nodes.values():
            folded = _folded(node.expr, known, graph)
            changed |= folded != node.expr
            node.expr = folded
        if not changed:
            graph.outputs = [_folded(e, known, graph) for e in graph.outputs]
            return


def _folded(expr: Expr, known: Mapping[int, Expr], graph: Graph) -> Expr:
    if isinstance(expr, At):
        number = int(expr.args[0])
        if number not in known or graph.nodes[number].leveled and shift_of(expr) != 0:
            return expr
        return known[number]
    if isinstance(expr, Two | Inner | Item) or not expr.args:
        return expr
    args = [_folded(a, known, graph) for a in expr.args]
    if isinstance(expr, Own):
        return args[1] if args[1].is_number else expr
    return expr.func(*args)


def _merged(graph: Graph) -> Graph:
    def signature(number: int, node: Node) -> tuple:
        return (_renamed(node.expr, classes), node.leveled and (node.group, graph.starts[node.group]),
                tuple((level, classes[base]) for level, base in sorted(node.bases.items())))

    classes = {number: 0 for number in graph.nodes}
    while True:
        ids: dict[tuple, int] = {}
        refined = {}
        for number, node in graph.nodes.items():
            key = (classes[number], signature(number, node))
            refined[number] = ids.setdefault(key, len(ids))
        done = len(ids) == len(set(classes.values()))
        classes = refined
        if done:
            break
    members: dict[int, Node] = {}
    for number, node in graph.nodes.items():
        if classes[number] not in members:
            bases = {level: classes[base] for level, base in node.bases.items()}
            members[classes[number]] = Node(_renamed(node.expr, classes), node.leveled, node.group, bases)
    outputs = [_renamed(e, classes) for e in graph.outputs]
    return restricted(Graph(members, graph.starts, outputs), outputs)


def _renamed(expr: Expr, classes: Mapping[int, int]) -> Expr:
    return expr.xreplace({r: At(Integer(classes[int(r.args[0])]), *r.args[1:]) for r in references(expr)})


def restricted(graph: Graph, outputs: list[Expr]) -> Graph:
    """The part of a graph that some outputs need."""
    found: dict[int, Node] = {}
    pending = [int(r.args[0]) for e in outputs for r in references(e)]
    while pending:
        number = pending.pop()
        if number in found:
            continue
        node = found[number] = graph.nodes[number]
        pending += [*(int(r.args[0]) for r in references(node.expr)), *node.bases.values()]
    return Graph(found, graph.starts, outputs)
