"""Which outputs depend on vectors that stay in the linear span of the initial ones, and a homogeneous form of the
program for them: every vector is linear, every argument of a moment quadratic in the initial vectors and the constant
vector.

Then a vector is a list of coefficients, a moment their inner product, and the limit a finite computation (TP IV,
App. D.1). A number in the place of a vector (`x + 3`) becomes a multiple of the constant vector, which is a hidden
initial vector `one` of the space; so does whatever else has too low a degree.

Not done here: choosing coordinates, which is the runtime's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.made_by_updates import random_matrices
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
    Expand,
    FunctionTerm,
    Initial,
    Law,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    Output,
    Pick,
    Place,
    Program,
    Statement,
    Store,
    SumAxis,
    TensorType,
    Term,
    Var,
    cells_written,
    names_used,
    reads,
    touched,
    walk,
)
from tensorprog.passes.rewrite import map_blocks
from tensorprog.passes.simplify import remove_dead
from tensorprog.passes.spaces import Spaces

# The degree of what is zero, which fits any.
ANY = None
Degree = int | None


class NotLinear(Exception):
    """Some vector is not linear in the initial ones; the message names the operation."""


class NoCoefficient(Exception):
    """A cell that was to hold coefficients holds a vector that is linear in the initial ones."""

    def __init__(self, cell: Cell):
        super().__init__(cell.name)
        self.cell = cell


@dataclass(frozen=True, slots=True)
class LinearProgram:
    """The homogeneous program of the outputs that are linear (None without any), and for each other output why not."""

    program: Program | None
    reasons: Mapping[Cell, str]


def linear_outputs(program: Program) -> LinearProgram:
    """Find the outputs whose vectors all stay in the span of the initial ones."""
    try:
        # All outputs at once, which is the rule; where one spoils it, each is tried by itself.
        return LinearProgram(homogeneous(_sliced(program, program.outputs)) if program.outputs else None, {})
    except NotLinear:
        pass
    good: list[Output] = []
    reasons: dict[Cell, str] = {}
    slices = Slices(program)
    for output in program.outputs:
        try:
            homogeneous(slices.of(output))
        except NotLinear as error:
            reasons[output.cell] = str(error)
        else:
            good.append(output)
    # Without the others' statements as well, or one of those that is never read may not be linear.
    found = homogeneous(slices.of(*good)) if good else None
    return LinearProgram(found, reasons)


def is_smooth(op: Elementwise) -> bool:
    """Whether an operation has all derivatives, where its arguments are not on the edge of what it is defined for."""
    if op.fn in NONLINEARITIES:
        return NONLINEARITIES[op.fn].kink is None
    return op.fn in ("add", "sub", "mul", "div", "pow")


class Slices:
    """A program without the outermost statements that an output cannot depend on: what is left is soon looked through."""

    def __init__(self, program: Program):
        self.program = program
        self.uses: list[set[Var | Cell]] = []
        self.makers: dict[Var | Cell, list[int]] = {}
        for k, statement in enumerate(program.body):
            inner = list(walk((statement,)))
            self.uses.append({*(v for s in inner for v in reads(s)), *(c for s in inner for c in touched(s))})
            for made in {s.var for s in inner if isinstance(s, Let)} | cells_written((statement,)):
                self.makers.setdefault(made, []).append(k)

    def of(self, *outputs: Output) -> Program:
        """The program of some outputs."""
        kept: set[int] = set()
        pending: list[Var | Cell] = [output.cell for output in outputs]
        met = set(pending)
        while pending:
            for k in self.makers.get(pending.pop(), ()):
                if k not in kept:
                    kept.add(k)
                    pending += self.uses[k] - met
                    met |= self.uses[k]
        body = tuple(s for k, s in enumerate(self.program.body) if k in kept)
        return _sliced(self.program.with_body(body), outputs)


def _sliced(program: Program, outputs: tuple[Output, ...]) -> Program:
    return remove_dead(replace(program, outputs=outputs))


def homogeneous(program: Program, coefficients: frozenset[Cell] = frozenset()) -> Program:
    """The program with constant vectors written out.

    Args:
        coefficients: cells of vectors that count as numbers, by coordinate: functions of declared vectors
            (`passes.diagonals`). There must be no others stored in them.

    Raises:
        NotLinear: for a program in which a vector is not linear in the initial ones.
        NoCoefficient: if a vector that is linear is stored in one of `coefficients`.
    """
    pass_ = _Homogenizer(program, coefficients)
    body = pass_.block(program.body)
    return replace(program, body=body, initials=(*program.initials, *pass_.ones.values()))


class _Homogenizer:
    """Degrees of temporaries, and the program's statements with lower degrees raised."""

    def __init__(self, program: Program, coefficients: frozenset[Cell]):
        self.spaces = Spaces(program)
        self.coefficients = coefficients
        self.random = frozenset(random_matrices(program))
        self.ones: dict[int, Initial] = {}
        self.degrees: dict[Var, Degree] = {}
        self.added: list[Statement] = []
        self.count = 0
        self.names = names_used(program)

    def block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        out: list[Statement] = []
        for statement in body:
            statement = self._statement(map_blocks(statement, self.block))
            out += [*self.added, statement]
            self.added = []
        return tuple(out)

    def _statement(self, statement: Statement) -> Statement:
        match statement:
            case Let(var=var, op=op):
                self.degrees[var], op = self._let(var, op)
                return replace(statement, op=op)
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value):
                if cell in self.coefficients:
                    if self.degrees[value]:
                        raise NoCoefficient(cell)
                elif isinstance(cell.type, TensorType) and cell.type.width:
                    return replace(statement, value=self._raised(value, 1, cell))
            # Entries of the function of an outer product are no products of coordinates.
            case MatStore(terms=(FunctionTerm(fn=fn),)) if fn not in (PRODUCT, POLAR, POLAR_DIFFERENTIAL):
                raise NotLinear(f"'{fn}' of a matrix is not linear")
            case MatStore(terms=terms) | MatAccum(terms=terms):
                return replace(statement, terms=tuple(map(self._term, terms)))
        return statement

    def _term(self, term: Term) -> Term:
        if not isinstance(term, OuterTerm):
            return term
        return replace(term, left=self._raised(term.left, 1, term.left), right=self._raised(term.right, 1, term.right))

    # --- operations ---

    def _let(self, var: Var, op: Op) -> tuple[Degree, Op]:
        """The degree of a temporary, and its operation on operands of the right degrees."""
        match op:
            case Const(value=value):
                return (0 if value else ANY), op
            # What is stored in a vector is of degree one: `_statement` raises what is lower.
            case Load(cell=cell):
                return (1 if cell.tensor.width and cell not in self.coefficients else 0), op
            case MatMul(arg=arg):
                return 1, replace(op, arg=self._raised(arg, 1, arg))
            case Moment(arg=arg):
                # E[x] = <x, 1>, of the second degree with the constant vector.
                lower = self.degrees[arg] == 1 or (bool(self.coefficients) and self.degrees[arg] == 0)
                return 0, replace(op, arg=self._raised(arg, 2, arg) if lower else arg)
            case Contract(left=left, right=right):
                return self._product(left, right), op
            case SumAxis(arg=arg) | Expand(arg=arg) | Pick(arg=arg) | Place(arg=arg):
                return self.degrees[arg], op
            case Elementwise():
                return self._elementwise(var, op)
            case MatDot(left=left, right=right) if left.cell in self.random or right.cell in self.random:
                raise NotLinear("the inner product of a random matrix and another is not of the second degree")
            case MatDot():
                return 0, op  # of outer products, which are of linear vectors: products of moments
            case _:
                return 0, op

    def _elementwise(self, var: Var, op: Elementwise) -> tuple[Degree, Op]:
        degrees = [self.degrees[a] for a in op.args]
        if not any(degrees):
            if self.coefficients and var.type.width and not is_smooth(op):
                raise NotLinear(f"'{op.fn}' of coefficients is not smooth")
            # Zero times anything is zero, and so is a sum of zeros: it fits any degree.
            zero = ANY in degrees if op.fn == "mul" else op.fn in ("neg", "add", "sub") and set(degrees) == {ANY}
            return (ANY if zero else 0), op
        match op.fn, op.order:
            case ("add" | "sub"), 0:
                degree = max(d for d in degrees if d is not ANY)
                return degree, replace(op, args=tuple(self._raised(a, degree, var) for a in op.args))
            case "neg", 0:
                return degrees[0], op
            case "mul", 0:
                return self._product(*op.args), op
            # By a number, or by coefficients.
            case "div", 0 if not degrees[1]:
                return degrees[0], op
            case "square", 0:
                return self._product(op.args[0], op.args[0]), op
            case "square", order:
                return degrees[0] if order == 1 else 0, op
        name = op.fn + "'" * op.order
        raise NotLinear(f"'{name}' of a vector is not linear")

    def _product(self, left: Var, right: Var) -> Degree:
        one, other = self.degrees[left], self.degrees[right]
        if one is None or other is None:
            return ANY
        if one + other > 2:
            raise NotLinear("a product of three vectors is not linear")
        return one + other

    # --- raising degrees ---

    def _raised(self, var: Var, degree: int, like: Var | Cell) -> Var:
        """A temporary as one of a higher degree, in the space of `like`."""
        own = self.degrees[var]
        if own is ANY or own == degree:
            return var
        if own > degree:
            raise NotLinear("a product of two vectors is used as a vector")
        return self._raised(self._times_one(var, like), degree, like)

    def _times_one(self, var: Var, like: Var | Cell) -> Var:
        space = self.spaces.of(like)
        width = self.spaces.widths[space]
        if space not in self.ones:
            cell = Cell(self._fresh(f"one_in_space_{space}"), TensorType(width), 0, "one", "initial")
            self.ones[space] = Initial(cell, Law("constant", (ConstExpr("num", leaf=1.0),)))
        self.count += 1
        one = Var(self._fresh(f"one_{self.count}_"), TensorType(width))
        raised = Var(self._fresh(f"{var.name}_one_{self.count}_"), TensorType(width, var.type.shape))
        self.added += [Let(one, Load(self.ones[space].cell, ())), Let(raised, Elementwise("mul", (var, one)))]
        self.degrees[one], self.degrees[raised] = 1, (self.degrees[var] or 0) + 1
        return raised

    def _fresh(self, name: str) -> str:
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name
