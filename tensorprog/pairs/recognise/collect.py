"""The definitions that outputs need, collected to a graph."""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Integer

from tensorprog.covariance.nodes import flat
from tensorprog.pairs.graph.graph import MOST_LITERAL, Graph, Roles, UsedDefinition, references, roles, shift_of
from tensorprog.pairs.nodes import At, Inner, Item, NotPairs
from tensorprog.pairs.recognise.derive import PairDefinitions

#: Values at fixed levels that are written out; the tests' networks have up to 44.
MOST_LITERALS = 300
#: Levels after the last step of what goes down, 2 in the tests' networks.
MOST_TOPS = 4
#: The lowest level that a value may be needed at: what a loop that runs down to 0 leaves is of level -1.
LOWEST = -2
#: Derivations anew with higher levels (`graph_of`), of which the tests' networks need one.
MOST_ATTEMPTS = 8


def graph_of(derivation: PairDefinitions, outputs: list[Expr], inputs: Mapping[int, int]) -> Graph:
    """What the outputs need. `inputs` numbers the inputs, equal for those that stand for the same quantity of the two
    data sets.

    Raises:
        NotPairs: if a recursion has no uniform step or no beginning.
    """
    for _ in range(MOST_ATTEMPTS):
        # That a definition is needed at later levels may show when others are derived: all is collected again with that
        # known.
        derivation.widened = False
        try:
            graph = _Collector(derivation, inputs).graph(outputs)
        except NotPairs:
            if not derivation.widened:
                raise
        if not derivation.widened:
            return graph
    raise NotPairs("a recursion that goes down has no beginning")


class _Collector:
    def __init__(self, derivation: PairDefinitions, inputs: Mapping[int, int]):
        self.derivation, self.inputs = derivation, inputs
        self.nodes: dict[int, UsedDefinition] = {}
        self.shifts: dict[int, set[int]] = {}
        self.leader: dict[int, int] = {}
        self._fixed: dict[tuple[Expr, Expr], int] = {}
        self._down: dict[int, bool] = {}

    def graph(self, outputs: list[Expr]) -> Graph:
        graph = Graph(self.nodes, [self._converted(e) for e in outputs])
        # Groups, starts and values before the first level need each other: until nothing is added.
        while True:
            before = self._size()
            made = roles({k: n.expr for k, n in self.nodes.items() if n.leveled})
            for number, node in self.nodes.items():
                node.group = self._group(number)
            graph.ends = self._ends(made)
            self._begin(made, graph)
            self._add_bases(made, graph)
            self._add_tops(made, graph)
            if before == self._size():
                starts = graph.starts()
                for number, node in self.nodes.items():
                    if node.leveled and number not in made.down | made.sums:
                        node.start = starts[node.group]
                return graph

    def _size(self) -> tuple[int, ...]:
        return len(self.nodes), sum(len(n.bases) + len(n.tops) + n.start for n in self.nodes.values())

    def _begin(self, made: Roles, graph: Graph) -> None:
        """What goes down is written out below the highest of the literal levels that are needed."""
        first: dict[int, int] = {}
        users = [n for n in self.nodes.values() if not n.leveled]
        atoms = [r for e in (*graph.outputs, *(n.expr for n in users)) for r in references(e)
                 if len(r.args) == 2 and int(r.args[0]) in made.down]
        for number, level in (*((k, self.nodes[k].start) for k in made.down | made.sums),
                              *((int(r.args[0]), int(r.args[1])) for r in atoms)):
            group = self._group(number)
            first[group] = max(first.get(group, 0), level)
        for number in made.down | made.sums:
            self.nodes[number].start = first[self._group(number)]
        mapping = {r: At(Integer(self._literal(*r.args))) for r in atoms
                   if int(r.args[1]) < first[self._group(int(r.args[0]))]}
        for node in users:
            node.expr = node.expr.xreplace(mapping)
        graph.outputs = [e.xreplace(mapping) for e in graph.outputs]

    def _ends(self, made: Roles) -> dict[int, Expr]:
        """The last level at which all steps of what goes down, and of sums over it, hold."""
        ends: dict[int, Expr] = {}
        for number in sorted(made.down | made.sums):
            bound = self.derivation.bounds.get(number)
            if bound is None:
                raise NotPairs("a recursion that goes down has no beginning")
            last, group = flat(bound - self.derivation.derive(number).end), self._group(number)
            gap = flat(last - ends.setdefault(group, last))
            if not gap.is_Integer:
                raise NotPairs("recursions that go down begin at several levels")
            if gap < 0:
                ends[group] = last
        return ends

    def _add_bases(self, made: Roles, graph: Graph) -> None:
        starts = graph.starts()
        needed = {(k, starts[self._group(k)] + s) for k, shifts in self.shifts.items() for s in shifts
                  if k not in made.down | made.sums}
        needed |= {(k, self.nodes[k].start - 1) for k in made.sums}
        for number in made.down:
            node = self.nodes[number]
            for ref in references(node.expr):
                other, shift = int(ref.args[0]), shift_of(ref)
                if shift is not None and other not in made.down:
                    needed |= {(other, level) for level in range(node.start + shift, starts[self._group(other)])}
        for number, level in sorted(needed):
            if level not in self.nodes[number].bases:
                self.nodes[number].bases[level] = self._literal(Integer(number), Integer(level))

    def _add_tops(self, made: Roles, graph: Graph) -> None:
        for number in sorted(made.down):
            node, last, bound = self.nodes[number], graph.ends[self._group(number)], self.derivation.bounds[number]
            for k in range(1, int(flat(bound - last)) + 1):
                level = flat(last + k)
                if k > MOST_TOPS:
                    raise NotPairs("a recursion that goes down begins at several levels")
                if level not in node.tops:
                    node.tops[level] = self._literal(Integer(number), level)

    def _group(self, number: int) -> int:
        while self.leader.get(number, number) != number:
            number = self.leader[number]
        return number

    def _add(self, number: int) -> None:
        if number in self.nodes:
            return
        definition = self.derivation.derive(number)
        node = self.nodes[number] = UsedDefinition(definition.expr, definition.key.leveled, start=definition.start,
                                                holds=definition.start)
        if node.leveled:
            self.shifts.setdefault(number, set())
        node.expr = self._converted(definition.expr)
        for ref in references(node.expr):
            shift = shift_of(ref)
            if shift is None:
                continue
            other = int(ref.args[0])
            # What is read at a level near runs in the same loop.
            self.leader[self._group(other)] = self._group(number)
            if shift < 0:
                self.shifts[other].add(shift)

    def _converted(self, expr: Expr) -> Expr:
        """With the numbers of nodes and of canonical inputs, what it needs added."""
        mapping = {e: e.func(*(Integer(self.inputs[int(a)]) for a in e.args)) for e in expr.atoms(Inner)}
        mapping |= {e: Item(Integer(self.inputs[int(e.args[0])]), *e.args[1:]) for e in expr.atoms(Item)}
        for ref in references(expr):
            number = int(ref.args[0])
            if len(ref.args) == 1 or shift_of(ref) is not None:
                self._add(number)
                continue
            level = ref.args[1]
            # Near its beginning a recursion is written out: up from the first levels, down from the last ones.
            literal = level.is_Integer and int(level) <= MOST_LITERAL
            down = self._goes_down(number)
            if literal and not down or down and not literal:
                mapping[ref] = At(Integer(self._literal(ref.args[0], level)))
            else:
                self._add(number)
                if not down:
                    self.shifts[number].add(-1)
        return expr.xreplace(mapping)

    def _goes_down(self, number: int) -> bool:
        """Whether a definition goes down, or depends on such at its own level."""
        if number not in self._down:
            steps: dict[int, Expr] = {}
            pending = [number]
            try:
                while pending:
                    k = pending.pop()
                    steps[k] = self.derivation.derive(k).expr
                    pending += [int(r.args[0]) for r in references(steps[k])
                                if shift_of(r) is not None and int(r.args[0]) not in steps]
                self._down[number] = number in roles(steps).down
            except NotPairs:
                # Reported where the definition is added, if it is.
                self._down[number] = False
        return self._down[number]

    def _literal(self, number: Integer, level: Expr) -> int:
        """The node of a value at a fixed level."""
        if level.is_Integer and level < LOWEST and self.derivation.listed[int(number)].number is not None:
            raise NotPairs("a recursion has no beginning")
        if (number, level) not in self._fixed:
            # Below 0, where no definition has its number.
            made = -1 - len(self._fixed)
            if len(self._fixed) > MOST_LITERALS:
                raise NotPairs("the recursion's beginning is too long")
            self._fixed[number, level] = made
            self.nodes[made] = UsedDefinition(Integer(0))
            self.nodes[made].expr = self._converted(self.derivation.base(int(number), level))
        return self._fixed[number, level]
