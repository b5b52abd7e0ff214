"""A graph of definitions as a pair program: values in the order of their needs, one loop for each group of levels.

Within a loop `v3` is the value of definition 3 at the present level, `v3_1` at the one before, `v3_2` two before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.nodes import flat
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin
from tensorprog.pairs.codegen import (
    Diagonal,
    Dual,
    Gram,
    Number,
    PairLoop,
    PairProduct,
    PairProgram,
    Power,
    Ref,
    RowInput,
    RunParameter,
    Set,
    Sum,
)
from tensorprog.pairs.graph.alignment import ends, highest
from tensorprog.pairs.graph.graph import Graph, UsedDefinition, references, shift_of
from tensorprog.pairs.nodes import LEVEL, At, Inner, Item, NotPairs, Own, Two
from tensorprog.pairs.program import SIDES
from tensorprog.pairs.program import Expr as PairExpr


@dataclass(slots=True)
class Scheduled:
    """The program; `parameters` are its numbers as expressions in the script's sizes and parameters; every expression
    of `required` is to be >= 0."""

    program: PairProgram
    parameters: dict[str, Expr]
    required: list[Expr]


@dataclass(slots=True)
class _State:
    """What was met on the way."""

    grams: dict[tuple[int, int], str] = field(default_factory=dict)
    inputs: dict[int, None] = field(default_factory=dict)
    parameters: dict[str, Expr] = field(default_factory=dict)
    sizes: dict[str, None] = field(default_factory=dict)
    required: list[Expr] = field(default_factory=list)


def scheduled(graph: Graph, duals: list, names: list[str], inputs: list[str], title: str, symmetric: bool) -> Scheduled:
    """The pair program of a graph whose outputs are called `names`. `inputs` names the inputs by number.

    Raises:
        NotPairs: for what pair programs cannot say.
    """
    return _Scheduler(graph, duals, inputs).program(names, title, symmetric)


class _Scheduler:
    def __init__(self, graph: Graph, duals: list, inputs: list[str]):
        self.graph, self.duals, self.inputs = graph, duals, inputs
        self.state = _State()
        self.body: list = []
        self._done: set = set()
        self.starts = graph.starts()
        self.stops = {group: highest(levels) for group, levels in ends(graph).items()}

    def program(self, names: list[str], title: str, symmetric: bool) -> Scheduled:
        refs = []
        for name, expr in zip(names, self.graph.outputs):
            self._needs(expr)
            target = Ref(f"out_{name}")
            self.body.append(Set(target, self._expr(expr, False)))
            refs.append((name, target))
        state = self.state
        # A kernel of data begins with inner products of rows; anything else is left to equations.
        if not state.grams:
            raise NotPairs("it has no inner product of two rows of inputs")
        grams = tuple(Gram(name, self.inputs[i], self.inputs[j]) for (i, j), name in state.grams.items())
        program = PairProgram(title, grams, tuple(state.parameters), tuple(state.sizes), tuple(self.body), tuple(refs),
                              inputs=tuple(self.inputs[k] for k in state.inputs), symmetric=symmetric)
        return Scheduled(program, state.parameters, state.required)

    # --- order ---

    def _needs(self, expr: Expr) -> None:
        """Emits what an expression refers to, besides the present and earlier levels of its own loop."""
        for ref in references(expr):
            node = self.graph.nodes[int(ref.args[0])]
            if shift_of(ref) is not None:
                continue
            if node.leveled:
                self._loop(node.group)
            else:
                self._plain(int(ref.args[0]), node)

    def _plain(self, number: int, node: UsedDefinition) -> None:
        if number in self._done:
            return
        self._done.add(number)
        self._needs(node.expr)
        self.body.append(Set(Ref(f"v{number}"), self._expr(node.expr, False)))

    def _loop(self, group: int) -> None:
        if ("loop", group) in self._done:
            return
        self._done.add(("loop", group))
        members = {k: n for k, n in self.graph.nodes.items() if n.leveled and n.group == group}
        for node in members.values():
            self._needs(node.expr)
            for base in node.bases.values():
                self._plain(base, self.graph.nodes[base])
        start, stop = self.starts[group], self.stops[group]
        # stop >= start - 1: with no iteration at all, the values before the loop are the last ones.
        self.state.required.append(flat(stop - (start - 1)))
        for number, node in members.items():
            for level, base in node.bases.items():
                self.body.append(Set(Ref(_name(number, level - start)), Ref(f"v{base}")))
        inner: list = []
        ordered: set[int] = set()
        for number in members:
            self._step(number, members, ordered, inner)
        for number, node in members.items():
            # The oldest first: v_2 takes the value of v_1 before v_1 takes that of v.
            for level in sorted(node.bases):
                inner.append(Set(Ref(_name(number, level - start)), Ref(_name(number, level - start + 1))))
        self.body.append(PairLoop(f"level{group}", IntLit(start), self._int(flat(stop + 1)), 1, tuple(inner)))

    def _step(self, number: int, members: dict[int, UsedDefinition], ordered: set[int], inner: list) -> None:
        if number in ordered:
            return
        ordered.add(number)
        expr = members[number].expr
        for ref in references(expr):
            # What a value needs of its own level comes before it.
            if shift_of(ref) == 0:
                self._step(int(ref.args[0]), members, ordered, inner)
        inner.append(Set(Ref(_name(number, 0)), self._expr(expr, True)))

    # --- expressions ---

    def _expr(self, expr: Expr, inside: bool) -> PairExpr:
        if expr.is_number and not expr.atoms(At, Own, Inner, Item, Two):
            return Number(float(expr))
        if isinstance(expr, At | Inner):
            return self._ref(expr)
        if isinstance(expr, Own):
            return Diagonal(self._ref(expr.args[1]), SIDES[int(expr.args[0])])
        if isinstance(expr, Item):
            number = int(expr.args[0])
            self.state.inputs.setdefault(number)
            return RowInput(self.inputs[number], SIDES[int(expr.args[1])], tuple(self._int(i) for i in expr.args[2:]))
        if isinstance(expr, Two):
            phi, psi = self.duals[int(expr.args[0])]
            return Dual(phi, psi, *(self._ref(a) for a in expr.args[1:]))
        if not expr.atoms(At, Own, Inner, Item, Two):
            return self._parameter(expr)
        if isinstance(expr, sympy.Add | sympy.Mul):
            pairs = [a for a in expr.args if a.atoms(At, Own, Inner, Item, Two)]
            rest = expr.func(*(a for a in expr.args if a not in pairs))
            parts = [self._expr(a, inside) for a in pairs]
            if rest != expr.func():
                parts.append(self._expr(rest, inside))
            return (Sum if isinstance(expr, sympy.Add) else PairProduct)(tuple(parts)) if len(parts) > 1 else parts[0]
        if isinstance(expr, sympy.Pow) and expr.exp.is_number:
            return Power(self._expr(expr.base, inside), float(expr.exp))
        raise NotPairs(f"it holds {expr}")

    def _ref(self, node: Expr) -> Ref:
        if isinstance(node, Inner):
            key = (int(node.args[0]), int(node.args[1]))
            return Ref(self.state.grams.setdefault(key, f"g{len(self.state.grams)}"))
        number = int(node.args[0])
        if len(node.args) == 1:
            return Ref(f"v{number}")
        shift = shift_of(node)
        if shift is None:
            shift = int(flat(node.args[1] - self.stops[self.graph.nodes[number].group])) - 1
        return Ref(_name(number, shift))

    def _parameter(self, expr: Expr) -> RunParameter:
        # Parameters are computed once, before all levels.
        if expr.has(LEVEL):
            raise NotPairs("a number depends on the level")
        found = next((name for name, e in self.state.parameters.items() if e == expr), None)
        if found is None:
            found = f"c{len(self.state.parameters)}"
            self.state.parameters[found] = expr
        return RunParameter(found)

    def _int(self, expr: Expr) -> IntExpr:
        match expr:
            case Integer():
                return IntLit(int(expr))
            case Symbol():
                self.state.sizes.setdefault(expr.name)
                return IntSym(expr.name, "size")
            case sympy.Add() | sympy.Mul():
                op = "+" if isinstance(expr, sympy.Add) else "*"
                result = self._int(expr.args[0])
                for a in expr.args[1:]:
                    result = int_bin(op, result, self._int(a))
                return result
        raise NotPairs(f"an index is {expr}")


def _name(number: int, shift: int) -> str:
    return f"v{number}_{-shift}" if shift else f"v{number}"
