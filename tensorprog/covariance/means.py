"""Expectations as functions of integers: by linearity, over the values of discrete laws, else planned."""

from __future__ import annotations

import itertools

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.cases import Case
from tensorprog.covariance.covariances import Covariances
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.integrand import Integrands
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.linear import LinearFunctions
from tensorprog.covariance.nodes import (
    Call,
    Hat,
    Init,
    Mean,
    Product,
    Total,
    by_linearity,
    equal_indices,
    factors_of,
    flat,
    ordered,
)
from tensorprog.covariance.parts import Parts
from tensorprog.covariance.products import MOST_TERMS, put_together
from tensorprog.covariance.unwound import Unwound

#: Of a mean that follows a recursion.
MOST_FACTORS = 6
#: Of most means that have an equation.
FEW_FACTORS = 3


class Means:
    """The means of an unwound program.

    Attributes:
        planned: the expectations that were planned for them.
        symmetric: the means of two values of one function, which the two halves of the arguments may change places in.
    """

    def __init__(self, unwound: Unwound, laws: Laws, linear: LinearFunctions, parts: Parts, covariances: Covariances):
        self.unwound, self.laws, self.linear, self.parts = unwound, laws, linear, parts
        self.planned = Integrands(unwound, linear, parts, lambda a, b: self.number(covariances.covariance(a, b)))
        self.symmetric: set[int] = set()
        self._functions: dict[int, int] = {}
        self._complexity: dict[int, int] = {}

    def number(self, expr: Expr) -> Expr:
        """A scalar expression with every mean as a function.

        Raises:
            Unsupported: if something in it is random.
        """
        if expr.has(Hat, Product, Init):
            raise Unsupported("a random value stands where a number is needed")
        return expr.xreplace({m: Call(Integer(self._function(int(m.args[0]))), *m.args[1:])
                              for m in ordered(expr.atoms(Mean))})

    def complexity(self, number: int) -> int:
        """How many factors the mean has that a function of integers is, if they are so many that it may well have no
        equation; else 0."""
        return self._complexity.get(number, 0)

    def _function(self, number: int) -> int:
        if number not in self._functions:
            params, integrand = self.unwound.means[number]
            facts = tuple(sorted(self.unwound.mean_facts[number], key=str))
            self._functions[number] = self.unwound.function(
                f"E[{number}]", params, False, lambda: self._cases(integrand, facts))
            factors = len(factors_of(integrand))
            if factors > FEW_FACTORS:
                self._complexity[self._functions[number]] = factors
        return self._functions[number]

    def _cases(self, integrand: Expr, facts: tuple[Expr, ...]) -> list[Case]:
        integrand = self.laws.reduced(flat(self.linear.responses.inlining.inlined(integrand)))
        carried = self.linear.resolution.carried(integrand)
        if not carried:
            return [(guards, self._mean(expr)) for guards, expr in self.linear.resolution.resolved(integrand, facts)]
        # A sum of means, each of which may have been met before under a number of its own.
        if isinstance(integrand, sympy.Add):
            return [((), self.number(self.unwound.mean(integrand, facts)))]
        return self._stepped(integrand, carried[0], facts)

    def _stepped(self, integrand: Expr, call: Expr, facts: tuple[Expr, ...]) -> list[Case]:
        """The mean of a product with a nonlinear function that goes round a loop, which is unfolded once: a recursion
        of such means. The gradients of a network with skip connections are such functions,
        dx_l = dx_{l+1} + phi'(h_l) W.T dx_{l+1}."""
        rest = integrand / call
        factors = sympy.Mul.make_args(rest)
        if len(factors) > MOST_FACTORS or any(f.has(call) and f != call for f in factors):
            name = self.unwound.functions[int(call.args[0])].name
            raise Unsupported(f"`{name}` goes round a loop through nonlinear functions")
        # One step of the recursion is not enough for a mean to be planned: what it leads to is other means, which come
        # back to this one at other indices.
        return [(guards, by_linearity(expr, self.unwound.is_random_or_hat, lambda term: self._term_mean(term, facts)))
                for guards, expr in self.linear.resolution.stepped(rest, call, facts)]

    def _term_mean(self, term: Expr, facts: tuple[Expr, ...]) -> Expr:
        if self.linear.responses.sources.vanishes(term):
            return Integer(0)
        if not self.linear.resolution.carried(term):
            cases = self.linear.resolution.resolved(term, facts)
            if len(cases) == 1 and not cases[0][0]:
                return self._mean(cases[0][1])
            return self.number(self.unwound.mean(term, facts))
        return self._general_mean(term)

    def _general_mean(self, term: Expr) -> Expr:
        """The mean of a product with functions that go round a loop, as one at all indices: those of such a function
        are parameters of their own, so that a recursion comes back to the same mean."""
        term = self.laws.reduced(term)
        bound = {t.args[1] for t in term.atoms(Total)}
        atoms = [a for a in (*self.unwound.random_calls(term), *ordered(term.atoms(Hat, Init)))
                 if not a.free_symbols & bound]
        carried = self.linear.resolution.carried(term)
        shared: dict[Expr, Symbol] = {}
        values: dict[Symbol, Expr] = {}
        mapping = {}
        for atom in sorted(atoms, key=lambda a: (type(a).__name__, int(a.args[0]), str(a.args[1:]))):
            names = {} if atom in carried else shared
            for index in atom.args[1:]:
                if index not in names:
                    names[index] = Symbol(f"_q{len(values)}", integer=True)
                    values[names[index]] = index
            mapping[atom] = atom.func(atom.args[0], *(names[index] for index in atom.args[1:]))
        found = self.number(self.unwound.mean(term.xreplace(mapping)))
        if len(atoms) == 2 and term == sympy.Mul(*atoms) and atoms[0].args[0] == atoms[1].args[0]:
            self.symmetric |= {int(call.args[0]) for call in found.atoms(Call)}
        return found.xreplace(values)

    def _mean(self, expr: Expr) -> Expr:
        """E of an expression in Hat, Init and linear functions."""
        terms = list(sympy.Add.make_args(flat(expr)))
        products, rest = self._products(terms) if 1 < len(terms) <= MOST_TERMS else ([], terms)
        total = [self.planned.expectation(product) for product in products]
        return sympy.Add(*total, by_linearity(sympy.Add(*rest), self.unwound.is_random_or_hat, self._product_mean))

    def _products(self, terms: list[Expr]) -> tuple[list[Expr], list[Expr]]:
        """Terms put together to products of functions of one centred Gaussian each, and the other terms."""
        # Parts that are not centred or take finitely many values are enumerated instead, so that a product with them
        # would not be one of functions of two Gaussians.
        usable = [t for t in terms if not any(self.laws.discrete(a) for a in t.atoms(Init)) and self._centred(t) == t]
        common = _common(usable)
        whole = {t / common: t for t in usable}
        named, meaning = self.planned.named(list(whole))
        gaussians = [s for s in meaning if s.name.startswith("z")]
        found = put_together(list(named.values()), gaussians)
        used = {whole[list(named)[k]] for _, chosen in found for k in chosen}
        return [product.xreplace(meaning) * common for product, _ in found], [t for t in terms if t not in used]

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
        return expr.xreplace({c: self.parts.split(c) for c in self.unwound.random_calls(expr)})

    def _enumerated(self, expr: Expr, discrete: list[Expr], apart: frozenset[tuple[Expr, Expr]] = frozenset()) -> Expr:
        """The mean over declared vectors of finitely many values, two elements of one family being the same or not;
        pairs that are not are `apart`."""
        for a, b in itertools.combinations(discrete, 2):
            if a.args[0] != b.args[0] or (a, b) in apart:
                continue
            same = equal_indices(a.args[1:], b.args[1:])
            if same != 0:
                # Independent if the indices differ, one and the same vector if they agree: E = [i = j] E[a = b] + [i !=
                # j] E[a, b].
                return (same * self._mean(expr.xreplace({b: a}))
                        + (1 - same) * self._enumerated(expr, discrete, apart | {(a, b)}))
        result = Integer(0)
        for values in itertools.product(*(self.laws.values(a) for a in discrete)):
            mapping = {a: value for a, (value, _) in zip(discrete, values)}
            weight = sympy.Mul(*(w for _, w in values))
            result += weight * self._mean(expr.xreplace(mapping))
        return result


def _common(terms: list[Expr]) -> Expr:
    """The factors that all of the products have."""
    factors = [set(sympy.Mul.make_args(t)) for t in terms]
    return sympy.Mul(*ordered(frozenset.intersection(*map(frozenset, factors)))) if factors else Integer(1)
