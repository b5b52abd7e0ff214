"""Functions replaced by their cases."""

from __future__ import annotations

import sympy
from sympy import Expr

from tensorprog.covariance.cases import Case, cases_at
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.nodes import Call, ordered
from tensorprog.covariance.unwind import Unwound

MAX_TERMS = 400
MOST_INLINED = 4  # terms of a number


class Inlining:
    """What the functions of an unwound program are, put in their place."""

    def __init__(self, program: Unwound):
        self.program = program

    def inlined(self, expr: Expr) -> Expr:
        """Random functions with a single case replaced by it, and short numbers of families."""
        for _ in range(50):
            mapping = {}
            for call in ordered(expr.atoms(Call)):
                replaced = self._inline(call)
                if replaced is not None:
                    mapping[call] = replaced
            if not mapping:
                return expr
            expr = expr.xreplace(mapping)
            if len(sympy.Add.make_args(expr)) > MAX_TERMS:
                raise Unsupported("an expression has too many terms")
        raise Unsupported("a value is defined by itself")

    def unfolded(self, call: Expr) -> list[Case]:
        """The cases of a random function at the indices of a call."""
        function, cases = self.program.functions[int(call.args[0])], self.program.unfolding(int(call.args[0]))
        return cases_at(function, [(guards, self.inlined(expr)) for guards, expr in cases], call.args[1:])

    def _inline(self, call: Expr) -> Expr | None:
        """A function's only case at the given indices; None if there are several, or for a number if it is long."""
        number = int(call.args[0])
        function = self.program.functions[number]
        if function.opaque or not (function.random or function.family):
            return None
        cases = self.program.unfolding(number)
        if len(cases) != 1 or not function.random and len(sympy.Add.make_args(cases[0][1])) > MOST_INLINED:
            return None
        return function.at(cases[0][1], call.args[1:])
