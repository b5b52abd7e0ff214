"""Powers of n: every value is n**e times something of order one (docs/language.md, section 6; TP IV, App. H).

`infer_powers` finds e for every temporary and cell; `leading_terms` divides it out and keeps the leading terms, which
gives the limit program: the same statements, with all widths replaced by their ratios and nothing of lower order. A
matrix's power is that of the operator: 0 for entries of variance 1/n, one more than that of its entries for an outer
product, because applying it sums n terms.

The power None belongs to an exact zero. Not done here: powers that depend on cancellation between terms that are not
identical.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from tensorprog.diagnostics import Note, ProgramError, Reporter, Span
from tensorprog.ir.constants import constant
from tensorprog.ir.integers import Environment, evaluate_int, symbols
from tensorprog.ir.primitives import degree as homogeneous_degree
from tensorprog.ir.primitives import exact
from tensorprog.ir.program import (
    POLAR,
    POLAR_DIFFERENTIAL,
    PRODUCT,
    Accum,
    Cell,
    Const,
    ConstExpr,
    Contract,
    Elementwise,
    FromInt,
    FunctionTerm,
    Initial,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatrixType,
    MatStore,
    Op,
    OuterTerm,
    Output,
    ParamRef,
    Program,
    Statement,
    Store,
    Term,
    Var,
    WidthConst,
    matrix_terms,
    operands,
    walk,
    written,
)

Power = Fraction | None


class PowerError(Exception):
    """A statement whose result has no power of n."""

    def __init__(self, code: str, message: str, help: str):
        super().__init__(message)
        self.code, self.message, self.help = code, message, help


@dataclass(slots=True)
class Powers:
    """The power of n of every temporary and cell. `first` are the powers before loops feed anything back, from which
    the cause of a large power can be told; `fixed` the parameters that powers depend on."""

    of: dict[Var | Cell, Power] = field(default_factory=dict)
    first: dict[Var | Cell, Power] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)

    def __getitem__(self, value: Var | Cell) -> Power:
        return self.of.get(value)


def larger(a: Power, b: Power) -> Power:
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def total(*powers: Power) -> Power:
    known = [p for p in powers if p is not None]
    return sum(known, Fraction(0)) if len(known) == len(powers) else None


def declared_names(program: Program) -> set[str]:
    """Parameters and sizes in exponents of declared constants, on which powers of n may depend."""
    exprs = [a for i in program.initials for a in i.law.args]
    return {name for e in exprs for name in _exponent_names(e, False)}


def _exponent_names(expr: ConstExpr, inside: bool) -> set[str]:
    if expr.op == "param":
        return {expr.name} if inside else set()
    if expr.op == "int":
        return {s.name for s in symbols(expr.integer)} if inside else set()
    return {n for k, a in enumerate(expr.args) for n in _exponent_names(a, inside or (expr.op == "**" and k == 1))}


def initial_power(program: Program, initial: Initial, env: Mapping[str, object]) -> Power:
    """The power of a declared object: that of its spread, or of its mean where that is larger."""
    law = initial.law
    if law.name == "zero":
        return None
    scaled = [constant(program, a, env) for a in law.args]
    if law.name in ("normal", "sparse_normal"):
        (first, first_power), (variance, variance_power) = scaled
        spread = None if variance == 0 else variance_power / 2
        if isinstance(initial.cell.type, MatrixType):
            # A matrix sums n independent terms for each coordinate: n**(1/2) times an entry (TP IV, 7.1).
            return total(spread, Fraction(1, 2))
        # The first argument of `sparse_normal` is a probability, and no mean.
        return larger(spread, None if law.name == "sparse_normal" or first == 0 else first_power)
    if law.name in ("uniform", "constant"):
        power: Power = None
        for value, e in scaled:
            power = larger(power, None if value == 0 else e)
        return power
    # Laws without a scale, as signs.
    return Fraction(0)


def infer_powers(program: Program, env: Mapping[str, object], reporter: Reporter) -> Powers:
    """The power of every value; `env` holds the numbers that declared constants need.

    Raises:
        ProgramError: a nonlinearity of a value that blows up or vanishes (TP502), a power that is not a number
            (TP503), or powers that grow from iteration to iteration (TP504).
    """
    inference = _Inference(program, env, reporter)
    inference.powers.fixed |= declared_names(program)
    flat = list(walk(program.body))
    cells = {c for s in flat for c in [getattr(s, "cell", None)] if c is not None}
    # A power gets from cell to cell in a round (Bellman and Ford): what rises after as many rounds as there are cells
    # feeds itself.
    for _ in range(len(cells) + 3):
        changed = inference.round(flat)
        inference.powers.first = inference.powers.first or dict(inference.powers.of)
        if not changed:
            check_entries(program, inference.powers, reporter)
            return inference.powers
    grown = inference.grown
    reporter.error("TP504", "the power of n of this value grows from iteration to iteration",
                   None if grown is None else grown.span,
                   help="scale the update by a power of n, so that it is of the order of the value that it updates")
    reporter.raise_errors()
    return inference.powers


class _Inference:
    def __init__(self, program: Program, env: Environment, reporter: Reporter):
        self.program, self.env, self.reporter = program, env, reporter
        self.powers = Powers()
        self.values: dict[Var, Fraction] = {}
        self.names: dict[Var, set[str]] = {}
        self.grown: Statement | None = None
        self.makers = {s.var: s for s in walk(program.body) if isinstance(s, Let)}
        for initial in program.initials:
            self.powers.of[initial.cell] = initial_power(program, initial, env)

    def round(self, flat: list[Statement]) -> bool:
        """One pass over all statements; whether a cell's power grew."""
        self.grown = None
        for statement in flat:
            cell = None if isinstance(statement, Let) else getattr(statement, "cell", None)
            before = self.powers[cell] if cell is not None else None
            try:
                self._statement(statement)
            except PowerError as error:
                self._report(error, statement)
            if cell is not None and self.powers[cell] != before and self.grown is None:
                self.grown = statement
        return self.grown is not None

    def _report(self, error: PowerError, statement: Statement) -> None:
        notes: tuple[Note, ...] = ()
        help = error.help
        if error.code == "TP502" and isinstance(statement, Let):
            self.powers.first = self.powers.first or dict(self.powers.of)
            arg = operands(statement.op)[0]
            place = origin(self.program, self.powers, arg)
            if place is not None and place != statement.span:
                notes = (Note("the power of n enters here", place),)
                trained = next((s for s in walk(self.program.body) if isinstance(s, Accum | MatAccum)
                                and s.cell.role != "hidden" and s.span and s.span.line <= place.line <= s.span.end_line), None)
                own = self.powers[arg]
                if trained is not None and own is not None and own > 0:
                    name, power = trained.cell.display, power_text(own)
                    notes = (Note(f"the power of n enters here, with the first update of `{name}`", place),)
                    help = f"after the first step, this activation grows: divide the update by {power}, or take a smaller rate"
        self.reporter.error(error.code, error.message, statement.span, notes=notes, help=help)
        self.reporter.raise_errors()

    def _statement(self, statement: Statement) -> None:
        of = self.powers.of
        match statement:
            case Let(var=var, op=op):
                of[var] = self._op(op, var)
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value):
                of[cell] = larger(self.powers[cell], self.powers[value])
            case MatStore(cell=cell, terms=terms) | MatAccum(cell=cell, terms=terms):
                power = self.powers[cell]
                for term in terms:
                    own = self._function(term) if isinstance(term, FunctionTerm) else term_power(self.powers, term)
                    power = larger(power, own)
                of[cell] = power

    def _op(self, op: Op, var: Var) -> Power:
        p = self.powers
        match op:
            case Const(value=value):
                if isinstance(value, Fraction):
                    self.values[var] = value
                # Neither zero nor infinity has an order.
                return None if value == 0 or value in (float("inf"), float("-inf")) else Fraction(0)
            case ParamRef(name=name):
                if name in self.env:
                    # Exponents are short fractions: 0.333... of a floating point number is meant as 1/3.
                    self._know(var, Fraction(self.env[name]).limit_denominator(1000), {name})
                return Fraction(0)
            case FromInt(expr=expr):
                names = {symbol.name for symbol in symbols(expr)}
                if names <= set(self.env):
                    self._know(var, Fraction(evaluate_int(expr, self.env)), names)
                return Fraction(0)
            case WidthConst():
                return Fraction(1)
            case Load(cell=cell):
                return p[cell]
            case Elementwise():
                return self._elementwise(op, [p[a] for a in op.args])
            # A sum over n**2 products of entries, each of which is 1/n of its operator.
            case MatDot(left=left, right=right):
                return total(p[left.cell], p[right.cell])
            case Contract(left=left, right=right):
                return total(p[left], p[right])
            case MatMul(matrix=matrix, arg=arg):
                return total(p[matrix], p[arg])
            case _:
                inputs = operands(op)
                return p[inputs[0]] if inputs else Fraction(0)

    def _know(self, var: Var, value: Fraction, names: set[str]) -> None:
        self.values[var], self.names[var] = value, names

    def _value(self, var: Var) -> Fraction | None:
        """The number that an exponent is, remembering the parameters that it depends on."""
        if var in self.values:
            self.powers.fixed |= self.names.get(var, set())
            return self.values[var]
        maker = self.makers.get(var)
        if maker is None or not isinstance(maker.op, Elementwise) or maker.op.order:
            return None
        args = [self._value(a) for a in maker.op.args]
        return None if None in args else exact(maker.op.fn, args)

    def _elementwise(self, op: Elementwise | FunctionTerm, powers: list[Power]) -> Power:
        match op.fn:
            case "add" | "sub" | "max" | "min":
                return larger(*powers)
            case "mul":
                return total(*powers)
            case "div":
                # A zero denominator is reported when it is met; it says nothing about the order.
                return None if powers[0] is None else powers[0] - (powers[1] or 0)
            case "pow":
                return self._pow(op, *powers)
        if op.fn == "sqrt" and powers[0] is not None:
            return powers[0] * (Fraction(1, 2) - op.order)
        if op.fn == "sqrt" and op.order == 0:
            return None
        degree = homogeneous_degree(op.fn)
        if degree is not None:
            if powers[0] is None:
                # A zero argument: phi^(k)(0) of a homogeneous function is zero, but for the derivative that is
                # constant.
                return None if degree - op.order > 0 else Fraction(0)
            return powers[0] * (degree - op.order)
        if powers[0] and isinstance(op, Elementwise):  # of entries: when their powers are final
            reject(op, powers[0])
        return Fraction(0)

    def _function(self, term: FunctionTerm) -> Power:
        """The power of a function of matrices, as an operator: one more than that of its entries."""
        powers = [self.powers[m.cell] for m in term.matrices]
        if term.fn == PRODUCT:
            return total(*powers)
        if term.fn == POLAR:
            # Its singular values are 1, so that the operator is of order one whatever the matrix was.
            return None if powers[0] is None else Fraction(0)
        if term.fn == POLAR_DIFFERENTIAL:
            # polar(c M) = polar(M), so that each derivative by M has the inverse power of M.
            matrix, *directions = powers
            return None if matrix is None else total(*directions, -len(directions) * matrix)
        return total(self._elementwise(term, entry_powers(self.powers, term)), Fraction(1))

    def _pow(self, op: Elementwise | FunctionTerm, base: Power, exponent: Power) -> Power:
        if exponent:
            raise PowerError("TP503", "an exponent that grows or shrinks with n", "exponents do not depend on n")
        by = op.args[1]
        # A base of order one to any power is of order one; zero to a positive one is zero.
        if not base:
            known = self.values.get(by) if isinstance(by, Var) else None
            return base if base is None and (known is None or known > 0) else Fraction(0)
        value = self._value(by) if isinstance(by, Var) else None
        if value is None:
            raise PowerError("TP503", "a power of n whose exponent is computed by the program",
                             "write the exponent as a number or a parameter, as in `n**(1/2)`")
        return base * value


_VANISHES = "it vanishes in the limit"


def has_vanishing_argument(error: ProgramError) -> bool:
    """Whether what is refused is a nonlinearity of what vanishes (TP502)."""
    return any(d.code == "TP502" and d.message.endswith(_VANISHES) for d in error.diagnostics)


def reject(op: Elementwise, power: Fraction) -> None:
    """Refuse a function of what is not of order one.

    Raises:
        PowerError: TP502.
    """
    name = op.fn + "'" * op.order
    if power > 0:
        raise PowerError("TP502", f"the argument of {name} is of order {power_text(power)}: it blows up",
                         "divide it by that power of n, or declare the matrix with variance 1/n")
    raise PowerError("TP502", f"the argument of {name} is of order {power_text(power)}: {_VANISHES}",
                     "multiply it by the inverse power, or use the function's linear part at zero")


def power_text(power: Fraction) -> str:
    """`n`, `n**2`, `n**(-1/2)`, `1`."""
    if power == 0:
        return "1"
    if power == 1:
        return "n"
    return f"n**{power}" if power.denominator == 1 and power > 0 else f"n**({power})"


def entry_powers(powers: Powers, term: FunctionTerm) -> list[Power]:
    """The powers of an entrywise function's arguments: of a matrix, one less than that of the operator."""
    return [powers[a] if isinstance(a, Var) else total(powers[a.cell], Fraction(-1)) for a in term.args]


#: Entrywise functions of two arguments of one order.
_OF_ONE_ORDER = {"add": "adds", "sub": "subtracts", "max": "compares", "min": "compares"}


def check_entries(program: Program, powers: Powers, reporter: Reporter) -> None:
    """Report entrywise functions of entries that are not of order one (TP515): functions that no power of n passes
    through, and sums of entries of different orders."""
    for statement in walk(program.body):
        if isinstance(statement, MatStore):
            for term in statement.terms:
                if isinstance(term, FunctionTerm) and term.entrywise:
                    _check_entries(powers, term, statement.span, reporter)
    reporter.raise_errors()


def _check_entries(powers: Powers, term: FunctionTerm, span: Span | None, reporter: Reporter) -> None:
    mistake = mistake_of_entries(term, entry_powers(powers, term))
    if mistake is not None:
        reporter.error("TP515", mistake[0], span, help=mistake[1])


def mistake_of_entries(term: FunctionTerm, found: list[Power]) -> tuple[str, str] | None:
    """What is wrong with an entrywise function of arguments of some powers, and what to do about it."""
    known = [p for p in found if p is not None]
    name = term.fn + "'" * term.order
    power = next((p for p in known if p), None)
    if term.fn in _OF_ONE_ORDER and len(set(known)) > 1:
        orders = " and ".join(f"of order {power_text(p)}" for p in known)
        message = f"this {_OF_ONE_ORDER[term.fn]} entries {orders}: only the larger would count"
    elif len(term.args) == 1 and term.fn != "sqrt" and homogeneous_degree(term.fn) is None and power is not None:
        what = "blow up" if power > 0 else "vanish"
        message = f"the entries that {name} is applied to are of order {power_text(power)}: they {what}"
    else:
        return None
    factor = power_text(-power) if power is not None else "n"
    return message, f"entrywise functions want entries of order one: multiply by {factor}, as in `G = n * grad(loss, W)`"


def term_power(powers: Powers, term: MatrixTerm | OuterTerm) -> Power:
    """The power of a multiple of a matrix, or of an outer product, as an operator."""
    coef = Fraction(0) if term.coef is None else powers[term.coef]
    if isinstance(term, MatrixTerm):
        return total(coef, powers[term.cell])
    return total(coef, powers[term.left], powers[term.right], Fraction(1))


# --- where a power entered -----------------------------------------------------------------------------------


def origin(program: Program, powers: Powers, start: Cell | Var) -> Span | None:
    """The statement at which a value of positive power was made from values without one."""
    makers: dict[Var | Cell, list[Statement]] = {}
    for statement in walk(program.body):
        key = statement.var if isinstance(statement, Let) else getattr(statement, "cell", None)
        if key is not None:
            makers.setdefault(key, []).append(statement)
    seen: set = set()
    constants = _constants(program)
    value: Var | Cell | None = start
    place: Span | None = start.span if isinstance(start, Cell) else None
    # Once loops have fed it back, all that a power has reached looks like its cause.
    first = powers.first if (powers.first.get(start) or 0) > 0 else powers.of
    while value is not None and value not in seen:
        seen.add(value)
        made = next((s for s in makers.get(value, []) if (_made_power(first, s) or 0) > 0), None)
        if made is None:
            return place
        place = made.span or place
        # A factor of n itself is explained by the statement that uses it.
        sources = [(power, s) for s in _sources(made) if (power := first.get(s) or Fraction(0)) > 0
                   and s not in seen and s not in constants]
        value = max(sources, key=lambda source: source[0])[1] if sources else None
    return place


def _constants(program: Program) -> set[Var]:
    """Temporaries made of numbers and widths alone."""
    found: set[Var] = set()
    for statement in walk(program.body):
        if isinstance(statement, Let) and (isinstance(statement.op, Const | WidthConst) or (
                isinstance(statement.op, Elementwise) and all(a in found for a in statement.op.args))):
            found.add(statement.var)
    return found


def _made_power(of: Mapping[Var | Cell, Power], statement: Statement) -> Power:
    """The power of what a statement writes."""
    match statement:
        case Let(var=var):
            return of.get(var)
        case Store(value=value) | Accum(value=value):
            return of.get(value)
        case _:
            cell = written(statement)
            return None if cell is None else of.get(cell)


def _sources(statement: Statement) -> list[Var | Cell]:
    match statement:
        case Let(op=Load(cell=cell)):
            return [cell]
        case Let(op=MatMul(matrix=matrix, arg=arg)):
            return [matrix, arg]
        # A positive power of a denominator makes the quotient smaller.
        case Let(op=Elementwise(fn="div", args=(numerator, _))):
            return [numerator]
        case Let(op=op):
            return list(operands(op))
        case Store(value=value) | Accum(value=value):
            return [value]
        case MatStore(terms=terms) | MatAccum(terms=terms):
            return [v for t in terms for v in _term_sources(t)]
        case _:
            return []


def _term_sources(term: Term) -> list[Var | Cell]:
    found: list[Var | Cell] = [term.coef] if term.coef is not None else []
    if isinstance(term, OuterTerm):
        return [*found, term.left, term.right]
    return found + [m.cell for m in matrix_terms((term,))]


def check_outputs(program: Program, powers: Powers, reporter: Reporter) -> frozenset[str]:
    """Report outputs that blow up (TP501); the names of those that vanish, with a warning (TP508)."""
    vanishing = set()
    columns = [Output(column, cell, span=cell.span) for s in program.samples for cell, column in zip(s.cells, s.columns)]
    for output in (*program.outputs, *columns):
        power = powers[output.cell]
        if power is not None and power > 0:
            place = origin(program, powers, output.cell)
            notes = (Note("the power of n enters here", place),) if place and place != output.span else ()
            reporter.error("TP501", f"`{output.name}` is of order {power_text(power)}: it has no limit", output.span,
                           notes=notes, help=_blow_up_help(program, power, place))
        elif power is not None and power < 0:
            if output not in columns:
                vanishing.add(output.name)
            reporter.warn("TP508", f"`{output.name}` is of order {power_text(power)}: its limit is 0", output.span,
                          help=f"to see its leading term, output it times {power_text(-power)}")
    reporter.raise_errors()
    return frozenset(vanishing)


def _blow_up_help(program: Program, power: Fraction, place: Span | None) -> str:
    if place and program.source.line(place.line)[place.column - 1:].startswith("ntk("):
        return (f"divide by {power_text(power)}; or let the weights have variance 1, and divide by sqrt(n) where they are "
                "used (NTK parametrization): `W @ x / sqrt(n)` with `matrix W : [n, n] ~ normal(0, 1)`")
    if power == Fraction(1, 2):
        return ("divide by sqrt(n); if this is a readout `V @ x` by a V of variance 1/n that is independent of x, its "
                "limit is a random (Gaussian) number, not a constant: output its covariance, as in `cov(f, f)`, or use "
                "a readout of variance 1/n**2 (muP)")
    return f"divide by {power_text(power)}"
