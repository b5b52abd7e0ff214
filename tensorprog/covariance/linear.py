"""Which functions of a limit are linear in Gaussians: recursions of Gaussians, and sums of Gaussians as one."""

from __future__ import annotations

import itertools

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.cases import Case
from tensorprog.covariance.gaussian import Responses
from tensorprog.covariance.guards import denied, known
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.nodes import Call, Hat, Init, Product, Total, flat
from tensorprog.covariance.resolution import Resolution
from tensorprog.covariance.unwound import Unwound

_PLAIN = Hat | Product | Init | Call | Total


class LinearFunctions:
    """Functions of integers that are linear in Gaussians (and products of discrete declared vectors) in every case.

    Attributes:
        resolution: Z of expressions, in terms of such functions.
    """

    def __init__(self, unwound: Unwound, laws: Laws, responses: Responses):
        self.unwound, self.laws, self.responses = unwound, laws, responses
        self.resolution = Resolution(unwound, responses, self.is_linear)
        self._cases: dict[int, list[Case] | None] = {}
        self._resolving: set[int] = set()
        self._centred: set[int] = set()
        self._sums: dict[Expr, int] = {}

    def is_linear(self, number: int) -> bool:
        """Whether a random function is linear in every case; one that is being looked at is taken to be."""
        # h_t = W h_{t-1} is linear if h_{t-1} is: a cycle is taken to be linear while it is looked at, which is taken
        # back if some case on it is not.
        if number in self._resolving:
            return True
        if number not in self._cases:
            before = set(self._cases)
            self._resolving.add(number)
            try:
                found = self._linear_cases(number)
            finally:
                self._resolving.discard(number)
            if found is None:  # what was found linear on the way may have relied on this one
                self._cases = {k: c for k, c in self._cases.items() if k in before or c is None}
            self._cases[number] = found
        return self._cases[number] is not None

    def cases(self, number: int) -> list[Case]:
        """The cases of a linear function, in Hat, Init and linear functions."""
        self.is_linear(number)
        cases = self._cases[number]
        assert cases is not None, "asked of linear functions alone"
        return cases

    def is_centred(self, number: int) -> bool:
        """Whether a function was made to have mean zero and no discrete part."""
        return number in self._centred

    def centred_function(self, name: str, params: tuple[Symbol, ...], cases: list[Case]) -> int:
        """A new linear function of mean zero, without discrete parts."""
        number = self.unwound.function(name, params, True, lambda: cases, opaque=True)
        self._cases[number] = cases
        self._centred.add(number)
        return number

    def one_gaussian(self, expr: Expr) -> Expr:
        """A centred linear expression as one Gaussian: Hat, Init or a function."""
        if isinstance(expr, Hat | Init | Call):
            return expr
        free = self.unwound.free_indices(expr)
        canonical = {s: Symbol(f"_p{k}", integer=True) for k, s in enumerate(free)}
        key = expr.xreplace(canonical)
        following = self._following(expr)
        if following is not None:
            return following
        if key not in self._sums:
            name = f"G{len(self._sums)}"
            self._sums[key] = self.centred_function(name, tuple(canonical.values()), [((), flat(key))])
        return Call(Integer(self._sums[key]), *free)

    def _following(self, expr: Expr) -> Expr | None:
        """The value of a recursion that a sum is the next step of, as is what a loop's body has made of what it
        carries. (A value that is read exists, and so does the step after it.)"""
        for call in self.unwound.random_calls(expr):
            number, args = int(call.args[0]), call.args[1:]
            function = self.unwound.functions[number]
            # The first case is the step of a recursion, the last one where it begins.
            for guards, case in self.cases(number)[:1]:
                for before in [c for c in self.unwound.random_calls(case) if int(c.args[0]) == number]:
                    moved = [flat(a - p) for a, p in zip(before.args[1:], function.params)]
                    if guards and all(m.is_Integer for m in moved) and sum(map(abs, moved)) == 1:
                        indices = tuple(flat(a - m) for a, m in zip(args, moved))
                        if flat(function.at(case, indices) - expr) == 0:
                            return Call(Integer(number), *indices)
        return None

    def is_linear_sum(self, expr: Expr) -> bool:
        """Whether every term of an expression is linear."""
        return all(self.is_linear_term(t) for t in sympy.Add.make_args(expr))

    def is_linear_term(self, term: Expr) -> bool:
        """Whether a term is a number times a Gaussian, or times discrete declared vectors."""
        random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
        if not random:
            # A number is linear too: as a multiple of 1, which `Parts` takes off.
            return True
        # Products of vectors with finitely many values have finitely many values, and are enumerated like them.
        if len(random) > 1:
            return all(isinstance(f, Init) and self.laws.discrete(f) for f in random)
        (f,) = random
        if isinstance(f, Total):
            return self.is_linear_sum(flat(f.args[0]))
        return isinstance(f, Hat | Init) or isinstance(f, Call) and self.is_linear(int(f.args[0]))

    def _linear_cases(self, number: int) -> list[Case] | None:
        out = []
        facts = self.unwound.functions[number].facts
        excluded: tuple[Expr, ...] = ()
        for guards, expr in self.unwound.unfolding(number):
            here = (*facts, *excluded, *itertools.chain.from_iterable(known(g) for g in guards))
            # Where the next case is looked at, this one does not hold.
            if len(guards) == 1:
                excluded = (*excluded, *denied(guards[0], (*facts, *excluded)))
            if not self._may_be_linear(expr):
                return None
            for more, case in self.resolution.resolved(expr, here):
                case = flat(case)
                if not self.is_linear_sum(case):
                    return None
                out.append(((*guards, *more), case))
        return out

    def _may_be_linear(self, expr: Expr) -> bool:
        """A quick look: no nonlinear function of something random, but for factors that responses may cancel."""
        expr = flat(self.responses.inlining.inlined(expr))
        products = self.responses.takes_products(expr)
        for term in sympy.Add.make_args(expr):
            random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
            if self.responses.cancelling:
                random = [f for f in random if isinstance(f, _PLAIN)] or random[:1]
            if len(random) > 1 or random and not isinstance(random[0], _PLAIN) and not products:
                return False
        return True
