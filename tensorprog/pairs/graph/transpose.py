"""Recursions that go down, turned into ones that go up.

What goes down is linear: B(l) = sum_j M_j(l) B_j(l+1) + e(l), from its values above a last level t. A value that is
linear in it,

    S = rest + sum_i d_i B_i(s) + sum over s <= l <= t of (sum_j c_j(l) B_j(l+1) + f(l)),

is found by the transposed recursion, which carries the coefficients of B(l) up instead: A_i(s) = d_i and

    A_j(l+1) = sum_i A_i(l) M_ij(l) + c_j(l),    R(l+1) = R(l) + f(l) + sum_i A_i(l) e_i(l),

after which S = rest + R(t+1) + sum_i A_i(t+1) B_i(t+1). No value of a level is kept. Of a tangent kernel, B are the
covariances of the gradients and c_j and M_ij those of the layers: A is then the recursion of Jacot et al. 2018.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Dummy, Expr, Integer

from tensorprog.covariance.nodes import Node as Atom
from tensorprog.covariance.nodes import flat
from tensorprog.pairs.graph.graph import Graph, UsedDefinition, references, restricted, roles, shift_of, shifted, summand
from tensorprog.pairs.nodes import LEVEL, At, NotPairs


@dataclass(slots=True)
class LinearInPairs:
    """rest + sum of coefficients times At nodes."""

    rest: Expr
    coefficients: dict[Expr, Expr] = field(default_factory=dict)


def transposed(graph: Graph) -> Graph:
    """The graph without what goes down.

    Raises:
        NotPairs: if what goes down is not linear.
    """
    found = roles({k: n.expr for k, n in graph.nodes.items() if n.leveled})
    if not found.down:
        return graph
    return _Transposition(graph, found.down, found.sums).graph()


def linear(expr: Expr, atoms: list[Expr]) -> LinearInPairs:
    """An expression as a linear form in some of its At nodes.

    Raises:
        NotPairs: if it is not one.
    """
    names = {a: Dummy(real=True) for a in atoms}
    expr = expr.xreplace(names)
    used = set(names.values())
    # Inside of a function or of a variance the value has no coefficient.
    if any(node.free_symbols & used for node in expr.atoms(Atom)):
        raise NotPairs("a function of a value that goes down is needed")
    zero = dict.fromkeys(used, Integer(0))
    form = LinearInPairs(expr.xreplace(zero))
    for atom, name in names.items():
        # The slopes hold none of the values, so that the form is linear in all of them together.
        slope = expr.diff(name)
        if slope.free_symbols & used:
            raise NotPairs("a product of values that go down is needed")
        if slope != 0:
            form.coefficients[atom] = slope
    return form


class _Transposition:
    def __init__(self, graph: Graph, down: frozenset[int], sums: frozenset[int]):
        self.nodes, self.outputs, self.ends = dict(graph.nodes), graph.outputs, graph.ends
        self.down, self.sums = down, sums
        self._forms: dict[tuple[int, int], LinearInPairs] = {}

    def graph(self) -> Graph:
        outputs = [self._replaced(e) for e in self.outputs]
        while True:
            graph = restricted(Graph(self.nodes, outputs), outputs)
            found = [k for k, n in graph.nodes.items() if not n.leveled and self._atoms(n.expr)]
            # Values that were put in may need what goes down themselves.
            if not found:
                return graph
            for number in found:
                expr, self.nodes[number].expr = self.nodes[number].expr, Integer(0)
                self.nodes[number].expr = self._replaced(expr)

    # --- values that need what goes down ---

    def _atoms(self, expr: Expr) -> list[Expr]:
        return [r for r in references(expr) if int(r.args[0]) in self.down | self.sums]

    def _goes_down(self, number: int) -> bool:
        """Whether a value at no level needs what goes down."""
        refs = [r for r in references(self.nodes[number].expr) if len(r.args) == 1]
        return bool(self._atoms(self.nodes[number].expr)) or any(self._goes_down(_number(r)) for r in refs)

    def _replaced(self, expr: Expr) -> Expr:
        """A value at no level without what goes down."""
        whole = self._inlined(self._begun(self._inlined(expr)))
        if not self._atoms(whole):
            return whole
        try:
            return self._summed(linear(whole, self._atoms(whole)))
        # As a product of two values that go down: each of them alone is linear.
        except NotPairs:
            return expr.xreplace({a: self._alone(a) for a in self._atoms(expr)})

    def _inlined(self, expr: Expr) -> Expr:
        """With the values put in that need what goes down."""
        while True:
            found = {r: self.nodes[int(r.args[0])].expr for r in references(expr)
                     if len(r.args) == 1 and self._goes_down(_number(r))}
            if not found or any(node.atoms(At) & found.keys() for node in expr.atoms(Atom) if not isinstance(node, At)):
                return expr
            expr = expr.xreplace(found)

    def _begun(self, expr: Expr) -> Expr:
        """With what sums over levels begin with."""
        found = {a: self.nodes[int(a.args[0])] for a in self._atoms(expr) if int(a.args[0]) in self.sums}
        return expr.xreplace({a: a + At(Integer(n.bases[n.start - 1])) for a, n in found.items()})

    def _alone(self, atom: Expr) -> Expr:
        whole = self._inlined(self._begun(atom))
        return self._plain_value(self._summed(linear(whole, self._atoms(whole))))

    # --- the transposed recursion ---

    def _summed(self, form: LinearInPairs) -> Expr:
        """The value of a linear form in what goes down."""
        weights = {a: self._plain_value(c) for a, c in form.coefficients.items()}
        result = form.rest
        for group in sorted({self.nodes[_number(a)].group for a in weights}):
            result += self._of_group(group, {a: c for a, c in weights.items() if self.nodes[_number(a)].group == group})
        return result

    def _of_group(self, group: int, weights: dict[Expr, Expr]) -> Expr:
        start, last = next(self.nodes[_number(a)].start for a in weights), flat(self.ends[group] + 1)
        first = {_number(a): c for a, c in weights.items() if _number(a) in self.down}
        sums = {a: c for a, c in weights.items() if _number(a) in self.sums}
        below = [_scaled(self._form(self._summand(a)), c) for a, c in sums.items()]
        forms = self._reachable([*first, *(_number(a) for f in below for a in f.coefficients)])
        carried = {k: self._new(UsedDefinition(Integer(0), True, group, start + 1)) for k in forms}
        weighed = [*below, *(_scaled(form, At(carried[k], LEVEL)) for k, form in forms.items())]
        steps = dict.fromkeys(forms, Integer(0))
        # A_j(l+1) = sum_i A_i(l) M_ij(l) + c_j(l), as the step of level l + 1.
        for form in weighed:
            for atom, c in form.coefficients.items():
                steps[_number(atom)] += shifted(c, -1)
        result = sum((c*self._above(a, last) for a, c in sums.items()), Integer(0))
        for k, number in carried.items():
            # A_i(s) = d_i.
            self._begins(number, sympy.factor_terms(steps[k]), first.get(k, Integer(0)))
            result += At(number, last)*self._top(k, last)
        # R(l+1) = R(l) + f(l) + sum_i A_i(l) e_i(l).
        added = sum((shifted(f.rest, -1) for f in weighed), Integer(0))
        if added != 0:
            number = self._new(UsedDefinition(Integer(0), True, group, start + 1))
            self._begins(number, At(number, LEVEL - 1) + added, Integer(0))
            result += At(number, last)
        return result

    def _begins(self, number: Integer, step: Expr, first: Expr) -> None:
        node = self.nodes[int(number)]
        node.expr, node.bases = step, {node.start - 1: int(self._new(UsedDefinition(first)))}

    def _above(self, atom: Expr, last: Expr) -> Expr:
        """The terms of a sum over levels from `last` on."""
        count = flat(atom.args[1] + 1 - last)
        if not count.is_Integer or count < 0:
            raise NotPairs("a sum over levels ends below where what it sums begins")
        return sum((self._top(self._summand(atom), flat(last + k)) for k in range(int(count))), Integer(0))

    def _top(self, number: int, level: Expr) -> Expr:
        if level not in self.nodes[number].tops:
            raise NotPairs("a recursion that goes down begins at several levels")
        return At(Integer(self.nodes[number].tops[level]))

    def _summand(self, atom: Expr) -> int:
        found = summand(_number(atom), self.nodes[_number(atom)].expr)
        assert found is not None, "asked of sums over levels alone"
        return found

    def _reachable(self, roots: list[int]) -> dict[int, LinearInPairs]:
        found: dict[int, LinearInPairs] = {}
        pending = sorted(set(roots))
        while pending:
            number = pending.pop(0)
            if number not in found:
                found[number] = self._form(number)
                pending += sorted(_number(a) for a in found[number].coefficients)
        return found

    def _form(self, number: int, least: int | None = None) -> LinearInPairs:
        """A step as a linear form in values one level above, at levels from `least` on (None: from its start on)."""
        node = self.nodes[number]
        least = node.start if least is None else least
        if (number, least) not in self._forms:
            if least < node.holds:
                raise NotPairs("a recursion that goes down is needed below where its steps hold")
            form = linear(node.expr, self._atoms(node.expr))
            made = LinearInPairs(form.rest)
            for atom, c in form.coefficients.items():
                _add_to(made, self._one_above(atom, least), c)
            self._forms[number, least] = made
        return self._forms[number, least]

    def _one_above(self, atom: Expr, least: int) -> LinearInPairs:
        """A value at a level near as a linear form in those one level above."""
        shift = shift_of(atom)
        if shift == 1:
            return LinearInPairs(Integer(0), {atom: Integer(1)})
        if shift is None or shift > 1:
            raise NotPairs("a recursion that goes down needs values some levels away")
        form = self._form(_number(atom), least + shift)
        made = LinearInPairs(shifted(form.rest, shift))
        for a, c in form.coefficients.items():
            _add_to(made, self._one_above(shifted(a, shift), least), shifted(c, shift))
        return made

    # --- nodes ---

    def _new(self, node: UsedDefinition) -> Integer:
        number = max(self.nodes, default=0) + 1
        self.nodes[number] = node
        return Integer(number)

    def _plain_value(self, expr: Expr) -> Expr:
        """A number or a reference to a node."""
        return expr if expr.is_number or isinstance(expr, At) else At(self._new(UsedDefinition(expr)))


def _number(atom: Expr) -> int:
    return int(atom.args[0])


def _add_to(form: LinearInPairs, other: LinearInPairs, by: Expr) -> None:
    form.rest += by*other.rest
    for atom, c in other.coefficients.items():
        form.coefficients[atom] = form.coefficients.get(atom, Integer(0)) + by*c


def _scaled(form: LinearInPairs, by: Expr) -> LinearInPairs:
    return LinearInPairs(by*form.rest, {a: by*c for a, c in form.coefficients.items()})
