"""Vectors of the limit program that may vanish as a *difference* of vectors that do not, as u - moment(u*u)*u does.

A sum or a difference can only vanish where each of its terms is cancelled by another one. What a vector is made of is
followed by the *sources* of its linear parts: declared vectors, matrices that it comes out of, all products and nonlinear
functions together (`NONLINEAR`). Of a vector, some sources are `sure` to be in it, others `may` be. In W @ x + b, W is
surely in the first term and not in the second: it cannot vanish. So layers with biases, recurrent and residual networks
have no suspects, and pay nothing.

What vanishes with a suspect (a multiple of it, its product with a matrix, a homogeneous function of it, its second
moment) has the same suspects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.primitives import degree
from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    Expand,
    Let,
    Load,
    MatAccum,
    MatMul,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    Pick,
    Place,
    Program,
    Statement,
    Store,
    SumAxis,
    Var,
    matrix_terms,
    operands,
)

NONLINEAR, ONES = "nonlinear", "ones"
Source = Cell | str
Target = Var | Cell


@dataclass(frozen=True, slots=True)
class Sources:
    """What a vector is a linear combination of: the sources that are surely in it, and those that may be."""

    sure: frozenset[Source]
    may: frozenset[Source]


NONE: frozenset[Var] = frozenset()
EMPTY = Sources(frozenset(), frozenset())


def of(*sources: Source) -> Sources:
    """Exactly these sources."""
    return Sources(frozenset(sources), frozenset(sources))


class Differences:
    """The vectors of a limit program that may vanish as differences.

    Args:
        random: temporaries and cells that depend on a moment. Without one nothing fluctuates: u - u is 0 in every network.

    Attributes:
        suspects: of a temporary, the differences with which it vanishes, by one way through the program at least.
    """

    def __init__(self, program: Program, statements: Sequence[Statement], random: set[Target]):
        self.random, self.statements = random, statements
        self.ops = {s.var: s.op for s in statements if isinstance(s, Let)}
        self.declared = {i.cell for i in program.initials if i.law.name != "zero"}
        self.stored, self.added = _contributions(statements)
        self.sources: dict[Target, Sources] = {}
        self._settle(self.sources, self._trace)
        self.suspects: dict[Target, frozenset[Var]] = {}
        self._settle(self.suspects, self._suspect)

    def terms(self, difference: Var) -> tuple[Var, ...]:
        """The vectors that a suspect is a sum of: its rounding errors have their size."""
        found: dict[Var, None] = {}
        self._expand(difference, found, set())
        return tuple(found)

    def _expand(self, var: Var, found: dict[Var, None], seen: set[Target]) -> None:
        if var in seen:
            return
        seen.add(var)
        match self.ops[var]:
            case Elementwise(fn="add" | "sub" | "neg", args=args):
                parts: Sequence[Var] = args
            case Load(cell=cell) if cell not in seen:
                seen.add(cell)
                parts = [*self.stored.get(cell, ()), *self.added.get(cell, ())]
                if cell in self.declared or not parts:
                    found[var] = None
            case _:
                parts = ()
                found[var] = None
        for part in parts:
            if part.type.width is not None:
                self._expand(part, found, seen)

    def _settle(self, known: dict[Target, Any], step: Callable[[Statement], None]) -> None:
        """Repeat until nothing changes: loops carry vectors round."""
        before = None
        while before != known:
            before = dict(known)
            for statement in self.statements:
                step(statement)

    # --- what vectors are made of ---

    def _trace(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op) if var.type.width is not None:
                found = self._made_of(op)
                if found is not None:
                    self.sources[var] = found
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value) if value.type.width is not None:
                self.sources[cell] = self._held(cell)
            case MatStore(cell=cell, terms=terms) | MatAccum(cell=cell, terms=terms):
                old = self._matrix(cell)
                matrices = [(t, self._matrix(t.cell)) for t in matrix_terms(terms)]
                vectors = [self.sources.get(t.left, EMPTY) for t in terms if isinstance(t, OuterTerm)]
                # A copy of a matrix with updates still has the matrix in it.
                sure = old.sure.union(*(found.sure for term, found in matrices if term.coef is None))
                self.sources[cell] = Sources(sure, old.may.union(*(p.may for _, p in matrices), *(p.may for p in vectors)))

    def _matrix(self, cell: Cell) -> Sources:
        return self.sources.get(cell, of(cell) if cell in self.declared else EMPTY)

    def _held(self, cell: Cell) -> Sources:
        """What a cell holds: one of what is stored, and what is added to it."""
        stored = [s for v in self.stored.get(cell, ()) if (s := self.sources.get(v)) is not None]
        stored += [of(cell)] * (cell in self.declared)
        added = [s for v in self.added.get(cell, ()) if (s := self.sources.get(v)) is not None]
        sure = frozenset.intersection(*(s.sure for s in stored)) if stored else frozenset()
        may = frozenset[Source]().union(*(s.may for s in stored), *(s.may for s in added))
        return Sources(sure.difference(*(s.may for s in added)), may)

    def _made_of(self, op: Op) -> Sources | None:
        """The sources of a vector; None while nothing is known of it."""
        match op:
            case Load(cell=cell):
                return of(cell) if cell in self.declared and cell not in self.sources else self.sources.get(cell)
            case MatMul(matrix=matrix):
                return self._matrix(matrix)
            case Elementwise(fn="add" | "sub", order=0, args=(a, b)):
                one, two = self._sources(a), self._sources(b)
                if one is None or two is None:
                    # One that is not known yet, in the first round through a loop, adds nothing.
                    return one or two
                return Sources((one.sure - two.may) | (two.sure - one.may), one.may | two.may)
            case Elementwise(fn=fn, order=order, args=args):
                vector = _multiplied(op)
                return self._sources(vector) if vector is not None else self._nonlinear(fn, order, args)
            case Contract(left=left, right=right):
                vectors = [v for v in (left, right) if v.type.width is not None]
                return self._sources(vectors[0]) if len(vectors) == 1 else self._nonlinear("mul", 0, vectors)
            case SumAxis() | Expand() | Pick() | Place():
                return self._sources(operands(op)[0])
        return of(NONLINEAR)

    def _nonlinear(self, fn: str, order: int, args: Sequence[Var]) -> Sources:
        """A product or a function. A homogeneous one can be linear on the values that it meets: max(u, 0) + min(u, 0)."""
        power = degree(fn)
        linear = fn in ("max", "min") or power is not None and power - order == 1
        parts = [self.sources.get(a, EMPTY).may for a in args] if linear else []
        return Sources(frozenset((NONLINEAR,)), frozenset((NONLINEAR,)).union(*parts))

    def _sources(self, var: Var) -> Sources | None:
        return self.sources.get(var) if var.type.width is not None else of(ONES)

    # --- what may vanish ---

    def _suspect(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op):
                self.suspects[var] = self.suspects.get(var, NONE) | self._vanishing_with(var, op)
            case Store(cell=cell, value=value):
                self.suspects[cell] = self.suspects.get(cell, NONE) | self.suspects.get(value, NONE)

    def _vanishing_with(self, var: Var, op: Op) -> frozenset[Var]:
        match op:
            case Load(cell=cell):
                own = frozenset((var,)) if self._accumulates_to_zero(cell, var) else NONE
                return own if cell in self.added else own | self.suspects.get(cell, NONE)
            case Elementwise(fn="add" | "sub", order=0, args=(a, b)):
                if self._cancel(var, a, b):
                    return frozenset((var,))
                both = self._of(a), self._of(b)
                # A sum vanishes with its terms only if each of them does.
                return both[0] | both[1] if all(both) else NONE
            case Elementwise(fn="mul") | Contract():
                return NONE.union(*map(self._of, operands(op)))
            case Elementwise(fn="div" | "pow", order=0, args=(a, _)):
                return self._of(a)
            case Elementwise(fn=fn, order=0, args=(a,)) if fn in NONLINEARITIES and NONLINEARITIES[fn].vanishes_at_zero:
                return self._of(a)
            case MatMul(arg=arg) | Moment(arg=arg) | SumAxis(arg=arg) | Expand(arg=arg) | Pick(arg=arg):
                return self._of(arg)
        return NONE

    def _of(self, var: Var) -> frozenset[Var]:
        return self.suspects.get(var, NONE)

    def _cancel(self, var: Var, a: Var, b: Var) -> bool:
        """Whether two terms may cancel: they are multiples of one vector, or what is surely in one of them may be in the
        other. Where nothing is sure, as after a first iterate that is zero, only the former is looked at."""
        if var.type.width is None or var not in self.random:
            return False
        if self._root(a) == self._root(b):
            return True
        one, two = self._sources(a) or EMPTY, self._sources(b) or EMPTY
        return bool(one.sure and two.sure) and one.sure <= two.may and two.sure <= one.may

    def _root(self, var: Var) -> object:
        """What a vector is a multiple of."""
        op = self.ops[var]
        vector = _multiplied(op)
        if vector is not None:
            return self._root(vector)
        return (op.cell, op.items) if isinstance(op, Load) else var

    def _accumulates_to_zero(self, cell: Cell, var: Var) -> bool:
        """Whether what is added to a cell may cancel what it held."""
        if var.type.width is None or cell not in self.added or cell not in self.random:
            return False
        begun = [self.sources[v] for v in self.stored.get(cell, ()) if v in self.sources]
        begun += [of(cell)] * (cell in self.declared)
        added = [self.sources[v] for v in self.added[cell] if v in self.sources]
        parts = [*begun, *added]
        others = [frozenset[Source]().union(*(p.may for p in parts[:k] + parts[k + 1:])) for k in range(len(parts))]
        return bool(begun) and all(part.sure and part.sure <= other for part, other in zip(parts, others, strict=True))


def _multiplied(op: Op) -> Var | None:
    """What an operation multiplies by a number; None if it does something else."""
    match op:
        case Elementwise(fn="neg", order=0, args=(a,)):
            return a
        case Elementwise(fn="mul" | "div", order=0, args=(a, b)) if b.type.width is None:
            return a
        case Elementwise(fn="mul", order=0, args=(a, b)) if a.type.width is None:
            return b
    return None


def _contributions(statements: Sequence[Statement]) -> tuple[dict[Cell, list[Var]], dict[Cell, list[Var]]]:
    """What is stored in each cell, and what is added."""
    stored: dict[Cell, list[Var]] = {}
    added: dict[Cell, list[Var]] = {}
    for s in statements:
        if isinstance(s, Store | Accum):
            (stored if isinstance(s, Store) else added).setdefault(s.cell, []).append(s.value)
    return stored, added
