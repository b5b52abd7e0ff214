"""Declared vectors and constants as SymPy expressions: variances, values of discrete laws.

A vector's `Init` is a centred Gaussian or has finitely many values; `Laws.value` says what the vector is in terms of
it: a uniform one is a function of a Gaussian, a sparse one a Gaussian times a vector of zeros and ones, which is
declared with it as its *mask*.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy
from sympy import Expr, Integer, Rational

from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.integers import integer, parameter_symbol
from tensorprog.covariance.nodes import Init
from tensorprog.ensembles import ensemble_of
from tensorprog.ir.constants import constant
from tensorprog.ir.program import Cell, ConstExpr, Program
from tensorprog.passes.powers import Powers


class Laws:
    """The laws of a program's declared objects, powers of n divided out.

    Args:
        program: the limit program.
        powers: the powers of n of its values.
        env: values that powers depend on.
    """

    def __init__(self, program: Program, powers: Powers, env: Mapping[str, object]):
        self.program, self.powers, self.env = program, powers, env
        self._variances: dict[tuple[Cell, bool], Expr] = {}
        self._laws: dict[int, tuple[str, list[Expr]]] = {}
        sparse = [k for k, i in enumerate(program.initials) if i.law.name == "sparse_normal"]
        self.masks = dict(zip(sparse, range(len(program.initials), 10**9)))
        self._masked = {mask: number for number, mask in self.masks.items()}

    def matrix_variance(self, cell: Cell, transposed: bool) -> Expr:
        """The variance of `W @ x` (or `W.T @ x`) for a normalized x."""
        if (cell, transposed) not in self._variances:
            initial = next(i for i in self.program.initials if i.cell is cell)
            width = cell.type.rows if transposed else cell.type.cols
            variance = self._coefficient(initial.law.args[1])[0] * self.ratio(width)
            self._variances[cell, transposed] = variance
        return self._variances[cell, transposed]

    def projection(self, cell: Cell, transposed: bool) -> Expr:
        """The share of a vector that a product with the matrix and one with its transpose leave of it, if the matrix is a
        multiple of an orthogonal one, square or not; 0 for independent entries, whose products know nothing of each other."""
        initial = next(i for i in self.program.initials if i.cell is cell)
        ensemble = ensemble_of(initial)
        if callable(ensemble.operator):
            raise Unsupported(f"equations know nothing of the law `{ensemble.name}`, which is from outside of tensorprog")
        if not ensemble.orthogonal:
            return Integer(0)
        rows, cols = self.ratio(cell.type.rows), self.ratio(cell.type.cols)
        return (rows if transposed else cols) / sympy.Max(rows, cols)

    def ratio(self, width: str) -> Expr:
        """The limit of a width over the base width."""
        declared = next(w for w in self.program.widths if w.name == width)
        return self._coefficient(declared.ratio)[0] if declared.ratio else Integer(1)

    def _law(self, init: Init) -> tuple[str, list[Expr]]:
        """The law of an `Init`."""
        number = int(init.args[0])
        if number not in self._laws:
            self._laws[number] = self._found(number)
        return self._laws[number]

    def _found(self, number: int) -> tuple[str, list[Expr]]:
        initial = self.program.initials[self._masked.get(number, number)]
        arguments = self._arguments(initial)
        match initial.law.name:
            case "sparse_normal" if number in self._masked:
                return "bernoulli", arguments[:1]
            case "sparse_normal":
                return "normal", [Integer(0), arguments[1]]
            case "uniform":
                return "normal", [Integer(0), Integer(1)]
        return initial.law.name, arguments

    def value(self, number: int, items: tuple[Expr, ...]) -> Expr:
        """An element of a declared vector."""
        init = Init(Integer(number), *items)
        initial = self.program.initials[number]
        match initial.law.name:
            case "normal":
                return init + self._law(init)[1][0]
            case "sparse_normal":
                return Init(Integer(self.masks[number]), *items) * init
            case "uniform":
                low, high = self._arguments(initial)
                return (low + high) / 2 + (high - low) / 2 * sympy.erf(init / sympy.sqrt(2))
        return init

    def _arguments(self, initial) -> list[Expr]:
        own = self.powers[initial.cell]
        texts = [self._coefficient(a) for a in initial.law.args]
        if initial.law.name in ("normal", "sparse_normal"):
            (first, first_power), (variance, variance_power) = texts
            if initial.law.name == "normal" and first_power != own:
                first = Integer(0)
            return [first, variance if own is None or variance_power == 2 * own else Integer(0)]
        if initial.law.name in ("uniform", "constant"):
            return [v if own is None or power == own else Integer(0) for v, power in texts]
        return [v for v, _ in texts]

    def discrete(self, init: Init) -> bool:
        """Whether a declared vector has finitely many values."""
        return self._law(init)[0] in ("rademacher", "bernoulli", "constant", "zero")

    def reduced(self, expr: Expr) -> Expr:
        """An expression with powers of vectors of two values, of which the first two are all there are: a**2 is 1 for
        signs, b**2 is b for zeros and ones. Without that, a recursion would make higher powers at every step."""
        return expr.replace(lambda e: e.is_Pow and isinstance(e.base, Init) and e.exp.is_Integer and e.exp > 1,
                            lambda e: self._power(e.base, int(e.exp)))

    def _power(self, init: Init, exponent: int) -> Expr:
        match self._law(init)[0]:
            case "rademacher":
                return init ** (exponent % 2)
            case "bernoulli":
                return init
            case _:
                return init**exponent

    def values(self, init: Init) -> list[tuple[Expr, Expr]]:
        """The values of a discrete law with their probabilities."""
        name, args = self._law(init)
        match name:
            case "rademacher":
                return [(Integer(1), Rational(1, 2)), (Integer(-1), Rational(1, 2))]
            case "bernoulli":
                return [(Integer(1), args[0]), (Integer(0), 1 - args[0])]
            case "constant":
                return [(args[0], Integer(1))]
            case _:
                return [(Integer(0), Integer(1))]

    def variance(self, init: Init) -> Expr:
        """The variance of one coordinate of a declared normal vector."""
        name, args = self._law(init)
        if name != "normal":
            raise Unsupported(f"`{self.display(init)}` is not normal")
        return args[1]

    def display(self, init: Init) -> str:
        """The program's name of a declared vector, or of what it is the mask of."""
        number = int(init.args[0])
        return self.program.initials[self._masked.get(number, number)].cell.display

    def _coefficient(self, expr: ConstExpr) -> tuple[Expr, object]:
        power = constant(self.program, expr, self.env)[1]
        return self._expression(expr), power

    def _expression(self, expr: ConstExpr) -> Expr:
        match expr.op:
            case "num":
                return sympy.nsimplify(expr.leaf, rational=True)
            case "param":
                return parameter_symbol(expr.leaf)
            case "int":
                return integer(expr.leaf)
            case "width":
                return self.ratio(expr.leaf)
            case "neg":
                return -self._expression(expr.args[0])
        parts = [self._expression(a) for a in expr.args]
        if expr.op in ("+", "-"):
            powers = [constant(self.program, a, self.env)[1] for a in expr.args]
            if powers[0] != powers[1]:
                kept = 0 if powers[0] > powers[1] else 1
                return -parts[1] if kept and expr.op == "-" else parts[kept]
        match expr.op:
            case "max":
                return sympy.Max(*parts)
            case "+":
                return parts[0] + parts[1]
            case "-":
                return parts[0] - parts[1]
            case "*":
                return parts[0] * parts[1]
            case "/":
                return parts[0] / parts[1]
            case "**":
                return parts[0] ** parts[1]
        return {"sqrt": sympy.sqrt, "exp": sympy.exp, "log": sympy.log}[expr.op](parts[0])
