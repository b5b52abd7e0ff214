"""Declared widths, laws and constants as SymPy expressions, of which powers of n keep the leading terms.

Powers of n themselves are divided out: of W ~ normal(0, s/n) the variance is s. In `normal(0, 1 + 1/n)` the limit of the
variance is 1, and `normal(1/n, 1)` has mean 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy
from sympy import Expr, Integer

from tensorprog.ir.constants import Scaled, constant
from tensorprog.ir.laws import centre, leading_arguments
from tensorprog.ir.program import Cell, ConstExpr, Initial, MatrixType, Program
from tensorprog.limit.notation import Notation
from tensorprog.passes.powers import Powers


class DeclaredLaws:
    """The laws of a program's declared objects, powers of n divided out.

    Args:
        program: the limit program.
        powers: the powers of n of its values.
        env: values of sizes and parameters, which powers depend on.
        notation: the symbols to write them in.
    """

    def __init__(self, program: Program, powers: Powers, env: Mapping[str, object], notation: Notation):
        self.program, self.powers, self.env, self.notation = program, powers, env, notation

    def ratio(self, width: str) -> Expr:
        """The limit of a width over the base width."""
        declared = next(w for w in self.program.widths if w.name == width)
        return self.coefficient(declared.ratio) if declared.ratio else Integer(1)

    def scale(self, initial: Initial, transposed: bool) -> Expr:
        """The variance of an entry of `W @ x` (or `W.T @ x`), for a matrix whose entries have the law `initial`, over the second
        moment of x: the entries' variance times the width that is summed over."""
        rows, cols = self._widths(initial.cell)
        # TP III, appendix F: for W : [m, n] of variance s/n, Var (W @ x) = s E x**2 and Var (W.T @ y) = s (m/n) E y**2. The
        # declared variance is a coefficient over the base width here, and what is summed over is that width times `cols` or `rows`.
        return self.coefficient(initial.law.args[1]) * (rows if transposed else cols)

    def share(self, cell: Cell, transposed: bool) -> Expr:
        """The share of a vector that a product with an orthogonal matrix and one with its transpose leave of it: the vector's
        width over the larger one of the two widths."""
        rows, cols = self._widths(cell)
        # With m rows and n < m columns, O.T O = 1, and O O.T projects on n of m dimensions: of a vector it leaves n/m.
        return (rows if transposed else cols) / sympy.Max(rows, cols)

    def _widths(self, cell: Cell) -> tuple[Expr, Expr]:
        """The widths of a matrix over the base width."""
        assert isinstance(cell.type, MatrixType)
        return self.ratio(cell.type.rows), self.ratio(cell.type.cols)

    def arguments(self, initial: Initial) -> list[Expr]:
        """The arguments of a law: what is of a lower power of n than the vector itself is 0."""
        law = initial.law
        counts = leading_arguments(law, self.powers[initial.cell], [self._value(a)[1] for a in law.args])
        return [self.coefficient(a) if kept else Integer(0) for a, kept in zip(law.args, counts)]

    def is_centred(self, initial: Initial) -> bool:
        """Whether the limit of a law is symmetric about 0."""
        about = centre(initial.law)
        if about is None:
            return False
        # What it is symmetric about may be of a lower power than the entries: `normal(1/n, 1)` is centred in the limit.
        own = self.powers[initial.cell]
        return (own is not None and self._value(about)[1] < own) or sympy.expand(self.coefficient(about)) == 0

    def coefficient(self, expr: ConstExpr) -> Expr:
        """The coefficient of the leading power of n of a declared constant.

        Raises:
            ProgramError: TP505, for a constant without a value.
        """
        match expr.op:
            case "num":
                return self.notation.number(expr.number)
            case "int":
                return self.notation.integer(expr.integer)
            case "param":
                return self.notation.parameter(expr.name)
            case "width":
                return self.ratio(expr.name)
            # Of these alone the leading term is not made of the leading terms of the operands.
            case "+" | "-" | "max":
                return self._leading(expr)
        parts = [self.coefficient(a) for a in expr.args]
        match expr.op:
            case "neg":
                return -parts[0]
            case "*":
                return parts[0] * parts[1]
            case "/":
                return parts[0] / parts[1]
            case "**":
                return parts[0] ** parts[1]
        return {"sqrt": sympy.sqrt, "exp": sympy.exp, "log": sympy.log}[expr.op](parts[0])

    def _leading(self, expr: ConstExpr) -> Expr:
        """A sum, a difference or the larger one of two constants of perhaps different powers of n."""
        left, right = (self.coefficient(a) for a in expr.args)
        right = -right if expr.op == "-" else right
        # Values decide what is larger; symbols of the same powers stay symbols.
        one, two = map(self._value, expr.args)
        if one[1] == two[1]:
            return sympy.Max(left, right) if expr.op == "max" else left + right
        # Zero has no power of n: what is left is the other one.
        if expr.op != "max" and 0 in (one[0], two[0]):
            return left if two[0] == 0 else right
        return left if one[1] > two[1] else right

    def _value(self, expr: ConstExpr) -> Scaled:
        return constant(self.program, expr, self.env)
