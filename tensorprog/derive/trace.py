"""The limit program read once from top to bottom, loops rolled: equations between named limit variables.

Every statement is executed once, on expressions in the loops' variables. What a loop carries from one iteration to
the next becomes a name with a time index (`v[t]` is what `v` is at the head of iteration t); everything else that the
compiler introduced disappears. Products with matrices are recorded as sites, and written out when every matrix is
known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

import sympy
from sympy import Expr, S

from tensorprog.derive.arrays import Array, ArrayWrite, Items, Value, either, lookup, where
from tensorprog.derive.binders import Binder, IndexScope, sum_over
from tensorprog.derive.carried import Head
from tensorprog.derive.entries import LimitEquation, Trace, TracedProduct
from tensorprog.derive.integers import to_condition, to_integer
from tensorprog.derive.matrices import Base, MatrixSum, MatrixSummand, OuterSummand, initial, made
from tensorprog.derive.names import Labels, adjoints, by_name, given, labels_of, recorded
from tensorprog.derive.operations import Tensor, evaluate, fresh_axes, full_items
from tensorprog.derive.symbols import (
    Atom,
    Cases,
    E,
    InnerOfMatrices,
    NonlinearityBase,
    Prod,
    Z,
    apply_primitive,
    element,
    expectation,
    index,
    matrix_label,
    nonlinearity,
    random_atoms,
    z,
)
from tensorprog.ir.program import (
    Accum,
    Cell,
    For,
    FunctionTerm,
    GradAdd,
    GradDot,
    GradRecord,
    GradStmt,
    If,
    Initial,
    KernelStmt,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixType,
    MatStore,
    OuterTerm,
    Program,
    Statement,
    Store,
    Term,
    Var,
    WidthConst,
    Zero,
    cells_written,
    walk,
    written,
)
from tensorprog.ir.program import MatrixTerm as TypedTerm
from tensorprog.limit.laws import DeclaredLaws


def trace(limit: Program, original: Program, laws: DeclaredLaws) -> Trace:
    """Read the limit program; `original`, the typed program, is where names are looked up."""
    tracer = Tracer(limit, original, laws)
    tracer.block(limit.body)
    return merge_starts(tracer.trace)


def merge_starts(trace: Trace) -> Trace:
    """An initial vector or array that a loop starts from is that one at time 0: `v` becomes `v[0]`."""
    first: dict[tuple[str, int], Expr] = {}
    for entry in trace.entries:
        if isinstance(entry, LimitEquation) and entry.kind == "start" and isinstance(entry.right, Z | sympy.Indexed) \
                and entry.left.func is entry.right.func and (entry.left.args[0], *entry.left.args[2:]) == entry.right.args:
            # By the number of indices as well: `v[k]` of a family is not `v[t, k]`, what a loop carries of it.
            first[str(entry.right.args[0]), len(entry.right.args)] = entry.left.args[1]
            trace.first_times[str(entry.right.args[0])] = entry.left.args[1]

    def change(expr: Expr) -> Expr:
        atoms = {a: a.func(a.args[0], first[str(a.args[0]), len(a.args)], *a.args[1:]) for a in expr.atoms(Z, sympy.Indexed)
                 if (str(a.args[0]), len(a.args)) in first}
        return expr.xreplace(atoms) if atoms else expr

    for entry in trace.entries:
        if isinstance(entry, LimitEquation):
            entry.right = change(entry.right)
        else:
            entry.left, entry.arg, entry.matrix = change(entry.left), change(entry.arg), entry.matrix.mapped(change)
    for state in trace.states.values():
        state.step, state.start = state.step.mapped(change), state.start.mapped(change)
    # `v[0] = v` has become `v[0] = v[0]`.
    trace.entries = [e for e in trace.entries if not (isinstance(e, LimitEquation) and e.left == e.right)]
    return trace


class Tracer:
    def __init__(self, limit: Program, original: Program, laws: DeclaredLaws):
        self.limit, self.laws = limit, laws
        self.trace = Trace(labels=labels_of(limit))
        self.scope, self.labels = self.trace.scope, self.trace.labels
        self.named = by_name(limit)
        self.recorded = recorded(limit) - self.named
        self.given = given(original)
        self.adjoints = adjoints(limit)
        self.values: dict[Var, Tensor] = {}
        self.cells: dict[Cell, Array] = {i.cell: _initial_array(i, self.labels) for i in limit.initials}
        self.loops: tuple[Binder, ...] = ()
        self.condition: sympy.Basic = S.true
        self.definitions: dict[Expr, Expr] = {}
        self.extents = {i.cell: i.extents for i in limit.initials}
        self.pending: dict[tuple[Cell, Items], LimitEquation] = {}
        self.written: dict[Expr, Expr] = {}

    # --- statements ------------------------------------------------------------------------------------------

    def block(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, statement: Statement) -> None:
        match statement:
            case Let():
                self.let(statement)
            case Store() | Accum():
                self.write(statement)
            case MatStore(cell=cell, items=items, terms=terms) | MatAccum(cell=cell, items=items, terms=terms):
                at = tuple(map(to_integer, items))
                self._write(cell, ArrayWrite(at, self.matrix(terms), isinstance(statement, MatAccum)))
            case Zero(cell=cell):
                if cell not in self.named:
                    self.cells[cell] = _zeros(cell)
            case For():
                self.loop(statement)
            case If():
                self.branches(statement)
            case GradStmt() | KernelStmt() | GradRecord() | GradAdd() | GradDot():
                raise AssertionError("gradients are written out before a program has formulas")
            case _:
                assert_never(statement)

    def let(self, statement: Let) -> None:
        var, op = statement.var, statement.op
        match op:
            case Load(cell=cell, items=items):
                axes = fresh_axes(self.scope, var.type)
                value = Tensor(self.load(cell, full_items(items, axes)), axes)
            case MatMul():
                self.values[var] = Tensor(self.product(var, op))
                return
            case MatDot():
                value = Tensor(self.inner(op))
            case WidthConst(width=width):
                value = Tensor(self.laws.ratio(width))
            case _:
                value = evaluate(self.scope, op, var, self.values)
                value = Tensor(self._recognized(value.expr), value.axes)
        self.values[var] = self.name(var, value)

    def _recognized(self, expr: Expr) -> Expr:
        """`1 - x**2` as tanh' where x is a name for a tanh."""
        # Backward passes take tanh' from the value (`ir/calculus.py`).
        if expr.is_Add and len(expr.args) == 2 and expr.args[0] == 1:
            square = -expr.args[1]
            if square.is_Pow and square.exp == 2 and square.base in self.definitions:
                value = self.definitions[square.base]
                if isinstance(value, nonlinearity("tanh")):
                    return nonlinearity("tanh", 1)(*value.args)
        return expr

    def name(self, var: Var, value: Tensor) -> Tensor:
        """The value under the name that the program gives it."""
        if var not in self.given or isinstance(value.expr, Atom) or not value.expr.args:
            return value
        cell, indices = self.given[var]
        left = self._left(cell, (*map(to_integer, indices), *value.axes), var.type.width is not None)
        self.emit(LimitEquation(left, value.expr, self._axis_loops(value.axes), self.condition))
        self.definitions[left] = value.expr
        return Tensor(left, value.axes)

    def _axis_loops(self, axes: tuple[sympy.Symbol, ...]) -> tuple[Binder, ...]:
        return (*self.loops, *(Binder(a, *self.scope.ranges[a]) for a in axes))

    def _left(self, cell: Cell, indices: Items, wide: bool) -> Expr:
        label = self.labels.cell(cell)
        return z(label, indices) if wide else element(label, indices)

    def emit(self, entry: LimitEquation | TracedProduct) -> None:
        self.trace.entries.append(entry)

    # --- cells -----------------------------------------------------------------------------------------------

    def load(self, cell: Cell, items: Items) -> Expr:
        if cell in self.named:
            return self._left(cell, items, cell.tensor.width is not None)
        return lookup(self.scope, self._array(cell), items)

    def _array(self, cell: Cell) -> Array:
        if cell not in self.cells:
            self.cells[cell] = Array(lambda items: self._undefined(cell, items))
        return self.cells[cell]

    def _undefined(self, cell: Cell, items: Items) -> Value:
        if isinstance(cell.type, MatrixType):
            return MatrixSum()
        return self._left(cell, items, cell.tensor.width is not None)

    def write(self, statement: Store | Accum) -> None:
        value = self.values[statement.value]
        items = full_items(statement.items, value.axes)
        if statement.cell not in self.named:
            binders = tuple(Binder(a, *self.scope.ranges[a]) for a in value.axes)
            # What the forward pass records in one iteration the backward pass reads after the loop: its loops are
            # solved for.
            if statement.cell in self.recorded:
                binders = (*(b for b in self.loops if any(i.has(b.symbol) for i in items)), *binders)
            self._write(statement.cell, ArrayWrite(items, value.expr, isinstance(statement, Accum), binders))
            return
        left = self._left(statement.cell, items, statement.cell.tensor.width is not None)
        if isinstance(statement, Store):
            self._define(statement.cell, items, left, value)
        else:
            self._add(statement.cell, items, left, value)

    def _write(self, cell: Cell, write: ArrayWrite) -> None:
        self.cells[cell] = self._array(cell).write(write)

    def _define(self, cell: Cell, items: Items, left: Expr, value: Tensor) -> None:
        """An element of a named family; an adjoint's reset to zero is not one."""
        # An element of an adjoint begins as zero, and is what `_add` adds to it.
        if value.expr == left or (cell.role == "hidden" and value.expr == 0):
            return
        equation = LimitEquation(left, value.expr, self._axis_loops(value.axes), self.condition)
        self.pending[cell, items] = equation
        self.emit(equation)

    def _add(self, cell: Cell, items: Items, left: Expr, value: Tensor) -> None:
        """An addition to an element of a named family, which joins its equation."""
        for (other, at), equation in self.pending.items():
            mapping = _renaming(equation, self._axis_loops(value.axes), at, items) if other is cell else None
            # An adjoint collects from several statements; they are terms of one equation where their loops are the
            # same.
            if mapping is not None:
                extra = where(value.expr.xreplace(mapping), self.condition) if self.condition != equation.condition \
                    else value.expr.xreplace(mapping)
                equation.right = equation.right + extra
                return
        equation = LimitEquation(left, value.expr, self._axis_loops(value.axes), self.condition)
        self.pending[cell, items] = equation
        self.emit(equation)

    # --- matrices --------------------------------------------------------------------------------------------

    def matrix(self, terms: tuple[Term, ...]) -> MatrixSum:
        total = MatrixSum()
        for term in terms:
            coefficient = S.One if term.coef is None else self.values[term.coef].expr
            if isinstance(term, OuterTerm):
                left, right = self.short(term.left), self.short(term.right)
                total += MatrixSum((MatrixSummand(coefficient, OuterSummand(left, right)),))
            elif isinstance(term, FunctionTerm):
                total += self.function(term)
            else:
                total += coefficient * self.read(term)
        return total

    def read(self, term: TypedTerm) -> MatrixSum:
        """A matrix as it stands, or its transpose."""
        found: MatrixSum = lookup(self.scope, self._array(term.cell), tuple(map(to_integer, term.items)))
        return found.transpose if term.transposed else found

    def function(self, term: FunctionTerm) -> MatrixSum:
        """A function of matrices, which gets a name. What it is made of is written into its definition, but for the names of
        other matrices."""
        args = [self.values[a].expr if isinstance(a, Var) else self.read(a).expression().xreplace(self.written) for a in term.args]
        value = apply_primitive(term.fn, term.order, args) if term.entrywise else sympy.Function(term.fn)(*args)
        label = matrix_label(self.labels.new("A"), tuple(b.symbol for b in self.loops))
        self.written[label] = value
        self.trace.functions.append(LimitEquation(label, value, self.loops, self.condition, "matrix"))
        return made(label)

    def inner(self, op: MatDot) -> Expr:
        """The inner product of two matrices: of sums of outer products, by averages of their vectors."""
        left, right = self.read(op.left), self.read(op.right)
        # Initial matrices and functions are no sums of outer products: their inner product has a name only.
        if any(isinstance(t.factor, Base) for t in (*left.terms, *right.terms)):
            return InnerOfMatrices(*(m.expression().xreplace(self.written) for m in (left, right)))
        return sympy.Add(*(_inner(self.scope, a, b) for a in left.terms for b in right.terms))

    def product(self, var: Var, op: MatMul) -> Expr:
        items = tuple(map(to_integer, op.items))
        matrix = lookup(self.scope, self._array(op.matrix), items)
        # Sites are told apart, and found again, by their arguments as they are written.
        arg = self.short(op.arg)
        label = _product_label(matrix, matrix_label(self.labels.cell(op.matrix), items))
        left: Expr = Prod(label, S(int(op.transposed)), arg)
        if var in self.given:
            cell, indices = self.given[var]
            left = self._left(cell, tuple(map(to_integer, indices)), True)
        summed = op.matrix.matrix.rows if op.transposed else op.matrix.matrix.cols
        self.emit(TracedProduct(left, matrix, op.transposed, arg, self.loops, self.laws.ratio(summed), self.condition))
        return left

    def short(self, var: Var) -> Expr:
        """A vector that can stand in a superscript; a long expression gets a name, which is found later."""
        expr = self.values[var].expr
        if not is_long(expr):
            return expr
        name = f"@{len(self.trace.placeholders)}"
        self.trace.placeholders[name] = var.name
        if var in self.adjoints:
            self.trace.adjoints[name] = self.adjoints[var]
        left = z(name, tuple(b.symbol for b in self.loops))
        self.emit(LimitEquation(left, expr, self.loops, self.condition))
        self.values[var] = Tensor(left)
        return left

    # --- blocks ----------------------------------------------------------------------------------------------

    def branches(self, statement: If) -> None:
        condition = to_condition(statement.condition)
        before, outer = dict(self.cells), self.condition
        sides: list[dict[Cell, Array]] = []
        for block, holds in ((statement.then, condition), (statement.orelse, sympy.Not(condition))):
            self.cells, self.condition = dict(before), sympy.And(outer, holds)
            self.block(block)
            sides.append(self.cells)
        self.cells, self.condition = before, outer
        for cell in _ordered(cells_written((*statement.then, *statement.orelse)), (statement,)):
            # A record belongs to one statement, and so to one of the blocks.
            if cell in self.recorded:
                self.cells[cell] = next(side[cell] for side in sides if side.get(cell) is not before.get(cell))
            elif cell not in self.named:
                self.cells[cell] = self._merged(cell, condition, sides[0], sides[1])

    def _merged(self, cell: Cell, condition: sympy.Basic, then: dict, otherwise: dict) -> Array:
        old = self._array(cell)
        arrays = [side.get(cell, old) for side in (then, otherwise)]
        grown = [a.base is old.base and a.writes[:len(old.writes)] == old.writes for a in arrays]
        # Both blocks have only added writes, each of which holds under its block's condition.
        if all(grown) and (cell.rank or any(a.writes == old.writes for a in arrays)):
            conditions = (condition, sympy.Not(condition))
            return old.write(*(w.under(c) for a, c in zip(arrays, conditions, strict=True)
                               for w in a.writes[len(old.writes):]))

        def base(items: Items) -> Value:
            missing = Array(lambda i: self._undefined(cell, i))
            then_value, other = (lookup(self.scope, side.get(cell, missing), items) for side in (then, otherwise))
            return either(condition, then_value, other)
        return Array(base)

    def loop(self, statement: For) -> None:
        loop = _binder(statement)
        self.scope.ranges[loop.symbol] = (loop.low, loop.high)
        changed = [c for c in _ordered(cells_written(statement.body), statement.body)
                   if c not in self.named and c not in self.recorded]
        before = {cell: self._array(cell) for cell in changed}
        heads = {cell: Head(self, cell, statement, loop, before[cell]) for cell in changed}
        self.cells |= {cell: Array(head) for cell, head in heads.items()}
        with self._inside(loop):
            self.block(statement.body)
        for cell in changed:
            self.cells[cell] = heads[cell].after(self.cells[cell])

    @contextmanager
    def _inside(self, loop: Binder) -> Iterator[None]:
        outer = self.loops
        self.loops = (*outer, loop)
        yield
        self.loops = outer


def _binder(statement: For) -> Binder:
    """A loop as an increasing range."""
    start, stop = to_integer(statement.start), to_integer(statement.stop)
    symbol = index(statement.var)
    return Binder(symbol, start, stop - 1) if statement.step > 0 else Binder(symbol, stop + 1, start, False)


def _ordered(cells: set[Cell], body: tuple[Statement, ...]) -> list[Cell]:
    """In order of first writing, so that a derivation does not depend on hashes."""
    seen = dict.fromkeys(c for s in walk(body) if (c := written(s)) is not None)
    return [c for c in seen if c in cells]


def _zero(cell: Cell) -> Value:
    return MatrixSum() if isinstance(cell.type, MatrixType) else S.Zero


def _zeros(cell: Cell) -> Array:
    return Array(lambda items: _zero(cell))


def _initial_array(initial_: Initial, labels: Labels) -> Array:
    cell = initial_.cell
    label = labels.cell(cell)
    if initial_.law.name == "zero" or (initial_.law.name == "constant" and initial_.law.args[0].leaf == 0):
        return _zeros(cell)
    if isinstance(cell.type, MatrixType):
        return Array(lambda items: initial(matrix_label(label, items)))
    if cell.type.width is None:
        return Array(lambda items: element(label, items))
    return Array(lambda items: z(label, items))


def is_long(expr: Expr) -> bool:
    """Anything but a number times one or two named vectors or functions of them."""
    factors = [f for f in sympy.Mul.make_args(expr) if not f.is_Number]
    bases = [f.base if f.is_Pow and f.exp.is_Integer else f for f in factors]
    return len(factors) > 2 or not all(_is_short(b) for b in bases)


def _is_short(expr: Expr) -> bool:
    if isinstance(expr, NonlinearityBase):
        return not expr.has(sympy.Indexed, sympy.Sum, Cases, E) and len(list(random_atoms(expr))) == 1
    return isinstance(expr, Atom)


def _inner(scope: IndexScope, left: MatrixSummand, right: MatrixSummand) -> Expr:
    """The inner product of two outer products, each summed over its own binders."""
    sides = []
    for term in (left, right):
        for binder in term.binders:
            _, mapping = scope.renamed(binder)
            term = term.xreplace(mapping)
        assert isinstance(term.factor, OuterSummand)
        pair = (term.factor.left, term.factor.right)
        sides.append((term.coefficient, *(reversed(pair) if term.transposed else pair), term.binders))
    # outer(u, x) . outer(v, y) = <u, v> <x, y>, an average over each width.
    (a, u, x, first), (b, v, y, second) = sides
    value = a * b * expectation(u * v) * expectation(x * y)
    for binder in reversed((*first, *second)):
        value = sum_over(value, binder)
    return value


def _product_label(matrix: MatrixSum, label: Expr) -> Expr:
    """What a person would call the matrix: its state, if it is one."""
    if len(matrix.terms) == 1 and isinstance(matrix.terms[0].factor, Base) and not matrix.terms[0].transposed:
        return matrix.terms[0].factor.label
    return label


def _renaming(equation: LimitEquation, loops: tuple[Binder, ...], at: Items, items: Items) -> dict[Expr, Expr] | None:
    """How the loops of an addition must be renamed to join an equation for the same elements."""
    if len(equation.loops) != len(loops):
        return None
    mapping = {new.symbol: old.symbol for new, old in zip(loops, equation.loops, strict=True)}
    same = all(n.low.xreplace(mapping) == o.low and n.high.xreplace(mapping) == o.high
               for n, o in zip(loops, equation.loops, strict=True))
    return mapping if same and tuple(i.xreplace(mapping) for i in items) == at else None
