"""Scalars of the limit program on which something is discontinuous, each with a *probe*: an output that reports it.

The limit of such a scalar is known only at run time. Where it lies on the jump, the theorem says nothing of the value
there: a moment of width n is its limit plus a fluctuation of order n**-1/2, which decides the side (TP III, Appendix
E). `tensorprog.jumps` looks at the probes after a run.

    a jump          `sign`, `step`, the derivatives of `abs` and `relu`, all at 0; what is derived from `max` and `min`
    a singularity   a division, a logarithm, a negative or fractional power, the root of what can be negative

Functions that are continuous need no probe, with a kink or without: `abs`, `relu`, `max`, `min`. Nor do arguments that
are bounded away from 0 (`bounds`), or that no moment is in. A vector is met like a scalar where it is a multiple of one:
`sign(c*u)`. Where it may vanish as a difference (`differences`), as u - c*u with c tending to 1, the probe is the second
moment of that difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

from tensorprog.diagnostics import Span
from tensorprog.ir.build import Builder, Names
from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.bounds import Bound
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin, loop_names
from tensorprog.ir.primitives import jumps
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    For,
    FromInt,
    InputRef,
    Let,
    Load,
    MatMul,
    Moment,
    Op,
    Output,
    Param,
    ParamRef,
    Program,
    Statement,
    Store,
    SumAxis,
    TensorType,
    Var,
    blocks,
    cells_read,
    defined,
    names_used,
    operands,
    reads,
    walk,
)
from tensorprog.passes.differences import Differences
from tensorprog.passes.hypotheses import ProgramBounds
from tensorprog.passes.rewrite import map_blocks


@dataclass(frozen=True, slots=True)
class Jump:
    """A statement that is discontinuous in scalars.

    Attributes:
        fn: the primitive, with a ' for a derivative.
        scalars: what it is discontinuous in, scalars and vectors that may vanish; of a division, the numerator as well.
        probes: the names of the outputs that report them.
        outputs: the program's outputs that depend on it.
        counted: whether it is summed or averaged over a finite index, as in an accuracy.
    """

    fn: str
    span: Span | None
    scalars: tuple[Var, ...]
    probes: tuple[str, ...]
    outputs: frozenset[str]
    counted: bool


@dataclass(frozen=True, slots=True)
class Probed:
    """A limit program with probes among its outputs. `terms` are those of a probe that is a sum or a difference: its
    rounding errors have their size. `squares` are the probes that are second moments of vectors, as are their terms."""

    limit: Program
    jumps: tuple[Jump, ...]
    terms: Mapping[str, tuple[str, ...]]
    squares: frozenset[str] = frozenset()

    @property
    def probes(self) -> tuple[str, ...]:
        """The names of all probes."""
        return tuple(dict.fromkeys(name for jump in self.jumps for name in jump.probes))

    @property
    def added(self) -> frozenset[str]:
        """The names of all outputs that the program did not have."""
        return frozenset(self.probes).union(*self.terms.values())


def find_jumps(limit: Program, env: Mapping[str, object]) -> tuple[tuple[Let, tuple[Var, ...]], ...]:
    """The statements that jump, each with the scalars to look at; `env` holds parameters and sizes."""
    return tuple(_Search(limit, env).found())


def _jump(limit: Program, statement: Let, vars: tuple[Var, ...], probes: tuple[str, ...]) -> Jump:
    op = statement.op
    assert isinstance(op, Elementwise)
    numerator = op.args[:1] if op.fn == "div" else ()
    return Jump(op.fn + "'" * op.order, statement.span, (*vars, *numerator), probes, *_consequences(limit, statement.var))


def probed(limit: Program, found: Iterable[tuple[Let, tuple[Var, ...]]]) -> Probed:
    """The program with a probe for each scalar that `find_jumps` has found."""
    found = list(found)
    names = Names()
    for name in names_used(limit) | {o.name for o in limit.outputs}:
        names.reserve(name)
    ops = {s.var: s.op for s in walk(limit.body) if isinstance(s, Let)}
    vectors = {v for _, vars in found for v in vars if v.type.width is not None}
    differences = _differences(limit) if vectors else None
    terms = {var: differences.terms(var) if differences is not None and var in vectors else _terms(ops, var)
             for _, vars in found for var in vars}
    cells: dict[Var, Cell] = {}
    # The terms, too: what a probe is compared with.
    body = _with_probes(limit.body, (), set(terms).union(*terms.values()), cells, names)
    outputs = tuple(Output(cell.name, cell) for cell in cells.values())
    jumps = tuple(_jump(limit, statement, vars, tuple(cells[v].name for v in vars)) for statement, vars in found)
    return Probed(replace(limit, body=body, outputs=(*limit.outputs, *outputs)), jumps,
                  {cells[var].name: tuple(cells[v].name for v in of) for var, of in terms.items()},
                  frozenset(cells[var].name for var in vectors))


def _differences(limit: Program) -> Differences:
    statements = list(walk(limit.body))
    return Differences(limit, statements, _forward(limit, _moments(statements)))


def _moments(statements: Iterable[Statement]) -> set[Var | Cell]:
    return {s.var for s in statements if isinstance(s, Let) and isinstance(s.op, Moment)}


def _terms(ops: Mapping[Var, Op], var: Var) -> tuple[Var, ...]:
    """The terms of a sum or a difference that are computed."""
    op = ops[var]
    if not isinstance(op, Elementwise) or op.fn not in ("add", "sub"):
        return ()
    return tuple(a for a in op.args if not isinstance(ops[a], Const | FromInt | ParamRef | InputRef))


@dataclass(frozen=True, slots=True)
class Nudged:
    """A limit program in which moments are nudged: by the parameter `size` times their scale times a sine of the
    iteration's frequency and of the parameter `phase`."""

    limit: Program
    size: str
    phase: str


def nudge(limit: Program, scalars: Iterable[Var], outputs: Iterable[str]) -> Nudged:
    """The program for some of its outputs, with the moments nudged that `scalars` are computed from."""
    builder = Builder()
    for name in names_used(limit) | {o.name for o in limit.outputs}:
        builder.names.reserve(name)
    size, phase = (Param(builder.names.fresh(name), "real", 0.0) for name in ("nudge_size", "nudge_phase"))
    moments = _moments_behind(limit, scalars)
    body = _with_nudges(limit.body, (), moments, builder, (ParamRef(size.name), ParamRef(phase.name)))
    kept = tuple(o for o in limit.outputs if o.name in set(outputs))
    return Nudged(replace(limit, body=body, params=(*limit.params, size, phase), outputs=kept), size.name, phase.name)


def _with_nudges(body: tuple[Statement, ...], loops: tuple[For, ...], moments: Mapping[Var, int], builder: Builder,
                 params: tuple[ParamRef, ParamRef]) -> tuple[Statement, ...]:
    made: list[Statement] = []
    for statement in body:
        inner = (*loops, statement) if isinstance(statement, For) else loops
        statement = map_blocks(statement, partial(_with_nudges, loops=inner, moments=moments, builder=builder, params=params))
        if isinstance(statement, Let) and isinstance(statement.op, Moment) and statement.var in moments:
            with builder.nested() as block:
                exact = builder.let(statement.op, statement.var.type)
                # Incommensurable frequencies, so that iterations and moments are nudged independently.
                frequency = builder.const(0.7 + 2.39996 * moments[statement.var])
                for k, loop in enumerate(loops):
                    step = builder.mul(builder.const(1.7320508 + 0.9221 * k), builder.from_int(_iteration(loop)))
                    frequency = builder.add(frequency, step)
                angle = builder.mul(builder.let(params[1]), frequency)
                by = builder.mul(builder.let(params[0]), builder.elementwise("sin", angle))
                by = builder.mul(by, _deviation(builder, statement.op.arg, exact))
            made += [*block, Let(statement.var, Elementwise("add", (exact, by)), span=statement.span)]
        else:
            made.append(statement)
    return tuple(made)


def _deviation(builder: Builder, arg: Var, mean: Var) -> Var:
    """The standard deviation of a vector's coordinates: that of its moment at a width n, times sqrt(n)."""
    second = builder.let(Moment(builder.elementwise("square", arg)), mean.type)
    variance = builder.sub(second, builder.mul(mean, mean))
    # Rounding may make it negative where the vector is one number.
    return builder.elementwise("sqrt", builder.elementwise("relu", variance))


def _moments_behind(program: Program, scalars: Iterable[Var]) -> dict[Var, int]:
    """The moments that scalars are computed from, numbered."""
    wanted: set[Var | Cell] = set(scalars)
    statements = list(walk(program.body))
    moments: dict[Var, int] = {}
    count = -1
    while count != len(wanted):
        count = len(wanted)
        for s in statements:
            target = defined(s)
            if target in wanted and isinstance(s, Let) and isinstance(s.op, Moment):
                moments.setdefault(s.var, len(moments))
            if target in wanted:
                wanted |= {*reads(s), *cells_read(s)}
    return moments


def _with_probes(body: tuple[Statement, ...], loops: tuple[For, ...], scalars: set[Var], cells: dict[Var, Cell],
                 names: Names) -> tuple[Statement, ...]:
    """The block with a `Store` behind each statement that computes one of the scalars, or vectors."""
    made: list[Statement] = []
    builder = Builder(names)
    for statement in body:
        inner = (*loops, statement) if isinstance(statement, For) else loops
        made.append(map_blocks(statement, partial(_with_probes, loops=inner, scalars=scalars, cells=cells, names=names)))
        if isinstance(statement, Let) and statement.var in scalars:
            var = statement.var
            name = names.fresh(f"{var.name}_probe")
            cells[var] = Cell(name, TensorType(None, var.type.shape), len(loops), name)
            with builder.nested() as block:
                value = var if var.type.width is None else builder.moment(builder.elementwise("square", var))
            made += [*block, Store(cells[var], tuple(_iteration(loop) for loop in loops), value)]
    return tuple(made)


def _iteration(loop: For) -> IntExpr:
    """The position of an iteration, from 0 on."""
    var = IntSym(loop.var, "loop")
    if loop.start == IntLit(0) and loop.step > 0:
        return var
    return int_bin("-", var, loop.start) if loop.step > 0 else int_bin("-", loop.start, var)


def always_computed(program: Program) -> set[Var]:
    """Temporaries that are computed for every index of their loops: in no condition, and in no loop whose bounds depend
    on another one's iteration."""
    return set(_always(program.body))


def _always(body: tuple[Statement, ...]) -> Iterator[Var]:
    for statement in body:
        match statement:
            case Let(var=var):
                yield var
            case For(start=start, stop=stop, body=inner) if not loop_names(start) | loop_names(stop):
                yield from _always(inner)


def _consequences(program: Program, var: Var) -> tuple[frozenset[str], bool]:
    """The outputs that depend on a temporary, and whether it is summed over a finite index at once."""
    reached = _forward(program, {var})
    statements = list(walk(program.body))
    scaled = {var} | {s.var for s in statements if isinstance(s, Let) and isinstance(s.op, Elementwise)
                      and s.op.fn in ("mul", "div", "sub", "add", "neg") and var in s.op.args}
    counted = any(isinstance(s, Accum) and s.value in scaled or isinstance(s, Let) and isinstance(
        s.op, SumAxis | Contract) and scaled & set(operands(s.op)) for s in statements)
    return frozenset(o.name for o in program.outputs if o.cell in reached), counted


def _forward(program: Program, roots: set[Var | Cell]) -> set[Var | Cell]:
    """Temporaries and cells that depend on some: in the program's order, and round loops."""
    reached = set(roots)
    _reach(program.body, reached)
    return reached


def _reach(body: tuple[Statement, ...], reached: set[Var | Cell]) -> None:
    for s in body:
        if not reached.isdisjoint((*reads(s), *cells_read(s))):
            made = defined(s)
            reached |= set() if made is None else {made}
        count = -1
        while count != len(reached):
            count = len(reached)
            for block in blocks(s):
                _reach(block, reached)


class _Search:
    """Statements that may meet a jump, by bounds and by what a moment is in.

    Attributes:
        factors: of a vector, scalars that may be 0 and of which it is a multiple; none if there may be other parts.
    """

    def __init__(self, program: Program, env: Mapping[str, object]):
        self.bounds = ProgramBounds(program, env)
        self.statements = self.bounds.solved()
        self.random = _forward(program, _moments(self.statements))
        self.program = program
        self.declared = {i.cell for i in program.initials if i.law.name != "zero"}
        self.factors: dict[Var | Cell, frozenset[Var]] = {}
        before = None
        while before != self.factors:
            before = dict(self.factors)
            for statement in self.statements:
                self._follow(statement)

    @cached_property
    def differences(self) -> Differences:
        """The vectors that may vanish as differences, for programs in which a vector meets a jump."""
        return Differences(self.program, self.statements, self.random)

    def found(self) -> Iterable[tuple[Let, tuple[Var, ...]]]:
        for s in self.statements:
            if isinstance(s, Let) and isinstance(s.op, Elementwise):
                argument = self._argument(s.op)
                scalars = self._vanishing_parts(argument) if argument is not None else frozenset()
                if scalars:
                    yield s, tuple(sorted(scalars, key=lambda v: v.name))

    def _argument(self, op: Elementwise) -> Var | None:
        """The operand at whose zero the operation is discontinuous, if it may be there."""
        at = op.args[1] if op.fn == "div" else op.args[0]
        args = [bound for a in op.args if (bound := self.bounds.vars.get(a)) is not None]
        if len(args) < len(op.args):
            return None
        bound = args[1] if op.fn == "div" else args[0]
        # The second moment of what is no constant is never zero, but for a vector that vanishes.
        zero = bound.zero or bool(self.differences.suspects.get(at))
        return at if (zero or bound.low < 0 and op.fn in ("log", "sqrt", "pow")) and _jumps(op, args) else None

    def _vanishing_parts(self, var: Var) -> frozenset[Var]:
        """The scalars, and the vectors that are differences, with which an argument vanishes."""
        suspects = self.differences.suspects.get(var, frozenset())
        if var.type.width is not None:
            return suspects | self.factors.get(var, frozenset())
        return suspects | frozenset((var,)) if var in self.random else frozenset()

    # --- multiples ---

    def _follow(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op) if var.type.width is not None:
                self._join(var, self._of(op))
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value) if value.type.width is not None:
                # With a part that vanishes with no scalar, the whole does not vanish with one.
                if cell in self.declared or not self.factors.get(value):
                    self.factors[cell] = frozenset()
                else:
                    self._join(cell, self.factors[value])

    def _join(self, target: Var | Cell, found: frozenset[Var] | None) -> None:
        """What may only grow, but for the empty set, which stays."""
        known = self.factors.get(target)
        if found is not None and known != frozenset():
            self.factors[target] = found if not found or known is None else known | found

    def _of(self, op: Op) -> frozenset[Var] | None:
        """The vanishing factors of an operation's value; None while nothing is known of it."""
        match op:
            case Load(cell=cell):
                return frozenset() if cell in self.declared else self.factors.get(cell)
            case Elementwise(fn="mul") | Contract():
                return frozenset().union(*(self._vanishing(a) for a in operands(op)))
            case Elementwise(fn="div", args=(top, _)):
                return self._vanishing(top)
            case Elementwise(fn=fn, order=0, args=(a,)) if fn in NONLINEARITIES and NONLINEARITIES[fn].vanishes_at_zero:
                # A vanishing factor of the argument is one of the value.
                return self._vanishing(a)
            case Elementwise(fn="add" | "sub" | "max" | "min", args=(a, b)):
                if self._is_zero(a) or self._is_zero(b):
                    return self._vanishing(b if self._is_zero(a) else a)
                # A sum vanishes only with both of its parts.
                both = self._vanishing(a), self._vanishing(b)
                return both[0] | both[1] if all(both) else frozenset()
            case MatMul(arg=arg):
                return self._vanishing(arg)
            case Elementwise() | Moment():
                return frozenset()
        args = operands(op)
        return self._vanishing(args[0]) if args else frozenset()

    def _is_zero(self, var: Var) -> bool:
        bound = self.bounds.vars.get(var)
        return bound is not None and bound.low == 0 == bound.high

    def _vanishing(self, var: Var) -> frozenset[Var]:
        if var.type.width is not None:
            return self.factors.get(var, frozenset())
        bound = self.bounds.vars.get(var)
        return frozenset((var,)) if var in self.random and bound is not None and bound.zero else frozenset()


def _jumps(op: Elementwise, args: list[Bound]) -> bool:
    """Whether an operation is discontinuous at 0."""
    match op.fn:
        case "div" | "log":
            return True
        case "sqrt":
            # The root is continuous at 0 from above; its derivatives are not, and below 0 there is none.
            return op.order > 0 or args[0].low < 0
        case "pow":
            base, exponent = args
            whole = exponent.low == exponent.high and float(exponent.low).is_integer()
            # x**a is continuous at 0 for a >= 0, if a is whole or x is never negative.
            return not (exponent.low >= 0 and (whole or base.low >= 0))
    return jumps(op.fn, op.order)


def place_of(jump: Jump) -> str:
    """What happens at a jump that is met."""
    what = {"div": "a denominator tends to 0 here", "log": "the argument of a logarithm tends to 0 here",
            "sqrt": "the argument of a square root tends to 0 here", "pow": "the base of a power tends to 0 here"}
    return what.get(jump.fn.rstrip("'")) or f"the argument of `{jump.fn}` tends to 0 here, where it jumps"
