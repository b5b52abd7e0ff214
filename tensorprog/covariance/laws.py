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
from tensorprog.covariance.integers import CONSTANTS
from tensorprog.covariance.nodes import Init
from tensorprog.ensembles import ensemble_of
from tensorprog.ir.program import Cell, Initial, Program
from tensorprog.limit.laws import DeclaredLaws
from tensorprog.passes.powers import Powers


class Laws(DeclaredLaws):
    """The laws of a program's declared objects, and the numbers of what equations call them.

    Args:
        program: the limit program.
        powers: the powers of n of its values.
        env: values that powers depend on.
    """

    def __init__(self, program: Program, powers: Powers, env: Mapping[str, object]):
        super().__init__(program, powers, env, CONSTANTS)
        self._variances: dict[tuple[Cell, bool], Expr] = {}
        self._laws: dict[int, tuple[str, list[Expr]]] = {}
        sparse = [k for k, i in enumerate(program.initials) if i.law.name == "sparse_normal"]
        # Numbers behind those of the declared vectors; `zip` ends with the shorter one.
        self.masks = dict(zip(sparse, range(len(program.initials), 10**9)))
        self._masked = {mask: number for number, mask in self.masks.items()}

    def matrix_variance(self, cell: Cell, transposed: bool) -> Expr:
        """The variance of `W @ x` (or `W.T @ x`) for a normalized x."""
        if (cell, transposed) not in self._variances:
            self._variances[cell, transposed] = self.scale(self._initial(cell), transposed)
        return self._variances[cell, transposed]

    def projection(self, cell: Cell, transposed: bool) -> Expr:
        """The share of a vector that a product with the matrix and one with its transpose leave of it, if the matrix is a
        multiple of an orthogonal one, square or not; 0 for independent entries, whose products know nothing of each other."""
        ensemble = ensemble_of(self._initial(cell))
        if callable(ensemble.operator):
            raise Unsupported(f"equations know nothing of the law `{ensemble.name}`, which is from outside of tensorprog")
        return self.share(cell, transposed) if ensemble.orthogonal else Integer(0)

    def _initial(self, cell: Cell) -> Initial:
        return next(i for i in self.program.initials if i.cell is cell)

    def _law(self, init: Init) -> tuple[str, list[Expr]]:
        """The law of an `Init`."""
        number = int(init.args[0])
        if number not in self._laws:
            self._laws[number] = self._found(number)
        return self._laws[number]

    def _found(self, number: int) -> tuple[str, list[Expr]]:
        initial = self.program.initials[self._masked.get(number, number)]
        arguments = self.arguments(initial)
        match initial.law.name:
            case "sparse_normal" if number in self._masked:
                return "bernoulli", arguments[:1]
            case "sparse_normal":
                return "normal", [Integer(0), arguments[1]]
            # A function of one standard normal vector, see `value`.
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
                low, high = self.arguments(initial)
                # Phi(g) = (1 + erf(g/sqrt(2)))/2 of a standard normal g is uniform on [0, 1].
                return (low + high) / 2 + (high - low) / 2 * sympy.erf(init / sympy.sqrt(2))
        return init

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
