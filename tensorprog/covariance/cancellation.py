"""The hypothesis that responses cancel what a sum takes over from earlier iterations (see `gaussian`), checked.

It is checked as far as the expressions show it: where what is carried over and the responses are multiples of the same
vectors, but it cannot be seen that the multiples add up to zero, that is left as a condition on numbers. The number of
one iteration depends on those before alone, so that the hypothesis follows by induction if all of them are zero; the
emitted module computes them. For E soft'(x) written as `moment(step(abs(x) - theta))`, or where the sign of theta
matters, nothing else would do.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.cases import Case, sum_of_cases
from tensorprog.covariance.gaussian import Responses
from tensorprog.covariance.guards import Unsupported, known, simplify_guards, split_cases
from tensorprog.covariance.nodes import Hat, Product, Total, flat, index_symbol, ordered
from tensorprog.covariance.superposition import Superpositions
from tensorprog.covariance.unwound import Unwound
from tensorprog.covariance.writes import Binding, Site

MOST_ITERATIONS = 3  # that a difference is followed back
#: Marks what responses add to a sum, beside what the sum takes over from earlier iterations.
ANSWER = Symbol("_answer", real=True)
#: The index of a sum whose terms are compared with those of another.
SUMMED = index_symbol("_summed")


@dataclass(frozen=True)
class Condition:
    """A number that must be zero for responses to cancel, as the two that must add up to zero: functions of the
    indices `params`, wherever all `guards` are 1.

    Attributes:
        bindings: the ranges of the indices, outer ones first.
    """

    params: tuple[Symbol, ...]
    bindings: tuple[Binding, ...]
    guards: tuple[Expr, ...]
    carried: Expr
    answered: Expr


@dataclass(frozen=True)
class SumPlace:
    """Where a sum with a matrix product is made: the product's site, and its indices there."""

    site: Site
    indices: tuple[Expr, ...]

    @staticmethod
    def of(expr: Expr, unwound: Unwound) -> SumPlace:
        """The place of the products in a sum: of the one in the innermost loop."""
        product = max(ordered(expr.atoms(Product)), key=lambda p: len(p.args))
        return SumPlace(unwound.sites[int(product.args[0])], product.args[1:])

    def condition(self, guards: tuple[Expr, ...], carried: Expr, answered: Expr,
                  also: tuple[Binding, ...] = ()) -> Condition:
        """The condition at all iterations of the site, and for all indices that are bound `also`.

        Raises:
            Unsupported: if it depends on an index that the place does not determine.
        """
        own = {}
        for param, index in zip(self.site.params, self.indices):
            for symbol in index.free_symbols:
                slope = index.coeff(symbol, 1)
                # Slopes of 1 and -1 give an integer for every index of the site. Sizes (known to be >= 0) are no
                # indices.
                if symbol not in own and slope in (1, -1) and not symbol.is_nonnegative:
                    own[symbol] = flat((param - (index - slope * symbol)) * slope)
        exprs = [flat(e.xreplace(own)) for e in (*guards, *self.site.guards, carried, answered)]
        also = tuple(Binding(b.symbol, flat(b.start.xreplace(own)), flat(b.stop.xreplace(own))) for b in also)
        free = set().union(*(e.free_symbols for e in (*exprs, *(e for b in also for e in (b.start, b.stop)))))
        bindings = (*self._bindings(free), *also)
        return Condition(tuple(b.symbol for b in bindings), bindings, tuple(exprs[:-2]), *exprs[-2:])

    def _bindings(self, free: set[Symbol]) -> tuple[Binding, ...]:
        found: list[Binding] = []
        for b in reversed(self.site.bindings):
            if b.symbol in free:
                found.insert(0, b)
                free = free | b.start.free_symbols | b.stop.free_symbols
        return tuple(found)


class Cancellation:
    """Sums with matrix products as the hypothesis has them.

    Attributes:
        conditions: what has to hold for that, in the order in which it was met.
    """

    def __init__(self, unwound: Unwound, responses: Responses):
        self.unwound, self.responses = unwound, responses
        self.conditions: dict[Condition, None] = {}
        self._superpositions = Superpositions(unwound, responses.inlining)

    def check(self, sums: set[Expr]) -> None:
        """Makes sure that the hypothesis holds of sums wherever their products are reached. More sums may join.

        Raises:
            Unsupported: if something carried over is left.
        """
        done: set[Expr] = set()
        while sums - done:
            for expr in ordered(sums - done):
                done.add(expr)
                self._checked(flat(expr), ())

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
        kept = self.responses.kept(expr)
        # A product that is there was reached.
        facts = (*facts, *(f for p in ordered(expr.atoms(Product))
                           for f in self.unwound.sites[int(p.args[0])].facts(p.args[1:])))
        products = [t for t in kept if self.unwound.takes_product(t)]
        guess = sympy.Add(*products).replace(Product, lambda *args: Hat(*args))
        carried = flat(expr - sympy.Add(*kept))
        answered = flat(self.responses.expanded(sympy.Add(*products)) - guess)
        # ANSWER keeps the two sides apart; with 1 in its place, this is by how much the sum differs from its Zhats.
        difference = flat(simplify_guards(flat(carried + ANSWER * answered), facts))
        others = sympy.Add(*(self.replaced(t, facts) for t in kept if t not in products))
        return guess + others + sum_of_cases(
            self._differences(difference, facts, (), SumPlace.of(sympy.Add(*products), self.unwound), 0))

    def _made_by_matrices(self, expr: Expr) -> bool:
        """Whether anything but declared vectors and numbers is in an expression."""
        return expr.has(Hat, Product) or bool(self.unwound.random_calls(expr))

    def _differences(self, difference: Expr, facts: tuple[Expr, ...], given: tuple[Expr, ...], place: SumPlace,
                     depth: int) -> list[Case]:
        """What a sum is more than the hypothesis says, by cases, nothing of it carried over from other iterations.
        `given` are the guards of the case at hand."""
        out = []
        for guards, part in split_cases(self.responses.inlining.inlined(difference), facts):
            more = (*facts, *itertools.chain.from_iterable(known(g) for g in guards))
            out += [((*guards, *inner), rest)
                    for inner, rest in self._settled(part, more, (*given, *guards), place, depth)]
        return out

    def _settled(self, difference: Expr, facts: tuple[Expr, ...], given: tuple[Expr, ...], place: SumPlace,
                 depth: int) -> list[Case]:
        """Differences with nothing carried over, the conditions for it noted; functions that stand on one side alone
        are followed back to what they were made of."""
        left, rest = self._by_vector(difference)
        pairs = {vector: (c.coeff(ANSWER, 0), c.coeff(ANSWER, 1)) for vector, c in left.items()}
        alone = [vector for vector, pair in pairs.items() if 0 in pair]
        calls = [c for vector in alone for c in self.unwound.random_calls(vector) if _linear_in(vector, c)]
        # A vector on one side only is something that another iteration has made, and is followed back; if it is not, it goes
        # where its multiples cancel among themselves, as the response of a denoiser that is free of divergence does.
        if not calls:
            pairs |= {vector: _by_sign(sum(pairs[vector])) for vector in alone}
        # With every vector on both sides, what must cancel is numbers.
        if all(one != 0 and other != 0 for one, other in pairs.values()):
            self.conditions |= {place.condition(given, *pair, _summed(vector)): None for vector, pair in pairs.items()}
            return [((), rest.xreplace({ANSWER: Integer(1)}))]
        if depth > MOST_ITERATIONS or not calls:
            raise Unsupported("responses do not cancel")
        sums = set(self.unwound.sums.values())
        calls = [c for c in calls if int(c.args[0]) not in sums] or calls
        unfolded = self._followed(calls)
        return self._differences(difference.xreplace(unfolded), facts, given, place, depth + 1)

    def _followed(self, calls: list[Expr]) -> dict[Expr, Expr]:
        """What functions were made of: linear recursions as sums. But if the value of one stands beside what it was made of,
        the value alone, one step back."""
        steps = {c: sum_of_cases(self.responses.inlining.unfolded(c)) for c in calls}
        earlier = {c for c in calls for step in steps.values() if step.has(c)}
        if earlier and earlier != set(calls):
            return {c: step for c, step in steps.items() if c not in earlier}
        whole = {c: self._superpositions.written_out(c) for c in calls}
        return {c: found for c, found in whole.items() if found is not None} or steps

    def _by_vector(self, difference: Expr) -> tuple[dict[Expr, Expr], Expr]:
        """What is multiplied with each random vector that is made by matrices, where that is not zero; and the rest."""
        found: dict[Expr, Expr] = {}
        rest = Integer(0)
        for term in sympy.Add.make_args(flat(difference)):
            random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
            vector = sympy.Mul(*random)
            if self._made_by_matrices(vector):
                vector, coefficient = self._opened(vector, term / vector)
                found[vector] = found.get(vector, Integer(0)) + coefficient
            else:
                rest += term
        # With ANSWER = 1, coefficients that are seen to cancel vanish.
        zero = {ANSWER: Integer(1)}
        is_zero = self.responses.inlining.is_zero
        return {v: c for v, c in ((v, flat(c)) for v, c in found.items()) if not is_zero(c.xreplace(zero))}, rest

    def _opened(self, vector: Expr, coefficient: Expr) -> tuple[Expr, Expr]:
        """A sum of multiples of vectors as the sum of these vectors, and as what each is multiplied with."""
        if not isinstance(vector, Total):
            return vector, coefficient
        body, index, start, stop = vector.args
        factors = sympy.Mul.make_args(body.xreplace({index: SUMMED}))
        random = sympy.Mul(*(f for f in factors if self.unwound.is_random_or_hat(f)))
        return Total(random, SUMMED, start, stop), coefficient * sympy.Mul(*factors) / random


def _by_sign(coefficient: Expr) -> tuple[Expr, Expr]:
    """The terms of a number that are written with a minus, and the others."""
    terms = sympy.Add.make_args(flat(coefficient))
    negative = sympy.Add(*(t for t in terms if t.as_coeff_Mul()[0].is_negative))
    return negative, flat(coefficient - negative)


def _summed(vector: Expr) -> tuple[Binding, ...]:
    """The index that a sum of vectors runs over."""
    return (Binding(*vector.args[1:]),) if isinstance(vector, Total) else ()


def _linear_in(expr: Expr, call: Expr) -> bool:
    return call in sympy.Mul.make_args(expr)
