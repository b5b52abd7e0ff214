"""The hypothesis that responses cancel what a sum takes over from earlier iterations (see `gaussian`), checked."""

from __future__ import annotations

import itertools

import sympy
from sympy import Expr

from tensorprog.covariance.cases import Case, sum_of_cases
from tensorprog.covariance.gaussian import Responses
from tensorprog.covariance.guards import Unsupported, known, simplify_guards, split_cases
from tensorprog.covariance.nodes import Hat, Product, flat, ordered
from tensorprog.covariance.unwind import Unwound

MOST_ITERATIONS = 3  # that a difference is followed back


class Cancellation:
    """Sums with matrix products as the hypothesis has them."""

    def __init__(self, unwound: Unwound, responses: Responses):
        self.unwound, self.responses = unwound, responses

    def check(self, sums: set[Expr]) -> None:
        """Makes sure that the hypothesis holds of sums wherever their products are reached. More sums may join.

        Raises:
            Unsupported: if something carried over is left.
        """
        done: set[Expr] = set()
        while sums - done:
            for expr in ordered(sums - done):
                done.add(expr)
                products = ordered(expr.atoms(Product))
                facts = [f for p in products for f in self.unwound.sites[int(p.args[0])].facts(p.args[1:])]
                self._checked(flat(expr), tuple(facts))

    def replaced(self, expr: Expr, facts: tuple[Expr, ...]) -> Expr:
        """An expression with every sum of matrix products as the hypothesis has it. `facts` are >= 0.

        Raises:
            Unsupported: if something carried over is left.
        """
        if self.responses.takes_products(expr):
            return self._checked(flat(expr), facts)
        if not expr.has(Product):
            return expr
        return expr.func(*(self.replaced(a, facts) if isinstance(a, Expr) else a for a in expr.args))

    def _checked(self, expr: Expr, facts: tuple[Expr, ...]) -> Expr:
        guess = self.responses.hypothesis(expr)
        full = flat(self.responses.expanded(expr))
        differences = self._differences(flat(simplify_guards(flat(full - guess), facts)), facts, 0)
        for _, part in differences:
            if any(self._left_over(f) for t in sympy.Add.make_args(part) for f in sympy.Mul.make_args(t)):
                raise Unsupported("responses do not cancel")
        return guess + sum_of_cases(differences)

    def _left_over(self, factor: Expr) -> bool:
        return self.unwound.is_random_or_hat(factor) and self._made_by_matrices(factor)

    def _made_by_matrices(self, expr: Expr) -> bool:
        """Whether anything but declared vectors and numbers is in an expression."""
        return expr.has(Hat, Product) or bool(self.unwound.random_calls(expr))

    def _differences(self, difference: Expr, facts: tuple[Expr, ...], depth: int) -> list[Case]:
        """What a sum is more than the hypothesis says, by cases, nothing of it carried over from other iterations."""
        out = []
        for guards, part in split_cases(self.responses.inlining.inlined(difference), facts):
            more = (*facts, *itertools.chain.from_iterable(known(g) for g in guards))
            out += [((*guards, *inner), rest) for inner, rest in self._followed_back(part, more, depth)]
        return out

    def _followed_back(self, difference: Expr, facts: tuple[Expr, ...], depth: int) -> list[Case]:
        if not self._made_by_matrices(difference):
            return [((), difference)]
        calls = [c for c in self.unwound.random_calls(difference) if _linear_in(difference, c)]
        if depth > MOST_ITERATIONS or not calls:
            raise Unsupported("responses do not cancel")
        unfolded = {c: sum_of_cases(self.responses.inlining.unfolded(c)) for c in calls}
        return self._differences(difference.xreplace(unfolded), facts, depth + 1)


def _linear_in(expr: Expr, call: Expr) -> bool:
    return any(call in sympy.Mul.make_args(t) for t in sympy.Add.make_args(expr))
