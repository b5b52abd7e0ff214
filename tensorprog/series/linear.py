"""What of a program by series is linear in the terms that training adds: names, sources and readings.

    states      declared objects' next terms, which begin as zero: `v.1`, `W.1`
    sources     a number times a vector that training does not change, on its way to states
    landings    statements by which sources get to names that hold sums of them: states, and accumulators of gradients
    flows       one such name added to another, times a number
    readings    averages that are linear in states
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeGuard

from tensorprog.ir.places import Placed, leaves
from tensorprog.ir.program import (
    Accum,
    Assignment,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    For,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatrixType,
    MatStore,
    Moment,
    OuterTerm,
    Pick,
    Place,
    Statement,
    Store,
    SumAxis,
    Term,
    Var,
    Zero,
    access_indices,
    operands,
    reads,
    touched,
    walk,
    written,
)
from tensorprog.passes.batch import private_index
from tensorprog.passes.regions import written_first

#: Linear in states; a number that training decides (times what it does not change).
STATE, NUMBER = "state", "number"
Kinds = frozenset[str]
NONE: Kinds = frozenset()


class NotSuperposable(Exception):
    """The program is not of this form."""


def has_width(value: Var | Cell) -> bool:
    return isinstance(value.type, MatrixType) or value.type.width is not None


@dataclass(slots=True)
class StateDependence:
    """The analysis of the statements that depend on states.

    Attributes:
        places: all statements without blocks of their own, in order.
        makers: by temporary, the place that makes it.
        steps: the loops that are training steps: those that read states and write them.
        kinds: of temporaries and cells; none for what does not depend on states.
    """

    body: tuple[Statement, ...]
    states: frozenset[Cell]
    places: list[Placed] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)
    makers: dict[Var, Placed] = field(default_factory=dict)
    kinds: dict[Var | Cell, Kinds] = field(default_factory=dict)
    steps: set[str] = field(default_factory=set)
    sums: set[Cell] = field(default_factory=set)
    settled: bool = False

    def __post_init__(self) -> None:
        self.places = list(leaves(self.body))
        if any(p.guarded for p in self.places):
            raise NotSuperposable("a condition")
        self.positions = {id(p.statement): k for k, p in enumerate(self.places)}
        self.makers = {p.var: p for p in self.places if isinstance(p.statement, Let)}
        averages = [p for p in self.places if isinstance(p.statement, Let) and isinstance(p.op, Moment)]
        # A loop with updates of states but no averages goes through elements.
        for loop in (s for s in walk(self.body) if isinstance(s, For)):
            inside = {c for s in walk(loop.body) if (c := written(s)) is not None}
            if inside & self.states and any(loop in p.loops for p in averages):
                self.steps.add(loop.var)
        self._find_sums()
        self._find_kinds()

    def position(self, statement: Statement) -> int:
        """How many statements come before one."""
        return self.positions[id(statement)]

    # --- names ---

    def context(self, own: tuple[For, ...]) -> tuple[For, ...]:
        """Of the loops around a statement, those inside of the innermost training step."""
        last = max((k for k, loop in enumerate(own) if loop.var in self.steps), default=-1)
        return own[last + 1:]

    def region(self, place: Placed) -> tuple[Statement, ...]:
        """The statements of the training step around a statement; all, if there is none."""
        around = [loop for loop in place.loops if loop.var in self.steps]
        return around[-1].body if around else self.body

    def _find_sums(self) -> None:
        """Names with widths that outlive the iteration in which they are added to."""
        for cell in {c for p in self.places if (c := written(p.statement)) is not None and has_width(c)}:
            own = [p for p in self.places if cell in touched(p.statement)]
            shared = [loop for loop in own[0].loops if all(loop in p.loops for p in own) and loop.var not in self.steps]
            if cell in self.states or not any(self._is_local(cell, loop) for loop in shared):
                self.sums.add(cell)

    @staticmethod
    def _is_local(cell: Cell, loop: For) -> bool:
        accesses = [i for s in walk(loop.body) for i in access_indices(s, cell)]
        return loop.var in cell.home or written_first(loop.body, cell) or any(
            private_index(accesses, k, loop.var) for k in range(cell.rank))

    # --- kinds ---

    def _find_kinds(self) -> None:
        self.kinds = dict.fromkeys(self.states, frozenset({STATE}))
        while True:
            before = dict(self.kinds)
            for place in self.places:
                self._step(place.statement)
            if before == self.kinds:
                break
        # Only now: while kinds grow, a sum looks mixed whose other term is not reached yet.
        self.settled = True
        for place in self.places:
            self._step(place.statement)

    def _mixed(self) -> None:
        """Refuse a sum with what does not depend on states, once that is known of its terms."""
        if self.settled:
            raise NotSuperposable("a sum with something that training does not change")

    def _step(self, statement: Statement) -> None:
        match statement:
            case Let(var=var):
                self.kinds[var] = self._of(statement)
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value):
                kinds = self.kinds.get(value, NONE)
                # A number that is kept is a number, linear in states or not.
                if not has_width(cell):
                    kinds = frozenset({NUMBER}) if kinds else NONE
                elif not kinds and not self.is_zero(value):
                    self._mixed()
                self._add(cell, kinds)
            case MatStore(cell=cell, terms=terms) | MatAccum(cell=cell, terms=terms):
                for term in terms:
                    self._add(cell, self._of_term(term))

    def _add(self, cell: Cell, kinds: Kinds) -> None:
        self.kinds[cell] = self.kinds.get(cell, NONE) | kinds

    def _of(self, let: Let) -> Kinds:
        get = self.kinds.get
        args = [get(v, NONE) for v in operands(let.op)]
        match let.op:
            case Load(cell=cell):
                # What a sum holds, whatever numbers got it there, is counted in its coefficients.
                if cell in self.sums and get(cell, NONE):
                    return frozenset({STATE})
                return get(cell, NONE)
            case MatMul(matrix=matrix):
                return self._product([frozenset({STATE}) if get(matrix, NONE) else NONE, *args], [matrix, let.op.arg], let)
            case MatDot(left=left, right=right):
                if get(left.cell, NONE) or get(right.cell, NONE):
                    raise NotSuperposable("an inner product of matrices")
                return NONE
            case Contract(left=left, right=right):
                return self._product(args, [left, right], let)
            case Elementwise(fn="mul", order=0, args=pair):
                return self._product(args, list(pair), let)
            case Elementwise(fn="div", order=0, args=(top, bottom)):
                # Divided by what training decides: times the number 1/bottom.
                if get(bottom, NONE):
                    return self._product([get(top, NONE), frozenset({NUMBER})], [top, bottom], let)
                return get(top, NONE)
            case Elementwise(fn="add" | "sub", order=0, args=(a, b)):
                return self._sum(a, b, let)
            case Moment() if NUMBER in args[0]:
                raise NotSuperposable("an average of what the same step adds")
            case Elementwise(fn="neg", order=0) | Pick() | Place() | SumAxis() | Expand() | Moment():
                return args[0]
            case _:
                if not any(args):
                    return NONE
                # Its second order in what training adds belongs to the next order of the series, which no output of
                # order one has.
                if has_width(let.var):
                    raise NotSuperposable("a nonlinear function of what training adds")
                return frozenset({NUMBER})

    def _product(self, kinds: list[Kinds], factors: list[Var | Cell], let: Let) -> Kinds:
        known = [(k, f) for k, f in zip(kinds, factors) if k]
        if len(known) < 2:
            return known[0][0] if known else NONE
        if not has_width(let.var):
            return frozenset({NUMBER})
        # Again of second order.
        if all(has_width(f) for _, f in known):
            raise NotSuperposable("a product of two terms that training adds")
        return next(k for k, f in known if has_width(f))

    def _sum(self, a: Var, b: Var, let: Let) -> Kinds:
        one, two = self.kinds.get(a, NONE), self.kinds.get(b, NONE)
        if one and two or not one and not two:
            return one | two
        if self.is_zero(b if one else a):
            return one | two
        if has_width(let.var):
            self._mixed()
            return one | two
        # A number that is affine in states is no reading, but a number like any other.
        return frozenset({NUMBER})

    def _of_term(self, term: Term) -> Kinds:
        coef = self.kinds.get(term.coef, NONE) if term.coef is not None else NONE
        if isinstance(term, MatrixTerm):
            if not self.kinds.get(term.cell, NONE):
                self._mixed()
                return NONE
            return frozenset({STATE})
        if not isinstance(term, OuterTerm):
            raise NotSuperposable("a function of a matrix")
        found = [k for k in (coef, *(self.kinds.get(v, NONE) for v in (term.left, term.right))) if k]
        # In the gradient of a kernel regime both vectors are of order 0 and do not move: only the number does.
        if len(found) > 1 or found and found[0] != {NUMBER}:
            raise NotSuperposable("an outer product of what training adds")
        if not found:
            self._mixed()
            return NONE
        return found[0]

    def is_zero(self, var: Var) -> bool:
        place = self.makers.get(var)
        return place is not None and isinstance(place.op, Const) and place.op.value == 0

    # --- what there is ---

    def readings(self) -> list[Placed]:
        """The numbers that are linear in states and are used otherwise."""
        linear = {v for v, k in self.kinds.items() if isinstance(v, Var) and not has_width(v) and k == {STATE}}
        used: dict[Var, None] = {}
        for place in self.places:
            s = place.statement
            # Linear in states still: what uses this is the reading, and not what it is made of.
            if isinstance(s, Let) and self.kinds.get(s.var) == {STATE}:
                continue
            used |= dict.fromkeys(v for v in reads(s) if v in linear)
        return [self.makers[v] for v in used]

    def sources(self) -> list[Placed]:
        """The statements that multiply what training does not change by a number that it decides."""
        return [p for p in self.places if self._is_source(p.statement)]

    def _is_source(self, statement: Statement) -> bool:
        match statement:
            case Let(var=var, op=Elementwise(fn="mul" | "div", args=(a, b)) | Contract(left=a, right=b)) if has_width(var):
                kinds = self.kinds.get(a, NONE), self.kinds.get(b, NONE)
                return NUMBER in self.kinds[var] and not any(k for k, v in zip(kinds, (a, b)) if has_width(v))
            case MatStore(terms=terms) | MatAccum(terms=terms):
                return any(self.is_source_term(t) for t in terms)
            case _:
                return False

    def is_source_term(self, term: Term) -> bool:
        return isinstance(term, OuterTerm) and term.coef is not None and bool(self.kinds.get(term.coef))

    def is_landing(self, statement: Statement) -> TypeGuard[Assignment]:
        """Whether a statement writes to a name that holds a sum."""
        return not isinstance(statement, Let | Zero) and written(statement) in self.sums
