"""Copies of parts of a training step: readings of states, and what one source adds to them, as programs of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntSym, int_text, loop_names, substitute
from tensorprog.ir.places import Placed
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Assignment,
    Cell,
    Contract,
    Elementwise,
    For,
    If,
    Let,
    MatAccum,
    MatMul,
    MatrixType,
    MatStore,
    OuterTerm,
    Pick,
    Place,
    Range,
    Statement,
    Store,
    TensorType,
    Var,
    Zero,
    cells_read,
    defined,
    integers,
    operands,
    reads,
    single,
    walk,
    written,
)
from tensorprog.passes.rewrite import (
    BlockMap,
    CellMap,
    IndexMap,
    in_loops,
    map_cells,
    map_indices,
    map_op_indices,
    map_op_vars,
    with_own_variables,
)
from tensorprog.series.coefficients import StepSource
from tensorprog.series.linear import NONE, NotSuperposable, StateDependence, has_width


@dataclass(frozen=True, slots=True)
class _Outer:
    """numbers * outer(vector, array), with names for the axes of the array."""

    numbers: tuple[Var, ...]
    vector: Var
    array: Var
    axes: str


class Copier:
    """Copies statements with temporaries, loops and names of their own."""

    def __init__(self, linear: StateDependence, builder: Builder):
        self.linear, self.builder = linear, builder
        self.vars: dict[Var, Var] = {}
        self.names: dict[str, IntExpr] = {}
        self.cells: CellMap = {}

    # --- readings ---

    def needed(self, at: Placed) -> set[Var | Cell]:
        """What depends on states and is needed of the step for a reading, the states included."""
        region = self.linear.region(at)
        # A cell may have several writers, as a zero and additions.
        writers: dict[Var | Cell, list[Statement]] = {}
        for statement in walk(region):
            if (value := defined(statement)) is not None:
                writers.setdefault(value, []).append(statement)
        found: set[Var | Cell] = set()
        waiting: list[Var | Cell] = [at.var]
        while waiting:
            value = waiting.pop()
            # What does not depend on states is read as it is.
            if value in found or not self.linear.kinds.get(value, NONE):
                continue
            found.add(value)
            if isinstance(value, Cell) and value in self.linear.sums:
                if value not in self.linear.states:
                    raise NotSuperposable("an average of a sum that is no state")
                continue
            for statement in writers.get(value, ()):
                waiting += [*reads(statement), *cells_read(statement)]
        return found

    def states_of(self, at: Placed) -> list[Cell]:
        """The states that a reading reads."""
        needed = self.needed(at)
        found = {cell for cell in self.linear.states if cell in needed}
        self._require_unchanged(at, needed, found)
        # By name, because the order of a set is another one in every process.
        return sorted(found, key=lambda c: c.name)

    def _require_unchanged(self, at: Placed, needed: set[Var | Cell], states: set[Cell]) -> None:
        """Between a state's load and the reading, nothing may change the state."""
        places, end = self.linear.places, self.linear.position(at.statement)
        loads = [k for k, p in enumerate(places) if isinstance(p.statement, Let) and p.var in needed
                 and set(cells_read(p.statement)) & states and p.loops[:len(at.loops)][:1] == at.loops[:1]]
        first = min(loads, default=end)
        if any(written(p.statement) in states for p in places[first:end]):
            raise NotSuperposable("a state that changes while it is read")

    def reading(self, at: Placed, target: Cell) -> tuple[Statement, ...]:
        """Statements that compute a reading in its loops and store it."""
        needed = self.needed(at)

        def emit(statement: Statement) -> None:
            value = defined(statement)
            if value not in needed or value in self.linear.states:
                return
            self._emit(statement, needed)
            if statement is at.statement:
                items = tuple(self.names[loop.var] for loop in self.linear.context(at.loops))
                self.builder.append(Store(target, items, self.vars[at.var], span=statement.span))

        return self._copied(self.linear.region(at), needed, emit)

    # --- sources ---

    def source(self, source: StepSource, state: Cell, target: Cell) -> tuple[Statement, ...]:
        """Statements that compute, for each iteration of a source's loops, the inner product of what the source adds for
        the number one with a state, and store it."""
        builder, at = self.builder, source.at
        region = source.around[-1].body if source.around else self.linear.region(at)
        loops, names = with_own_variables(source.loops, builder.names)
        home = tuple(loop.var for loop in loops)
        landings = {id(p.statement): p for p in source.landed[source.origin[state]]}
        # Where nothing is added up, the number is stored as it is, which makes for simpler equations.
        once = len(landings) == 1 and all(p.loops == at.loops for p in landings.values())
        # Where all that a source adds has the same array x, vectors come first: sum_k <outer(v_k, x), S> = <sum_k v_k,
        # S x>.
        common = None if once else self._common_array(source, state)
        kind = SCALAR if common is None else TensorType(state.tensor.width)
        total = target if once else builder.cell(f"{target.name}_sum", kind, home=home)
        own = tuple(names.values())

        def emit(statement: Statement) -> None:
            if statement is at.statement and isinstance(statement, Let):
                self.vars[statement.var] = self._unit(statement, tuple(names[loop.var] for loop in source.axes))
            elif id(statement) in landings and common is not None:
                outer = self._outer(_value(statement), source)
                assert outer is not None, "all that lands has the common array"
                vector = self._vector(outer, source)
                builder.append(Accum(total, (), vector, span=statement.span))
            elif id(statement) in landings and isinstance(statement, Assignment):
                for value in self._landed(statement, source, state):
                    builder.append(Store(target, own, value, span=statement.span) if once else
                                   Accum(total, (), value, span=statement.span))
            elif defined(statement) in source.closure:
                self._emit(statement, source.closure)

        with builder.nested() as made:
            if not once:
                builder.append(Store(total, (), builder.const(0, kind), span=at.statement.span))
            for statement in self._copied(region, source.closure, emit, names):
                builder.append(statement)
            if not once:
                value = builder.load(total, (), kind)
                if common is not None:
                    self.vars, self.names = {}, names
                    value = self._applied(value, common, state, ())
                builder.append(Store(target, own, value, span=at.statement.span))
        return in_loops(loops, tuple(made))

    def _unit(self, statement: Let, entry: tuple[IntExpr, ...]) -> Var:
        """A source's result for the number one, or for an array of numbers that is one in one entry."""
        op, var, builder = statement.op, statement.var, self.builder
        if isinstance(op, Elementwise):
            value = self._fixed(next(v for v in op.args if has_width(v)))
            if not entry:
                return value
            if value.type.shape:
                # Of a family of vectors, the entry's own is placed where the number would be.
                value = builder.let(Pick(value, entry), replace(value.type, shape=()))
            return builder.let(Place(value, entry, var.type.shape), var.type)
        assert isinstance(op, Contract)
        (rest, axes), (_, letters) = (op.left, op.left_axes), (op.right, op.right_axes)
        if not has_width(rest):
            (rest, axes), (_, letters) = (op.right, op.right_axes), (op.left, op.left_axes)
        chosen = dict(zip(letters, entry))
        if len(set(axes)) < len(axes) or set(axes) - set(letters) - set(op.out_axes):
            raise NotSuperposable("a sum over more than the numbers")
        value = self._fixed(rest)
        if set(axes) & set(chosen):
            shape = tuple(size for letter, size in zip(axes, rest.type.shape) if letter not in chosen)
            value = builder.let(Pick(value, tuple(chosen.get(letter, Range()) for letter in axes)),
                                replace(rest.type, shape=shape))
        if set(op.out_axes) & set(chosen):
            items = tuple(chosen.get(letter, Range()) for letter in op.out_axes)
            value = builder.let(Place(value, items, var.type.shape), var.type)
        return value

    def _landed(self, statement: Assignment, source: StepSource, state: Cell) -> Iterator[Var]:
        """The inner products of what a statement adds to a sum with the state."""
        builder = self.builder
        items = tuple(substitute(i, self.names) for i in single(statement.items))
        if isinstance(statement, Store | Accum):
            outer = self._outer(statement.value, source)
            if outer is not None:
                yield self._applied(self._vector(outer, source), outer, state, items)
                return
            value = self._operand(statement.value, source.closure)
            letters, with_state = "abcdefgh"[: len(value.type.shape)], builder.load(state, items, state.tensor)
            yield builder.moment(builder.contract(value, letters, with_state, letters, "") if letters
                                 else builder.mul(value, with_state))
            return
        for k, term in enumerate(statement.terms):
            mine = source.at.statement is statement and source.term == k
            if not isinstance(term, OuterTerm) or not mine and not {term.left, term.right} & source.closure:
                continue
            left, right = self._operand(term.left, source.closure), self._operand(term.right, source.closure)
            # <W, outer(u, x)> = <u, W x>.
            product = builder.let(MatMul(state, items, False, right), TensorType(state.matrix.rows), "z")
            value = builder.moment(builder.mul(left, product))
            yield value if term.coef is None or mine else builder.mul(self._fixed(term.coef), value)

    def _applied(self, vector: Var, outer: _Outer, state: Cell, items: tuple) -> Var:
        """The inner product of an outer product with a state: that of the vector with the state applied to the array."""
        builder, array = self.builder, self._fixed(outer.array)
        applied = builder.contract(builder.load(state, items, state.tensor), outer.axes, array, outer.axes, "")
        return builder.moment(builder.mul(vector, applied))

    def _outer(self, value: Var, source: StepSource, numbers: tuple[Var, ...] = ()) -> _Outer | None:
        """What a source adds to a width x finite matrix as an outer product, as the gradient of `U @ x` is one."""
        at = self.linear.makers.get(value)
        match at and at.op:
            case Elementwise(fn="mul", order=0, args=(a, b)) if SCALAR in (a.type, b.type):
                number, rest = (a, b) if a.type == SCALAR else (b, a)
                if value is source.at.var:
                    return self._outer(rest, source, numbers)
                return None if self.linear.kinds.get(number, NONE) else self._outer(rest, source, (*numbers, number))
            case Contract(left=vector, left_axes="", right=array, right_axes=axes, out_axes=out) \
                    | Contract(left=array, left_axes=axes, right=vector, right_axes="", out_axes=out) \
                    if has_width(vector) and not has_width(array) and out == axes and value is not source.at.var:
                return _Outer(numbers, vector, array, axes)
            case _:
                return None

    def _vector(self, outer: _Outer, source: StepSource) -> Var:
        """The vector of an outer product, with its numbers."""
        vector = self._operand(outer.vector, source.closure)
        for number in outer.numbers:
            vector = self.builder.mul(self._fixed(number), vector)
        return vector

    def _common_array(self, source: StepSource, state: Cell) -> _Outer | None:
        """The outer product that has the array of all that a source adds to a state, if that is the same for all."""
        if isinstance(state.type, MatrixType):
            return None
        places = source.landed[source.origin[state]]
        outers = [outer for p in places if (outer := self._outer(_value(p.statement), source)) is not None]
        if len(outers) < len(places) or any(p.assignment.items for p in places):
            return None
        made = [self.linear.makers[o.array].op for o in outers]
        inner = {loop.var for p in places for loop in p.loops} - {loop.var for loop in source.around}
        # The array must not change from one addition to the next: nothing but indices of the source's own loops is in
        # it.
        if any(op != made[0] or operands(op) for op in made) or inner & {
                n for e in integers(Let(outers[0].array, made[0])) for n in loop_names(e)}:
            return None
        return outers[0]

    # --- copying ---

    def _copied(self, region: tuple[Statement, ...], kept: set[Var | Cell], emit: Callable[[Statement], None],
                names: IndexMap | None = None) -> tuple[Statement, ...]:
        """The statements of a region that `emit` copies, in their loops."""
        self.vars, self.names = {}, dict(names or {})
        self.cells = {c: (self.builder.cell(c.name, c.type, c.rank, role=c.role), lambda items: items)
                      for c in kept if isinstance(c, Cell) and c not in self.linear.states}

        def block(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
            with self.builder.nested() as out:
                for statement in body:
                    self.builder.span = getattr(statement, "span", None)
                    if isinstance(statement, For):
                        self._loop(statement, block)
                    else:
                        emit(statement)
            return tuple(out)

        return block(region)

    def _loop(self, loop: For, block: BlockMap) -> None:
        """A loop with what `block` copies of it; temporaries of its body are not visible after it."""
        self.names[loop.var] = IntSym(self.builder.names.fresh(loop.var), "loop")
        outer = dict(self.vars)
        body = block(loop.body)
        self.vars = outer
        if body:
            made = replace(loop, var=int_text(self.names[loop.var]), start=substitute(loop.start, self.names),
                           stop=substitute(loop.stop, self.names), body=body)
            self._require_no_step(made)
            self.builder.append(made)

    def _emit(self, statement: Statement, kept: set[Var | Cell]) -> None:
        """Copy a statement; what it reads besides `kept` and what does not depend on states is zero."""
        match statement:
            case Let(var=var, op=op):
                op = map_op_indices(map_op_vars(op, lambda v: self._operand(v, kept)), self.names)
                (copy,) = map_cells((Let(var, op),), self.cells)
                assert isinstance(copy, Let)
                self.vars[var] = self.builder.let(copy.op, var.type, var.name)
                self._require_no_step(self.builder.block[-1])
            case Store(value=value) | Accum(value=value):
                # An addition that other sources make, which have kernels of their own.
                if isinstance(statement, Accum) and self.linear.kinds.get(value, NONE) and value not in kept:
                    return
                made = map_indices(replace(statement, value=self._operand(value, kept)), self.names)
                self.builder.append(*map_cells((made,), self.cells))
                self._require_no_step(made)
            case Zero():
                self.builder.append(*map_cells((statement,), self.cells))
            case MatStore() | MatAccum() | If():
                raise NotSuperposable("a matrix within a step")

    def _operand(self, var: Var, kept: set[Var | Cell]) -> Var:
        if var in kept:
            return self.vars[var]
        if self.linear.kinds.get(var, NONE):
            return self.builder.const(0, var.type)
        return self._fixed(var)

    def _fixed(self, var: Var) -> Var:
        """A temporary that does not depend on states, made again if it is the step's."""
        at = self.linear.makers.get(var)
        if at is None:
            return var
        if var not in self.vars:
            op = map_op_indices(map_op_vars(at.op, self._fixed), self.names)
            self.vars[var] = self.builder.let(op, var.type, var.name)
            self._require_no_step(self.builder.block[-1])
        return self.vars[var]

    def _require_no_step(self, statement: Statement) -> None:
        names = {n for e in integers(statement) for n in loop_names(e)}
        if isinstance(statement, For):
            names = loop_names(statement.start) | loop_names(statement.stop)
        # Its kernel would have to be taken anew at every step.
        if names & self.linear.steps:
            raise NotSuperposable("vectors that depend on the step")


def _value(statement: Statement) -> Var:
    """What a statement writes to a tensor."""
    assert isinstance(statement, Store | Accum)
    return statement.value
