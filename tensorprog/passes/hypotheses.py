"""Warnings where a hypothesis of the Master Theorem is not met (TP IV, Assumption F.4; TP III, Appendix E).

    TP511   a nonlinearity that grows as exp(c x**2) or faster: its averages need not converge (TP I, Theorem 5.4)
    TP512   a division by, or the logarithm of, a vector that can be zero
    TP513   a discontinuous function of a vector that is one number in the limit: what is of lower order decides it

They follow from the program's structure alone: every value of the limit program gets a bound (`bounds`), from above
and by iteration round loops. Not done here: a scalar on which something is discontinuous, whose limit is not known
before the program runs (`jumps`).
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from tensorprog.diagnostics import Reporter, Span
from tensorprog.ir.constants import constant as declared_constant
from tensorprog.ir.functions.bounds import GAUSSIAN, Bound, Problems
from tensorprog.ir.integers import Environment, IntBin, IntExpr, IntLit, IntSym
from tensorprog.ir.primitives import jumps
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    For,
    FromInt,
    FunctionTerm,
    Initial,
    InputRef,
    Let,
    Load,
    MatDot,
    MatMul,
    MatStore,
    Moment,
    Op,
    ParamRef,
    Place,
    Program,
    Statement,
    Store,
    SumAxis,
    Var,
    WidthConst,
    Zero,
    cells_written,
    operands,
    walk,
)
from tensorprog.passes.bounds import (
    ANY_NUMBER,
    both,
    constant,
    joined,
    mean,
    of_primitive,
    product,
    summed,
    widened,
)
from tensorprog.passes.quotients import is_bounded
from tensorprog.passes.ratios import bounded_by_parts

ROUNDS = 4  # before ranges that still move are given up


def check_hypotheses(limit: Program, env: Environment, reporter: Reporter) -> None:
    """Warn of what the theorem does not cover; `env` holds the values of parameters and sizes."""
    bounds = ProgramBounds(limit, env)
    for statement in bounds.solved():
        if isinstance(statement, Let) and statement.var.type.width is not None:
            bounds.judge(statement, reporter)
        elif isinstance(statement, MatStore):
            _judge_entries(statement, reporter)


class ProgramBounds:
    """The bound of every value of a program, in `vars` and `cells`; `env` holds parameters and sizes."""

    def __init__(self, program: Program, env: Environment):
        self.program, self.env = program, env
        self.vars: dict[Var, Bound | None] = {}
        self.multiples: dict[Var, tuple[object, int]] = {}
        self.written = cells_written(program.body)
        self.loops = {s.var: s for s in walk(program.body) if isinstance(s, For)}
        self.ops = {s.var: s.op for s in walk(program.body) if isinstance(s, Let)}
        self.ratios = bounded_by_parts(program, env)
        self.added: dict[Cell, Bound | None] = {}
        self.set: set[Cell] = set()
        self.cells: dict[Cell, Bound | None] = {i.cell: self._declared(i) for i in program.initials}

    def solved(self) -> list[Statement]:
        """All statements, once the bounds of what loops carry round hold."""
        statements = list(walk(self.program.body))
        count, before = 0, None
        while before != self.cells:
            before = dict(self.cells)
            for statement in statements:
                self._statement(statement)
            count += 1
            if count > ROUNDS:
                # A loop with x += 1 would move its range for ever: an end that still moves becomes infinite.
                self.cells = {c: widened(before.get(c), b) for c, b in self.cells.items()}
        return statements

    def judge(self, statement: Let, reporter: Reporter) -> None:
        op = statement.op
        if not isinstance(op, Elementwise):
            return
        args = [bound for a in op.args if (bound := self.vars.get(a)) is not None]
        if len(args) < len(op.args):
            return
        problems = Problems()
        of_primitive(op.fn, op.order, args, self._sign(op), problems)
        if problems.growth:
            _too_fast(statement.span, reporter)
        if problems.division and op.args[-1 if op.fn == "div" else 0].type.width is not None:
            if op.fn != "div" or not is_bounded(op, self.ops, self.vars):
                _division(op.fn, statement.span, reporter)
        if jumps(op.fn, op.order) and args[0].fixed and args[0].zero:
            _degenerate(op.fn + "'" * op.order, statement.span, reporter)

    def _declared(self, initial: Initial) -> Bound | None:
        name = initial.law.name
        values = [declared_constant(self.program, a, self.env)[0] for a in initial.law.args]
        match name:
            case "constant":
                return constant(values[0])
            case "zero":
                return constant(0.0)
            case "normal" if values[1] == 0:
                return constant(values[0])
            case "rademacher":
                return Bound(-1.0, 1.0, False)
            case "bernoulli":
                return Bound(0.0, 1.0, True)
            case "uniform":
                return Bound(values[0], values[1], values[0] <= 0 <= values[1])
        # Among them sparse ones: a product of a Gaussian and a number that is 0 or 1.
        return GAUSSIAN

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op):
                self.vars[var] = self._narrowed(var, self._op(op))
                self.multiples[var] = self._multiple(var, op)
            case Store(cell=cell, value=value):
                stored = self.vars.get(value)
                self.cells[cell] = joined(self.cells.get(cell), stored)
                # A reset to 0 leaves a sum a sum of what is added (`_loaded`).
                if stored is not None and stored != constant(0.0):
                    self.set.add(cell)
            case Accum(cell=cell, value=value):
                old, new = self.cells.get(cell), self.vars.get(value)
                self.added[cell] = joined(self.added.get(cell), new)
                total = None if old is None or new is None else of_primitive("add", 0, [old, new], 0, Problems())
                self.cells[cell] = joined(old, total)
            case Zero(cell=cell):
                self.cells[cell] = joined(self.cells.get(cell), constant(0.0))

    def _narrowed(self, var: Var, bound: Bound | None) -> Bound | None:
        """A bound, and what quotients say beside it whose parts grow together."""
        other = self.ratios.bound(var, self.vars) if self.ratios is not None and bound is not None else None
        return bound if bound is None or other is None else both(bound, other)

    def _ends(self, expr: IntExpr) -> tuple[float, float]:
        """The smallest and the largest value of an integer: sizes are positive, loop variables within their range."""
        match expr:
            case IntLit(value=value):
                return value, value
            case IntSym(kind="size"):
                return 1.0, inf
            case IntSym(name=name) if name in self.loops:
                loop = self.loops[name]
                first, last = self._ends(loop.start), self._ends(loop.stop)
                # One loop's bounds may depend on another one's variable: from its first start to its last stop.
                return (first[0], last[1] - 1) if loop.step > 0 else (last[0] + 1, first[1])
            case IntBin(op="+", left=left, right=right):
                (a, b), (c, d) = self._ends(left), self._ends(right)
                return a + c, b + d
            case IntBin(op="-", left=left, right=right):
                (a, b), (c, d) = self._ends(left), self._ends(right)
                return a - d, b - c
        return -inf, inf

    def _multiple(self, var: Var, op: Op) -> tuple[object, int]:
        """A value as a multiple of another: what that is, and the factor's sign."""
        match op:
            case Load(cell=cell, items=items) if cell not in self.written:
                return (cell, items), 1
            case Elementwise(fn="neg", order=0, args=(a,)):
                root, sign = self.multiples.get(a, (a, 1))
                return root, -sign
            case Elementwise(fn="mul" | "div" as fn, order=0, args=(a, b)):
                for x, y in ((a, b), (b, a)) if fn == "mul" else ((a, b),):
                    factor = self.vars.get(y)
                    if factor is not None and factor.fixed and (factor.low > 0 or factor.high < 0):
                        root, sign = self.multiples.get(x, (x, 1))
                        return root, sign if factor.low > 0 else -sign
        return var, 1

    def _sign(self, op: Elementwise) -> int:
        """The sign of the second argument over the first, if it is a multiple of it."""
        if len(op.args) != 2:
            return 0
        (one, a), (two, b) = (self.multiples.get(x, (x, 1)) for x in op.args)
        return a * b if one == two else 0

    def _loaded(self, cell: Cell) -> Bound | None:
        """What a cell holds. One that starts at 0 and is only added to holds a sum of one term or more."""
        bound, added = self.cells.get(cell), self.added.get(cell)
        if bound is None or added is None or cell in self.set or cell.role == "initial":
            return bound
        return replace(bound, zero=False) if added.low >= 0 and not added.zero else bound

    def _is_variance(self, op: Elementwise) -> bool:
        """Whether this is moment(x*x) - moment(x)**2 of a vector that is not one number."""
        if op.fn != "sub":
            return False
        # Positive by Jensen's inequality: a layernorm divides by its root.
        whole, squared = (self.ops.get(a) for a in op.args)
        base = self._squared(squared)
        mean = None if base is None else self.ops.get(base)
        if not isinstance(whole, Moment) or not isinstance(mean, Moment):
            return False
        bound = self.vars[mean.arg]
        return not (bound is None or bound.fixed) and self._squared(self.ops.get(whole.arg)) is mean.arg

    def _squared(self, op: Op | None) -> Var | None:
        """What an operation is the square of."""
        match op:
            case Elementwise(fn="square", order=0, args=(x,)):
                return x
            case Elementwise(fn="mul", args=(x, y)) if x is y:
                return x
            case Elementwise(fn="pow", args=(x, k)) if self.vars.get(k) == constant(2.0):
                return x
        return None

    def _op(self, op: Op) -> Bound | None:
        match op:
            case Const(value=value):
                return constant(float(value))
            case WidthConst():
                return Bound(0.0, inf, False, fixed=True)
            case FromInt(expr=expr):
                low, high = self._ends(expr)
                return Bound(low, high, low <= 0 <= high, fixed=True)
            case MatDot(left=left, right=right) if left == right:
                return Bound(0.0, inf, True, fixed=True)
            case InputRef() | MatDot():
                return ANY_NUMBER
            case ParamRef(name=name):
                return constant(float(self.env[name])) if name in self.env else ANY_NUMBER
            case Load(cell=cell):
                return self._loaded(cell)
        # What is None is not known yet, in the first round through a loop.
        args = [bound for a in operands(op) if (bound := self.vars.get(a)) is not None]
        if len(args) < len(operands(op)):
            return None
        match op:
            case Elementwise():
                bound = of_primitive(op.fn, op.order, args, self._sign(op), Problems())
                return replace(bound, low=0.0, zero=False) if self._is_variance(op) else bound
            case Moment():
                return mean(args[0])
            case Contract():
                return summed(product(*args))
            case SumAxis():
                return summed(args[0])
            case MatMul():
                # W @ x is Gaussian, whatever bounds x; but zero of zero.
                return args[0] if args[0] == constant(0.0) else GAUSSIAN
            case Place():
                return joined(args[0], constant(0.0))
        return args[0]


def _judge_entries(statement: MatStore, reporter: Reporter) -> None:
    for term in statement.terms:
        if isinstance(term, FunctionTerm) and jumps(term.fn, term.order):
            reporter.warn("TP516", f"{term.fn} jumps where an entry of the matrix vanishes: the theorem wants a smooth "
                          "function there", statement.span,
                          help="write `G / sqrt(G**2 + eps**2)` with a small eps, or accept this where no entries vanish")


def _too_fast(span: Span | None, reporter: Reporter) -> None:
    reporter.warn("TP511", "this exponential grows as fast as exp(c*x**2), or faster: averages of it need not have the "
                  "limit that is computed", span, help="bound its argument, as in `exp(-x*x)` or `exp(tanh(x))`")


def _division(fn: str, span: Span | None, reporter: Reporter) -> None:
    what = "takes the logarithm of" if fn == "log" else "divides by"
    reporter.warn("TP512", f"this {what} a vector that can be zero: the limit theorem does not cover it", span,
                  help="keep it away from zero, as in `x / sqrt(y*y + 0.01)`")


def _degenerate(name: str, span: Span | None, reporter: Reporter) -> None:
    reporter.warn("TP513", f"in the limit the argument of {name} is 0 in every coordinate, where {name} jumps: at "
                  "finite width what is of lower order decides its value", span,
                  help="write what is of lower order at its own scale, or leave it out")
