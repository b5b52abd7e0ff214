"""The rules that every typed program keeps, before and after each pass; tests run this between all passes.

A violation is a bug of the compiler, never a user's mistake.
"""

from __future__ import annotations

from collections import Counter
from typing import assert_never

from tensorprog.ir.build import TypeMismatch, broadcast, same_shape
from tensorprog.ir.integers import IntExpr, loop_names
from tensorprog.ir.program import (
    PRODUCT,
    SCALAR,
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    FunctionTerm,
    GradAdd,
    GradDot,
    GradRecord,
    GradStmt,
    If,
    InputRef,
    KernelStmt,
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
    TensorType,
    Term,
    Var,
    WidthConst,
    Zero,
    reads,
    touched,
    walk,
)


class Malformed(Exception):
    """A typed program that breaks a rule; the message says which."""


def verify(program: Program) -> None:
    """Check scoping, types and indices.

    Raises:
        Malformed: on the first violation.
    """
    _verify_names(program)
    _Verifier().block(program.body, frozenset(), frozenset())


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise Malformed(message)


def _verify_names(program: Program) -> None:
    cells = {c for s in walk(program.body) for c in touched(s)}
    cells |= {i.cell for i in program.initials} | program.results
    # Emitted texts tell cells and temporaries apart by their names alone.
    _unique([c.name for c in cells], "cells")
    statements = list(walk(program.body))
    _unique([s.var.name for s in statements if isinstance(s, Let)], "temporaries")
    _unique([s.var for s in statements if isinstance(s, For)], "loop variables")
    for output in program.outputs:
        type = output.cell.type
        # A vector has no limit but a law: that is what samples are for.
        _require(isinstance(type, TensorType) and not type.width, f"output {output.name} is wide")
    for sample in program.samples:
        widths = {c.type.width for c in sample.cells if isinstance(c.type, TensorType) and not c.rank and not c.type.shape}
        _require(len(widths) == 1 and None not in widths, f"sample {sample.name} is not of vectors of one width")


def _unique(names: list[str], what: str) -> None:
    double = sorted(n for n, count in Counter(names).items() if count > 1)
    _require(not double, f"{what} share the names {double}")


class _Verifier:
    def block(self, body: tuple[Statement, ...], known: frozenset[Var], loops: frozenset[str]) -> None:
        for statement in body:
            for var in reads(statement):
                _require(var in known, f"{var.name} is used where it is not defined")
            self._statement(statement, known, loops)
            if isinstance(statement, Let):
                # A new set: what a nested block defines is not known after it.
                known |= {statement.var}

    def _statement(self, statement: Statement, known: frozenset[Var], loops: frozenset[str]) -> None:
        match statement:
            case Let(var=var, op=op):
                self._indices(getattr(op, "items", ()), loops)
                self._operation(var, op, loops)
            case Store(cell=cell, items=items, value=value):
                self._element(cell, items, loops)
                _require(_fits(value.type, cell.type), f"{value.name} does not fit {cell.name}")
            case Accum(cell=cell, items=items, value=value):
                self._indices(items, loops)
                # Its shape is that of a slice perhaps, or a number that is added to each entry.
                _require(value.type.width == cell.tensor.width, f"{value.name} does not fit {cell.name}")
            case MatStore(cell=cell, items=items, terms=terms) | MatAccum(cell=cell, items=items, terms=terms):
                self._element(cell, items, loops)
                for term in terms:
                    self._term(cell, term, loops)
            case GradStmt(target=target, scalar=scalar, scalar_items=si, wrt=wrt, wrt_items=wi):
                # A gradient has the type of what it is taken with respect to: a matrix for a matrix.
                _require(target.type == wrt.type and scalar.type == SCALAR, f"a gradient of {scalar.name}")
                self._element(scalar, si, loops)
                self._element(wrt, wi, loops)
            case KernelStmt(target=target, left=left, left_items=li, right=right, right_items=ri, wrt=wrt):
                _require(target.type == SCALAR and not target.rank, f"the kernel {target.name} is no scalar")
                for scalar, items in ((left, li), (right, ri)):
                    # One number: an entry of an array is named by the indices of the family and by those of the entry.
                    rank = scalar.rank + len(scalar.tensor.shape)
                    _require(scalar.tensor.width is None and len(items) == rank, f"a kernel of {scalar.name}")
                    self._indices(items, loops)
                for variable in wrt:
                    _require(len(variable.items) <= variable.cell.rank, f"a kernel's indices of {variable.cell.name}")
                    self._indices(variable.items, loops)
            case GradRecord(target=target, scalar=scalar, scalar_items=si, wrt=wrt):
                fit = target.type == wrt.type and target.rank == scalar.rank + wrt.rank
                _require(fit and scalar.type == SCALAR, f"a gradient of {scalar.name}")
                self._element(scalar, si, loops)
            case GradAdd(coef=coef, scalar=scalar, scalar_items=si, wrt=wrt, cell=cell):
                _require(coef.type == SCALAR and scalar.type == SCALAR, f"a gradient of {scalar.name}")
                _require(wrt.type == cell.type and wrt.rank == cell.rank, f"a gradient that is added to {cell.name}")
                self._element(scalar, si, loops)
            case GradDot(target=target, scalar=scalar, scalar_items=si, wrt=wrt, cell=cell):
                _require(target.type == SCALAR and scalar.type == SCALAR, f"a gradient of {scalar.name}")
                _require(wrt.type == cell.type and wrt.rank == cell.rank, f"a gradient beside {cell.name}")
                self._element(scalar, si, loops)
            case For(var=var, start=start, stop=stop, step=step, body=body):
                _require(step != 0, "a loop without a step")
                self._indices((start, stop), loops)
                self.block(body, known, loops | {var})
            case If(condition=condition, then=then, orelse=orelse):
                _require(loop_names(condition) <= loops, "a condition on a loop variable that is not in scope")
                self.block(then, known, loops)
                self.block(orelse, known, loops)
            case Zero(cell=cell):
                # An element of the user's that was never assigned is an error, which zeros would hide.
                _require(cell.role == "hidden", f"{cell.name} is zeroed, and is the user's")
            case _:
                assert_never(statement)

    def _operation(self, var: Var, op: Op, loops: frozenset[str]) -> None:
        match op:
            case Elementwise(args=args):
                try:
                    _require(_fits(broadcast([a.type for a in args]), var.type), f"the type of {var.name}")
                except TypeMismatch as error:
                    raise Malformed(f"{var.name}: {error}") from None
            case Moment(arg=arg) | Fluctuation(arg=arg):
                _require(arg.type.width is not None and var.type.width is None, f"{var.name} is a moment of a scalar")
            case Contract(left=left, left_axes=la, right=right, right_axes=ra, out_axes=out):
                fit = len(la) == len(left.type.shape) and len(ra) == len(right.type.shape)
                _require(fit, f"the axes of {var.name}")
                _require(set(out) <= set(la) | set(ra), f"{var.name} has an axis from nowhere")
            case MatMul(matrix=matrix, items=items, transposed=transposed, arg=arg):
                rows, cols = matrix.matrix.rows, matrix.matrix.cols
                _require(len(items) == matrix.rank, f"the indices of {matrix.name}")
                # A number stands for the vector of which it is every coordinate.
                _require(arg.type.width in (None, rows if transposed else cols), f"{matrix.name} applied to {arg.name}")
                _require(var.type.width == (cols if transposed else rows), f"the width of {var.name}")
            case MatDot(left=left, right=right):
                for term in (left, right):
                    self._element(term.cell, term.items, loops)
                _require(left.shape == right.shape and var.type == SCALAR, f"the matrices of {var.name}")
            case Load(cell=cell):
                # The shape is left to the indices, which may be slices.
                fit = isinstance(cell.type, TensorType) and cell.type.width == var.type.width
                _require(fit, f"the type of {var.name}")
            case Const() | WidthConst() | FromInt() | ParamRef() | InputRef() | SumAxis() | Expand() | Pick() | Place():
                # Their types follow from what they are: passes have no choice to make a mistake in.
                pass
            case _:
                assert_never(op)

    def _element(self, cell: Cell, items: tuple, loops: frozenset[str]) -> None:
        _require(len(items) == cell.rank, f"{cell.name} has rank {cell.rank} and {len(items)} indices")
        self._indices(items, loops)

    def _indices(self, items: tuple, loops: frozenset[str]) -> None:
        for item in items:
            for expr in (item.start, item.stop) if isinstance(item, Range) else (item,):
                if isinstance(expr, IntExpr):
                    _require(loop_names(expr) <= loops, f"a loop variable out of scope: {loop_names(expr) - loops}")

    def _function(self, cell: Cell, term: FunctionTerm, loops: frozenset[str]) -> None:
        for matrix in term.matrices:
            _require(matrix.coef is None, f"a factor of an argument of {term.fn}")
            self._element(matrix.cell, matrix.items, loops)
        shapes = [m.shape for m in term.matrices]
        # The only function whose matrices differ in shape: [n, m] times [m, k] is [n, k].
        if term.fn == PRODUCT:
            fit = len(shapes) == 2 and shapes[0][1] == shapes[1][0]
            shapes = [(shapes[0][0], shapes[1][1])] if fit else []
        sides = (cell.matrix.rows, cell.matrix.cols)
        _require(bool(shapes) and all(s == sides for s in shapes), f"{term.fn} added to {cell.name}")
        _require(all(a.type == SCALAR for a in term.args if isinstance(a, Var)), f"a number in {term.fn}")

    def _term(self, cell: Cell, term: Term, loops: frozenset[str]) -> None:
        sides = (cell.matrix.rows, cell.matrix.cols)
        match term:
            case MatrixTerm():
                self._element(term.cell, term.items, loops)
                _require(sides == term.shape, f"{term.cell.name} added to {cell.name}")
            case FunctionTerm():
                self._function(cell, term, loops)
            case OuterTerm(left=left, right=right):
                # As for products: a number is a constant vector of the width that is wanted.
                shape = (left.type.width or sides[0], right.type.width or sides[1])
                _require(shape == sides, f"an outer product added to {cell.name}")
            case _:
                assert_never(term)
        _require(term.coef is None or term.coef.type == SCALAR, f"a factor of a term of {cell.name}")


def _fits(value: TensorType, place: object) -> bool:
    return isinstance(place, TensorType) and not isinstance(place, MatrixType) and value.width == place.width \
        and same_shape(value.shape, place.shape)
