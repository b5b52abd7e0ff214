"""States of a window (`passes.windows`) that move by more than fixed multiples of gradients: with a velocity, decay, or a schedule.

A step makes sums of the state and its companions, S, and of the gradient G = sum of c[j] g[j], times numbers: S' = A S + B G. Within
a window

    S(s) = phi S(0) + sum of early[j] g0[j] + late[j] g1[j],      G at step s:  g = (1 - w) g0 + w g1,  w = s/(m-1)

with g0, g1 the gradients of averages at the beginning and at the last step, so that phi, early and late obey the same recursion
as S: they are numbers. An average moves by <g, S'[state] - S[state]>, with g in the middle of the step; what that needs are the
inner products of g0 and g1 with each other, and with S(0) as far as S moves by itself. All that is exact for one step, and of
second order in what gradients change.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tensorprog.ir.integers import IntExpr, IntSym
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    GradAdd,
    GradDot,
    MatrixTerm,
    MatrixType,
    MatStore,
    Store,
    Var,
)
from tensorprog.passes.rewrite import over_elements
from tensorprog.passes.training import Average, Motion
from tensorprog.passes.window_frame import Families, Items, Kernel, WindowFrame

#: What stands for the cells of a step.
Cells = dict[Cell, Cell]


class Moving:
    """The statements for one state and its companions. `extents` are those of the state's family."""

    def __init__(self, frame: WindowFrame, motion: Motion, extents: tuple[IntExpr, ...]):
        self.frame, self.builder, self.motion, self.extents = frame, frame.builder, motion, extents
        self.slots, self.state = motion.slots, motion.state
        self.reaches = {slot: self._reached(slot) for slot in self.slots}
        moves = motion.moves
        still = (self.state, self.state) in moves and moves[self.state, self.state] is None
        self.drifts = [q for q in self.slots if (q is not self.state and (self.state, q) in moves) or (q is self.state and not still)]
        self.felt = [r for r in self.slots if any(r in self.reaches[q] for q in self.drifts)]
        driving = frame.training.driving
        builder = self.builder
        self.kept = {slot: builder.cell(f"{slot.name}_kept", slot.type, slot.rank) for slot in self.slots}
        self.phi = {(q, r): builder.cell("phi", SCALAR) for q in self.slots for r in self.reaches[q]}
        self.early = {slot: frame.families("early", driving) for slot in self.slots}
        self.late = {slot: frame.families("late", driving) for slot in self.slots}
        self.pushed = {key: frame.families("push", driving) for key in ((0, 0), (0, 1), (1, 0), (1, 1))}
        self.kernels: dict[tuple[int, int], Kernel] = {}
        self.along: dict[int, dict[Cell, Families]] = {}

    def _reached(self, slot: Cell) -> list[Cell]:
        """The slots that one depends on after some steps, itself at the beginning."""
        found = [slot]
        # The list grows on the way.
        for other in found:
            found += [r for q, r in self.motion.moves if q is other and r not in found]
        return found

    # --- a window ---

    def keep(self) -> None:
        """Copies of all slots at the beginning."""
        for slot, kept in self.kept.items():
            self._over_family(partial(self._copy, kept, slot))

    def _copy(self, kept: Cell, slot: Cell, items: Items) -> None:
        builder = self.builder
        if isinstance(slot.type, MatrixType):
            builder.append(MatStore(kept, items, (MatrixTerm(None, slot, items),), span=self.frame.span))
        else:
            builder.append(Store(kept, items, builder.load(slot, items), span=self.frame.span))

    def stage(self, number: int, stages: Sequence[Families]) -> None:
        """Inner products of gradients at stage `number`, 0 or 1, the last of `stages`."""
        for other in range(number + 1):
            for pair in dict.fromkeys(((number, other), (other, number))):
                self.kernels[pair] = self.frame.kernel(stages[pair[0]], stages[pair[1]], {self.state: None})
        self.along[number] = {slot: self._along(slot, stages[number]) for slot in self.felt}

    def _along(self, slot: Cell, stage: Families) -> Families:
        """The derivatives of averages along a slot as it was at the beginning."""
        found = self.frame.families("along", self.frame.training.averages)
        for average in self.frame.training.averages:
            self.frame.for_each((average.loops,), partial(self._derivative, slot, stage[average.cell], found[average.cell]))
        return found

    def _derivative(self, slot: Cell, average: Cell, found: Cell, at: Items) -> None:
        target = self.builder.cell("derivative", SCALAR)
        self.builder.append(GradDot(target, average, at, self.state, self.kept[slot], span=self.frame.span))
        self.builder.append(Store(found, at, self.builder.load(target)))

    def begin(self) -> None:
        builder = self.builder
        for (q, r), cell in self.phi.items():
            builder.append(Store(cell, (), builder.const(int(q is r))))
        for average in self.frame.training.driving:
            self.frame.for_each((average.loops,), partial(self._zeros, average.cell))

    def _zeros(self, average: Cell, at: Items) -> None:
        for families in (*self.early.values(), *self.late.values()):
            self.builder.append(Store(families[average], at, self.builder.const(0)))

    def step(self, cells: Cells, averages: Sequence[Average], share: Var | None, middle: Var | None) -> None:
        """A step of the numbers, and of averages: `share` and `middle` are how far it is on the way from the beginning to the
        last step, and its middle; None: the beginning, all the time."""
        builder = self.builder
        moves = {key: self._number(cell, cells) for key, cell in self.motion.moves.items()}
        pushes = {key: self._number(cell, cells) for key, cell in self.motion.pushes.items()}
        # All are read before one is stored anew.
        old = {key: builder.load(cell) for key, cell in self.phi.items()}
        drift = {q: moves[self.state, q] if q is not self.state else
                 builder.sub(moves[q, q], builder.const(1)) if (q, q) in moves else builder.const(-1) for q in self.drifts}
        along = {r: self._sum([builder.mul(drift[q], old[q, r]) for q in self.drifts if (q, r) in old]) for r in self.felt}
        for average in self.frame.training.driving:
            self.frame.for_each((average.loops,), partial(self._element, average.cell, moves, pushes, drift, share, middle))
        for (q, r), cell in self.phi.items():
            parts = [builder.mul(moves[q, s], old[s, r]) for s in self.slots if (q, s) in moves and (s, r) in old]
            builder.append(Store(cell, (), self._sum(parts)))
        for average in averages:
            self.frame.for_each((average.loops,), partial(self._drift, average.cell, along, middle))
        for key in self.kernels if middle is not None else ((0, 0),):
            self.frame.move(averages, self.kernels[key], self.pushed[key])

    def _number(self, cell: Cell | None, cells: Cells) -> Var:
        return self.builder.const(1) if cell is None else self.builder.load(cells.get(cell, cell))

    def _sum(self, parts: list[Var]) -> Var:
        total = self.builder.const(0)
        for part in parts:
            total = self.builder.add(total, part)
        return total

    def _element(self, average: Cell, moves: dict, pushes: dict[Cell, Var], drift: dict[Cell, Var], share: Var | None,
                 middle: Var | None, at: Items) -> None:
        """The numbers of one average: what gradients at the beginning, and at the last step, have in the slots."""
        builder = self.builder
        slope = builder.load(self.frame.slopes[average], at)
        late = builder.mul(share, slope) if share is not None else builder.const(0)
        for end, families, push in ((0, self.early, builder.sub(slope, late)), (1, self.late, late)):
            # To predict, the gradients of the beginning stand for all: those of the end have no share.
            if end and share is None:
                break
            old = {q: builder.load(f[average], at) for q, f in families.items()}
            parts = [builder.mul(number, old[q]) for q, number in drift.items()]
            if self.state in pushes:
                parts.append(builder.mul(pushes[self.state], push))
            self._push(end, average, at, self._sum(parts), middle)
            for q in self.slots:
                parts = [builder.mul(moves[q, s], old[s]) for s in self.slots if (q, s) in moves]
                if q in pushes:
                    parts.append(builder.mul(pushes[q], push))
                builder.append(Store(families[q][average], at, self._sum(parts)))

    def _push(self, end: int, average: Cell, at: Items, value: Var, middle: Var | None) -> None:
        """What the state gets of the gradient at an end, by the share of the gradients that averages have in the step's middle."""
        builder = self.builder
        other = builder.mul(middle, value) if middle is not None else builder.const(0)
        builder.append(Store(self.pushed[0, end][average], at, builder.sub(value, other)))
        builder.append(Store(self.pushed[1, end][average], at, other))

    def _drift(self, average: Cell, along: dict[Cell, Var], middle: Var | None, at: Items) -> None:
        builder = self.builder
        for slot, number in along.items():
            value = builder.load(self.along[0][slot][average], at)
            if middle is not None:
                change = builder.sub(builder.load(self.along[1][slot][average], at), value)
                value = builder.add(value, builder.mul(middle, change))
            builder.append(Accum(self.frame.moved[average], at, builder.mul(number, value)))

    def place(self, slots: Sequence[Cell], stages: Sequence[Families]) -> None:
        """Slots after the steps that the numbers have counted."""
        for slot in slots:
            numbers = {r: self.builder.load(self.phi[slot, r]) for r in self.reaches[slot]}
            self._over_family(partial(self._place, slot, numbers))
            for stage, families in zip(stages, (self.early, self.late)):
                for average in self.frame.training.driving:
                    self.frame.for_each((average.loops,), partial(self._add, slot, stage[average.cell], families[slot][average.cell]))

    def _place(self, slot: Cell, numbers: dict[Cell, Var], items: Items) -> None:
        builder = self.builder
        if isinstance(slot.type, MatrixType):
            terms = tuple(MatrixTerm(number, self.kept[r], items) for r, number in numbers.items())
            builder.append(MatStore(slot, items, terms, span=self.frame.span))
        else:
            parts = [builder.mul(number, builder.load(self.kept[r], items)) for r, number in numbers.items()]
            total = parts[0]
            for part in parts[1:]:
                total = builder.add(total, part)
            builder.append(Store(slot, items, total, span=self.frame.span))

    def _add(self, slot: Cell, average: Cell, family: Cell, at: Items) -> None:
        self.builder.append(GradAdd(slot, self.builder.load(family, at), average, at, self.state, span=self.frame.span))

    def _over_family(self, element: partial) -> None:
        names = [self.builder.names.fresh("i") for _ in self.extents]
        with self.builder.nested() as body:
            element(tuple(IntSym(name, "loop") for name in names))
        for statement in over_elements(names, self.extents, tuple(body), self.frame.span):
            self.builder.append(statement)
