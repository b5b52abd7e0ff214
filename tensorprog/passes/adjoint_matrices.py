"""The adjoint rules of statements about matrices: sums, multiples, outer products, functions, inner products.

The adjoint of a matrix is a matrix that is made by updates, whatever the matrix is. Gradients through
`polar` keep the rank of the matrix, and are differentials of it again, of every order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorprog.ir.calculus import partial
from tensorprog.ir.entries import EntryBuilder, Operand
from tensorprog.ir.integers import IntExpr
from tensorprog.ir.program import (
    POLAR_DIFFERENTIAL,
    PRODUCT,
    SCALAR,
    Cell,
    FunctionTerm,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatStore,
    OuterTerm,
    Statement,
    TensorType,
    Term,
    Var,
)
from tensorprog.passes.rewrite import map_items

if TYPE_CHECKING:
    from tensorprog.passes.adjoint import AdjointSweep


class MatrixAdjoints:
    """The rules within one sweep."""

    def __init__(self, sweep: AdjointSweep):
        self.sweep = sweep
        self.builder = sweep.builder
        self.active = sweep.site.active

    def reverse_dot(self, statement: Statement, op: MatDot, bar: Var) -> None:
        """Of the inner product of two matrices: the adjoint of each is a multiple of the other."""
        for side, other in ((op.left, op.right), (op.right, op.left)):
            if side.cell in self.active.cells:
                other = self._then(statement, other)
                self._add(side, MatrixTerm(bar, other.cell, other.items, other.transposed))

    def reverse_write(self, statement: Statement, cell: Cell, items: tuple[IntExpr, ...], terms: tuple[Term, ...],
                      replace: bool) -> None:
        """Of a sum of terms that a matrix gets, or that is added to it."""
        shadow, here = self.sweep.shadow(cell), map_items(items, self.sweep.indices)
        # The adjoint from before the store clears it: a term may be the written matrix itself.
        bar = self.builder.cell(f"{cell.display}_bar", cell.type)
        self.builder.append(MatStore(bar, (), (MatrixTerm(None, shadow, here),), span=self.builder.span))
        if replace:
            self.builder.append(MatStore(shadow, here, (), span=statement.span))
        for term in terms:
            if isinstance(term, MatrixTerm):
                self._multiple(statement, term, MatrixTerm(None, bar, ()))
            elif isinstance(term, FunctionTerm):
                self._function(statement, term, MatrixTerm(None, bar, ()))
            else:
                self._outer(term, bar)

    def _multiple(self, statement: Statement, term: MatrixTerm, bar: MatrixTerm) -> None:
        sweep = self.sweep
        if term.coef in self.active.vars:
            # <bar, d(c M)> = <bar, M> dc + c <bar, dM>.
            plain = MatrixTerm(None, term.cell, term.items, term.transposed)
            sweep.contribute(term.coef, self._entries(bar).dot(bar, self._then(statement, plain)), SCALAR)
        # The record has the products with the matrix itself, not those with its copy.
        if term.cell in sweep.recorder.records:
            name = term.cell.display
            sweep.reporter.error("TP425", f"a kernel with respect to `{name}` cannot follow this copy of it",
                                 statement.span, help=f"apply `{name}` itself to the vectors, or write the name of the "
                                                      "copy after the `;`")
        if term.cell in self.active.cells:
            coef = None if term.coef is None else sweep.fetch(term.coef)
            self._add(term, MatrixTerm(coef, bar.cell, ()))

    def _outer(self, term: OuterTerm, bar: Cell) -> None:
        """The adjoint of coef * outer(u, x), where `bar` is the adjoint matrix."""
        builder, sweep = self.builder, self.sweep
        left, right = term.left, term.right
        coef = term.coef if term.coef in self.active.vars else None
        # <bar, d(c u x.T)> = c <bar x, du> + c <bar.T u, dx> + <u, bar x> dc.
        if left in self.active.vars or coef is not None:
            applied = builder.let(MatMul(bar, (), False, sweep.fetch(right)), left.type)
            sweep.contribute(left, self._scaled(term.coef, applied), left.type)
            if coef is not None:
                product = builder.mul(sweep.fetch(left), applied)
                sweep.contribute(coef, product, TensorType(left.type.width))
        if right in self.active.vars:
            applied = builder.let(MatMul(bar, (), True, sweep.fetch(left)), right.type)
            sweep.contribute(right, self._scaled(term.coef, applied), right.type)

    def _scaled(self, coef: Var | None, value: Var) -> Var:
        return value if coef is None else self.builder.mul(self.sweep.fetch(coef), value)

    # --- functions ---

    def _function(self, statement: Statement, term: FunctionTerm, bar: MatrixTerm) -> None:
        if not any(map(self._is_active, term.args)):
            return
        if term.entrywise:
            self._entrywise(statement, term, bar)
        elif term.fn == PRODUCT:
            self._product(statement, term, bar)
        else:
            self._polar(statement, term, bar)

    def _polar(self, statement: Statement, term: FunctionTerm, bar: MatrixTerm) -> None:
        """Of a differential of the polar factor (of order 0: that itself), which is symmetric in its directions and what it is
        multiplied with: for a direction, the adjoint is put in its place; for the matrix, the order is one more."""
        matrix, *directions = (self._then(statement, a) for a in term.matrices)
        for position, arg in enumerate(term.matrices):
            if not self._is_active(arg):
                continue
            # The matrix itself has the position 0: then no direction is taken out.
            others = [b for k, b in enumerate(directions) if k + 1 != position]
            self._add(arg, self._hidden(arg, FunctionTerm(POLAR_DIFFERENTIAL, (matrix, *others, bar))))

    def _product(self, statement: Statement, term: FunctionTerm, bar: MatrixTerm) -> None:
        left, right = term.matrices
        # <bar, d(L R)> = <bar R.T, dL> + <L.T bar, dR>.
        if self._is_active(left):
            factor = _turned(self._then(statement, right))
            self._add(left, self._hidden(left, FunctionTerm(PRODUCT, (bar, factor))))
        if self._is_active(right):
            factor = _turned(self._then(statement, left))
            self._add(right, self._hidden(right, FunctionTerm(PRODUCT, (factor, bar))))

    def _entrywise(self, statement: Statement, term: FunctionTerm, bar: MatrixTerm) -> None:
        entries = self._entries(bar)

        def fetch(value: Operand | FunctionTerm) -> Operand:
            if isinstance(value, FunctionTerm):
                return entries.elementwise(value.fn, *map(fetch, value.args), order=value.order)
            return self.sweep.fetch(value) if isinstance(value, Var) else self._then(statement, value)

        for position, arg in enumerate(term.args):
            factor = partial(entries, term, term, position, fetch) if self._is_active(arg) else None
            if factor is None:
                continue
            # A scalar enters every entry, and its adjoint is the sum over them.
            if isinstance(arg, Var):
                self.sweep.contribute(arg, entries.dot(bar, factor), SCALAR)
            else:
                product = entries.mul(bar, factor)
                assert isinstance(product, MatrixTerm), "a matrix times something is one"
                self._add(arg, product)

    # --- matrices ---

    def _is_active(self, arg: Operand) -> bool:
        return arg in self.active.vars if isinstance(arg, Var) else arg.cell in self.active.cells

    def _then(self, statement: Statement, matrix: MatrixTerm) -> MatrixTerm:
        """A matrix as the forward statement saw it."""
        cell, items = self.sweep.matrix(statement, matrix.cell, matrix.items)
        return MatrixTerm(None, cell, items, matrix.transposed)

    def _entries(self, like: MatrixTerm) -> EntryBuilder:
        return EntryBuilder(self.builder, *like.shape)

    def _hidden(self, like: MatrixTerm, term: FunctionTerm) -> MatrixTerm:
        return self._entries(like).matrix(term)

    def _add(self, matrix: MatrixTerm, bar: MatrixTerm) -> None:
        """Add to the adjoint of a cell what belongs to it or to its transpose."""
        items = map_items(matrix.items, self.sweep.indices)
        term = _turned(bar) if matrix.transposed else bar
        self.builder.append(MatAccum(self.sweep.shadow(matrix.cell), items, (term,), span=self.builder.span))


def _turned(term: MatrixTerm) -> MatrixTerm:
    return MatrixTerm(term.coef, term.cell, term.items, not term.transposed)
