"""The calculus of exponents with unknowns: max-plus linear rules for every statement, and what fixes the unknowns.

Each trainable object has two unknowns, the exponents of its initial entries and of the entries of an update. The rules
(TP V, appendix J; design page, section 8) are those of a program late in training, when whatever can be correlated is:

    products add powers, sums keep the larger one
    moment      the power of its argument: a sum over coordinates is n times that
    W @ x       an initial entry times n**(1/2) (independent entries, TP IV 7.1), an updated one times n

Where a value is used by something that is not linear in it, the requirements of the maximal update parametrization hold
(TP IV, section 5): it is of order one, and so is what each object contributes. In the order of the program this
determines, once and for all, the spread of an object at its first use, a multiplier wherever a later use or a product
of activations is too large, and the largest update that no use forbids. What is not determined is reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NoReturn

from tensorprog.diagnostics import Span
from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.primitives import degree
from tensorprog.ir.program import (
    PRODUCT,
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    For,
    FromInt,
    FunctionTerm,
    GradStmt,
    If,
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
    Statement,
    Store,
    SumAxis,
    Var,
    WidthConst,
    Zero,
    walk,
)
from tensorprog.passes.known_numbers import known_numbers
from tensorprog.passes.powers import initial_power
from tensorprog.powers.refusals import not_covered, undecided
from tensorprog.powers.terms import (
    ACTIVE,
    BARE,
    GIVEN,
    INITIAL,
    NUMBER,
    ONE,
    UPDATE,
    ZERO,
    PowerTerm,
    Unknown,
    Value,
    averaged,
    is_bare,
    joined,
    number_power,
    product,
    relabelled,
    scaled,
)

HALF = Fraction(1, 2)
LINEAR = ("add", "sub", "max", "min")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an unknown has its value: the operation that decided, the power of n that it puts before the unknown, and how
    much of that the program writes itself."""

    span: Span | None
    power: Fraction
    written: Fraction


@dataclass(slots=True)
class Determined:
    """The unknowns that are determined, with reasons: spreads, largest updates, multipliers by operation.

    `uses` has the operations in which each object is used, the first one first, and `products` those that sum a product
    of activations over coordinates for a nonlinearity, such as an attention logit; both with the power of n that the
    program writes there.
    """

    spreads: dict[Cell, Fraction] = field(default_factory=dict)
    updates: dict[Cell, Fraction] = field(default_factory=dict)
    multipliers: dict[Var, Fraction] = field(default_factory=dict)
    why_spread: dict[Cell, Reason] = field(default_factory=dict)
    why_update: dict[Cell, Reason] = field(default_factory=dict)
    uses: dict[Cell, dict[Var, Fraction]] = field(default_factory=dict)
    products: dict[Var, Fraction] = field(default_factory=dict)


class Calculus:
    """The values of a program. With `solving`, requirements determine unknowns; without, all of them are known.

    Numbers that are added to or compared with `gradients`, or what is made of them, go with the size of these:
    `constants` has the powers of n that they are multiplied by, as a threshold for the gradient's norm is, or the
    epsilon in a denominator.
    """

    def __init__(self, program: Program, env: Mapping[str, object], trainable: Iterable[Cell], solution: Determined,
                 solving: bool = True, gradients: Collection[Var | Cell] = ()):
        self.program = program
        self.trainable = frozenset(trainable)
        self.solution = solution
        self.solving = solving
        self.gradients = gradients
        self.constants: dict[Var, Fraction] = {}
        self.of: dict[Var | Cell, Value] = {}
        self.written: dict[tuple[Cell, Span | None], Value] = {}
        self.numbers = known_numbers(program, env)
        self.spans = {s.var: s.span for s in walk(program.body) if isinstance(s, Let)}
        for initial in program.initials:
            if initial.cell not in self.trainable:
                self.of[initial.cell] = self._fixed(initial_power(program, initial, env), initial.cell)

    @staticmethod
    def _fixed(power: Fraction | None, cell: Cell) -> Value:
        """A declared object that is not trained."""
        if power is None:
            return ZERO
        if isinstance(cell.type, MatrixType):
            # The power of an operator is n**(1/2) times that of its entries.
            return {PowerTerm(ACTIVE, random=True): power - HALF}
        return {PowerTerm(ACTIVE): power}

    def run(self) -> None:
        """All statements, until nothing changes; then once more, so that every bound on updates is a final one."""
        statements = list(walk(self.program.body))
        # A power gets from statement to statement in a round: what changes for longer feeds itself.
        for _ in range(len(statements) + 3):
            before = (dict(self.of), dict(self.solution.spreads), dict(self.solution.multipliers))
            self._round(statements)
            if before == (self.of, self.solution.spreads, self.solution.multipliers):
                break
        else:
            self._undecided("powers of n that grow from iteration to iteration", None)
        if self.solving:
            # Rounds in which spreads were still open have left bounds that are none.
            self.solution.updates.clear()
            self._round(statements)

    def _round(self, statements: list[Statement]) -> None:
        for statement in statements:
            self._statement(statement)
        for output in self.program.outputs if self.solving else ():
            self.used(self.of.get(output.cell, ZERO), output.span)

    # --- statements ---

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op):
                self.of[var] = self._op(op, var, statement.span)
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value):
                self._write(cell, self.of.get(value, ZERO), statement.span)
            case MatStore(cell=cell, terms=terms) | MatAccum(cell=cell, terms=terms):
                self._write(cell, joined(self._matrix_term(t, statement.span) for t in terms), statement.span)
            case GradStmt(scalar=scalar):
                self.used(self.of.get(scalar, ZERO), statement.span)
            case For() | If() | Zero():
                pass  # their blocks are among the statements; zeros say nothing about an order
            case _:
                not_covered(self.program.source, statement, statement.span)

    def _write(self, cell: Cell, value: Value, span: Span | None) -> None:
        """A trainable object is what its unknowns say; what else is written to it are its updates."""
        if cell in self.trainable:
            # In `W = W - eta*g` the object is no part of its update.
            update = {t: p for t, p in value.items() if all(u.cell is not cell for u in t.parts)}
            self.written[cell, span] = joined((self.written.get((cell, span), ZERO), update))
        else:
            self.of[cell] = joined((self.of.get(cell, ZERO), value))

    def _matrix_term(self, term: MatrixTerm | OuterTerm | FunctionTerm, span: Span | None) -> Value:
        """A term of a matrix, the power that of its entries."""
        if isinstance(term, FunctionTerm):
            return self._function(term, span)
        coef = ONE if term.coef is None else self.of.get(term.coef, ZERO)
        power = self.power(coef)
        if power is None:
            return ZERO
        if isinstance(term, MatrixTerm):
            return scaled(self.cell(term.cell, None), power)
        left, right = (self.power(self.of.get(v, ZERO)) for v in (term.left, term.right))
        return ZERO if left is None or right is None else {PowerTerm(ACTIVE): power + left + right}

    def _function(self, term: FunctionTerm, span: Span | None) -> Value:
        """A function of matrices that are made by updates, the power that of its entries."""
        args = [self.of.get(a, ZERO) if isinstance(a, Var) else self.cell(a.cell, None) for a in term.args]
        if term.entrywise:
            return self._elementwise(term, args, None, span)
        used = [self.used(a, span) for a in args]
        powers = [p for p in used if p is not None]
        if len(powers) < len(used):
            return ZERO
        if term.fn == PRODUCT:
            return {PowerTerm(ACTIVE): sum(powers, Fraction(1))}
        # Of finite rank and with singular values of 1: entries are 1/n, as those of an outer product with operator norm
        # 1. Each derivative has the directions' power over that of the matrix.
        return {PowerTerm(ACTIVE): sum(powers[1:], Fraction(-1)) - (len(powers) - 1) * powers[0]}

    def _dot(self, left: Value, right: Value, span: Span | None) -> Value:
        """The sum over all n**2 entries: terms in step, but n**(3/2) of the independent ones of a random matrix."""
        one, other = self.used(left, span), self.used(right, span)
        if one is None or other is None:
            return ZERO
        random = any(t.random for v in (left, right) for t in v)
        # <outer(u, v), W> = <u, W v>: each coordinate of W v is a sum of independent terms, n**(1/2), and u may be in
        # step with it.
        return {PowerTerm(NUMBER): one + other + (Fraction(3, 2) if random else 2)}

    def cell(self, cell: Cell, site: Var | None) -> Value:
        """What a cell holds: for a trainable object its unknowns."""
        if cell not in self.trainable:
            return self.of.get(cell, ZERO)
        # Updates are outer products: only the initial entries are independent.
        matrix = isinstance(cell.type, MatrixType)
        return {PowerTerm(BARE, (Unknown(cell, part),), site, random=matrix and part == INITIAL): Fraction(0)
                for part in (INITIAL, UPDATE)}

    # --- operations ---

    def _op(self, op: Op, var: Var, span: Span | None) -> Value:
        get = lambda v: self.of.get(v, ZERO)
        match op:
            case Const(value=number):
                return ZERO if number == 0 else ONE
            case WidthConst():
                return scaled(ONE, Fraction(1))
            case InputRef():
                return GIVEN
            case Load(cell=cell):
                value = self.cell(cell, var)
                return value if cell in self.trainable else relabelled(
                    value, lambda t: replace(t, named=True) if t.kind == BARE else t)
            case Elementwise():
                return self._elementwise(op, [get(a) for a in op.args], var, span)
            case Contract(left=left, right=right):
                return self._times(get(left), get(right), var, span)
            case MatMul(matrix=matrix, arg=arg):
                return self._applied(self.cell(matrix, var), get(arg), var, span)
            case MatDot(left=left, right=right):
                return self._dot(self.cell(left.cell, None), self.cell(right.cell, None), span)
            case Moment(arg=arg):
                return averaged(get(arg))
            case SumAxis(arg=arg) | Expand(arg=arg) | Pick(arg=arg) | Place(arg=arg):
                return get(arg)
            case ParamRef() | FromInt():
                return ONE
            case _:
                not_covered(self.program.source, op, span)

    def _applied(self, matrix: Value, arg: Value, site: Var, span: Span | None) -> Value:
        """A matrix applied to a vector."""
        power = self.used(arg, span)
        if power is None:
            return ZERO
        # Independent entries add up to n**(1/2) (central limit), updates to n, since they are in step with what
        # training makes (law of large numbers): TP IV, 7.1.
        return joined({PowerTerm(ACTIVE, t.parts, site, written=t.written): p + power + (HALF if t.random else 1)}
                      for t, p in matrix.items())

    def _elementwise(self, op: Elementwise | FunctionTerm, args: list[Value], var: Var | None, span: Span | None) -> Value:
        match op.fn:
            case "neg" if op.order == 0:
                return args[0]
            case _ if op.fn in LINEAR:
                return joined(self._with_constants(op.args, args))
            case "mul":
                left, right = args
                return self._times(left, right, var, span)
            case "div":
                top, bottom = args
                return self._divided(top, bottom, var, span)
            case "pow":
                return self._power_of(args, op, span)
            case "sqrt" if op.order == 0:
                return self._homogeneous(args[0], HALF, span)
        if (own := degree(op.fn)) is not None:
            return self._homogeneous(args[0], Fraction(own - op.order), span)
        if all(not a or number_power(a) is not None for a in args):
            return ONE
        power = self.used(args[0], span, exactly=f"the argument of {op.fn}" + "'" * op.order)
        if power is None or power >= 0 or op.order or not NONLINEARITIES[op.fn].vanishes_at_zero:
            return {PowerTerm(ACTIVE): Fraction(0)}
        return {PowerTerm(ACTIVE): power}  # of gradients that vanish: f(x) is about f'(0) x

    def _with_constants(self, operands: tuple[Var | MatrixTerm, ...], args: list[Value]) -> list[Value]:
        """The terms of a sum; a number beside what is made of gradients gets the power of that."""
        made = [(a.cell if isinstance(a, MatrixTerm) else a) in self.gradients for a in operands]
        if sum(made) != 1:
            # Both or neither: gradients among themselves have their own powers.
            return args
        k = made.index(False)
        number, power = number_power(args[k]), self.power(args[1 - k])
        if number is None or power is None:
            return args if number is None else [ZERO, ZERO]
        operand = operands[k]
        assert isinstance(operand, Var), "a matrix is no number"
        self.constants[operand] = power - number
        return [args[1 - k]]

    def _times(self, left: Value, right: Value, site: Var | None, span: Span | None) -> Value:
        for one, other in ((left, right), (right, left)):
            if (power := number_power(one)) is not None:
                return scaled(other, power)
        return product(*self._activations_used(left, right, span), site)

    def _activations_used(self, left: Value, right: Value, span: Span | None) -> tuple[Value, Value]:
        """The factors of a product; an activation that meets something else than data is used. Of two objects, the one
        with a name of its own is an activation, as an embedded token is."""
        plain = [all(t.kind not in (BARE, ACTIVE) for t in v) for v in (left, right)]
        bare = [is_bare(v) for v in (left, right)]
        if all(bare):
            named = [all(t.named for t in v if t.kind == BARE) for v in (left, right)]
            bare = [not own for own in named] if named[0] != named[1] else bare
        keep = [bare[k] or plain[k] or plain[1 - k] for k in (0, 1)]
        return left if keep[0] else self._as_used(left, span), right if keep[1] else self._as_used(right, span)

    def _as_used(self, value: Value, span: Span | None) -> Value:
        power = self.used(value, span)
        return ZERO if power is None else {PowerTerm(ACTIVE): power}

    def _divided(self, top: Value, bottom: Value, site: Var | None, span: Span | None) -> Value:
        power = number_power(bottom)
        if power is not None:
            return scaled(top, -power)
        below = self.used(bottom, span)
        if below is None or not top:
            return ZERO
        above = top if is_bare(top) else self._as_used(top, span)
        return product(above, {PowerTerm(ACTIVE): -below}, site)

    def _power_of(self, args: list[Value], op: Elementwise | FunctionTerm, span: Span | None) -> Value:
        by = op.args[1]
        exponent = self.numbers.get(by) if isinstance(by, Var) else None
        if exponent is None and number_power(args[0]) == 0:
            return ONE  # a number of order one, to whatever power
        if exponent is None:
            self._undecided("a power whose exponent is computed by the program", span)
        return self._homogeneous(args[0], exponent, span)

    def _homogeneous(self, arg: Value, degree: Fraction, span: Span | None) -> Value:
        """A function that commutes with powers of n; the root or square of a number is a number."""
        number = number_power(arg)
        if number is not None:
            return scaled(ONE, number * degree)
        power = self.used(arg, span)
        if power is None:
            return ZERO if degree > 0 else {PowerTerm(ACTIVE): Fraction(0)}
        return {PowerTerm(ACTIVE): power * degree}

    # --- requirements ---

    def power(self, value: Value) -> Fraction | None:
        """The power of a value of which all unknowns are known."""
        return max((self._known(t, p) for t, p in value.items()), default=None)

    def _known(self, term: PowerTerm, power: Fraction) -> Fraction:
        s = self.solution
        for unknown in term.parts:
            # What is not determined yet counts as of order one.
            power += (s.spreads if unknown.part == INITIAL else s.updates).get(unknown.cell, Fraction(0))
        return power if term.site is None else power + s.multipliers.get(term.site, Fraction(0))

    def used(self, value: Value, span: Span | None, exactly: str | None = None) -> Fraction | None:
        """The power of a value where it is used; when solving, what makes it of order one is determined here."""
        if self.solving:
            self._determine_spreads(value, span)
            self._limit_terms(value, span)
            self._bound_updates(value, span)
            self._note_uses(value, exactly is not None)
        power = self.power({t: p for t, p in value.items() if not (self.solving and _updates(t))})
        updated = any(_updates(t) for t in value)
        # An update is as large as its uses allow, with which they are of order one.
        if self.solving and updated:
            power = max(power, Fraction(0)) if power is not None else Fraction(0)
        if self.solving and exactly and power is not None and power < 0:
            self._enlarge(value, power, exactly, span)
            power = Fraction(0)
        return power

    def _determine_spreads(self, value: Value, span: Span | None) -> None:
        spreads = self.solution.spreads
        for term, power in value.items():
            open_ = [u.cell for u in term.parts if u.part == INITIAL and u.cell not in spreads]
            # Initial entries are determined by what there is at initialization.
            if not open_ or _updates(term):
                continue
            if len(set(open_)) > 1:
                names = " and ".join(f"`{c.display}`" for c in dict.fromkeys(open_))
                self._undecided(f"how a power of n is shared by {names}, of which only the product is used here", span)
            before = self._known(term, power)
            # Of a product of k factors of one object, each has the k-th part.
            spreads[open_[0]] = -before / len(open_)
            self.solution.why_spread[open_[0]] = Reason(self._place(term, span), before, term.written)

    def _limit_terms(self, value: Value, span: Span | None) -> None:
        """A multiplier for whatever is too large although its unknowns are determined."""
        for term, power in value.items():
            excess = self._known(term, power)
            if excess <= 0 or _updates(term):
                continue
            if term.site is None:
                self._undecided(f"where a value of order n^({excess}) should get a multiplier", span)
            self._multiply(term, -excess)

    def _multiply(self, term: PowerTerm, power: Fraction) -> None:
        s = self.solution
        assert term.site is not None, "a multiplier belongs to an operation"
        s.multipliers[term.site] = s.multipliers.get(term.site, Fraction(0)) + power

    def _enlarge(self, value: Value, power: Fraction, what: str, span: Span | None) -> None:
        """A multiplier for a value that vanishes where a nonlinearity needs one of order one."""
        largest = max(value, key=lambda t: self._known(t, value[t]))
        if largest.site is None:
            self._undecided(f"{what} is of order n^({power}), and which operation should be larger", span)
        self._multiply(largest, -power)

    def _bound_updates(self, value: Value, span: Span | None) -> None:
        updates = self.solution.updates
        for term, power in value.items():
            parts = [u for u in term.parts if u.part == UPDATE]
            if not parts:
                continue
            rest = replace(term, parts=tuple(u for u in term.parts if u.part == INITIAL))
            before = self._known(rest, power)
            # The factors that are updates share the room equally.
            bound = -before / len(parts)
            for unknown in parts:
                if unknown.cell not in updates or bound < updates[unknown.cell]:
                    updates[unknown.cell] = bound
                    self.solution.why_update[unknown.cell] = Reason(self._place(term, span), before, term.written)

    def _note_uses(self, value: Value, nonlinear: bool) -> None:
        for term in value:
            if len(term.parts) == 1 and not _updates(term) and term.site is not None:
                self.solution.uses.setdefault(term.parts[0].cell, {}).setdefault(term.site, term.written)
            elif nonlinear and term.summed and not term.parts and term.site is not None:
                self.solution.products.setdefault(term.site, term.written)

    def _place(self, term: PowerTerm, span: Span | None) -> Span | None:
        return (None if term.site is None else self.spans.get(term.site)) or span

    def _undecided(self, what: str, span: Span | None) -> NoReturn:
        undecided(self.program.source, what, span)


def _updates(term: PowerTerm) -> bool:
    return any(u.part == UPDATE for u in term.parts)
