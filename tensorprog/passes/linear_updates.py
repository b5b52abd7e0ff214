"""The updates of a training step as linear forms: what each state becomes, as a sum of states and gradients times numbers.

    M = beta*M + n*grad(loss, W)           M  ->  beta M + n G
    W = (1 - eta*decay)*W - eta*M          W  ->  (1 - eta decay) W - eta beta M - eta n G

The statements of a step are followed in their order, so that it does not matter how an update is spelled: in place or anew, through names
of its own, before or after others. Numbers stay expressions of the step, and may change from step to step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntSym
from tensorprog.ir.places import placed
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    Const,
    Elementwise,
    For,
    GradStmt,
    If,
    Let,
    Load,
    MatAccum,
    MatrixTerm,
    MatrixType,
    MatStore,
    Program,
    Statement,
    Store,
    Term,
    Var,
    Zero,
    walk,
)
from tensorprog.passes.rewrite import are_over_elements


class NotDescent(Exception):
    """Why a loop's steps are not of this form."""


@dataclass(frozen=True)
class UpdateNumber:
    """A number of a step: a constant, a temporary of the program, or (`args`) an operation on two numbers."""

    value: Fraction | Var | str
    args: tuple[UpdateNumber, ...] = ()

    def written(self, builder: Builder, known: Mapping[Var, Var]) -> Var:
        """The number computed in the builder's block; `known` are the temporaries that it is made of."""
        if self.args:
            assert isinstance(self.value, str)
            return builder.elementwise(self.value, *(a.written(builder, known) for a in self.args))
        if isinstance(self.value, Var):
            return known[self.value]
        assert isinstance(self.value, Fraction)
        return builder.const(self.value)

    @property
    def vars(self) -> set[Var]:
        """The temporaries that it is made of."""
        own = {self.value} if isinstance(self.value, Var) else set()
        return own.union(*(a.vars for a in self.args))


ONE, MINUS_ONE = UpdateNumber(Fraction(1)), UpdateNumber(Fraction(-1))


@dataclass(frozen=True)
class Gradient:
    """The gradient of the loss with respect to a state."""

    state: Cell


#: What is computed: the parts, each times a number.
Form = Mapping[Cell | Gradient, UpdateNumber]


def _times(number: UpdateNumber, form: Form) -> Form:
    # Ones stay as they are, by which `is_plain` knows a state that is only added to.
    if number == ONE:
        return form
    return {part: number if own == ONE else UpdateNumber("mul", (own, number)) for part, own in form.items()}


def _sum(left: Form, right: Form) -> Form:
    return {part: left[part] if part not in right else right[part] if part not in left
            else UpdateNumber("add", (left[part], right[part])) for part in (*left, *(p for p in right if p not in left))}


def forms_of(program: Program, update: tuple[Statement, ...], gradients: Mapping[Cell, GradStmt]) -> dict[Cell, Form | None]:
    """The form of every cell, other than of numbers, that the statements of an update write; None if it is not linear in states
    and gradients. `gradients` are those that are taken, by their targets.

    Raises:
        NotDescent: for updates in branches, or of some elements of a family.
    """
    return _Follower(program, gradients).followed(update)


class _Follower:
    def __init__(self, program: Program, gradients: Mapping[Cell, GradStmt]):
        self.extents = {i.cell: i.extents for i in program.initials}
        self.gradients = gradients
        self.cells: dict[Cell, Form | None] = {}
        self.vars: dict[Var, Form | None] = {}
        self.wrong: dict[Cell, str] = {}

    def followed(self, update: tuple[Statement, ...]) -> dict[Cell, Form | None]:
        for at in placed(update):
            self._statement(at.statement, at.loops)
        return self.cells

    def _statement(self, statement: Statement, loops: tuple[For, ...]) -> None:
        match statement:
            case If():
                raise NotDescent("it has branches")
            case Let(var=var, op=op):
                if var.type != SCALAR:
                    self.vars[var] = self._value(op, loops)
            case Store(cell=cell, items=items, value=value) if cell.type != SCALAR:
                self._write(cell, items, loops, self.vars.get(value))
            case Accum(cell=cell, items=items, value=value) if cell.type != SCALAR:
                self._write(cell, items, loops, self._added(self._read(cell, items, loops), self.vars.get(value)))
            case MatStore(cell=cell, items=items, terms=terms):
                self._write(cell, items, loops, self._terms(terms, loops))
            case MatAccum(cell=cell, items=items, terms=terms):
                self._write(cell, items, loops, self._added(self._read(cell, items, loops), self._terms(terms, loops)))
            case Zero(cell=cell):
                self.cells[cell] = {}
            case _:
                pass

    def _write(self, cell: Cell, items: tuple, loops: tuple[For, ...], form: Form | None) -> None:
        self.cells[cell] = form if self._whole(cell, items, loops) else None

    def _whole(self, cell: Cell, items: tuple, loops: tuple[For, ...]) -> bool:
        """Whether a statement in loops goes through every element of a family. Cells that are not declared may be values of
        the innermost loops."""
        declared = self.extents.get(cell)
        if declared is None:
            return tuple(items) == tuple(IntSym(loop.var, "loop") for loop in loops)[: len(items)]
        if are_over_elements(loops, items, declared):
            return True
        raise NotDescent(f"not every element of `{cell.display}` is a declared object that the loop updates")

    def _read(self, cell: Cell, items: tuple, loops: tuple[For, ...]) -> Form | None:
        if cell in self.gradients:
            gradient = self.gradients[cell]
            return {Gradient(gradient.wrt): ONE} if self._whole(gradient.wrt, gradient.wrt_items, loops) else None
        if not self._whole(cell, items, loops):
            return None
        return self.cells.get(cell, {cell: ONE}) if cell.type != SCALAR else None

    def _value(self, op: object, loops: tuple[For, ...]) -> Form | None:
        match op:
            case Load(cell=cell, items=items) if len(items) == cell.rank:
                return self._read(cell, items, loops)
            case Const(value=0):
                return {}
            case Elementwise(fn="neg", args=(arg,), order=0):
                return self._scaled(MINUS_ONE, self.vars.get(arg))
            case Elementwise(fn="add" | "sub" as fn, args=(left, right), order=0):
                other = self.vars.get(right)
                return self._added(self.vars.get(left), other if fn == "add" else self._scaled(MINUS_ONE, other))
            case Elementwise(fn="mul", args=(left, right), order=0):
                if left.type == SCALAR:
                    left, right = right, left
                return self._scaled(UpdateNumber(right), self.vars.get(left)) if right.type == SCALAR else None
            case Elementwise(fn="div", args=(left, right), order=0) if right.type == SCALAR:
                return self._scaled(UpdateNumber("div", (ONE, UpdateNumber(right))), self.vars.get(left))
        return None

    def _terms(self, terms: tuple[Term, ...], loops: tuple[For, ...]) -> Form | None:
        found: Form | None = {}
        for term in terms:
            if not isinstance(term, MatrixTerm) or term.transposed:
                return None
            form = self._read(term.cell, term.items, loops)
            found = self._added(found, form if term.coef is None else self._scaled(UpdateNumber(term.coef), form))
        return found

    @staticmethod
    def _added(left: Form | None, right: Form | None) -> Form | None:
        return None if left is None or right is None else _sum(left, right)

    @staticmethod
    def _scaled(number: UpdateNumber, form: Form | None) -> Form | None:
        return None if form is None else _times(number, form)


@dataclass(frozen=True)
class Group:
    """A state that gradients are taken with respect to, and what its updates depend on, as a velocity: `slots`, the state first.

    Attributes:
        moves: slot <- sum over slots of numbers times these; what is not there is zero.
        pushes: and so much of the gradient.
    """

    slots: tuple[Cell, ...]
    moves: Mapping[tuple[Cell, Cell], UpdateNumber]
    pushes: Mapping[Cell, UpdateNumber]

    @property
    def state(self) -> Cell:
        return self.slots[0]

    @property
    def is_plain(self) -> bool:
        """Whether the state alone is moved, and by gradients alone."""
        return dict(self.moves) == {(self.state, self.state): ONE}

    @property
    def numbers(self) -> list[UpdateNumber]:
        return [*self.moves.values(), *self.pushes.values()]


def groups_of(forms: Mapping[Cell, Form | None], states: Collection[Cell], read: Collection[Cell]) -> list[Group]:
    """The groups of an update's forms: one for each of `states`. `read` are cells that are read outside of the update.

    Raises:
        NotDescent: if a state, or what it depends on, is not linear, or belongs to two states.
    """
    needed = [*states, *(c for c in forms if c in read and c not in states)]
    # The list grows on the way: what a form depends on has a form, too.
    for cell in needed:
        form = forms.get(cell, {cell: ONE})
        if form is None:
            raise NotDescent(f"`{cell.display}` is made of gradients" if cell not in states
                             else f"what `{cell.display}` becomes is not linear in itself and its gradient")
        needed += [part for part in form if isinstance(part, Cell) and part not in needed]
    found = []
    for state in states:
        slots = _slots(state, needed, forms)
        found.append(_group(slots, forms))
        others = [c for c in slots[1:] if c in states]
        if others:
            raise NotDescent(f"`{others[0].display}` is moved by what moves `{state.display}`")
    rest = [c for c in needed if not any(c in group.slots for group in found)]
    if rest:
        raise NotDescent(f"`{rest[0].display}` is changed without a gradient")
    return found


def _slots(state: Cell, needed: Collection[Cell], forms: Mapping[Cell, Form | None]) -> tuple[Cell, ...]:
    """The state, and all that hangs together with it or its gradient."""
    slots: list[Cell] = [state]
    parts: dict[Cell, set[Cell]] = {c: {p if isinstance(p, Cell) else p.state for p in forms.get(c) or {c: ONE}} for c in needed}
    grown = True
    # In both directions: what moves the state, and what the state moves.
    while grown:
        more = [c for c in needed if c not in slots and (parts[c] & set(slots) or any(c in parts[s] for s in slots))]
        slots += more
        grown = bool(more)
    return tuple(slots)


def _group(slots: tuple[Cell, ...], forms: Mapping[Cell, Form | None]) -> Group:
    moves, pushes = {}, {}
    for slot in slots:
        if (slot.type, slot.rank) != (slots[0].type, slots[0].rank):
            raise NotDescent(f"`{slot.display}` does not have the form of `{slots[0].display}`")
        for part, number in (forms.get(slot) or ({} if slot in forms else {slot: ONE})).items():
            if isinstance(part, Cell):
                moves[slot, part] = number
            elif part.state is slots[0]:
                pushes[slot] = number
            else:
                raise NotDescent(f"`{slot.display}` takes a gradient by `{part.state.display}`")
    return Group(slots, moves, pushes)


def is_wide(cell: Cell) -> bool:
    """Whether a cell has an axis of a width."""
    return isinstance(cell.type, MatrixType) or cell.type.width is not None


def writes_numbers(update: tuple[Statement, ...]) -> list[Cell]:
    """The cells of numbers that the statements of an update write."""
    return [s.cell for s in walk(update) if isinstance(s, Store | Accum) and not is_wide(s.cell)]
