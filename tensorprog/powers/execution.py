"""A program executed with powers of n instead of numbers: the size of every name at initialization and in training.

The statements of the differentiated program are run in order, loops until nothing changes any more, so that the first
iteration of a training loop is initialization and the second one comes after one step. A *step* is an update of a
trainable object; the stage of a value is how many updates there have been, with 2 for all later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from typing import TypeAlias, TypeVar

from tensorprog.diagnostics import Span
from tensorprog.ir.constants import constant
from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.bounds import BOUNDED, GAUSSIAN, Problems
from tensorprog.ir.integers import symbols
from tensorprog.ir.laws import centre
from tensorprog.ir.primitives import degree, parity
from tensorprog.ir.program import (
    Accum,
    Assignment,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    For,
    FromInt,
    FunctionTerm,
    GradAdd,
    If,
    Initial,
    InputRef,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatrixType,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    ParamRef,
    Pick,
    Place,
    Program,
    Range,
    Statement,
    Store,
    SumAxis,
    Var,
    WidthConst,
    Zero,
    walk,
)
from tensorprog.passes.hypotheses import ProgramBounds
from tensorprog.passes.known_numbers import known_numbers
from tensorprog.passes.powers import initial_power
from tensorprog.powers.components import (
    FIRST_OBJECT,
    HALF,
    MOVED,
    ONE,
    UNIT,
    UNSURE,
    ZERO,
    Value,
    averaged,
    change,
    flagged,
    function_of,
    homogeneous,
    joined,
    largest,
    product,
    scaled,
    units,
)
from tensorprog.powers.matrices import MatrixPowers, outer, total
from tensorprog.powers.matrix_functions import dot, function
from tensorprog.powers.refusals import not_covered
from tensorprog.powers.storage import Elements, Key, mentions

LATER = 2
#: The tensors, the matrices and the stage at the end of an iteration.
Snapshot: TypeAlias = tuple[Mapping[Cell, Mapping[Key, Value]], Mapping[Cell, Mapping[Key, MatrixPowers]], int]
T = TypeVar("T")
# What still changes after so many iterations grows in every one.
MOST_ITERATIONS = 10


def place_of(statement: Statement) -> tuple[Cell, Span | None] | None:
    """The cell that a statement assigns, and where it stands; None for what assigns none."""
    return (statement.cell, statement.span) if isinstance(statement, Assignment | Zero | GradAdd) else None


@dataclass(slots=True)
class Steps:
    """How many updates each trainable object has had. An update in a loop over the elements of a family is one; what
    else training does to an object, as weight decay, is no step of its own."""

    updates: Mapping[tuple[Cell, Span | None], frozenset[str]]
    decays: frozenset[tuple[Cell, Span | None]] = frozenset()
    seen: dict[Cell, set[tuple]] = field(default_factory=dict)

    def is_update(self, statement: Statement) -> bool:
        return place_of(statement) in self.updates

    def is_decay(self, statement: Statement) -> bool:
        return place_of(statement) in self.decays

    def count(self, statement: Statement, iterations: Mapping[str, int]) -> None:
        """An update with the loops around it in these iterations."""
        place = place_of(statement)
        assert place is not None, "an update assigns a cell"
        cell, span = place
        # Iterations over the elements of a family are one update.
        outside = tuple(sorted((v, i) for v, i in iterations.items() if v not in self.updates[place]))
        self.seen.setdefault(cell, set()).add((span, outside))

    @property
    def stage(self) -> int:
        return min(LATER, max(map(len, self.seen.values()), default=0))


def update_places(updates: Mapping[Cell, tuple[Assignment, ...]]) -> dict[tuple[Cell, Span | None], frozenset[str]]:
    """The places of the updates, with the loop variables that choose the element of a family."""
    return {(cell, s.span): frozenset(v.name for item in s.items if not isinstance(item, Range) for v in symbols(item))
            for cell, statements in updates.items() for s in statements}


def decay_places(program: Program,
                 updates: Mapping[Cell, tuple[Assignment, ...]]) -> frozenset[tuple[Cell, Span | None]]:
    """The places where a training loop changes a trained object by something else than gradients."""
    made_by = {(cell, s.span) for cell, statements in updates.items() for s in statements}
    found = set()
    for loop in (s for s in program.body if isinstance(s, For)):
        writes = {(s.cell, s.span) for s in walk(loop.body) if isinstance(s, Store | Accum | MatStore | MatAccum)}
        trained = {cell for cell, _ in writes & made_by}
        # =| In the same loop as an update: what is written to an object before training is no decay.
        found |= {(cell, span) for cell, span in writes - made_by if cell in trained}
    return frozenset(found)


class Execution:
    """One execution of a differentiated program.

    Attributes:
        records: for each cell and stage what has been stored in it.
        grown: cells whose powers grow from iteration to iteration.
        gained: for each trainable object what gradients have added to it, where that is written apart from its decay.
    """

    def __init__(self, program: Program, env: Mapping[str, object],
                 updates: Mapping[tuple[Cell, Span | None], frozenset[str]],
                 decays: frozenset[tuple[Cell, Span | None]] = frozenset()):
        self.program, self.env = program, env
        self.steps = Steps(updates, decays)
        self.trainable = {cell for cell, _ in updates}
        self.tensors: Elements[Value] = Elements(joined)
        self.matrices: Elements[MatrixPowers] = Elements(total)
        self.of: dict[Var, Value] = {}
        self.made: dict[Var, Op] = {}
        self.records: dict[tuple[Cell, int], Value] = {}
        self.grown: set[Cell] = set()
        self.gained: dict[Cell, Value] = {}
        self.iterations: dict[str, int] = {}
        self.numbers = known_numbers(program, env)
        bounds = ProgramBounds(program, env)
        bounds.solved()
        # For minima: only of values that cannot be negative the smaller power is the minimum.
        self.nonnegative = {var for var, bound in bounds.vars.items() if bound is not None and bound.low >= 0}
        for bit, initial in enumerate(program.initials, FIRST_OBJECT):
            self._declare(initial, bit)

    def run(self) -> None:
        """Execute the whole program."""
        self._block(self.program.body)

    # --- declared objects ---

    def _declare(self, initial: Initial, bit: int) -> None:
        cell, power = initial.cell, initial_power(self.program, initial, self.env)
        # Without a symmetric law there is no flip, and no bit: averages of the object do not vanish.
        value = ZERO if power is None else {1 << bit if self._is_symmetric(initial) else 0: units(power)}
        items: Key = ("any",) * cell.rank
        if isinstance(cell.type, MatrixType):
            # The power of a matrix is that of the operator; its entries have 1/2 less.
            self.matrices.put(cell, items, MatrixPowers(scaled(value, -HALF)))
        else:
            self.tensors.put(cell, items, value)
        self._record(cell)

    def _is_symmetric(self, initial: Initial) -> bool:
        """Whether the law is that of the object with its sign changed."""
        about = centre(initial.law)
        return about is not None and constant(self.program, about, self.env)[0] == 0

    def _record(self, cell: Cell, value: Value | None = None) -> None:
        """Note what a cell holds at this stage."""
        if value is None:
            value = self.matrix(cell, ()).entries() if isinstance(cell.type, MatrixType) else self.tensor(cell, ())
        place = (cell, self.steps.stage)
        self.records[place] = joined([self.records.get(place, ZERO), value])

    # --- statements ---

    def _block(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op):
                self.of[var], self.made[var] = self._op(op, statement.span), op
            case Store(cell=cell, items=items, value=value):
                self._write(statement, cell, items, self.of.get(value, ZERO), add=False)
            case Accum(cell=cell, items=items, value=value):
                self._write(statement, cell, items, self.of.get(value, ZERO), add=True)
            case MatStore() | MatAccum():
                self._write_matrix(statement)
            case Zero(cell=cell):
                self.tensors.clear(cell)
                self.matrices.clear(cell)
            case For():
                self._loop(statement)
            case If(then=then, orelse=orelse):
                self._branches(then, orelse)
            case _:
                not_covered(self.program.source, statement, statement.span)

    def _write(self, statement: Store | Accum, cell: Cell, items: tuple, value: Value, add: bool) -> None:
        update = self.steps.is_update(statement)
        before = self.tensor(cell, items) if add or update else ZERO
        if update:
            # In `W = W - eta*g`, what was there before is kept, and only what differs from it has moved.
            value = joined([{t: p for t, p in value.items() if not add and before.get(t) == p},
                            flagged({t: p for t, p in value.items() if add or before.get(t) != p}, MOVED)])
        elif self.steps.is_decay(statement):
            value = joined([value, flagged(value, MOVED)])
        self.tensors.put(cell, items, joined([before, value]) if add else value)
        if update:
            self._gain(cell, change(value))
            self.steps.count(statement, self.iterations)
        self._record(cell, joined([before, value]) if add else value)

    def _gain(self, cell: Cell, value: Value) -> None:
        self.gained[cell] = joined([self.gained.get(cell, ZERO), value])

    def _write_matrix(self, statement: MatStore | MatAccum) -> None:
        cell, items = statement.cell, statement.items
        update, add = self.steps.is_update(statement), isinstance(statement, MatAccum)
        terms = [(t, self._matrix_term(t, statement.span)) for t in statement.terms]
        if update:
            # `W = W - c*G`: W itself is no change. A multiple of it, as in `W = (1 - eta*decay)*W - c*G`, is W and a
            # change of that size.
            kept = [not add and isinstance(t, MatrixTerm) and t.cell is cell and t.coef is None for t, _ in terms]
            terms = [(t, m if still else _also_moved(m) if isinstance(t, MatrixTerm) and t.cell is cell
                      else m.flagged(MOVED)) for still, (t, m) in zip(kept, terms)]
        elif self.steps.is_decay(statement):
            terms = [(t, _also_moved(m)) for t, m in terms]
        value = total([*([self.matrix(cell, items)] if add else []), *(m for _, m in terms)])
        self.matrices.put(cell, items, value)
        if update:
            self._gain(cell, total(m for t, m in terms if not (isinstance(t, MatrixTerm) and t.cell is cell)).entries())
            self.steps.count(statement, self.iterations)
        self._record(cell, value.entries())

    def _matrix_term(self, term: MatrixTerm | OuterTerm | FunctionTerm, span: Span | None) -> MatrixPowers:
        if isinstance(term, FunctionTerm):
            args = [self._operand(a) for a in term.args]
            return function(term, args, FIRST_OBJECT + len(self.program.initials),
                            lambda values: self._elementwise(term, values))
        coefficient = ONE if term.coef is None else self.of.get(term.coef, ZERO)
        if isinstance(term, OuterTerm):
            return outer(self.of.get(term.left, ZERO), self.of.get(term.right, ZERO)).times(coefficient)
        found = self.matrix(term.cell, term.items).times(coefficient)
        return found.transposed() if term.transposed else found

    def _operand(self, arg: Var | MatrixTerm) -> Value | MatrixPowers:
        if isinstance(arg, Var):
            return self.of.get(arg, ZERO)
        return self._matrix_operand(arg)

    def _matrix_operand(self, arg: MatrixTerm) -> MatrixPowers:
        found = self.matrix(arg.cell, arg.items)
        return found.transposed() if arg.transposed else found

    def tensor(self, cell: Cell, items: tuple) -> Value:
        return joined(self.tensors.read(cell, items))

    def matrix(self, cell: Cell, items: tuple) -> MatrixPowers:
        return total(self.matrices.read(cell, items))

    def _branches(self, then: tuple[Statement, ...], orelse: tuple[Statement, ...]) -> None:
        """Both branches, each from what there was; then what either of them has left."""
        tensors, matrices = self.tensors.copy(), self.matrices.copy()
        # A condition may be other in another iteration, so that either side may have been taken.
        self._block(then)
        after = self.tensors, self.matrices
        self.tensors, self.matrices = tensors, matrices
        self._block(orelse)
        self.tensors.merge(after[0])
        self.matrices.merge(after[1])

    def _loop(self, loop: For) -> None:
        before: Snapshot | None = None
        last: tuple[Elements[Value], Elements[MatrixPowers]] | None = None
        for iteration in range(MOST_ITERATIONS):
            self.iterations[loop.var] = iteration
            self._block(loop.body)
            if last is not None and iteration > LATER:  # what alternates, as the signs of a product of many matrices, is either
                self.tensors.merge(last[0])
                self.matrices.merge(last[1])
            last = self.tensors.copy(), self.matrices.copy()
            after = (self.tensors.snapshot(), self.matrices.snapshot(), self.steps.stage)
            if after == before:
                break
            if before is not None and iteration == MOST_ITERATIONS - 1:
                # After so many iterations, everything that settles has: a step or two after initialization.
                self._mark_growing(before, after)
            before = after
            # What this iteration has stored is an earlier one's from now on.
            self._leave(loop)
        del self.iterations[loop.var]
        self._leave(loop)

    def _leave(self, loop: For) -> None:
        self.tensors.leave(loop.var)
        self.matrices.leave(loop.var)

    def _mark_growing(self, before: Snapshot, after: Snapshot) -> None:
        """What still changes after many iterations grows, and its powers are nothing but bounds."""
        self._weaken(self.tensors, before[0], after[0], lambda value: flagged(value, UNSURE))
        self._weaken(self.matrices, before[1], after[1], lambda value: value.flagged(UNSURE))

    def _weaken(self, store: Elements[T], before: Mapping[Cell, object], after: Mapping[Cell, object],
                weaken: Callable[[T], T]) -> None:
        for cell in store.cells():
            if before.get(cell) != after.get(cell):
                self.grown.add(cell)
                store.change_all(cell, weaken)

    # --- operations ---

    def _op(self, op: Op, span: Span | None) -> Value:
        get = lambda v: self.of.get(v, ZERO)
        match op:
            case Const(value=value):
                return ZERO if value == 0 else ONE
            case WidthConst():
                return scaled(ONE, UNIT)
            case Load(cell=cell, items=items):
                return self.tensor(cell, items)
            case Elementwise():
                return self._elementwise(op, [get(a) for a in op.args])
            case Contract(left=left, right=right):
                # Its sum is over finite axes: finitely many terms, of which the largest decides.
                return product(get(left), get(right))
            case MatMul(matrix=matrix, items=items, transposed=transposed, arg=arg):
                found = self.matrix(matrix, items)
                return (found.transposed() if transposed else found).applied(get(arg))
            case MatDot(left=left, right=right):
                return dot(self._matrix_operand(left), self._matrix_operand(right))
            case Moment(arg=arg):
                return averaged(get(arg))
            case SumAxis(arg=arg) | Expand(arg=arg) | Pick(arg=arg) | Place(arg=arg):
                # Finite axes, all of them: sums over the width are `Moment`.
                return get(arg)
            # What data and parameters are, they are at every width.
            case ParamRef() | FromInt() | InputRef():
                return ONE
            case _:
                not_covered(self.program.source, op, span)

    def _elementwise(self, op: Elementwise | FunctionTerm, args: list[Value]) -> Value:
        match op.fn:
            case "neg" if op.order == 0:
                return args[0]
            case "add" | "sub":
                return joined(args) if not self._is_difference(op) else joined(
                    {t: p for t, p in a.items() if t & MOVED or b.get(t) != p} for a, b in (args, args[::-1]))
            case "max" | "min":
                return self._extremum(op, args)
            case "mul":
                return product(*args)
            case "div":
                # Of a quotient by what is zero nothing is known.
                inverse = homogeneous(args[1], Fraction(-1), "none")
                return product(args[0], inverse) if args[1] else flagged(args[0], UNSURE)
            case "pow":
                return self._power(op, args[0])
            case "square" if op.order < 2:
                # Its derivative is 2x.
                return product(args[0], args[0]) if op.order == 0 else args[0]
            case "sqrt" if op.order == 0:
                return homogeneous(args[0], Fraction(1, 2), "none")
        if (own := degree(op.fn)) is not None:
            return homogeneous(args[0], Fraction(own - op.order), parity(op.fn, op.order))
        return self._nonlinear(op, args[0])

    def _extremum(self, op: Elementwise | FunctionTerm, args: list[Value]) -> Value:
        """The larger one; but the smallest of values that are not negative, as `min(1, threshold / norm)`."""
        if op.fn == "min" and all(a in self.nonnegative for a in op.args):
            if not all(args):
                return ZERO
            least = min(p for a in args if (p := largest(a)) is not None)
            args = [a for a in args if largest(a) == least]
        return homogeneous(joined(args), Fraction(1), "none")

    def _is_difference(self, op: Elementwise | FunctionTerm) -> bool:
        """Whether the same name at another step is subtracted, as in `h[t] - h[0]`: what has not moved cancels."""
        left, right = (self.made.get(a) if isinstance(a, Var) else None for a in op.args)
        if op.fn != "sub" or not (isinstance(left, Load) and isinstance(right, Load) and left.cell is right.cell):
            return False
        axes = [k for k, (a, b) in enumerate(zip(left.items, right.items)) if a != b]
        return bool(axes) and all(k in self._step_axes(left.cell) for k in axes)

    def _step_axes(self, cell: Cell) -> set[int]:
        """The indices of a family that count steps: those by the variable of a loop with updates in it."""
        loops = step_loops(self.program.body, self.steps)
        return {k for s in stores_of(self.program.body, cell) for k, item in enumerate(s.items)
                if any(mentions(item, var) for var in loops)}

    def _power(self, op: Elementwise | FunctionTerm, base: Value) -> Value:
        by = op.args[1]
        exponent = self.numbers.get(by) if isinstance(by, Var) else None
        if exponent is None:
            return flagged(base, UNSURE)
        # A square by its components: that of something odd is even, and does not vanish on average.
        return product(base, base) if exponent == 2 else homogeneous(base, exponent, "none")

    @staticmethod
    def _nonlinear(op: Elementwise | FunctionTerm, arg: Value) -> Value:
        function = NONLINEARITIES[op.fn]
        # A derivative is taken to be other than zero at zero; where it is odd, its parity tells.
        constant = op.order > 0 or isfinite(function.at(0.0)) and not function.vanishes_at_zero
        if not arg:
            return ONE if constant else ZERO
        if max(arg.values()) <= 0:
            return function_of(arg, parity(op.fn, op.order), constant)
        size = function.bound(GAUSSIAN, Problems()).size
        if size == GAUSSIAN.size and op.order == 0:  # as large as its argument where that is large
            return homogeneous(arg, Fraction(1), "none")
        # A bounded function of what is large is of order one.
        found = function_of({t: min(p, 0) for t, p in arg.items()}, parity(op.fn, op.order), constant)
        # How often a derivative is not small there is a matter of the argument's density at zero.
        return found if size == BOUNDED and op.order == 0 and function.lipschitz else flagged(found, UNSURE)


def _also_moved(matrix: MatrixPowers) -> MatrixPowers:
    """A multiple of what a matrix was: of the same size, and so is the change."""
    return total([matrix, matrix.flagged(MOVED)])


def step_loops(body: tuple[Statement, ...], steps: Steps) -> set[str]:
    """The variables of loops with updates in them, but for those that go through a family's elements."""
    found: set[str] = set()
    for loop in (s for s in walk(body) if isinstance(s, For)):
        for statement in walk(loop.body):
            place = place_of(statement)
            if place is not None and place in steps.updates and loop.var not in steps.updates[place]:
                found.add(loop.var)
    return found


def stores_of(body: tuple[Statement, ...], cell: Cell) -> list[Store | Accum]:
    """The statements that write to a family."""
    return [s for s in walk(body) if isinstance(s, Store | Accum) and s.cell is cell]
