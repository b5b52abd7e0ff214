"""The typed program: the intermediate form that every later stage reads. The whole of it on one screen:

    Program   = widths, sizes, params, inputs, initials (cells with their laws), body, outputs, samples
    Statement = Let(var, op)                     a temporary, assigned by exactly one statement
              | Store(cell, items, value)        cell[items] = value
              | Accum(cell, items, value)        cell[items] += value
              | MatStore(cell, items, terms)     matrix[items] = sum of terms
              | MatAccum(cell, items, terms)     matrix[items] += sum of terms
              | Zero(cell)                       every element of the cell = 0
              | GradStmt(target, scalar, wrt)    target = d scalar / d wrt      (gone after `differentiate`)
              | KernelStmt(target, kind, left, right, wrt)  ntk or cov of two scalars     (the same)
              | GradRecord(target, scalar, wrt)  keep d scalar / d wrt for kernels        (from `kernels`; the same)
              | GradAdd(cell, coef, scalar, wrt)  cell += coef * d scalar / d wrt          (from `windows`; the same)
              | GradDot(target, scalar, wrt, cell)  target = <d scalar / d wrt, cell>      (from `windows`; the same)
              | For(var, start, stop, step, body) | If(condition, then, orelse)
    Term      = MatrixTerm(coef, cell, items, transposed) | OuterTerm(coef, left, right)
              | FunctionTerm(fn, args, order)
    Op        = Const | WidthConst | FromInt | ParamRef | InputRef | Load | Elementwise | Moment | Contract
              | Fluctuation | SumAxis | Expand | Pick | Place | MatMul | MatDot     (Fluctuation: in `series` alone)

A tensor has at most one width axis and any number of finite axes; a scalar is a tensor with neither. `U : [n, d]` and
`V : [K, n]` are tensors with one of each; only a width x width matrix is a matrix. Cells are storage: a name of the
user's, a family (rank > 0), an accumulator. Temporaries are visible from their `Let` to the end of its block,
nested blocks included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeAlias, assert_never

from tensorprog.diagnostics import Source, Span
from tensorprog.ir.integers import BoolExpr, IntExpr

# --- types ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TensorType:
    """A scalar, finite array, vector, or array of vectors.

    `width` is None or the width's name, `shape` the finite axes. `width_first` tells `U : [n, d]` from `V : [K, n]`
    to the checker; storage is always finite axes first, width last.
    """

    width: str | None = None
    shape: tuple[IntExpr, ...] = ()
    # Not compared: `U : [n, d]` and `V : [d, n]` are stored alike, and fit wherever the other does.
    width_first: bool = field(default=False, compare=False)

    @property
    def of_width(self) -> str:
        """The width's name, of vectors."""
        assert self.width is not None, "a scalar has no width"
        return self.width


SCALAR = TensorType()


@dataclass(frozen=True, slots=True)
class MatrixType:
    """A width x width matrix."""

    rows: str
    cols: str


Type = TensorType | MatrixType


# --- storage -------------------------------------------------------------------------------------------------


# Equal by identity: names and types may agree in two programs, and comparing trees of types would be slow.
@dataclass(frozen=True, slots=True, eq=False)
class Var:
    """A temporary. Identity is the object; `name` is unique within the program."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """Storage of `type` elements under `rank` indices. `name` is unique; `display` is what the user wrote.

    `role`: 'initial' (declared, has a law), 'user' (a name that the program assigns), 'data' (an input or parameter that
    gradients are taken with respect to; gone after `differentiate`), 'hidden' (made by the compiler).
    `home` names the loops in whose every iteration the cell is new: those around the call of the function it is local
    to.
    """

    name: str
    type: Type
    rank: int = 0
    display: str = ""
    role: str = "user"
    span: Span | None = None
    home: tuple[str, ...] = ()

    @property
    def tensor(self) -> TensorType:
        """The type of an element, where the grammar of statements allows only tensors."""
        assert isinstance(self.type, TensorType), f"{self.name} is a matrix"
        return self.type

    @property
    def matrix(self) -> MatrixType:
        """The type of an element, where the grammar of statements allows only matrices."""
        assert isinstance(self.type, MatrixType), f"{self.name} is no matrix"
        return self.type


@dataclass(frozen=True, slots=True)
class Range:
    """A slice `start:stop` of a finite axis; None means the axis's end."""

    start: IntExpr | None = None
    stop: IntExpr | None = None


Item = IntExpr | Range


# --- operations ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Const:
    """A number; with a tensor type, that number everywhere."""

    value: Fraction | float


@dataclass(frozen=True, slots=True)
class WidthConst:
    """The number n (or m) itself, as a scalar."""

    width: str


@dataclass(frozen=True, slots=True)
class FromInt:
    expr: IntExpr


@dataclass(frozen=True, slots=True)
class ParamRef:
    name: str


@dataclass(frozen=True, slots=True)
class InputRef:
    """`X[items]`: a scalar or a finite array; missing trailing items mean whole axes."""

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """`cell[items]`: items index the family's extents first and then the element's finite axes; missing trailing
    items mean whole axes."""

    cell: Cell
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A coordinatewise primitive of `ir.primitives` or its `order`-th derivative. Operands have the same finite shape
    or none, and the same width or none."""

    fn: str
    args: tuple[Var, ...]
    order: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """The average over the width axis."""

    arg: Var


@dataclass(frozen=True, slots=True)
class Fluctuation:
    """The limit of n**(1/2) times the average over the width axis of what has expectation zero: a Gaussian number
    (TP I, Corollary 5.5). `series` writes it, and `series.draws` puts an input in its place."""

    arg: Var


@dataclass(frozen=True, slots=True)
class Contract:
    """An einsum over finite axes only: `left_axes`, `right_axes`, `out_axes` name the finite axes of operands and
    result by letters. The width of either operand (or of both: the same one) is kept, coordinatewise."""

    left: Var
    left_axes: str
    right: Var
    right_axes: str
    out_axes: str


@dataclass(frozen=True, slots=True)
class SumAxis:
    """The sum over finite axis number `axis`."""

    arg: Var
    axis: int


@dataclass(frozen=True, slots=True)
class Expand:
    """The argument repeated along a new finite axis number `axis` of length `size`."""

    arg: Var
    axis: int
    size: IntExpr


@dataclass(frozen=True, slots=True)
class Pick:
    """`x[items]` on the finite axes of a temporary."""

    arg: Var
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The adjoint of `Pick`: zeros of finite shape `shape` with `arg` at `items`."""

    arg: Var
    items: tuple[Item, ...]
    shape: tuple[IntExpr, ...]


@dataclass(frozen=True, slots=True)
class MatMul:
    """`matrix[items] @ arg`, or `matrix[items].T @ arg`."""

    matrix: Cell
    items: tuple[IntExpr, ...]
    transposed: bool
    arg: Var


@dataclass(frozen=True, slots=True)
class MatDot:
    """The sum of the products of the entries of two matrices that are made by updates (terms without a factor)."""

    left: MatrixTerm
    right: MatrixTerm


Op = (Const | WidthConst | FromInt | ParamRef | InputRef | Load | Elementwise | Moment | Fluctuation | Contract
      | SumAxis | Expand | Pick | Place | MatMul | MatDot)


# --- statements ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Let:
    var: Var
    op: Op
    # Where a statement came from is not what it says: equal statements of two lines are equal.
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Store:
    cell: Cell
    items: tuple[IntExpr, ...]
    value: Var
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Accum:
    cell: Cell
    # Other than in a store, slices: adjoints of parts are added to parts.
    items: tuple[Item, ...]
    value: Var
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class MatrixTerm:
    """coef * matrix[items] (or its transpose); coef None means 1."""

    coef: Var | None
    cell: Cell
    items: tuple[IntExpr, ...]
    transposed: bool = False

    @property
    def shape(self) -> tuple[str, str]:
        """The widths of its rows and columns."""
        type = self.cell.matrix
        return (type.cols, type.rows) if self.transposed else (type.rows, type.cols)


@dataclass(frozen=True, slots=True)
class OuterTerm:
    """coef * outer(left, right); coef None means 1."""

    coef: Var | None
    left: Var
    right: Var


#: Functions of whole matrices, besides the coordinatewise primitives, which act on every entry.
PRODUCT, POLAR, POLAR_DIFFERENTIAL = "product", "polar", "polar_differential"


@dataclass(frozen=True, slots=True)
class FunctionTerm:
    """fn(args), where every matrix among `args` is made by updates (a term without a factor).

    `fn` is a primitive of `ir.primitives` (or its `order`-th derivative), which acts on every entry and takes numbers as
    well, or 'product' of two matrices, or 'polar', the orthogonal polar factor of one, or 'polar_differential', of a matrix and
    of as many directions as the order of the differential (`runtime/polar.py`). The checker gives every function a hidden
    matrix of its own, as the only term of a `MatStore`.
    """

    fn: str
    args: tuple[Var | MatrixTerm, ...]
    order: int = 0

    @property
    def coef(self) -> None:
        """No factor, as other terms may have."""
        return None

    @property
    def entrywise(self) -> bool:
        return self.fn not in (PRODUCT, POLAR, POLAR_DIFFERENTIAL)

    @property
    def matrices(self) -> tuple[MatrixTerm, ...]:
        return tuple(a for a in self.args if isinstance(a, MatrixTerm))


Term = MatrixTerm | OuterTerm | FunctionTerm


@dataclass(frozen=True, slots=True)
class MatStore:
    cell: Cell
    items: tuple[IntExpr, ...]
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class MatAccum:
    cell: Cell
    items: tuple[IntExpr, ...]
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Zero:
    """Every element of the (hidden) cell becomes zero; reading one before it is stored again gives zero."""

    cell: Cell
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class GradStmt:
    """target = gradient of scalar[scalar_items] with respect to wrt[wrt_items], as that stood when the scalar was
    computed. `target` is a fresh cell of rank 0 with the type of `wrt`."""

    target: Cell
    scalar: Cell
    scalar_items: tuple[IntExpr, ...]
    wrt: Cell
    wrt_items: tuple[IntExpr, ...]
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Variable:
    """What a kernel differentiates with respect to: all elements of the family `cell` whose indices begin with `items`.
    `weight` multiplies their part of the sum (for `cov`: the variance of an entry); None means 1."""

    cell: Cell
    items: tuple[IntExpr, ...] = ()
    weight: ConstExpr | None = None


@dataclass(frozen=True, slots=True)
class KernelStmt:
    """target = sum over the variables of the inner product of the gradients of left[left_items] and
    right[right_items], as the variables stood when these were computed. `target` is a fresh scalar cell of rank 0.

    `kind` is 'ntk', or 'cov', whose variables `passes.kernels` finds: the readouts in which both scalars are linear.
    """

    target: Cell
    kind: str
    left: Cell
    left_items: tuple[IntExpr, ...]
    right: Cell
    right_items: tuple[IntExpr, ...]
    wrt: tuple[Variable, ...]
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class GradRecord:
    """Keep the gradient of scalar[scalar_items], which the statement before stores, with respect to the whole family
    `wrt`, for the kernels of the program. `target` names the record: its indices are those of the scalar and those of
    the family. `mask` (None for a scalar with one `Store`) is 1 where this record is the scalar's latest."""

    target: Cell
    scalar: Cell
    scalar_items: tuple[IntExpr, ...]
    wrt: Cell
    mask: Cell | None = None
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class GradAdd:
    """Add coef times the gradient of scalar[scalar_items] with respect to the whole family `wrt`, as that stood when the
    scalar was computed, to the family `cell`, which is that or another one of its form. Some kernel is of the scalar with respect
    to it, so that the gradient is kept."""

    cell: Cell
    coef: Var
    scalar: Cell
    scalar_items: tuple[IntExpr, ...]
    wrt: Cell
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class GradDot:
    """target = inner product of the gradient of scalar[scalar_items] with respect to the whole family `wrt`, as that stood when
    the scalar was computed, with the family `cell`, which has the form of that. The gradient is kept as for `GradAdd`; `target` is
    a fresh scalar cell of rank 0."""

    target: Cell
    scalar: Cell
    scalar_items: tuple[IntExpr, ...]
    wrt: Cell
    cell: Cell
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class For:
    """`for var in range(start, stop, step)`; `var` is unique in the program, `step` a non-zero literal.
    `parallel` (set by `passes.batch`) says that the iterations are independent but for accumulations, so that an
    evaluator may run them as one block."""

    var: str
    start: IntExpr
    stop: IntExpr
    step: int
    body: tuple[Statement, ...]
    parallel: bool = False
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class If:
    condition: BoolExpr
    then: tuple[Statement, ...]
    orelse: tuple[Statement, ...]
    span: Span | None = field(default=None, compare=False, kw_only=True)


#: Statements that write an element.
Assignment: TypeAlias = Store | Accum | MatStore | MatAccum
Statement = (Let | Store | Accum | MatStore | MatAccum | Zero | GradStmt | KernelStmt | GradRecord | GradAdd
             | GradDot | For | If)


# --- declarations --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConstExpr:
    """A real constant: an operator of `+ - * / ** neg max sqrt exp log` or a leaf (`num`, `param`, `int`, `width`).

    Evaluated when data and parameters are bound, to a coefficient and a power of n (`ir.constants`).
    """

    op: str
    args: tuple[ConstExpr, ...] = ()
    leaf: float | str | IntExpr | None = None
    span: Span | None = field(default=None, compare=False, kw_only=True)

    @property
    def number(self) -> float:
        """What a `num` holds."""
        assert isinstance(self.leaf, int | float), f"{self.op} is no number"
        return self.leaf

    @property
    def name(self) -> str:
        """What a `param` or a `width` holds."""
        assert isinstance(self.leaf, str), f"{self.op} is no name"
        return self.leaf

    @property
    def integer(self) -> IntExpr:
        """What an `int` holds."""
        assert self.leaf is not None and not isinstance(self.leaf, int | float | str), f"{self.op} is no integer"
        return self.leaf


@dataclass(frozen=True, slots=True)
class Width:
    """A width; `ratio` is its limit ratio to the base width (None for the base width itself)."""

    name: str
    ratio: ConstExpr | None
    base: str


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    default: int | None
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Param:
    name: str
    kind: str
    default: float | int | None
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    shape: tuple[IntExpr, ...]
    kind: str
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Law:
    """normal(mean, variance), rademacher(), uniform(lo, hi), bernoulli(p), sparse_normal(rho, variance), constant(c),
    zero()."""

    name: str
    args: tuple[ConstExpr, ...] = ()


@dataclass(frozen=True, slots=True)
class Initial:
    """A declared random object; `extents` has one entry a family index. `drawn` is the declared law of
    a matrix that is not normal: `law` is the normal one with entries of the same variance, which has the same powers of n and,
    for independent entries, the same limit (`ensembles`)."""

    cell: Cell
    law: Law
    extents: tuple[IntExpr, ...] = ()
    drawn: Law | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """A result: the scalar or the whole family of scalars in `cell`."""

    name: str
    cell: Cell
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """A result: joint draws of the vectors in `cells` (of one width, rank 0), one row a draw. `columns` is what the user
    wrote for each."""

    name: str
    cells: tuple[Cell, ...]
    columns: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Program:
    source: Source
    widths: tuple[Width, ...]
    sizes: tuple[Size, ...]
    params: tuple[Param, ...]
    inputs: tuple[Input, ...]
    initials: tuple[Initial, ...]
    body: tuple[Statement, ...]
    outputs: tuple[Output, ...]
    samples: tuple[Sample, ...] = ()

    @property
    def results(self) -> frozenset[Cell]:
        """The cells of outputs and samples, as they stand at the end of the program."""
        return frozenset(o.cell for o in self.outputs) | frozenset(c for s in self.samples for c in s.cells)

    @property
    def declared(self) -> tuple[Size | Param | Input, ...]:
        """What data and settings give values: sizes, parameters and inputs."""
        return (*self.sizes, *self.params, *self.inputs)

    def with_body(self, body: tuple[Statement, ...]) -> Program:
        return replace(self, body=body)


# --- traversal -----------------------------------------------------------------------------------------------


def walk(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement, in program order, a loop before its body."""
    for statement in body:
        yield statement
        for block in blocks(statement):
            yield from walk(block)


def blocks(statement: Statement) -> tuple[tuple[Statement, ...], ...]:
    """The nested blocks of a statement."""
    match statement:
        case For(body=body):
            return (body,)
        case If(then=then, orelse=orelse):
            return (then, orelse)
        case _:
            return ()


def operands(op: Op) -> tuple[Var, ...]:
    """The temporaries that an operation reads."""
    match op:
        case Elementwise(args=args):
            return args
        case Contract(left=left, right=right):
            return (left, right)
        case Moment(arg=arg) | Fluctuation(arg=arg) | SumAxis(arg=arg) | Expand(arg=arg) | Pick(arg=arg) \
                | Place(arg=arg) | MatMul(arg=arg):
            return (arg,)
        case Const() | WidthConst() | FromInt() | ParamRef() | InputRef() | Load() | MatDot():
            return ()
        case _:
            # Named one by one: of a new operation, a pass would else drop what it is made of.
            assert_never(op)


def term_operands(terms: tuple[Term, ...]) -> tuple[Var, ...]:
    """The temporaries that the terms of a matrix read."""
    found: list[Var] = []
    for term in terms:
        if term.coef is not None:
            found.append(term.coef)
        match term:
            case MatrixTerm():
                pass
            case OuterTerm(left=left, right=right):
                found += [left, right]
            case FunctionTerm(args=args):
                found += [a for a in args if isinstance(a, Var)]
            case _:
                assert_never(term)
    return tuple(found)


def matrix_terms(terms: tuple[Term, ...]) -> Iterator[MatrixTerm]:
    """The matrices that the terms of a matrix read."""
    for term in terms:
        match term:
            case MatrixTerm():
                yield term
            case OuterTerm():
                pass
            case FunctionTerm():
                yield from term.matrices
            case _:
                assert_never(term)


def matrices_read(statement: Statement) -> tuple[MatrixTerm, ...]:
    """The matrices whose values a statement itself uses otherwise than by a product with a vector."""
    match statement:
        case Let(op=MatDot(left=left, right=right)):
            return (left, right)
        case MatStore(terms=terms) | MatAccum(terms=terms):
            return tuple(matrix_terms(terms))
        case _:
            return ()


def integers(statement: Statement) -> Iterator[IntExpr]:
    """The integers that a `Let`, `Store` or `Accum` of tensors holds: indices, ends of slices, numbers."""
    match statement:
        # (Indices of matrices are not among them: they are those of whole matrices, of which no slices are taken.)
        case Let(op=FromInt(expr)):
            yield expr
        case Let(op=InputRef(items=items) | Load(items=items) | Pick(items=items) | Place(items=items)) \
                | Store(items=items) | Accum(items=items):
            for item in items:
                ends = (item.start, item.stop) if isinstance(item, Range) else (item,)
                yield from (end for end in ends if end is not None)


def single(items: tuple[Item, ...]) -> tuple[IntExpr, ...]:
    """Items that are no slices, where there can be none."""
    indices = tuple(item for item in items if not isinstance(item, Range))
    assert len(indices) == len(items), "a slice of a single element"
    return indices


def written(statement: Statement) -> Cell | None:
    """The cell that a statement itself writes (not its nested blocks)."""
    match statement:
        case Store(cell=cell) | Accum(cell=cell) | MatStore(cell=cell) | MatAccum(cell=cell) | Zero(cell=cell) \
                | GradAdd(cell=cell):
            return cell
        case GradStmt(target=target) | KernelStmt(target=target) | GradRecord(target=target) | GradDot(target=target):
            return target
        case Let() | For() | If():
            return None
        case _:
            assert_never(statement)


def defined(statement: Statement) -> Var | Cell | None:
    """The temporary or the cell that a statement itself computes or writes."""
    return statement.var if isinstance(statement, Let) else written(statement)


def cells_written(body: tuple[Statement, ...]) -> set[Cell]:
    """Every cell written in a block, nested blocks included."""
    return {cell for s in walk(body) if (cell := written(s)) is not None}


def cells_read(statement: Statement) -> tuple[Cell, ...]:
    """The cells whose values a statement itself uses (not its nested blocks)."""
    match statement:
        case Let(op=Load(cell=cell)) | Let(op=MatMul(matrix=cell)):
            return (cell,)
        case Let(op=MatDot()) | MatStore() | MatAccum():
            return tuple(m.cell for m in matrices_read(statement))
        case GradStmt(scalar=scalar, wrt=wrt):
            return (scalar, wrt)
        # A gradient reads the variable too: it is taken at what that was, and an assignment to it may not move past.
        case GradRecord(scalar=scalar, wrt=wrt, mask=mask):
            return (scalar, wrt) if mask is None else (scalar, wrt, mask)
        case KernelStmt(left=left, right=right, wrt=wrt):
            return (left, right, *(v.cell for v in wrt))
        # `GradAdd` reads what it adds to.
        case GradAdd(cell=cell, scalar=scalar, wrt=wrt) | GradDot(cell=cell, scalar=scalar, wrt=wrt):
            return (scalar, wrt, cell)
        case Let() | Store() | Accum() | Zero() | For() | If():
            return ()
        case _:
            assert_never(statement)


def touched(statement: Statement) -> tuple[Cell, ...]:
    """The cells that a statement itself reads or writes."""
    cell = written(statement)
    return cells_read(statement) if cell is None else (*cells_read(statement), cell)


def access_indices(statement: Statement, cell: Cell) -> list[tuple[Item, ...]]:
    """The indices with which a statement itself reads or writes a cell; none for one that takes it as a whole."""
    match statement:
        case Let(op=Load(cell=c, items=items)) | Store(cell=c, items=items) | Accum(cell=c, items=items) if c is cell:
            return [items]
        case Let(op=MatMul(matrix=c, items=items)) if c is cell:
            return [items]
        case Let(op=MatDot()):
            return [m.items for m in matrices_read(statement) if m.cell is cell]
        case MatStore(cell=c, items=items) | MatAccum(cell=c, items=items):
            # A matrix may be read and written by one statement, as W in `W = W - M`.
            return [*(m.items for m in matrices_read(statement) if m.cell is cell), *([items] if c is cell else [])]
        case _:
            return [()] if written(statement) is cell else []


def reads(statement: Statement) -> tuple[Var, ...]:
    """The temporaries that a statement itself reads (not its nested blocks)."""
    match statement:
        case Let(op=op):
            return operands(op)
        case Store(value=value) | Accum(value=value):
            return (value,)
        case MatStore(terms=terms) | MatAccum(terms=terms):
            return term_operands(terms)
        case GradAdd(coef=coef):
            return (coef,)
        case Zero() | GradStmt() | KernelStmt() | GradRecord() | GradDot() | For() | If():
            return ()
        case _:
            assert_never(statement)


def uses(statement: Statement) -> tuple[Var | Cell, ...]:
    """The temporaries and the cells whose values a statement itself uses (not its nested blocks)."""
    return (*reads(statement), *cells_read(statement))


def names_used(program: Program) -> set[str]:
    """The names of a program's sizes, parameters, inputs, cells, temporaries and loop variables."""
    names = {d.name for d in program.declared}
    names |= {i.cell.name for i in program.initials}
    for s in walk(program.body):
        if isinstance(s, Let | For):
            names.add(s.var.name if isinstance(s, Let) else s.var)
        names |= {c.name for c in touched(s)}
    return names
