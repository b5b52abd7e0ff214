"""The levels of recursions that go up, brought in line for one loop."""

from __future__ import annotations

from dataclasses import replace

from sympy import Expr, Integer

from tensorprog.covariance.nodes import flat
from tensorprog.pairs.graph.graph import Graph, UsedDefinition, leveled_references, references, restricted, shift_of
from tensorprog.pairs.nodes import LEVEL, At, NotPairs, Two
from tensorprog.pairs.recognise.level_arguments import components

#: Values at higher levels than a loop stops at are written out after it, up to so many levels.
MOST_AFTER = 4


def levelled(graph: Graph) -> Graph:
    """The graph with no value that needs later levels, one start and one end for each loop, and the values before and
    after it.

    Raises:
        NotPairs: if a loop's values are needed at levels that are some way apart.
    """
    graph = _delayed(restricted(graph, graph.outputs))
    _keep_means(graph)
    _finished(graph)
    _reused(graph)
    _begun(graph)
    return graph


def _delayed(graph: Graph) -> Graph:
    """A value whose needs are at l + s at the latest is called that of level l + s."""
    delays = _delays(graph)
    if not any(delays.values()):
        return graph

    def moved(expr: Expr, by: int) -> Expr:
        return expr.xreplace({r: At(r.args[0], flat(r.args[1] + delays[int(r.args[0])] - (by if r.args[1].has(LEVEL)
                                                                                         else 0)))
                              for r in references(expr) if len(r.args) == 2})

    nodes = {k: replace(n, expr=moved(n.expr, delays.get(k, 0)), start=max(n.start + delays.get(k, 0), 0),
                        bases={level + delays[k]: base for level, base in n.bases.items()})
             for k, n in graph.nodes.items()}
    return Graph(nodes, [moved(e, 0) for e in graph.outputs])


def _delays(graph: Graph) -> dict[int, int]:
    """How much later than its own level a value can be computed, or (negative) how much earlier: as soon as what it
    needs is there. Values of one recursion keep step."""
    shifts = {k: {(int(r.args[0]), shift) for r, shift in leveled_references(n.expr)}
              for k, n in graph.nodes.items() if n.leveled}
    delays: dict[int, int] = {}
    for part in components({k: {o for o, _ in found} for k, found in shifts.items()}):
        needs = [delays[o] + s for k in part for o, s in shifts[k] if o not in part]
        if any(s > 0 for k in part for o, s in shifts[k] if o in part):
            raise NotPairs("a recursion goes through its levels in both directions")
        # As soon as possible: a value that waits would have to be kept for all levels in between.
        delays |= dict.fromkeys(part, max(needs, default=0))
    return delays


def _keep_means(graph: Graph) -> None:
    """Means of earlier levels are values that are kept from there."""
    made: dict[tuple[Expr, int], Expr] = {}

    def kept(mean: Expr, node: UsedDefinition) -> Expr:
        # A step computes means of present covariances only: those of earlier levels are overwritten by then.
        shifts = {shift_of(r) for r in references(mean)}
        (shift,) = shifts if len(shifts) == 1 else (None,)
        if shift is None or shift >= 0:
            return mean
        present = mean.xreplace({r: At(r.args[0], LEVEL) for r in references(mean)})
        if (present, node.group) not in made:
            number = max(graph.nodes) + 1
            graph.nodes[number] = UsedDefinition(present, True, node.group)
            made[present, node.group] = Integer(number)
        number = int(made[present, node.group])
        graph.nodes[number].start = max(graph.nodes[int(r.args[0])].start for r in references(mean))
        return At(Integer(number), LEVEL + shift)

    for node in list(graph.nodes.values()):
        if node.leveled:
            # The list is taken before: means that are made here are of the present level, and no node to look at.
            node.expr = node.expr.xreplace({m: kept(m, node) for m in node.expr.atoms(Two)})
    for present, group in made:
        _begin_mean(graph, graph.nodes[int(made[present, group])])


def _begin_mean(graph: Graph, node: UsedDefinition) -> None:
    """The values of a mean before its first level, from those of its covariances."""
    covariances = [graph.nodes[int(r.args[0])] for r in references(node.expr)]
    # A mean has a value where all of its covariances have one.
    for level in set.intersection(*(set(c.bases) for c in covariances)):
        number = max(graph.nodes) + 1
        graph.nodes[number] = UsedDefinition(node.expr.xreplace({
            r: At(Integer(graph.nodes[int(r.args[0])].bases[level])) for r in references(node.expr)}))
        node.bases[level] = number


def ends(graph: Graph) -> dict[int, list[Expr]]:
    """The levels at which values of each group are needed outside of its loop."""
    found: dict[int, list[Expr]] = {}
    for expr in (*graph.outputs, *(n.expr for n in graph.nodes.values())):
        for ref in references(expr):
            if len(ref.args) == 2 and shift_of(ref) is None:
                found.setdefault(graph.nodes[int(ref.args[0])].group, []).append(ref.args[1])
    return found


def highest(levels: list[Expr]) -> Expr:
    """The highest of levels that differ by numbers."""
    best = levels[0]
    for level in levels:
        gap = flat(level - best)
        if not gap.is_Integer:
            raise NotPairs("values at several levels are needed")
        best = level if gap > 0 else best
    return best


def _finished(graph: Graph) -> None:
    """Each loop stops at the lowest level that is needed; what is needed at higher ones is computed after it."""
    stops = {group: -highest([-level for level in levels]) for group, levels in ends(graph).items()}
    made: dict[tuple[int, Expr], int] = {}

    def value(number: Expr, level: Expr) -> Expr:
        above = flat(level - stops[graph.nodes[int(number)].group])
        if above <= 0:
            return At(number, level)
        if above > MOST_AFTER:
            raise NotPairs("values at several levels are needed")
        if (int(number), level) not in made:
            # The number first: a recursion may need itself at another level above the stop.
            made[int(number), level] = new = max(graph.nodes) + 1
            graph.nodes[new] = UsedDefinition(Integer(0))
            graph.nodes[new].expr = replaced(graph.nodes[int(number)].expr, level)
        return At(Integer(made[int(number), level]))

    def replaced(expr: Expr, level: Expr | None) -> Expr:
        """With what is needed at fixed levels, or of a step with what it needs at one."""
        at = {} if level is None else {LEVEL: level}
        refs = [r for r in references(expr) if len(r.args) == 2 and (level is None) == (shift_of(r) is None)]
        return expr.xreplace({r: value(r.args[0], flat(r.args[1].xreplace(at))) for r in refs})

    for node in list(graph.nodes.values()):
        node.expr = replaced(node.expr, None)
    graph.outputs = [replaced(e, None) for e in graph.outputs]


def _reused(graph: Graph) -> None:
    """Means that a loop's last level has computed, put in after it."""
    known: dict[Expr, Expr] = {}
    starts = graph.starts()
    stops = {group: highest(levels) for group, levels in ends(graph).items()}
    for number, node in graph.nodes.items():
        factor, mean = node.expr.as_coeff_Mul()
        # Without a value before the loop there is nothing to read if the loop does not run at all.
        if node.leveled and node.group in stops and isinstance(mean, Two) and starts[node.group] - 1 in node.bases:
            stop = stops[node.group]
            known[mean.xreplace({r: At(r.args[0], flat(r.args[1].xreplace({LEVEL: stop})))
                                 for r in references(mean) if len(r.args) == 2})] = At(Integer(number), stop)/factor
    for node in graph.nodes.values():
        if not node.leveled:
            node.expr = node.expr.xreplace(known)
    graph.outputs = [e.xreplace(known) for e in graph.outputs]


def _begun(graph: Graph) -> None:
    """Gives all steps of a loop its start, and the nodes the values that are needed before it."""
    starts = graph.starts()
    stops = {group: highest(levels) for group, levels in ends(graph).items()}
    shifts: dict[int, set[int]] = {k: set() for k, n in graph.nodes.items() if n.leveled}
    for expr in (*graph.outputs, *(n.expr for n in graph.nodes.values())):
        for ref in references(expr):
            if len(ref.args) == 2:
                shift, number = shift_of(ref), int(ref.args[0])
                after = ref.args[1] - stops[graph.nodes[number].group] - 1
                shifts[number].add(int(flat(after)) if shift is None else shift)
    made = _Literals(graph)
    for number, found in shifts.items():
        node = graph.nodes[number]
        start = starts[node.group]
        bases = {start + s: made.number(number, start + s) for s in sorted(found) if s < 0}
        made.bases[number] = bases
    for number, bases in made.bases.items():
        graph.nodes[number].bases, graph.nodes[number].start = bases, starts[graph.nodes[number].group]


class _Literals:
    """Values at literal levels, from the steps."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.bases: dict[int, dict[int, int]] = {}
        self._made: dict[tuple[int, int], int] = {}

    def number(self, number: int, level: int) -> int:
        node = self.graph.nodes[number]
        if level < node.start:
            if level not in node.bases:
                raise NotPairs("a recursion has no beginning")
            return node.bases[level]
        if (number, level) not in self._made:
            expr = node.expr.xreplace({r: At(Integer(self.number(int(r.args[0]), level + shift)))
                                       for r, shift in leveled_references(node.expr)})
            made = max(self.graph.nodes) + 1
            self.graph.nodes[made] = UsedDefinition(expr)
            self._made[number, level] = made
        return self._made[number, level]
