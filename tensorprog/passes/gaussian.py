"""Which scalars are Gaussian in the limit, and through which random objects: the variables of `cov`.

A readout is linear in random objects V of mean zero: f = sum_k <V_k, x_k> + c, where neither the x_k nor c depend on
any of the V_k. Given everything else, f is then Gaussian (in the limit, by the central limit theorem) with mean c, and
the covariance of two readouts is sum_k var(V_k) <df/dV_k, dg/dV_k>: averages with a limit (TP I, Corollary 5.5). It is
the whole covariance if c is a constant in the limit, which its power of n tells.

Dependence is decided on the program: each value has the set of degrees, in the V_k together, of its terms.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from tensorprog.diagnostics import Note, Reporter
from tensorprog.ir.constants import constants_env, is_zero
from tensorprog.ir.program import (
    PRODUCT,
    Accum,
    Cell,
    Const,
    ConstExpr,
    Contract,
    Elementwise,
    FunctionTerm,
    GradStmt,
    Initial,
    InputRef,
    KernelStmt,
    Law,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatrixType,
    MatStore,
    Op,
    Output,
    Program,
    Statement,
    Store,
    Term,
    Var,
    Variable,
    cells_written,
    defined,
    operands,
    walk,
)
from tensorprog.passes.powers import infer_powers
from tensorprog.passes.regions import activity
from tensorprog.passes.rewrite import map_blocks, without_kernels
from tensorprog.passes.simplify import remove_dead
from tensorprog.passes.without_gradients import without_gradients

Degrees = frozenset[int]
ZERO: Degrees = frozenset()
FREE: Degrees = frozenset({0})
LINEAR: Degrees = frozenset({1})
NONLINEAR: Degrees = frozenset({2})


def with_readouts(program: Program, reporter: Reporter) -> Program:
    """The program with the variables of every `cov` filled in.

    Reports: scalars that are not known to be Gaussian in the limit (TP427).
    """
    finder = _Finder(program, reporter)

    def block(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        return tuple(finder.kernel(s) if isinstance(s, KernelStmt) and s.kind == "cov" else map_blocks(s, block)
                     for s in body)

    return program.with_body(block(program.body))


class _Finder:
    def __init__(self, program: Program, reporter: Reporter):
        self.program, self.reporter = program, reporter
        self.variances = {i.cell: v for i in program.initials if (v := centred_variance(i)) is not None}
        self.known: dict[frozenset[Cell], tuple[Variable, ...] | None] = {}

    def kernel(self, kernel: KernelStmt) -> KernelStmt:
        """The kernel with its variables."""
        scalars = frozenset((kernel.left, kernel.right))
        if scalars not in self.known:
            self.known[scalars] = self._variables(kernel, scalars)
        return replace(kernel, wrt=self.known[scalars] or ())

    def _variables(self, kernel: KernelStmt, scalars: frozenset[Cell]) -> tuple[Variable, ...] | None:
        statements = _up_to(self.program.body, scalars)
        changed = cells_written(statements)
        # Only what the scalars depend on at all can be their readout.
        reached = {c for s in scalars for c in activity(statements, set(self.variances), s).cells}
        candidates = [i.cell for i in self.program.initials if i.cell in reached and i.cell in self.variances]
        analysis = _Analysis(self.program, statements)
        # An object that changes is another one for another scalar.
        usable = [c for c in candidates if c not in changed and analysis.linear((c,), scalars)]
        for group in _groups(usable, lambda cells: analysis.linear(cells, scalars)):
            if analysis.homogeneous(group, scalars) or self._constant_rest(group, scalars):
                return tuple(Variable(c, (), self.variances[c]) for c in group)
        self._refuse(kernel, scalars, candidates, changed, usable)
        return None

    def _constant_rest(self, group: tuple[Cell, ...], scalars: frozenset[Cell]) -> bool:
        """Whether the scalars without their readouts have a constant limit."""
        # With the readouts zero, the constant c is what is left.
        initials = tuple(replace(i, law=Law("zero")) if i.cell in group else i for i in self.program.initials)
        outputs = tuple(Output(f"rest_{k}", scalar) for k, scalar in enumerate(scalars))
        body = without_kernels(_up_to(self.program.body, scalars))
        rest = remove_dead(replace(self.program, initials=initials, body=body, outputs=outputs))
        reporter = Reporter(self.program.source)
        plain = without_gradients(rest, reporter)
        powers = infer_powers(plain, constants_env(rest, {}), reporter)
        # Of order one at most: by the Master Theorem it converges to a number.
        return all((powers[scalar] or 0) <= 0 for scalar in scalars)

    def _refuse(self, kernel: KernelStmt, scalars: frozenset[Cell], candidates: list[Cell], changed: set[Cell],
                usable: list[Cell]) -> None:
        names = " and ".join(f"`{s.display}`" for s in dict.fromkeys((kernel.left, kernel.right)))
        verbs = ("are", "hold") if len(scalars) > 1 else ("is", "holds")
        notes = [Note(f"`{c.display}` is updated before the scalar is computed", c.span) for c in candidates
                 if c in changed and c.span]
        notes += [Note(f"`{c.display}` does not enter linearly", c.span) for c in candidates
                  if c not in changed and c not in usable and c.span]
        reason = f"{verbs[0]} linear in no random vector of mean zero" if not usable else \
            f"{verbs[1]} a part that does not have a constant limit, besides what is linear in " + \
            ", ".join(f"`{c.display}`" for c in usable)
        self.reporter.error(
            "TP427", f"{names} {reason}, so that no Gaussian limit is known", kernel.span, notes=tuple(notes),
            help="`cov` takes readouts by a vector that nothing else depends on: `vector v : [n] ~ normal(0, 1)` and "
                 "`f[a] = dot(v, x) / sqrt(n)`; the covariance of the coordinates of two vectors is `moment(x*y)`")


def _up_to(body: tuple[Statement, ...], scalars: Iterable[Cell]) -> tuple[Statement, ...]:
    """The statements of the program up to the last one that computes the scalars, loops as a whole."""
    # What comes later cannot matter to them, and might hide what they are linear in.
    last = max((p for p, s in enumerate(body) if set(scalars) & cells_written((s,))), default=-1)
    # A loop as a whole, since what its later iterations change, its earlier ones may have read.
    return body[: last + 1]


def _groups(usable: list[Cell], linear: Callable[[tuple[Cell, ...]], bool]) -> Iterator[tuple[Cell, ...]]:
    """Largest sets of objects in which the scalars are linear together, vectors and late declarations first."""
    # The sort is stable: of equal kind, late declarations stay in front.
    order = sorted(usable[::-1], key=lambda c: isinstance(c.type, MatrixType))  # noqa: C415
    for start in order:
        # Greedily: any set that will do gives the same covariance, but more objects leave a smaller rest.
        group: tuple[Cell, ...] = (start,)
        for other in order:
            if other not in group and linear((*group, other)):
                group = (*group, other)
        yield group


# --- laws ----------------------------------------------------------------------------------------------------


def centred_variance(initial: Initial) -> ConstExpr | None:
    """The variance of an object's entries if their mean is zero."""
    match initial.law:
        case Law("rademacher"):
            return ConstExpr("num", (), 1.0)
        case Law("normal", (mean, variance)) if is_zero(mean):
            return variance
        case Law("sparse_normal", (probability, variance)):
            return ConstExpr("*", (probability, variance))
        case Law("uniform", (low, high)) if is_zero(ConstExpr("+", (low, high))):
            length = ConstExpr("-", (high, low))
            return ConstExpr("/", (ConstExpr("*", (length, length)), ConstExpr("num", (), 12.0)))
        case _:
            return None


# --- degrees -------------------------------------------------------------------------------------------------


def affine_in_inputs(program: Program, names: Collection[str]) -> set[Var | Cell]:
    """The values of a program that are affine in some of its inputs, taken together."""
    degrees = _degrees(program.body, {i.cell: FREE for i in program.initials if i.law.name != "zero"}, names)
    return {value for value, found in degrees.items() if found <= FREE | LINEAR}


@dataclass
class _Analysis:
    """Degrees of the values that some statements compute, in whichever order the loops run them."""

    program: Program
    statements: tuple[Statement, ...]

    def linear(self, group: tuple[Cell, ...], scalars: Iterable[Cell]) -> bool:
        """Whether the scalars are affine in the objects of a group, taken together."""
        degrees = self._degrees(group)
        return all(degrees.get(s, ZERO) <= FREE | LINEAR for s in scalars)

    def homogeneous(self, group: tuple[Cell, ...], scalars: Iterable[Cell]) -> bool:
        """Whether the scalars are linear in them, without a constant."""
        degrees = self._degrees(group)
        return all(degrees.get(s, ZERO) <= LINEAR for s in scalars)

    def _degrees(self, group: tuple[Cell, ...]) -> dict[Var | Cell, Degrees]:
        found: dict[Var | Cell, Degrees] = {}
        for initial in self.program.initials:
            own = LINEAR if initial.cell in group else FREE
            # Zero has no terms, and so no degrees.
            found[initial.cell] = ZERO if initial.law.name == "zero" else own
        return _degrees(self.statements, found, ())


def _degrees(body: tuple[Statement, ...], found: dict[Var | Cell, Degrees],
             inputs: Collection[str]) -> dict[Var | Cell, Degrees]:
    """The degrees of all values, from those of declared objects, in these and in some inputs."""
    flat = list(walk(body))
    changed = True
    while changed:
        changed = False
        for statement in flat:
            key = defined(statement)
            if key is None:
                continue
            drawn = isinstance(statement, Let) and isinstance(statement.op, InputRef) and statement.op.name in inputs
            degrees = found.get(key, ZERO) | (LINEAR if drawn else _made(statement, found))
            changed |= degrees != found.get(key)
            found[key] = degrees
    return found


def _made(statement: Statement, known: dict[Var | Cell, Degrees]) -> Degrees:
    """The degrees of what a statement computes or writes."""
    match statement:
        case Let(op=op):
            return _of_operation(op, known)
        case Store(value=value) | Accum(value=value):
            return known.get(value, ZERO)
        case MatStore(terms=terms) | MatAccum(terms=terms):
            return ZERO.union(*(_of_term(t, known) for t in terms))
        # Derivatives are not followed: what they are taken of counts as not affine.
        case GradStmt(scalar=scalar):
            return _nonlinear([known.get(scalar, ZERO)])
        case KernelStmt(left=left, right=right):
            return _nonlinear([known.get(left, ZERO), known.get(right, ZERO)])
        case _:
            return ZERO


def _of_operation(op: Op, known: dict[Var | Cell, Degrees]) -> Degrees:
    args = [known.get(v, ZERO) for v in operands(op)]
    match op:
        case Const(value=0):
            return ZERO
        case Load(cell=cell):
            return known.get(cell, ZERO)
        case MatMul(matrix=matrix):
            return _product([known.get(matrix, ZERO), *args])
        case MatDot(left=left, right=right):
            return _product([known.get(left.cell, ZERO), known.get(right.cell, ZERO)])
        case Contract():
            return _product(args)
        case Elementwise(order=0, fn="add" | "sub"):
            return args[0] | args[1]
        case Elementwise(order=0, fn="mul"):
            return _product(args)
        case Elementwise(order=0, fn="div"):
            # A number over what does not depend on the objects keeps its degrees.
            return args[0] if args[1] <= FREE else NONLINEAR
        case Elementwise(order=0, fn="neg"):
            return args[0]
        case Elementwise():
            return _nonlinear(args)
        case _:
            return args[0] if args else FREE


def _of_term(term: Term, known: dict[Var | Cell, Degrees]) -> Degrees:
    factors = [] if term.coef is None else [known.get(term.coef, ZERO)]
    if isinstance(term, FunctionTerm):
        args = [known.get(a if isinstance(a, Var) else a.cell, ZERO) for a in term.args]
        return _product([*factors, *args]) if term.fn == PRODUCT else _product([*factors, _nonlinear(args)])
    sources = (term.cell,) if isinstance(term, MatrixTerm) else (term.left, term.right)
    return _product([*factors, *(known.get(s, ZERO) for s in sources)])


def _product(factors: list[Degrees]) -> Degrees:
    result = FREE
    for degrees in factors:
        # The degree 2 stands for all that is not affine.
        result = frozenset(min(a + b, 2) for a in result for b in degrees)
    return result


def _nonlinear(args: list[Degrees]) -> Degrees:
    return FREE if all(a <= FREE for a in args) else NONLINEAR
