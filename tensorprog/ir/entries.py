"""Making statements about the entries of matrices: `ir.build.Builder` for matrices of one shape, and numbers.

An operand is a matrix (a term without a factor) or a number, which stands for itself in every entry; so the rules of
`ir.calculus` hold of entries as they stand. Multiples and sums stay linear, which keeps outer products outer products.
"""

from __future__ import annotations

from fractions import Fraction

from tensorprog.ir.build import Builder
from tensorprog.ir.program import (
    SCALAR,
    FunctionTerm,
    MatDot,
    MatrixTerm,
    MatrixType,
    MatStore,
    OuterTerm,
    TensorType,
    Term,
    Var,
)

Operand = Var | MatrixTerm


class EntryBuilder:
    """Appends statements to a builder's innermost block; every matrix that it makes is a hidden one."""

    def __init__(self, builder: Builder, rows: str, cols: str):
        self.builder = builder
        self.type = MatrixType(rows, cols)

    def matrix(self, *terms: Term) -> MatrixTerm:
        """The sum of some terms."""
        cell = self.builder.cell("entries", self.type)
        self.builder.append(MatStore(cell, (), terms, span=self.builder.span))
        return MatrixTerm(None, cell, ())

    def const(self, value: Fraction | float | int) -> Var:
        """A number."""
        return self.builder.const(value)

    def constant_value(self, operand: Operand) -> Fraction | float | None:
        """The number that an operand is known to be."""
        return self.builder.constant_value(operand) if isinstance(operand, Var) else None

    def elementwise(self, fn: str, *args: Operand, order: int = 0) -> Operand:
        """A primitive (or its derivative) of every entry."""
        numbers = [a for a in args if isinstance(a, Var)]
        if len(numbers) == len(args):
            return self.builder.elementwise(fn, *numbers, order=order)
        return self.matrix(FunctionTerm(fn, args, order))

    def add(self, a: Operand, b: Operand) -> Operand:
        """The sum."""
        return self._sum(a, b, 1)

    def sub(self, a: Operand, b: Operand) -> Operand:
        """The difference."""
        return self._sum(a, b, -1)

    def _sum(self, a: Operand, b: Operand, sign: int) -> Operand:
        # Matrices are added as terms, which keeps outer products outer products; a number is added to every entry, by a function.
        if isinstance(a, MatrixTerm) and isinstance(b, MatrixTerm):
            return self.matrix(a, self.scaled(b, self.const(sign)) if sign < 0 else b)
        return self.elementwise("add" if sign > 0 else "sub", a, b)

    def neg(self, a: Operand) -> Operand:
        """The negative."""
        return self.mul(self.const(-1), a)

    def mul(self, a: Operand, b: Operand) -> Operand:
        """The product of the entries."""
        # A number times a matrix is a multiple, which stays linear; two matrices have a function of their entries.
        number, matrix = (a, b) if isinstance(a, Var) else (b, a)
        if not isinstance(number, Var) or not isinstance(matrix, MatrixTerm):
            return self.elementwise("mul", a, b)
        return matrix if self.constant_value(number) == 1 else self.matrix(self.scaled(matrix, number))

    def div(self, a: Operand, b: Operand) -> Operand:
        """The quotient of the entries."""
        if isinstance(a, MatrixTerm) and isinstance(b, Var):
            # Divided by a number: a multiple, too. A number over a matrix is not linear, and goes below.
            return self.mul(self.builder.div(self.const(1), b), a)
        return self.elementwise("div", a, b)

    def scaled(self, matrix: MatrixTerm, factor: Var) -> MatrixTerm:
        """A multiple, as a term."""
        return MatrixTerm(factor, matrix.cell, matrix.items, matrix.transposed)

    def dot(self, a: MatrixTerm, b: Operand) -> Var:
        """The sum over all entries of the products."""
        if isinstance(b, MatrixTerm):
            return self.builder.let(MatDot(a, b), SCALAR)
        # A number in every entry is its multiple of outer(1, 1).
        ones = [self.builder.const(1, TensorType(width)) for width in (self.type.rows, self.type.cols)]
        return self.builder.let(MatDot(a, self.matrix(OuterTerm(b, *ones))), SCALAR)
