"""The parts of a training loop whose steps are gradient descent: what windows (`passes.windows`) are made of.

    for t in range(..):
        forward:  averages f[i] of the states            (vectors; the same in every iteration)
        scalars:  the loss, and what else f[i] decides   (numbers; may depend on t)
        update:   state += rate * grad(loss, state)      (for each state)

The averages that the scalars read are what states act through, so that grad(loss, state) is the sum over i of
d loss / d f[i] times grad(f[i], state). Parts are found by following values, not by the form of what computes them: an average in
the middle of a sum is one of these, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntSym, loop_names
from tensorprog.ir.places import placed
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    Const,
    Elementwise,
    For,
    FromInt,
    GradRecord,
    GradStmt,
    If,
    InputRef,
    KernelStmt,
    Let,
    Load,
    MatAccum,
    MatrixTerm,
    MatrixType,
    Moment,
    ParamRef,
    Program,
    Range,
    Statement,
    Store,
    Var,
    WidthConst,
    Zero,
    access_indices,
    cells_read,
    cells_written,
    integers,
    reads,
    touched,
    walk,
    written,
)
from tensorprog.passes.rewrite import are_over_elements, map_blocks
from tensorprog.passes.simplify import pruned, reached


class NotDescent(Exception):
    """Why a loop is not of this form."""


@dataclass(frozen=True)
class Average:
    """A family of averages that the scalars read, and the loops of the forward part around it, outermost first."""

    cell: Cell
    loops: tuple[For, ...]


@dataclass(frozen=True)
class Rate:
    """A state, and the number that multiplies the gradient: a temporary, by its definition `value`."""

    state: Cell
    factors: tuple[tuple[str, Var | None], ...]


@dataclass(frozen=True)
class Training:
    """A training loop.

    Attributes:
        averages: families f; `forward` stores them, `scalars` read them.
        driving: those that the loss reads.
        forward: the statements that compute all averages from the states.
        scalars: those that compute whatever the rest of the program reads, and the loss.
        loss: those that compute the loss alone.
        scalar, items: the loss, as the gradients name it.
        rates: how states are updated.
        kept: cells that the rest of the program shares with the loop.
    """

    loop: For
    averages: tuple[Average, ...]
    driving: tuple[Average, ...]
    forward: tuple[Statement, ...]
    scalars: tuple[Statement, ...]
    loss: tuple[Statement, ...]
    scalar: Cell
    items: tuple[IntExpr, ...]
    rates: tuple[Rate, ...]
    kept: frozenset[Cell]


def training_of(program: Program, loop: For, builder: Builder) -> Training:
    """The parts of a loop of a typed program with gradients.

    Raises:
        NotDescent: with the reason, if it is not of this form.
    """
    if loop.step != 1:
        raise NotDescent("it does not count upwards by one")
    return _Finder(program, loop, builder).found()


class _Finder:
    def __init__(self, program: Program, loop: For, builder: Builder):
        self.program, self.loop, self.builder = program, loop, builder
        self.statements = list(walk(loop.body))
        inside = {id(s) for s in self.statements}
        self.outside = {c for s in walk(program.body) if id(s) not in inside and s is not loop for c in touched(s)}
        self.outside |= program.results
        self.gradients = {s.target: s for s in self.statements if isinstance(s, GradStmt)}
        self.lets = {s.var: s for s in walk(program.body) if isinstance(s, Let)}

    def found(self) -> Training:
        scalar, items = self._scalar()
        if any(isinstance(s, KernelStmt | GradRecord) for s in self.statements):
            raise NotDescent("it has kernels")
        made = self._made_of_gradients()
        update = tuple(s for s in self.loop.body if any(self._is_update(n, made) for n in walk((s,))))
        values = tuple(s for s in self.loop.body if s not in update)
        rates = self._rates(update, values)
        averages, marked = self._averages(values)
        kept = frozenset(cells_written(values) & self.outside)
        scalars = _part(marked, kept | {scalar})
        loss = _part(marked, {scalar})
        averages, driving = (tuple(a for a in averages if any(a.cell in cells_read(s) for s in walk(part))) for part in (scalars, loss))
        forward = _part(self._with_stores(values, averages), {a.cell for a in averages})
        self._check(forward, scalars, loss)
        if not driving:
            raise NotDescent("the loss reads no average")
        return Training(self.loop, averages, driving, forward, scalars, loss, scalar, items, rates, kept)

    def _scalar(self) -> tuple[Cell, tuple[IntExpr, ...]]:
        scalars = {(g.scalar, g.scalar_items) for g in self.gradients.values()}
        if len(scalars) != 1:
            raise NotDescent("it takes gradients of several scalars")
        return next(iter(scalars))

    # --- updates ---

    def _made_of_gradients(self) -> set[Var]:
        """Temporaries that depend on gradients within an iteration."""
        made: set[Var] = set()
        for statement in self.statements:
            uses = set(self.gradients) & set(cells_read(statement)) or made & set(reads(statement))
            if isinstance(statement, Let) and uses:
                made.add(statement.var)
        return made

    def _is_update(self, statement: Statement, made: set[Var]) -> bool:
        return (isinstance(statement, GradStmt) or bool(made & set(reads(statement)))
                or bool(set(self.gradients) & set(cells_read(statement))))

    def _rates(self, update: tuple[Statement, ...], values: tuple[Statement, ...]) -> tuple[Rate, ...]:
        rates = [self._rate(s, loops) for s, loops in _with_loops(update) if not isinstance(s, Let | GradStmt | For)]
        states = [r.state for r in rates]
        if len(set(states)) < len(states):
            raise NotDescent("a state is updated more than once")
        unused = {g.wrt for g in self.gradients.values()} - set(states)
        if unused:
            raise NotDescent(f"the gradient by {_named(unused)} is not only added to it")
        for state in states:
            if sum(written(s) is state for s in self.statements) != 1:
                raise NotDescent(f"`{state.display}` is changed otherwise as well")
        # A step of descent is computed from the states before it, all of them.
        first = min(self.loop.body.index(s) for s in update)
        late = {c for s in self.loop.body[first:] if s in values for n in walk((s,)) for c in cells_read(n)}
        if late & set(states):
            raise NotDescent(f"{_named(late & set(states))} is read after an update")
        return tuple(rates)

    def _rate(self, statement: Statement, loops: tuple[For, ...]) -> Rate:
        """The rate of an update; it has to be of every element of the state's family."""
        match statement:
            case Accum(cell=cell, items=items, value=value):
                factors, gradient = self._factors(value)
            case MatAccum(cell=cell, items=items, terms=(MatrixTerm(coef=coef, cell=target, items=(), transposed=False),)):
                factors, gradient = ([] if coef is None else [("mul", coef)]), self.gradients.get(target)
            case _:
                other = written(statement)
                raise NotDescent(f"`{other.display}` is made of gradients" if other else "it has branches")
        if gradient is None or gradient.wrt is not cell or gradient.wrt_items != items:
            raise NotDescent(f"what is added to `{cell.display}` is not its gradient times a number")
        initial = next((i for i in self.program.initials if i.cell is cell), None)
        if initial is None or not are_over_elements(loops, items, initial.extents):
            raise NotDescent(f"not every element of `{cell.display}` is a declared object that the loop updates")
        return Rate(cell, tuple((fn, None if var is None else self._number(var)) for fn, var in factors))

    def _factors(self, var: Var) -> tuple[list[tuple[str, Var | None]], GradStmt | None]:
        """The numbers that make a value of a gradient, outermost last, and the gradient."""
        op = self.lets[var].op
        match op:
            case Load(cell=cell, items=()) if cell in self.gradients:
                return [], self.gradients[cell]
            case Elementwise(fn="neg", args=(inner,), order=0):
                factors, gradient = self._factors(inner)
                return [*factors, ("neg", None)], gradient
            case Elementwise(fn="mul" | "div" as fn, args=(left, right), order=0):
                for inner, other in ((left, right), (right, left)) if fn == "mul" else ((left, right),):
                    if other.type == SCALAR and inner.type != SCALAR:
                        factors, gradient = self._factors(inner)
                        return [*factors, (fn, other)], gradient
        return [], None

    def _number(self, var: Var) -> Var:
        """A number that the loop does not change, computed anew."""
        op, builder = self.lets[var].op, self.builder
        match op:
            case Const() | ParamRef() | WidthConst():
                return builder.let(op, var.type, var.name)
            case FromInt() | InputRef() if not any(map(loop_names, integers(self.lets[var]))):
                return builder.let(op, var.type, var.name)
            case Load(cell=cell) if cell not in cells_written(self.loop.body) and not any(
                    map(loop_names, integers(self.lets[var]))):
                return builder.let(op, var.type, var.name)
            case Elementwise(args=args):
                return builder.let(replace(op, args=tuple(map(self._number, args))), var.type, var.name)
        raise NotDescent("a rate changes from step to step")

    # --- averages ---

    def _averages(self, values: tuple[Statement, ...]) -> tuple[tuple[Average, ...], tuple[Statement, ...]]:
        """A family for every average, and the statements with averages read from families."""
        self.families: dict[Var, Average] = {}
        for statement, loops in _with_loops(values):
            if isinstance(statement, Let) and isinstance(statement.op, Moment) and statement.var.type == SCALAR:
                cell = self.builder.cell(f"{statement.var.name}_average", SCALAR, len(loops))
                self.families[statement.var] = Average(cell, loops)

        def read(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
            return tuple(replace(s, op=Load(found.cell, _indices(found.loops)))
                         if isinstance(s, Let) and (found := self.families.get(s.var)) is not None
                         else map_blocks(s, read) for s in body)

        return tuple(self.families.values()), read(values)

    def _with_stores(self, values: tuple[Statement, ...], averages: tuple[Average, ...]) -> tuple[Statement, ...]:
        def stored(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
            out: list[Statement] = []
            for s in body:
                out.append(map_blocks(s, stored))
                if isinstance(s, Let) and (found := self.families.get(s.var)) in averages and found is not None:
                    out.append(Store(found.cell, _indices(found.loops), s.var, span=s.span))
            return tuple(out)

        return stored(values)

    # --- what parts may not do ---

    def _check(self, forward: tuple[Statement, ...], scalars: tuple[Statement, ...], loss: tuple[Statement, ...]) -> None:
        wide = {s.var.name for s in walk(scalars) if isinstance(s, Let) and (s.var.type.width or isinstance(s.op, Moment))}
        wide |= {c.display for s in walk(scalars) for c in touched(s) if isinstance(c.type, MatrixType) or c.type.width}
        if wide:
            raise NotDescent(f"{_named_text(wide)} is a vector, or an array of averages, that is read after the loop or by the loss")
        for part in (forward, loss):
            self._check_iteration(part)
        own = cells_written(forward)
        for statement in walk(forward):
            if _names_iteration(statement, self.loop.var, own):
                raise NotDescent("its vectors depend on the iteration, as those of minibatches do")

    def _check_iteration(self, part: tuple[Statement, ...]) -> None:
        """Every value comes from the same iteration."""
        var, own = self.loop.var, cells_written(part)
        if any(isinstance(s, If) and var in loop_names(s.condition) for s in walk(part)):
            raise NotDescent("what it computes depends on the iteration")
        begun: set[Cell] = set()
        for statement in walk(part):
            begins = {statement.cell} if isinstance(statement, Store | Zero) else set()
            # What is read before this iteration stores it comes from the one before.
            early = (set(touched(statement)) & own) - begun - begins
            if early or own & self._written_outside():
                raise NotDescent(f"{_named(early or own & self._written_outside())} is carried from one iteration to the next")
            begun |= begins
        for cell in own:
            accesses = [items for s in walk(part) for items in access_indices(s, cell)]
            places = {tuple(p for p, item in enumerate(items) if var in _loops_of(item)) for items in accesses}
            if len(places) > 1 or any(items[p] != IntSym(var, "loop") for items in accesses for p in next(iter(places))):
                raise NotDescent(f"`{cell.display}` is read in other iterations")

    def _written_outside(self) -> set[Cell]:
        inside = {id(s) for s in self.statements}
        return {c for s in walk(self.program.body) if id(s) not in inside and (c := written(s)) is not None}


def _part(body: tuple[Statement, ...], results: Iterable[Cell]) -> tuple[Statement, ...]:
    """The statements that cells depend on."""
    live = reached(body, results)
    return pruned(body, live, live)


def _with_loops(body: tuple[Statement, ...]) -> Iterator[tuple[Statement, tuple[For, ...]]]:
    """Every statement with the loops around it. Those in branches come as the branch."""
    for at in placed(body):
        if not at.guarded:
            yield at.statement, at.loops
        elif isinstance(at.statement, Let) and isinstance(at.op, Moment):
            raise NotDescent("it has branches around averages")


def _indices(loops: tuple[For, ...]) -> tuple[IntExpr, ...]:
    return tuple(IntSym(loop.var, "loop") for loop in loops)


def _loops_of(item: IntExpr | Range) -> set[str]:
    if isinstance(item, Range):
        return {name for end in (item.start, item.stop) if end is not None for name in loop_names(end)}
    return loop_names(item)


def _names_iteration(statement: Statement, var: str, own: set[Cell]) -> bool:
    """Whether a statement uses the number of the iteration, but for elements of families that it writes."""
    match statement:
        case For(start=start, stop=stop):
            return var in loop_names(start) | loop_names(stop)
        case If(condition=condition):
            return var in loop_names(condition)
        case Let(op=Load(cell=cell)) | Store(cell=cell) | Accum(cell=cell) if cell in own:
            return False
        case _:
            return any(var in loop_names(i) for i in (*integers(statement), *getattr(getattr(statement, "op", None), "items", ()))
                       if not isinstance(i, Range))


def _named(cells: Iterable[Cell]) -> str:
    return _named_text(c.display for c in cells)


def _named_text(names: Iterable[str]) -> str:
    return f"`{min(names)}`"
