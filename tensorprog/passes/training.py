"""The parts of a training loop whose steps are gradient descent: what windows (`passes.windows`) are made of.

    for t in range(..):
        forward:  averages f[i] of the states            (vectors; the same in every iteration)
        scalars:  the loss, and what else f[i] decides   (numbers; may depend on t)
        update:   states become sums of states and of gradients grad(loss, state), times numbers (`linear_updates`)

The averages that the scalars read are what states act through, so that grad(loss, state) is the sum over i of
d loss / d f[i] times grad(f[i], state). Parts are found by following values, not by the form of what computes them: an average in
the middle of a sum is one of these, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    defined,
    integers,
    reads,
    touched,
    walk,
    written,
)
from tensorprog.passes.linear_updates import ONE, Group, NotDescent, UpdateNumber, forms_of, groups_of, is_wide, writes_numbers
from tensorprog.passes.rewrite import map_blocks
from tensorprog.passes.simplify import pruned, reached


@dataclass(frozen=True)
class Average:
    """A family of averages that the scalars read, and the loops of the forward part around it, outermost first."""

    cell: Cell
    loops: tuple[For, ...]


@dataclass(frozen=True)
class Motion:
    """How a state and its companions (`Group`) move: the cells in which the scalars of every step leave the numbers of the group; ONE
    where that is the number. `rate` is None, or, where gradients times a number that no step changes are all that moves the state,
    that number: a temporary in front of the loop."""

    slots: tuple[Cell, ...]
    moves: Mapping[tuple[Cell, Cell], Cell | None]
    pushes: Mapping[Cell, Cell | None]
    rate: Var | None = None

    @property
    def state(self) -> Cell:
        return self.slots[0]


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
        motions: how states are updated.
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
    motions: tuple[Motion, ...]
    kept: frozenset[Cell]


def training_of(program: Program, loop: For, builder: Builder) -> Training:
    """The parts of a loop of a typed program with gradients.

    Raises:
        NotDescent: with the reason, if it is not of this form.
    """
    # A window counts its steps by the difference of iterations.
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
        self.families: dict[Var, Average] = {}

    def found(self) -> Training:
        scalar, items = self._scalar()
        if any(isinstance(s, KernelStmt | GradRecord) for s in self.statements):
            raise NotDescent("it has kernels")
        update = self._update()
        values = tuple(s for s in self.loop.body if s not in update)
        groups = self._groups(update, values)
        averages, marked = self._averages(values)
        kept = frozenset(cells_written(values) & self.outside)
        motions, marked = self._motions(groups, marked)
        numbers = {c for m in motions for c in (*m.moves.values(), *m.pushes.values()) if c is not None}
        scalars = _part(marked, kept | numbers | {scalar})
        loss = _part(marked, numbers | {scalar})
        averages, driving = (tuple(a for a in averages if any(a.cell in cells_read(s) for s in walk(part))) for part in (scalars, loss))
        forward = _part(self._with_stores(values, averages), {a.cell for a in averages})
        self._check(forward, scalars, loss)
        if not driving:
            raise NotDescent("the loss reads no average")
        return Training(self.loop, averages, driving, forward, scalars, loss, scalar, items, motions, kept)

    def _scalar(self) -> tuple[Cell, tuple[IntExpr, ...]]:
        scalars = {(g.scalar, g.scalar_items) for g in self.gradients.values()}
        # Several losses have several slopes, of which each state follows its own.
        if len(scalars) != 1:
            raise NotDescent("it takes gradients of several scalars")
        return next(iter(scalars))

    # --- updates ---

    def _update(self) -> tuple[Statement, ...]:
        """The statements that update states: gradients and what is made of them, changes of states, and, behind the first
        of these, changes of other vectors and matrices."""
        body, states = self.loop.body, {g.wrt for g in self.gradients.values()}
        made = self._made_of_gradients(states)
        update: set[int] = set()
        for k, statement in enumerate(body):
            inside = list(walk((statement,)))
            wide = [c for s in inside if not isinstance(s, Let) and (c := written(s)) is not None and is_wide(c)]
            alone = all(is_wide(c) for c in cells_written((statement,)))
            if any(isinstance(s, GradStmt) or defined(s) in made for s in inside) or states & set(wide) or (update and wide and alone):
                update.add(k)
        # What only these read belongs to them.
        for k in reversed(range(len(body))):
            match body[k]:
                case Let(var=var) if var.type != SCALAR:
                    users = {j for j, s in enumerate(body) if any(var in reads(n) for n in walk((s,)))}
                    if users and users <= update:
                        update.add(k)
        return tuple(body[k] for k in sorted(update))

    def _made_of_gradients(self, states: set[Cell]) -> set[Var | Cell | None]:
        """Temporaries and cells, other than states, that depend on gradients."""
        made: set[Var | Cell | None] = set(self.gradients)
        grown = True
        while grown:
            more = {d for s in self.statements if (d := defined(s)) is not None and d not in made and d not in states
                    and made & {*reads(s), *cells_read(s)}}
            made |= more
            grown = bool(more)
        return made

    def _groups(self, update: tuple[Statement, ...], values: tuple[Statement, ...]) -> list[Group]:
        body = self.loop.body
        if any(g.scalar in cells_written(update) for g in self.gradients.values()):
            raise NotDescent("the loss reads what gradients make, as a velocity")
        for cell in writes_numbers(update):
            if cell in self.outside or any(cell in cells_read(s) for s in walk(values)):
                raise NotDescent(f"`{cell.display}` is made of gradients")
        forms = forms_of(self.program, update, self.gradients)
        # A step of descent is computed from the states before it, all of them.
        first = min(body.index(s) for s in update)
        inside = {c for s in walk(values) for c in touched(s)}
        states = list(dict.fromkeys(g.wrt for g in self.gradients.values()))
        groups = groups_of(forms, states, self.outside | inside)
        slots = {c for g in groups for c in g.slots}
        changed = slots & {c for s in walk(values) if (c := written(s)) is not None}
        if changed:
            raise NotDescent(f"{_named(changed)} is changed otherwise as well")
        late = {c for s in body[first:] if s in values for n in walk((s,)) for c in cells_read(n)}
        if late & slots:
            raise NotDescent(f"{_named(late & slots)} is read after an update")
        companions = {c for g in groups for c in g.slots[1:]}
        if companions & inside:
            raise NotDescent(f"{_named(companions & inside)} is read by more than updates")
        for group in groups:
            if not group.pushes:
                raise NotDescent(f"the gradient by `{group.state.display}` is not only added to it")
            for slot in group.slots[1:]:
                declared = any(i.cell is slot for i in self.program.initials)
                if slot.rank and not declared:
                    raise NotDescent(f"`{slot.display}` is not declared")
        self.first = first
        return groups

    def _motions(self, groups: Sequence[Group], marked: tuple[Statement, ...]) -> tuple[tuple[Motion, ...], tuple[Statement, ...]]:
        """How states move, and the statements with those that leave the numbers of this in cells."""
        builder, step = self.builder, Builder(self.builder.names)
        step.span = self.loop.span
        motions = [self._plain(g) or Motion(g.slots, {key: self._left(number, step) for key, number in g.moves.items()},
                                            {key: self._left(number, step) for key, number in g.pushes.items()})
                   for g in groups]
        builder.span = self.loop.span
        return tuple(motions), (*marked, *step.block)

    def _plain(self, group: Group) -> Motion | None:
        """The motion of a group that gradients times a fixed number move; None if it is another."""
        if not group.is_plain or any(self._changes(v) for n in group.numbers for v in n.vars):
            return None
        number = group.pushes[group.state]
        rate = number.written(self.builder, {v: self._number(v, self.builder) for v in number.vars})
        return Motion(group.slots, {}, {}, rate)

    def _left(self, number: UpdateNumber, step: Builder) -> Cell | None:
        """The cell in which a number of a step is left; None for ONE."""
        if number == ONE:
            return None
        cell = step.cell("number", SCALAR, home=(self.loop.var,))
        value = number.written(step, {v: self._number(v, step) for v in number.vars})
        step.append(Store(cell, (), value, span=step.span))
        return cell

    def _changes(self, var: Var) -> bool:
        """Whether steps change a number."""
        statement = self.lets[var]
        if isinstance(statement.op, Load) and statement.op.cell in cells_written(self.loop.body) or isinstance(statement.op, Moment):
            return True
        return bool(_loops_named(statement)) or any(map(self._changes, reads(statement)))

    def _number(self, var: Var, builder: Builder) -> Var:
        """A number of a step, computed anew at its end."""
        statement = self.lets[var]
        op = statement.op
        if found := self.families.get(var):
            op = Load(found.cell, _indices(found.loops))
        if _loops_named(statement) - {self.loop.var} or var in self.families and self.families[var].loops:
            raise NotDescent("a rate is not one number for a step")
        match op:
            case Const() | ParamRef() | WidthConst() | FromInt() | InputRef():
                return builder.let(op, var.type, var.name)
            case Load(cell=cell) if self._is_settled(cell):
                return builder.let(op, var.type, var.name)
            case Elementwise(args=args):
                return builder.let(replace(op, args=tuple(self._number(a, builder) for a in args)), var.type, var.name)
        raise NotDescent("a rate is made of what updates change")

    def _is_settled(self, cell: Cell) -> bool:
        """Whether updates read what a step leaves in a cell of numbers at its end."""
        return cell.type == SCALAR and cell not in cells_written(self.loop.body[self.first:])

    # --- averages ---

    def _averages(self, values: tuple[Statement, ...]) -> tuple[tuple[Average, ...], tuple[Statement, ...]]:
        """A family for every average, and the statements with averages read from families."""
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
                raise NotDescent("its vectors depend on the iteration, and not by rows of data that it picks")

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
            if not self._writes_by_iteration(part, cell):
                continue  # whatever is read was written in this iteration
            places = {tuple(p for p, item in enumerate(items) if var in _loops_of(item)) for items in accesses}
            if len(places) > 1 or any(items[p] != IntSym(var, "loop") for items in accesses for p in next(iter(places))):
                raise NotDescent(f"`{cell.display}` is read in other iterations")

    def _writes_by_iteration(self, part: tuple[Statement, ...], cell: Cell) -> bool:
        """Whether the number of the iteration decides which elements of a cell are written."""
        var = self.loop.var
        for statement, loops in _with_loops(part):
            if written(statement) is cell:
                bounds = {name for loop in loops for name in loop_names(loop.start) | loop_names(loop.stop)}
                if var in bounds or any(var in _loops_of(item) for items in access_indices(statement, cell) for item in items):
                    return True
        return False

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


def _loops_named(statement: Let) -> set[str]:
    """The loops whose iterations an operation itself names."""
    return {name for number in integers(statement) for name in loop_names(number)}


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
        case Let(op=Load(cell=cell, items=items)) | Store(cell=cell, items=items) | Accum(cell=cell, items=items) if cell in own:
            return any(var in _loops_of(item) and item != IntSym(var, "loop") for item in items)
        case _:
            return any(var in loop_names(i) for i in (*integers(statement), *getattr(getattr(statement, "op", None), "items", ()))
                       if not isinstance(i, Range))


def _named(cells: Iterable[Cell]) -> str:
    return _named_text(c.display for c in cells)


def _named_text(names: Iterable[str]) -> str:
    return f"`{min(names)}`"
