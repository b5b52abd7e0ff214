"""The discrete and constant parts of linear functions, which leave a centred Gaussian.

A recursion such as h_t = W x_t + s, with a discrete declared vector s, is a Gaussian plus a multiple of s; the
multiples of s, and of 1, are functions of integers with the same cases.
"""

from __future__ import annotations

import sympy
from sympy import Expr, Integer

from tensorprog.covariance.cases import Case
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.linear import LinearFunctions
from tensorprog.covariance.nodes import Call, Init, Total, flat, total
from tensorprog.covariance.unwound import Unwound


class Parts:
    """What linear functions are besides a centred Gaussian."""

    def __init__(self, unwound: Unwound, laws: Laws, linear: LinearFunctions):
        self.unwound, self.laws, self.linear = unwound, laws, linear
        self._centres: dict[int, int] = {}
        self._multiples: dict[tuple[int, Expr], int] = {}

    def split(self, call: Expr) -> Expr:
        """A linear function as a centred one plus multiples of 1 and of products of discrete declared vectors."""
        number = int(call.args[0])
        if self.linear.is_centred(number):
            return call
        targets = self._targets(number)
        if not targets:
            return call
        function = self.unwound.functions[number]
        parts = [function.at(t, call.args[1:]) * Call(Integer(self._multiple(number, t)), *call.args[1:])
                 for t in targets]
        return sympy.Add(Call(Integer(self._centre(number)), *call.args[1:]), *parts)

    def target(self, term: Expr) -> Expr | None:
        """What a term of a linear function is a multiple of: 1 or a product of discrete declared vectors; None if it is
        a centred Gaussian.

        Raises:
            Unsupported: if it is neither.
        """
        if term == 0:
            return None
        random = [f for f in sympy.Mul.make_args(term) if self.unwound.is_random_or_hat(f)]
        if not random:
            return Integer(1)
        if all(isinstance(f, Init) and self.laws.discrete(f) for f in random):
            return sympy.Mul(*random)
        return None

    def _centre(self, number: int) -> int:
        if number not in self._centres:
            function = self.unwound.functions[number]
            cases = [(guards, sympy.Add(*(t for t in sympy.Add.make_args(expr) if self.target(t) is None)))
                     for guards, expr in self.linear.cases(number)]
            self._centres[number] = self.linear.centred_function(f"{function.name} centred", function.params, cases)
        return self._centres[number]

    def _targets(self, number: int, seen: frozenset[int] = frozenset()) -> list[Expr]:
        """What a linear function has a part of, in its parameters.

        Raises:
            Unsupported: if there is no end to it, as in a recursion h_t = h_{t-1} + s_t over a family of vectors.
        """
        found: list[Expr] = []
        recursive = False
        for _, expr in self.linear.cases(number):
            for term in sympy.Add.make_args(expr):
                target = self.target(term)
                if target is not None and target not in found:
                    found.append(target)
                for call in self.unwound.random_calls(term):
                    inner = int(call.args[0])
                    # What a recursion takes of itself has the parts that are being collected, and no others.
                    recursive |= inner == number or inner in seen
                    if inner != number and inner not in seen:
                        found += [t for t in self._targets_of(call, seen | {number}) if t not in found]
        named = set(self.unwound.functions[number].params) | self.unwound.constants
        families = [t for t in found if any(len(f.args) > 1 for f in t.atoms(Init))]
        if families and (recursive or any(t.free_symbols - named for t in families)):  # by the variable of a sum
            raise Unsupported("a recursion holds a family of discrete vectors")
        return found

    def _targets_of(self, call: Expr, seen: frozenset[int] = frozenset()) -> list[Expr]:
        """What the value of a linear function at given indices has a part of."""
        number = int(call.args[0])
        return [self._at(number, t, call) for t in self._targets(number, seen)]

    def _at(self, number: int, target: Expr, call: Expr) -> Expr:
        return flat(self.unwound.functions[number].at(target, call.args[1:]))

    def _multiple(self, number: int, target: Expr) -> int:
        """The function that says what multiple of `target` a linear function holds."""
        key = (number, target)
        if key not in self._multiples:
            function = self.unwound.functions[number]
            self._multiples[key] = self.unwound.function(
                f"part of {function.name} along {target}", function.params, False,
                lambda: self._multiple_cases(number, target))
        return self._multiples[key]

    def _multiple_cases(self, number: int, target: Expr) -> list[Case]:
        return [(guards, sympy.Add(*(self._multiple_in(t, target) for t in sympy.Add.make_args(expr))))
                for guards, expr in self.linear.cases(number)]

    def _multiple_in(self, term: Expr, target: Expr) -> Expr:
        own = self.target(term)
        return term / target if own is not None and own == target else self._multiple_in_calls(term, target)

    def _multiple_in_calls(self, term: Expr, target: Expr) -> Expr:
        if isinstance(term, Total):
            body, var, start, stop = term.args
            return total(self._multiple_in_calls(body, target), var, start, stop)
        for factor in sympy.Mul.make_args(term):
            if isinstance(factor, Call) and self.unwound.is_random(factor):
                number = int(factor.args[0])
                own = [t for t in self._targets(number) if self._at(number, t, factor) == target]
                if own:
                    return sympy.Add(*(term / factor * Call(Integer(self._multiple(number, t)), *factor.args[1:])
                                       for t in own))
            if isinstance(factor, Total) and term != factor:
                return term / factor * self._multiple_in_calls(factor, target)
        return Integer(0)
