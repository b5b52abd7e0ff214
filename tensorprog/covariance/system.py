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
from functools import partial

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.budget import TooMuch, shared
from tensorprog.covariance.cancellation import Cancellation, Condition
from tensorprog.covariance.cases import Case
from tensorprog.covariance.covariances import Covariances
from tensorprog.covariance.gaussian import Responses
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.linear import LinearFunctions
from tensorprog.covariance.means import Means
from tensorprog.covariance.nodes import Call, Expectation, fresh_index, indices_named, name_others, ordered
from tensorprog.covariance.parts import Parts
from tensorprog.covariance.unwound import Unwound
from tensorprog.ir.program import Cell

MAX_EQUATIONS = 240
#: Added to the size of what must cancel, so that rounding is no excess where both are all but zero.
LEAST = 1e-4


def is_sum(expr: Expr) -> bool:
    """Whether an expression is a sum with values of equations or expectations among its terms."""
    return isinstance(expr, sympy.Add) and expr.has(Call, Expectation)


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

    def outer_calls(self) -> list[int]:
        """The numbers of the functions that are read, but for those in the arguments of expectations."""
        hidden = (e.replace(Expectation, lambda *args: Integer(0)) for _, e in self.cases)
        return [int(c.args[0]) for e in hidden for c in ordered(e.atoms(Call))]

    def has_sum(self) -> bool:
        """Whether values are added in it, see `is_sum`."""
        return any(is_sum(a) for _, e in self.cases for a in e.atoms(sympy.Add))

    def symbols(self) -> set[str]:
        """The names of the symbols in its cases."""
        return {symbol.name for e in self._expressions() for symbol in e.free_symbols}

    def _expressions(self) -> Iterator[Expr]:
        for guards, expr in self.cases:
            yield from guards
            yield expr


class System:
    """The equations behind those of the given outputs that have some. An output is given up at the first of its
    equations that cannot be written, and so is every other output that needs the same one.

    Args:
        cancelling: whether responses are taken to cancel what recursions carry over (see `gaussian`).

    Attributes:
        equations: number -> equation, in the order in which they were needed.
        outputs: output cell -> number of its equation.
        refused: the other outputs, and why.
        conditions: number of an equation -> what it is the excess of: by how much two numbers that must add up to zero
            do not, relative to their size (see `cancellation`).
        recipes: planned expectations.
        integrands: of each recipe, the integrand in z0, z1, ..., and the covariances {(z_i, z_j): symbol or number}.
        symmetric: the covariances of two elements of one family, and the means of their products, which the two halves
            of the arguments may change places in.

    Raises:
        Unsupported: if what was assumed of the responses does not hold.
    """

    def __init__(self, unwound: Unwound, laws: Laws, outputs: list[Cell], cancelling: bool):
        self._unwound, self.cancelling = unwound, cancelling
        responses = Responses(unwound, cancelling)
        linear = LinearFunctions(unwound, laws, responses)
        parts = Parts(unwound, laws, linear)
        covariances = Covariances(unwound, laws, linear, parts)
        self._means = Means(unwound, laws, linear, parts, covariances)
        self.equations: dict[int, Equation] = {}
        self.refused: dict[Cell, str] = {}
        self.outputs: dict[Cell, int] = {}
        self.conditions: dict[int, Condition] = {}
        for cell in outputs:
            self._name(cell)
        self._close()
        if not self.outputs:
            return
        if not all(map(linear.is_linear, responses.assumed)):
            raise Unsupported("a recursion of nonlinear functions responds to a transposed product")
        self._conditions(linear.resolution.cancellation, responses)
        self.recipes, self.integrands = self._means.planned.recipes, self._means.planned.integrands
        self.symmetric = covariances.symmetric | self._means.symmetric

    def __getstate__(self) -> tuple[dict[str, object], int]:
        """What was found, without what it was found with; and the number of indices that have a name."""
        found = {name: value for name, value in self.__dict__.items() if name not in ("_unwound", "_means")}
        return found, indices_named()

    def __setstate__(self, state: tuple[dict[str, object], int]) -> None:
        found, named = state
        name_others(named)
        self.__dict__.update(found)

    def _conditions(self, cancellation: Cancellation, responses: Responses) -> None:
        """Check the hypothesis of cancellation, and write the conditions that are left of it as equations.

        Raises:
            Unsupported: if it does not hold, or if a condition cannot be written.
        """
        done: set[Condition] = set()
        cancellation.check(responses.trusted)
        # The equations of a condition may rest on the hypothesis in turn.
        while found := [c for c in cancellation.conditions if c not in done]:
            for condition in found:
                done.add(condition)
                number = self._unwound.function("what responses leave over", condition.params, False,
                                                partial(_excess, condition))
                self.conditions[number] = condition
                self._write([number])
                if not self._reached([number]) <= set(self.equations):
                    raise Unsupported("it cannot be computed whether responses cancel")
            cancellation.check(responses.trusted)

    def needed(self, cell: Cell) -> Needed:
        """The equations and expectations behind an output."""
        reached = self._reached([self.outputs[cell]])
        recipes = {k for number in reached for k in self.equations[number].numbers(Expectation)}
        return Needed(frozenset(reached), tuple(self.recipes[k] for k in sorted(recipes)))

    def sums(self, cells: Iterable[Cell]) -> frozenset[int]:
        """The numbers of the equations with a sum of values, of which outputs are made other than by expectations: the
        covariances of arguments that are equal cancel exactly, and are not among them."""
        reached, left = set(), [self.outputs[cell] for cell in cells]
        while left:
            number = left.pop()
            if number not in reached:
                reached.add(number)
                left += self.equations[number].outer_calls()
        return frozenset(n for n in reached if self.equations[n].has_sum())

    def depending(self, parameters: Iterable[str]) -> set[int]:
        """The numbers of the equations that some parameters enter."""
        names = set(parameters)
        found = {number for number, e in self.equations.items() if not names.isdisjoint(e.symbols())}
        count = -1
        while count != len(found):
            count = len(found)
            found |= {number for number, e in self.equations.items() if not found.isdisjoint(e.numbers(Call))}
        return found

    def replaced(self, equations: dict[int, Equation], symmetric: Iterable[int]) -> System:
        """The system with other equations, of which those that no output needs are left out, and more that are
        symmetric."""
        found = copy.copy(self)
        found.equations, found.symmetric = equations, self.symmetric | frozenset(symmetric)
        needed = found._reached(found._roots())
        found.equations = {number: e for number, e in equations.items() if number in needed}
        return found

    def _name(self, cell: Cell) -> None:
        """Make an output a function of integers."""
        params = tuple(fresh_index() for _ in range(cell.rank + len(cell.tensor.shape)))
        try:
            expr = self._unwound.output(cell)(params)
        except (Unsupported, RecursionError) as reason:
            self.refused[cell] = _told(reason)
        else:
            self.outputs[cell] = self._unwound.function(f"output {cell.display or cell.name}", params, False,
                                                        lambda: [((), expr)])

    def _close(self) -> None:
        """Write what the outputs need, all together; if that is too much, what one after the other needs, with an equal
        share of the budget."""
        # A third of the budget is kept for trying outputs one by one, if together they are too much.
        try:
            with shared(2 / 3 if len(self.outputs) > 1 else 1):
                self._write(list(self.outputs.values()))
        except TooMuch as reason:
            cells = list(self.outputs)
            self.equations = {}
            for position, cell in enumerate(cells if len(cells) > 1 else ()):
                self._write_alone(cell, 1 / (len(cells) - position))
            if len(cells) == 1:
                self._refuse(cells, str(reason))

    def _write_alone(self, cell: Cell, share: float) -> None:
        before = dict(self.equations)
        try:
            with shared(share):
                self._write([self.outputs[cell]])
        except TooMuch as reason:
            self.equations = before
            self._refuse([cell], str(reason))

    def _write(self, numbers: list[int]) -> None:
        """The equations of some numbers and of what they need. Means of many factors come first, which are the
        likeliest to have none; an equation that cannot be written refuses the outputs that need it.

        Raises:
            TooMuch: if there are too many.
        """
        pending = list(numbers)
        while pending:
            # Failing early saves work: means of many factors are the likeliest to have no equation.
            number = max(pending, key=self._means.complexity)
            pending.remove(number)
            if number in self.equations:
                continue
            if len(self.equations) > MAX_EQUATIONS:
                raise TooMuch("the system of equations is too large")
            try:
                self.equations[number] = self._equation(number)
            except TooMuch:
                raise
            except (Unsupported, RecursionError) as reason:
                self._refuse_needing(number, _told(reason))
                needed = self._reached(self._roots())
                pending = [n for n in pending if n in needed]
            else:
                pending += self.equations[number].numbers(Call)

    def _roots(self) -> list[int]:
        return [*self.outputs.values(), *self.conditions]

    def _refuse_needing(self, number: int, reason: str) -> None:
        self._refuse([cell for cell, own in self.outputs.items() if number in self._reached([own])], reason)

    def _refuse(self, cells: list[Cell], reason: str) -> None:
        for cell in cells:
            del self.outputs[cell]
            self.refused[cell] = reason
        needed = self._reached(self._roots())
        self.equations = {number: e for number, e in self.equations.items() if number in needed}

    def _reached(self, numbers: Iterable[int]) -> set[int]:
        """Some numbers, and those that their equations need, as far as they are written."""
        reached: set[int] = set()
        pending = list(numbers)
        while pending:
            number = pending.pop()
            if number not in reached:
                reached.add(number)
                if number in self.equations:
                    pending += self.equations[number].numbers(Call)
        return reached

    def _equation(self, number: int) -> Equation:
        function = self._unwound.functions[number]
        cases = tuple((guards, self._means.number(expr)) for guards, expr in self._unwound.cases(number))
        # The largest of a family begins with -oo, which is a number like others; arithmetic with it is not to be trusted.
        if any(expr.has(*_INFINITE) and expr not in (sympy.oo, -sympy.oo) for _, expr in cases):
            raise Unsupported(f"`{function.name}` begins with an infinite value")
        return Equation(number, function.name, function.params, cases)


_INFINITE = (sympy.nan, sympy.oo, sympy.zoo, -sympy.oo)


def _excess(condition: Condition) -> list[Case]:
    """The excess of a condition, by cases."""
    total = abs(condition.carried + condition.answered)
    size = abs(condition.carried) + abs(condition.answered)
    return [(condition.guards, total / (size + LEAST)), ((), Integer(0))]


def _told(reason: Exception) -> str:
    return "an expression is nested too deeply" if isinstance(reason, RecursionError) else str(reason)
