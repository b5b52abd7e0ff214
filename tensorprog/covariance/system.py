"""The system of equations that a limit program amounts to: scalars, means and covariances as functions of integers.

Every number that an output needs is a function of loop indices, defined by cases over others. Only what is needed is
derived, in this order:

    unwind        a limit program as functions by cases, sites of matrix products, and means
    gaussian      products as Gaussians and responses;  cancellation: the hypothesis that the latter cancel, checked
    resolution    Z of an expression, by cases;         linear: which functions are linear in Gaussians
    parts         their discrete parts;                 covariances: of two Gaussians, by bilinearity
    means         expectations by linearity;            integrand: the rest, planned (`tensorprog.expectations`)
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sympy
from sympy import Expr, Symbol

from tensorprog.covariance.covariances import Covariances
from tensorprog.covariance.gaussian import Responses
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.linear import LinearFunctions
from tensorprog.covariance.means import Means
from tensorprog.covariance.nodes import Call, Expectation, fresh_index
from tensorprog.covariance.parts import Parts
from tensorprog.covariance.unwind import Unwound
from tensorprog.ir.program import Cell

MAX_EQUATIONS = 240


@dataclass(frozen=True)
class Needed:
    """What one output needs."""

    equations: frozenset[int]
    recipes: tuple


@dataclass(frozen=True)
class Equation:
    """A function of integers: the first case whose guards are all 1."""

    number: int
    name: str
    params: tuple[Symbol, ...]
    cases: tuple[tuple[tuple[Expr, ...], Expr], ...]

    def numbers(self, kind: type) -> list[int]:
        """The numbers of the nodes of a kind (Call, Expectation) in its cases, in a fixed order."""
        return sorted({int(node.args[0]) for e in self._expressions() for node in e.atoms(kind)})

    def calls(self) -> Iterator[Call]:
        """The calls in its cases."""
        for e in self._expressions():
            yield from e.atoms(Call)

    def _expressions(self) -> Iterator[Expr]:
        for guards, expr in self.cases:
            yield from guards
            yield expr


class System:
    """The equations behind the given outputs.

    Args:
        cancelling: whether responses are taken to cancel what recursions carry over (see `gaussian`).

    Attributes:
        equations: number -> equation, in the order in which they were needed.
        outputs: output cell -> number of its equation.
        recipes: planned expectations.
        integrands: of each recipe, the integrand in z0, z1, ..., and the covariances {(z_i, z_j): symbol or number}.
        symmetric: the covariances of two elements of one family, and the means of their products, which the two halves
            of the arguments may change places in.

    Raises:
        Unsupported: with the reason why the outputs are not functions of few Gaussians.
    """

    def __init__(self, unwound: Unwound, laws: Laws, outputs: list[Cell], cancelling: bool):
        self._unwound, self.cancelling = unwound, cancelling
        responses = Responses(unwound, cancelling)
        linear = LinearFunctions(unwound, laws, responses)
        parts = Parts(unwound, laws, linear)
        covariances = Covariances(unwound, laws, linear, parts)
        self._means = Means(unwound, laws, linear, parts, covariances)
        self.equations: dict[int, Equation] = {}
        self.outputs = {cell: self._output(cell) for cell in outputs}
        self._close()
        if not all(map(linear.is_linear, responses.assumed)):
            raise Unsupported("a recursion of nonlinear functions responds to a transposed product")
        linear.resolution.cancellation.check(responses.trusted)
        self.recipes, self.integrands = self._means.planned.recipes, self._means.planned.integrands
        self.symmetric = covariances.symmetric | self._means.symmetric

    def needed(self, cell: Cell) -> Needed:
        """The equations and expectations behind an output."""
        reached: set[int] = set()
        recipes: set[int] = set()
        pending = [self.outputs[cell]]
        while pending:
            number = pending.pop()
            if number not in reached:
                reached.add(number)
                recipes.update(self.equations[number].numbers(Expectation))
                pending += self.equations[number].numbers(Call)
        return Needed(frozenset(reached), tuple(self.recipes[k] for k in sorted(recipes)))

    def replaced(self, equations: dict[int, Equation], symmetric: Iterable[int]) -> System:
        """The system with other equations, of which those that no output needs are left out, and more that are
        symmetric."""
        found = copy.copy(self)
        found.equations, found.symmetric = equations, self.symmetric | frozenset(symmetric)
        needed = frozenset().union(*(found.needed(cell).equations for cell in self.outputs))
        found.equations = {number: e for number, e in equations.items() if number in needed}
        return found

    def _output(self, cell: Cell) -> int:
        shape = cell.rank + len(cell.type.shape)
        params = tuple(fresh_index() for _ in range(shape))
        expr = self._unwound.output(cell)(params)
        return self._unwound.function(f"output {cell.display or cell.name}", params, False, lambda: [((), expr)])

    def _close(self) -> None:
        pending = list(self.outputs.values())
        while pending:
            number = pending.pop(0)
            if number in self.equations:
                continue
            if len(self.equations) > MAX_EQUATIONS:
                raise Unsupported("the system of equations is too large")
            self.equations[number] = self._equation(number)
            pending += self.equations[number].numbers(Call)

    def _equation(self, number: int) -> Equation:
        function = self._unwound.functions[number]
        cases = tuple((guards, self._means.number(expr)) for guards, expr in self._unwound.cases(number))
        if any(expr.has(sympy.nan, sympy.oo, sympy.zoo, -sympy.oo) for _, expr in cases):
            raise Unsupported(f"`{function.name}` begins with an infinite value")
        return Equation(number, function.name, function.params, cases)
