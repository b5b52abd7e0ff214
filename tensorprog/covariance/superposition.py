"""What a linear recursion carries, as the sum over the iterations that added to it.

x_t = a_t x_{t-1} + f_t with numbers a_t, as a damped iterate or an average of iterates, is

    x_t = sum over k <= u <= t of C(t, u) f_u  +  C(t, k-1) x_{k-1},      C(t, u) = a_{u+1} ... a_t.

Responses to what a recursion carries are such sums from the start, so that the two can be compared term by term.
"""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Integer, Symbol

from tensorprog.covariance.guards import known
from tensorprog.covariance.inlining import Inlining
from tensorprog.covariance.nodes import AtLeastZero, Call, Product, flat, fresh_index, total
from tensorprog.covariance.unwound import Unwound


class Superpositions:
    """The functions of an unwound program that are linear recursions of numbers times themselves."""

    def __init__(self, unwound: Unwound, inlining: Inlining):
        self.unwound, self.inlining = unwound, inlining
        self._found: dict[int, Expr | None] = {}

    def written_out(self, call: Expr) -> Expr | None:
        """A function at the indices of a call as such a sum; None if it is no such recursion, or takes matrix products."""
        number = int(call.args[0])
        if number not in self._found:
            self._found[number] = self._sum(number)
        found = self._found[number]
        return None if found is None else self.unwound.functions[number].at(found, call.args[1:])

    def _sum(self, number: int) -> Expr | None:
        function = self.unwound.functions[number]
        cases = self.inlining.unfolded(Call(Integer(number), *function.params))
        if len(cases) != 2 or len(cases[0][0]) != 1 or cases[1][0]:
            return None
        (guard,), step = cases[0]
        before = [c for c in self.unwound.random_calls(step) if int(c.args[0]) == number]
        if len(before) != 1 or step.has(Product):
            return None
        index = self._stepping(function.params, before[0])
        if index is None:
            return None
        first = self._first(guard, index)
        if first is None:
            return None
        step = flat(step)
        factor = step.coeff(before[0], 1)
        added = flat(step - factor * before[0])
        if self.unwound.is_random_or_hat(factor) or any(
                int(c.args[0]) == number for c in self.unwound.random_calls(added)):
            return None
        share = self._share(function.params, index, factor, function.name)
        at, last = fresh_index(), flat(first - 1)
        sums = total(share(at + first) * added.xreplace({index: at + first}), at, Integer(0), flat(index + 1 - first))
        return flat(sums + share(last) * cases[1][1].xreplace({index: last}))

    def _stepping(self, params: tuple[Symbol, ...], before: Expr) -> Symbol | None:
        """The index by which a recursion goes back one step at a time."""
        steps = [flat(p - a) for p, a in zip(params, before.args[1:])]
        moving = [p for p, step in zip(params, steps) if step != 0]
        return moving[0] if len(moving) == 1 and steps[params.index(moving[0])] == 1 else None

    def _first(self, guard: Expr, index: Symbol) -> Expr | None:
        """The first iteration of a recursion, from the guard of its step."""
        facts = known(guard)
        if not isinstance(guard, AtLeastZero) or len(facts) != 1:
            return None
        first = flat(index - facts[0])
        return None if first.has(index) else first

    def _share(self, params: tuple[Symbol, ...], index: Symbol, factor: Expr, name: str) -> Callable[[Expr], Expr]:
        """C(index, u) as a function of u."""
        if factor == 1:
            return lambda u: Integer(1)
        since = fresh_index()
        number = self.unwound.function(f"share of {name}", (*params, since), False, lambda: [
            ((AtLeastZero(flat(index - since - 1)),), factor * call(index - 1, since)),
            ((), Integer(1))])

        def call(at: Expr, since: Expr) -> Expr:
            return Call(Integer(number), *(at if p is index else p for p in params), since)

        return lambda u: call(index, flat(u))
