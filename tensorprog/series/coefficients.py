"""The numbers of sums of fixed vectors: how a training step changes them, and how averages are read off them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, loop_names
from tensorprog.ir.places import Placed
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Assignment,
    Cell,
    Contract,
    Elementwise,
    For,
    Let,
    Load,
    MatAccum,
    MatrixTerm,
    MatStore,
    Pick,
    Statement,
    Store,
    Var,
    Zero,
    cells_read,
    defined,
    integers,
    operands,
    reads,
    written,
)
from tensorprog.passes.rewrite import are_over_elements, in_loops, map_indices, with_own_variables
from tensorprog.series.linear import NONE, STATE, NotSuperposable, StateDependence, has_width


@dataclass(frozen=True, slots=True)
class NumberProduct:
    """A product of temporaries over others, with a sign."""

    negative: bool = False
    factors: tuple[Var, ...] = ()
    divisors: tuple[Var, ...] = ()

    def times(self, factor: Var) -> NumberProduct:
        return replace(self, factors=(*self.factors, factor))

    def over(self, divisor: Var) -> NumberProduct:
        return replace(self, divisors=(*self.divisors, divisor))

    def negated(self) -> NumberProduct:
        return replace(self, negative=not self.negative)

    def of(self, value: Var, builder: Builder) -> Var:
        """The number times a value."""
        for factor in self.factors:
            value = builder.mul(factor, value)
        for divisor in self.divisors:
            value = builder.div(value, divisor)
        return builder.neg(value) if self.negative else value


@dataclass(slots=True, eq=False)
class StepSource:
    """A source of a training step.

    Attributes:
        at: its statement.
        term: which term of a matrix's update it is; None for a temporary.
        around: the loops around it within the step.
        closure: what depends on it, up to the names that hold sums.
        landed: the statements that add it to such names, by name.
        coefficients: the family of its numbers in each name that gets some of it, over `loops`.
        origin: for each of these, the name by which it gets there.
        axes: loops over the entries of the number, if that is an array.
    """

    at: Placed
    term: int | None
    around: tuple[For, ...]
    closure: set[Var | Cell] = field(default_factory=set)
    landed: dict[Cell, list[Placed]] = field(default_factory=dict)
    coefficients: dict[Cell, Cell] = field(default_factory=dict)
    origin: dict[Cell, Cell] = field(default_factory=dict)
    axes: tuple[For, ...] = ()

    @property
    def loops(self) -> tuple[For, ...]:
        """The loops over all its numbers."""
        return (*self.around, *self.axes)

    def number(self) -> NumberProduct:
        """What it multiplies a vector by."""
        statement = self.at.statement
        if self.term is not None:
            assert isinstance(statement, MatStore | MatAccum)
            coef = statement.terms[self.term].coef
            assert coef is not None, "a source has a number"
            return NumberProduct().times(coef)
        op = self.at.op
        assert isinstance(op, Elementwise | Contract)
        left, right = op.args if isinstance(op, Elementwise) else (op.left, op.right)
        if isinstance(op, Elementwise) and op.fn == "div":
            return NumberProduct().over(right)
        return NumberProduct().times(right if has_width(left) else left)


@dataclass(frozen=True, slots=True)
class Flow:
    """A name whose sum is added to another, times a number; `load` read it, if it has changed since."""

    number: NumberProduct
    cell: Cell
    load: Var | None = None


def all_flows(linear: StateDependence) -> dict[int, list[Flow]]:
    """By statement that adds to a sum (its `id`), the names whose sums it adds, with their numbers.

    Raises:
        NotSuperposable: as `_flows_of`.
    """
    return {id(at.statement): _flows_of(linear, at) for at in linear.places if linear.is_landing(at.statement)}


def _flows_of(linear: StateDependence, at: Placed) -> list[Flow]:
    """The names whose sums a statement adds to another, with their numbers.

    Raises:
        NotSuperposable: sums that are changed by more than a number on their way, or whose elements change places.
    """
    statement = at.assignment
    found: list[Flow] = []

    def named(number: NumberProduct, cell: Cell, items: tuple, load: Var | None = None) -> None:
        # `v[k] += c*v[k + 1]` would move numbers from element to element.
        if tuple(items) != tuple(statement.items):
            raise NotSuperposable("elements that change places")
        found.append(Flow(number, cell, load if load is not None and _is_stale(linear, load, cell, at) else None))

    def taken_apart(value: Var, number: NumberProduct) -> None:
        if STATE not in linear.kinds.get(value, NONE):
            return  # what a source made of it is counted where that lands
        match linear.makers[value].op:
            case Load(cell=cell, items=items) if cell in linear.sums:
                named(number, cell, items, value)
            case Elementwise(fn="add" | "sub" as fn, order=0, args=(a, b)):
                taken_apart(a, number)
                taken_apart(b, number if fn == "add" else number.negated())
            case Elementwise(fn="neg", order=0, args=(a,)):
                taken_apart(a, number.negated())
            case Elementwise(fn="mul", order=0, args=(a, b)) if SCALAR in (a.type, b.type):
                factor, rest = (a, b) if a.type == SCALAR else (b, a)
                taken_apart(rest, number.times(factor))
            case Elementwise(fn="div", order=0, args=(a, b)) if b.type == SCALAR:
                taken_apart(a, number.over(b))
            case _:
                raise NotSuperposable("a sum that is changed on its way")

    match statement:
        case Store(value=value) | Accum(value=value):
            taken_apart(value, NumberProduct())
        case MatStore(terms=terms) | MatAccum(terms=terms):
            for term in terms:
                if isinstance(term, MatrixTerm):
                    if term.transposed:
                        raise NotSuperposable("a transposed sum")
                    named(NumberProduct() if term.coef is None else NumberProduct().times(term.coef), term.cell, term.items)
    return found


def _is_stale(linear: StateDependence, load: Var, cell: Cell, at: Placed) -> bool:
    """Whether a name changes between a load of it and a statement."""
    # As in `old = v`, `v -= g`, `m = c*m + old`: the numbers are those of v before the step.
    first, last = linear.position(linear.makers[load].statement), linear.position(at.statement)
    return any(written(p.statement) is cell for p in linear.places[first:last])


def sources_of(linear: StateDependence, flows: Mapping[int, list[Flow]], builder: Builder) -> list[StepSource]:
    """The sources of a program that get to sums, with the families of their numbers.

    Raises:
        NotSuperposable: for a source whose number is an array.
    """
    found = []
    for at in linear.sources():
        for term in _numbered(linear, at):
            source = StepSource(at, term, linear.context(at.loops))
            _follow(linear, source)
            number = source.number()
            shape = number.factors[0].type.shape if number.factors else ()
            if any(v.type.shape for v in number.divisors):
                raise NotSuperposable("an array of divisors")
            source.axes = tuple(For(builder.names.fresh("k"), IntLit(0), size, 1, ()) for size in shape)
            if source.landed:
                found.append(source)
    added = [(at.assignment.cell, {flow.cell for flow in flows[id(at.statement)]}) for at in linear.places
             if id(at.statement) in flows]
    for source in found:
        for origin in source.landed:
            # What lands in one sum gets to all that are made of it, as by momentum.
            reached = {origin}
            while more := {cell for cell, others in added if others & reached} - reached:
                reached |= more
            # By two ways it would have two numbers for one name.
            if reached & set(source.origin):
                raise NotSuperposable("a source that gets to a sum in two ways")
            source.origin |= dict.fromkeys(reached, origin)
        # By name, because the order of a set is another one in every process.
        for cell in sorted(source.origin, key=lambda c: c.name):
            source.coefficients[cell] = builder.cell(f"{cell.display}_moved", SCALAR, len(source.loops))
    return found


def _numbered(linear: StateDependence, at: Placed) -> list[int | None]:
    """The terms of a matrix's update that are sources; None for a temporary."""
    if isinstance(at.statement, Let):
        return [None]
    assert isinstance(at.statement, MatStore | MatAccum)
    return [k for k, term in enumerate(at.statement.terms) if linear.is_source_term(term)]


def _follow(linear: StateDependence, source: StepSource) -> None:
    """Find what depends on a source within its loops, and where it lands."""
    at = source.at
    if source.term is not None:
        source.landed[at.assignment.cell] = [at]
        return
    source.closure.add(at.var)
    # Outside of the source's own loops it would be another iteration's.
    within = [p for p in linear.places if p.loops[: len(at.loops)] == at.loops]
    while True:
        size = len(source.closure)
        for place in within:
            s, value = place.statement, defined(place.statement)
            if value is not None and has_width(value) and not linear.is_landing(s) and any(
                    v in source.closure for v in (*reads(s), *cells_read(s))):
                source.closure.add(value)
        if len(source.closure) == size:
            break
    for place in within:
        if linear.is_landing(place.statement) and any(v in source.closure for v in reads(place.statement)):
            source.landed.setdefault(place.assignment.cell, []).append(place)


class SumsAsNumbers:
    """Rewrites what depends on states: sums become their numbers, averages sums over numbers times kernels."""

    def __init__(self, linear: StateDependence, flows: Mapping[int, list[Flow]], sources: list[StepSource],
                 readings: Mapping[Var, Placed],
                 kernels: Mapping[tuple[Var, StepSource, Cell], Cell], extents: Mapping[Cell, tuple[IntExpr, ...]],
                 builder: Builder):
        self.linear, self.flows, self.sources, self.readings, self.kernels = linear, flows, sources, readings, kernels
        self.extents, self.builder = extents, builder
        self.kept: dict[tuple[StepSource, Var], Cell] = {}
        self.stale = {f.load: f.cell for found in flows.values() for f in found if f.load is not None}

    def block(self, body: tuple[Statement, ...], loops: tuple[For, ...] = ()) -> tuple[Statement, ...]:
        with self.builder.nested() as out:
            for statement in body:
                self.builder.span = getattr(statement, "span", None)
                if isinstance(statement, For):
                    self._elementwise(statement, loops)
                    self.builder.append(replace(statement, body=self.block(statement.body, (*loops, statement))))
                else:
                    self._statement(statement, loops)
        return tuple(out)

    def _statement(self, statement: Statement, loops: tuple[For, ...]) -> None:
        if isinstance(statement, Let) and statement.var in self.readings:
            self._read(statement, loops)
            return
        self.builder.append(statement)
        if isinstance(statement, Let) and statement.var in self.stale:
            self._keep(statement.var)
        if isinstance(statement, Zero):
            # A sum that is set to zero: so are its numbers.
            for source in self.sources:
                if statement.cell in source.coefficients:
                    self.builder.append(Zero(source.coefficients[statement.cell], span=statement.span))
        elif self.linear.is_landing(statement) and not self._context(loops):
            self._add_flows(statement, self.flows[id(statement)], {})
        elif self.linear.is_landing(statement) and not self._is_elementwise(statement, loops) \
                and (isinstance(statement, Store | MatStore) or self.flows[id(statement)]):
            raise NotSuperposable("a sum that is replaced or changed in a loop")
        for source in self.sources:
            if source.at.statement is statement:
                self._add_source(source)

    def _context(self, loops: tuple[For, ...]) -> tuple[For, ...]:
        return self.linear.context(loops)

    # --- readings ---

    def _read(self, let: Let, loops: tuple[For, ...]) -> None:
        """An average is the sum over all numbers of the states that it reads, times its kernels with them."""
        builder, context = self.builder, self._context(loops)
        here = tuple(IntSym(loop.var, "loop") for loop in context)
        total = builder.cell(f"{let.var.name}_sum", let.var.type, len(here), home=tuple(loop.var for loop in loops))
        builder.append(Zero(total, span=let.span))
        axes = [builder.names.fresh("k") for _ in let.var.type.shape]
        entry = tuple(IntSym(name, "loop") for name in axes)
        for (var, source, state), kernel in self.kernels.items():
            if var is let.var:
                def term(items: tuple[IntExpr, ...], source: StepSource = source, state: Cell = state,
                         kernel: Cell = kernel) -> None:
                    number = builder.load(source.coefficients[state], items, SCALAR)
                    value = builder.mul(number, builder.load(kernel, (*here, *entry, *items), SCALAR))
                    builder.append(Accum(total, (*here, *entry), value, span=let.span))
                with builder.nested() as made:
                    self._for_all(source, term)
                # Every kernel has loops of its own.
                own = [For(name, IntLit(0), size, 1, ()) for name, size in zip(axes, let.var.type.shape)]
                for statement in _over(made, own, builder):
                    builder.append(statement)
        builder.append(replace(let, op=Load(total, here)))

    def _for_all(self, source: StepSource, make: Callable[..., object]) -> None:
        """Statements for all numbers of a source, in loops of their own."""
        own, values = with_own_variables(source.loops, self.builder.names)
        with self.builder.nested() as made:
            make(tuple(values[loop.var] for loop in source.loops))
        for statement in in_loops(own, tuple(made)):
            self.builder.append(statement)

    # --- sums ---

    def _add_source(self, source: StepSource) -> None:
        """A source's number goes to the names that it lands in."""
        builder = self.builder
        for cell, places in source.landed.items():
            # A loop adds up numbers; a store in it would keep the last iteration's alone.
            if any(isinstance(p.statement, Store | MatStore) for p in places):
                if source.around or source.term is None and len(places) > 1:
                    raise NotSuperposable("a sum that is replaced in a loop")
            number = source.number()
            with builder.nested() as made:
                if source.axes:
                    entry = tuple(IntSym(loop.var, "loop") for loop in source.axes)
                    number = replace(number, factors=(builder.let(Pick(number.factors[0], entry)), *number.factors[1:]))
                items = tuple(IntSym(loop.var, "loop") for loop in source.loops)
                builder.append(Accum(source.coefficients[cell], items, number.of(builder.const(1), builder),
                                     span=builder.span))
            for statement in _over(made, source.axes, builder):
                builder.append(statement)

    def _keep(self, load: Var) -> None:
        """The numbers of a sum as they are when it is read, because it changes before they are needed."""
        for source in self.sources:
            cell = source.coefficients.get(self.stale[load])
            if cell is None:
                continue
            kept = self.builder.cell(f"{cell.display}_before", SCALAR, len(source.loops))
            self.kept[source, load] = kept
            self._for_all(source, lambda items, cell=cell, kept=kept: self.builder.append(
                Store(kept, items, self.builder.load(cell, items, SCALAR), span=self.builder.span)))

    def _coefficients(self, source: StepSource, flow: Flow) -> Cell:
        return source.coefficients[flow.cell] if flow.load is None else self.kept[source, flow.load]

    def _add_flows(self, statement: Assignment, flows: list[Flow], again: Mapping[Var, Var]) -> None:
        """One sum, or its elements all alike, gets others. `again` are temporaries that are computed anew."""
        builder, replaces = self.builder, isinstance(statement, Store | MatStore)
        for source in self.sources:
            if statement.cell not in source.coefficients:
                continue
            mine = [(f.number, self._coefficients(source, f)) for f in flows if f.cell in source.coefficients]
            if not mine and not replaces:
                continue
            target = source.coefficients[statement.cell]

            def change(items: tuple[IntExpr, ...], mine: list = mine, target: Cell = target) -> None:
                value = builder.const(0)
                for number, cell in mine:
                    number = replace(number, factors=tuple(again.get(v, v) for v in number.factors),
                                     divisors=tuple(again.get(v, v) for v in number.divisors))
                    value = builder.add(value, number.of(builder.load(cell, items, SCALAR), builder))
                kind = Store if replaces else Accum
                builder.append(kind(target, items, value, span=statement.span))
            self._for_all(source, change)

    # --- sums of families, element by element ---

    def _elementwise(self, loop: For, loops: tuple[For, ...]) -> None:
        """What a loop over all elements of families adds to them, for all elements at once, in front of it."""
        # Elements share their numbers, which change once for all of them.
        if self._context((*loops, loop)) != (loop,):
            return
        inside = [p for p in self.linear.places if loop in p.loops]
        moving = [p for p in inside if self._is_elementwise(p.statement, p.loops)]
        if not moving:
            return
        if any(p.var in self.readings for p in inside if isinstance(p.statement, Let)) or any(
                s.at in inside or any(p in inside for places in s.landed.values() for p in places) for s in self.sources):
            raise NotSuperposable("a loop over elements that does more")
        for place in moving:
            flows = self.flows[id(place.statement)]
            again: dict[Var, Var] = {}
            if any(f.load is not None for f in flows):
                raise NotSuperposable("an element that changes before it is added")
            for flow in flows:
                for var in (*flow.number.factors, *flow.number.divisors):
                    again[var] = self._again(var, place)
            self._add_flows(place.assignment, flows, again)

    def _is_elementwise(self, statement: Statement, loops: tuple[For, ...]) -> bool:
        """Whether a statement, with the loops around it, adds to every element of a family once."""
        context = self._context(loops)
        if not context or not self.linear.is_landing(statement) or not isinstance(statement, Store | Accum | MatStore | MatAccum):
            return False
        extents = self.extents.get(statement.cell)
        return extents is not None and are_over_elements(context, statement.items, extents)

    def _again(self, var: Var, place: Placed) -> Var:
        """A number of a loop's body in front of the loop."""
        at = self.linear.makers.get(var)
        context = self._context(place.loops)
        if at is None or not set(context) & set(at.loops):
            return var
        # What all elements share has no place for a number of each.
        if operands(at.op) or any(
                loop.var in loop_names(e) for loop in context for e in integers(at.statement)):
            raise NotSuperposable("a number for each element")
        return self.builder.let(at.op, var.type, var.name)


def _over(body: list[Statement], loops: Iterable[For], builder: Builder) -> tuple[Statement, ...]:
    """Statements in loops, whose variables become others."""
    own, values = with_own_variables(loops, builder.names)
    return in_loops(own, tuple(map_indices(s, values) for s in body))
