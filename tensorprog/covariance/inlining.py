"""Functions replaced by their cases."""

from __future__ import annotations

import sympy
from sympy import Dummy, Expr, Integer, Symbol

from tensorprog.covariance.cases import Case, cases_at
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.nodes import Call, Mean, Node, Whole, flat, ordered
from tensorprog.covariance.unwound import Unwound

MAX_TERMS = 400
MOST_INLINED = 4  # terms of a number
MOST_TOGETHER = 24  # terms over a common denominator
MOST_COMPUTED = 8  # numbers computed from each other


class Inlining:
    """What the functions of an unwound program are, put in their place."""

    def __init__(self, program: Unwound):
        self.program = program
        self._recursive: dict[int, bool] = {}
        self._first: dict[tuple, int] = {}

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

    def is_zero(self, number: Expr) -> bool:
        """Whether a sum of numbers is seen to be zero with the program's own numbers and all expectations written out, as that
        of E f'(r) and of minus a slope that the program has computed."""
        number = flat(number)
        if not isinstance(number, sympy.Add):
            return number == 0
        written = flat(self._computed(number))
        means: dict[Expr, Dummy] = {}
        apart = written.replace(Mean, lambda *args: means.setdefault(self._integrand(*args), Dummy(real=True)))
        return flat(apart) == 0 or self._is_zero_together(written)

    def _is_zero_together(self, number: Expr) -> bool:
        """Whether a sum with means of fractions is the mean of zero, over a common denominator: 1 - E[1/(1 + x)] - E[x/(1 + x)]."""
        together = Integer(0)
        for term in sympy.Add.make_args(number):
            fractions = [m for m in sympy.Mul.make_args(term) if isinstance(m, Mean) and self._is_of_fraction(m)]
            if len(fractions) > 1:
                return False
            together += term / fractions[0] * self._integrand(*fractions[0].args) if fractions else term
        if together == number or len(sympy.Add.make_args(together)) > MOST_TOGETHER:
            return False
        together = together.replace(Whole, lambda x, k: x**k)
        hidden = together.xreplace({node: Dummy(real=True) for node in ordered(together.atoms(Node))})
        return flat(sympy.fraction(sympy.together(hidden))[0]) == 0

    def _is_of_fraction(self, mean: Expr) -> bool:
        return any(p.exp.is_negative and self.program.is_random_or_hat(p.base) for p in self._integrand(*mean.args).atoms(sympy.Pow))

    def _computed(self, number: Expr) -> Expr:
        """A number with the program's own numbers replaced by what they are computed from, as far as it is one case."""
        for _ in range(MOST_COMPUTED):
            mapping = {call: found for call in ordered(number.atoms(Call)) if (found := self._only_case(call)) is not None}
            if not mapping:
                break
            number = number.xreplace(mapping)
        return number

    def _only_case(self, call: Expr) -> Expr | None:
        """What the program has computed a number from; None if there are several cases, or it is not the program's."""
        number = int(call.args[0])
        function = self.program.functions[number]
        if function.random or not (function.named or function.family):
            return None
        cases = self.program.unfolding(number)
        return function.at(cases[0][1], call.args[1:]) if len(cases) == 1 else None

    def _integrand(self, number: Expr, *indices: Expr) -> Expr:
        """What a mean is the mean of, at its indices."""
        params, integrand = self.program.means[int(number)]
        return self.program.laws.reduced(flat(self.inlined(integrand.xreplace(dict(zip(params, indices))))))

    def _inline(self, call: Expr) -> Expr | None:
        """A function's only case at the given indices; None if there are several, or for a number if it is long."""
        number = int(call.args[0])
        function = self.program.functions[number]
        if function.opaque or not (function.random or function.family):
            return None
        cases = self.program.unfolding(number)
        if function.random and (len(cases) != 1 or self._is_recursive(number) or self._is_sum(cases[0][1])):
            first = self._first_alike(number)
            return Call(Integer(first), *call.args[1:]) if first != number else None
        if len(cases) != 1 or not function.random and len(sympy.Add.make_args(cases[0][1])) > MOST_INLINED:
            return None
        return function.at(cases[0][1], call.args[1:])

    def _is_sum(self, expr: Expr) -> bool:
        """Whether a function's case is a sum that is kept as a whole (see `Unwound`)."""
        return self.program.keep_sums and self.program.is_carried_sum(flat(expr))

    def _first_alike(self, number: int) -> int:
        """The first function that was met with the same cases: what a loop leaves is what it carries at the end."""
        function = self.program.functions[number]
        canonical = {s: Symbol(f"_p{k}", integer=True) for k, s in enumerate(function.params)}
        key = (function.family, *((tuple(g.xreplace(canonical) for g in guards), expr.xreplace(canonical))
                                  for guards, expr in self.program.unfolding(number)))
        return self._first.setdefault(key, number)

    def _is_recursive(self, number: int) -> bool:
        """Whether putting in functions with a single case leads from a function back to it."""
        if number not in self._recursive:
            met: set[int] = set()
            pending = [number]
            while pending:
                cases = self.program.unfolding(pending.pop())
                for call in self.program.random_calls(cases[0][1]) if len(cases) == 1 else ():
                    if int(call.args[0]) not in met:
                        met.add(int(call.args[0]))
                        pending.append(int(call.args[0]))
            self._recursive[number] = number in met
        return self._recursive[number]
