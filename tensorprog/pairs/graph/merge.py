"""Definitions that are equal by induction made one, and constants put in.

A covariance and its transpose are the same recursion, and so is that of another data set: definitions are equal if they
are the same expression in equal definitions (partition refinement, Moore 1956).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sympy import Expr, Integer

from tensorprog.pairs.graph.graph import Graph, UsedDefinition, references, restricted, shift_of
from tensorprog.pairs.nodes import At, Inner, Item, Own, Two


def simplified(graph: Graph) -> Graph:
    """The graph with constants and names of other values put in, equal definitions merged, and what is not needed left
    out."""
    graph = restricted(graph, graph.outputs)
    _unite_names(graph)
    # What is put in makes other definitions short.
    while True:
        short = {k: n.expr for k, n in graph.nodes.items() if _is_short(n.expr)}
        everywhere = {k for k, e in short.items() if e.is_number and _is_constant(graph, graph.nodes[k])}
        changed = False
        for node in graph.nodes.values():
            found = _Folding(graph, short, everywhere, node.start).folded(node.expr)
            changed |= found != node.expr
            node.expr = found
        if not changed:
            break
    outermost = _Folding(graph, short, everywhere, 0)
    graph.outputs = [outermost.folded(e) for e in graph.outputs]
    return _merged(restricted(graph, graph.outputs))


def _unite_names(graph: Graph) -> None:
    """References to a node that is another name of a node with levels, led there."""
    while True:
        found = next(((k, int(n.expr.args[0])) for k, n in graph.nodes.items() if _names_other(graph, k)), None)
        if found is None:
            return
        number, other = found
        # The bases of both have no level in common (`_names_other`).
        graph.nodes[other].bases |= graph.nodes[number].bases
        del graph.nodes[number]

        def led(expr: Expr) -> Expr:
            return expr.xreplace({r: At(Integer(other), *r.args[1:]) for r in references(expr) if r.args[0] == number})

        for node in graph.nodes.values():
            node.expr = led(node.expr)
        graph.outputs = [led(e) for e in graph.outputs]


def _names_other(graph: Graph, number: int) -> bool:
    node = graph.nodes[number]
    if not node.leveled or node.tops or not isinstance(node.expr, At) or shift_of(node.expr) != 0:
        return False
    other = graph.nodes[int(node.expr.args[0])]
    return other.start == node.start and not other.tops and not other.bases.keys() & node.bases.keys()


def _is_short(expr: Expr) -> bool:
    """Whether an expression is a number, or a multiple of a mean or of a value at no other level."""
    _, rest = expr.as_coeff_Mul()
    return expr.is_number or isinstance(rest, Two) or isinstance(rest, At) and not shift_of(rest)


def _is_constant(graph: Graph, node: UsedDefinition) -> bool:
    """Whether a number is the value at all levels."""
    # Equal at the first levels too; from its tops on, a recursion that goes down could differ.
    return not node.tops and all(graph.nodes[base].expr == node.expr for base in node.bases.values())


class _Folding:
    """Puts short expressions in the place of references to them; `start` is the first level of what it works on."""

    def __init__(self, graph: Graph, short: Mapping[int, Expr], everywhere: set[int], start: int):
        self.graph, self.short, self.everywhere, self.start = graph, short, everywhere, start

    def folded(self, expr: Expr) -> Expr:
        if isinstance(expr, At):
            return self._value(expr)
        if isinstance(expr, Two):
            names = [self._name(a) for a in expr.args[1:]]
            return Two(expr.args[0], *names)
        if isinstance(expr, Inner | Item) or not expr.args:
            return expr
        if isinstance(expr, Own):
            value = self.folded(expr.args[1])
            return value if value.is_number else Own(expr.args[0], self._name(expr.args[1]))
        return expr.func(*(self.folded(a) for a in expr.args))

    def _value(self, ref: Expr) -> Expr:
        number = int(ref.args[0])
        if number not in self.short:
            return ref
        node = self.graph.nodes[number]
        present = shift_of(ref) == 0 and node.start <= self.start and not node.tops
        return self.short[number] if not node.leveled or present or number in self.everywhere else ref

    def _name(self, ref: Expr) -> Expr:
        """Another name of the same value, where a name is needed."""
        found = self._value(ref) if isinstance(ref, At) else ref
        return found if isinstance(found, At) else ref


def _merged(graph: Graph) -> Graph:
    def signature(number: int, node: UsedDefinition) -> tuple:
        return (_renamed(node.expr, classes), node.leveled and (node.group, node.start),
                tuple((level, classes[base]) for level, base in sorted(node.bases.items())),
                tuple((level, classes[top]) for level, top in sorted(node.tops.items(), key=str)))

    # All in one class to begin with: equalities by induction, as of a recursion and its transpose, are found from above
    # only.
    classes = dict.fromkeys(graph.nodes, 0)
    while True:
        ids: dict[tuple, int] = {}
        refined = {}
        for number, node in graph.nodes.items():
            key = (classes[number], signature(number, node))
            refined[number] = ids.setdefault(key, len(ids))
        # No class was split: the classes justify each other.
        done = len(ids) == len(set(classes.values()))
        classes = refined
        if done:
            break
    members: dict[int, UsedDefinition] = {}
    for number, node in graph.nodes.items():
        if classes[number] not in members:
            bases = {level: classes[base] for level, base in node.bases.items()}
            tops = {level: classes[top] for level, top in node.tops.items()}
            members[classes[number]] = replace(node, expr=_renamed(node.expr, classes), bases=bases, tops=tops)
    outputs = [_renamed(e, classes) for e in graph.outputs]
    return restricted(Graph(members, outputs, graph.ends), outputs)


def _renamed(expr: Expr, classes: Mapping[int, int]) -> Expr:
    return expr.xreplace({r: At(Integer(classes[int(r.args[0])]), *r.args[1:]) for r in references(expr)})
