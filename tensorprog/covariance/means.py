"""Expectations as functions of integers: by linearity, over the values of discrete laws, else planned."""

from __future__ import annotations

import itertools

import sympy
from sympy import Expr, Integer

from tensorprog.covariance.cases import Case
from tensorprog.covariance.covariances import Covariances
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.integrand import Integrands
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.linear import LinearFunctions
from tensorprog.covariance.nodes import Call, Hat, Init, Mean, Product, by_linearity, flat, ordered
from tensorprog.covariance.parts import Parts
from tensorprog.covariance.unwind import Unwound


class Means:
    """The means of an unwound program.

    Attributes:
        planned: the expectations that were planned for them.
    """

    def __init__(self, unwound: Unwound, laws: Laws, linear: LinearFunctions, parts: Parts, covariances: Covariances):
        self.unwound, self.laws, self.linear, self.parts = unwound, laws, linear, parts
        self.planned = Integrands(unwound, linear, parts, lambda a, b: self.number(covariances.covariance(a, b)))
        self._functions: dict[int, int] = {}

    def number(self, expr: Expr) -> Expr:
        """A scalar expression with every mean as a function.

        Raises:
            Unsupported: if something in it is random.
        """
        if expr.has(Hat, Product, Init):
            raise Unsupported("a random value stands where a number is needed")
        return expr.xreplace({m: Call(Integer(self._function(int(m.args[0]))), *m.args[1:])
                              for m in ordered(expr.atoms(Mean))})

    def _function(self, number: int) -> int:
        if number not in self._functions:
            params, integrand = self.unwound.means[number]
            facts = tuple(sorted(self.unwound.mean_facts[number], key=str))
            self._functions[number] = self.unwound.function(
                f"E[{number}]", params, False, lambda: self._cases(integrand, facts))
        return self._functions[number]

    def _cases(self, integrand: Expr, facts: tuple[Expr, ...]) -> list[Case]:
        return [(guards, self._mean(expr)) for guards, expr in self.linear.resolution.resolved(integrand, facts)]

    def _mean(self, expr: Expr) -> Expr:
        """E of an expression in Hat, Init and linear functions."""
        return by_linearity(expr, self.unwound.is_random_or_hat, self._product_mean)

    def _product_mean(self, expr: Expr) -> Expr:
        expr = self._centred(expr)
        discrete = ordered(a for a in expr.atoms(Init) if self.laws.discrete(a))
        if discrete:
            return self._enumerated(expr, discrete)
        if isinstance(flat(expr), sympy.Add):
            return self._mean(expr)
        return self.planned.expectation(expr)

    def _centred(self, expr: Expr) -> Expr:
        """Linear functions split into centred ones and discrete parts; declared vectors are discrete or centred."""
        for a in expr.atoms(Init):
            self.laws.require_centred(a)
        return expr.xreplace({c: self.parts.split(c) for c in self.unwound.random_calls(expr)})

    def _enumerated(self, expr: Expr, discrete: list[Expr]) -> Expr:
        """The mean over declared vectors of finitely many values."""
        for a, b in itertools.combinations(discrete, 2):
            if a.args[0] == b.args[0]:
                raise Unsupported("two elements of one family of discrete vectors are mixed")
        result = Integer(0)
        for values in itertools.product(*(self.laws.values(a) for a in discrete)):
            mapping = {a: value for a, (value, _) in zip(discrete, values)}
            weight = sympy.Mul(*(w for _, w in values))
            result += weight * self._mean(expr.xreplace(mapping))
        return result
