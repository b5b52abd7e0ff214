"""E of an expression in jointly Gaussian variables: a closed form if there is one, otherwise a quadrature.

The integrand is multiplied out, and each product of factors is looked up in the table, then given to the calculus of
`closed.py`, split into independent groups, and what remains is integrated numerically (`quadrature.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import sympy
from sympy import Add, Dummy, Expr, Mul, S, Symbol

from tensorprog.expectations.affine import Affine, Covariance, covariance_of
from tensorprog.expectations.basis import GaussianBasis, NotClosed
from tensorprog.expectations.closed import INDEPENDENCE, SYMMETRY
from tensorprog.expectations.forms import Conditional
from tensorprog.expectations.guarded import STEEP, magnitude, plain, sign_of_sum
from tensorprog.expectations.inside import taken_apart
from tensorprog.expectations.multiples import multiples_apart
from tensorprog.expectations.products import Summand, forms_of, is_odd, summands
from tensorprog.expectations.quadrature import MOST_DIMENSIONS, NATURAL, XI, Integral, integral_of
from tensorprog.expectations.sifting import sifted
from tensorprog.expectations.source import Instead, Pair, function_source, printable
from tensorprog.expectations.table import look_up


class NoRecipe(Exception):
    """Neither a closed form nor a quadrature of at most three dimensions; the message says why."""


@dataclass(frozen=True)
class Recipe:
    """How to compute an expectation.

    Attributes:
        kind: "closed" or "quadrature".
        dimension: the number of Gaussian dimensions of the quadrature, 0 if closed.
        formula: the closed form in the covariances and parameters, for printing; None for a quadrature.
        inexact: whether `expectation` also returns an error: that of a quadrature, which computes what has a closed form too
            where that would lose digits, or that of the last digits of covariances where two variables are all but multiples
            of each other.
        steps: the names of the rules that were used.
        source: the source of the function `expectation`, with the imports and integrands that it needs.
        arguments: the symbols of its arguments, in their order.
    """

    kind: str
    dimension: int
    formula: Expr | None
    inexact: bool
    steps: tuple[str, ...]
    source: str
    arguments: tuple[Symbol, ...]

    def emit(self, name: str, cached: bool = False) -> str:
        """The source with the function called `name`, for Numba; with `cached`, its functions are kept in Numba's cache.

        It takes floats, and returns a float, or (value, error) if it is `inexact`.
        """
        text = re.sub(r"\bexpectation(?=(_\d+)?\()|\bexpectation(?=_\d+\))", name, self.source)
        if cached:
            text = text.replace("@njit(", "@njit(cache=True, nogil=True, ")
            return text.replace(f"def {name}(", f'@njit(cache=True, error_model="numpy")\ndef {name}(')
        return text


def plan_expectation(
    integrand: Expr, gaussians: Sequence[Symbol], covariance: Mapping[tuple[Symbol, Symbol], Expr],
) -> Recipe:
    """A recipe for E[integrand].

    Args:
        integrand: an expression; `gaussians` are random in it and other symbols are real parameters.
        gaussians: zero-mean jointly Gaussian variables.
        covariance: of each pair of Gaussians that occur, in either order; expressions in other symbols.

    Raises:
        NoRecipe: if there is no closed form, and quadrature would need more than three dimensions.
        KeyError: if a covariance is missing.
    """
    # In this order: what is taken apart leaves signs of multiples, and then deltas stand beside fewer functions.
    integrand = sifted(multiples_apart(taken_apart(sympy.sympify(integrand)), gaussians), gaussians)
    used = [g for g in gaussians if g in integrand.free_symbols]
    table = {frozenset(pair): sympy.sympify(value) for pair, value in covariance.items()}
    entries = [table[frozenset((g, h))] for g in used for h in used]
    real = _real_symbols({*used, *integrand.free_symbols.union(*(e.free_symbols for e in entries))})
    inner = {frozenset(map(real.get, (g, h))): table[frozenset((g, h))].xreplace(real) for g in used for h in used}
    planner = Planner(frozenset(real[g] for g in used), lambda g, h: inner[frozenset((g, h))])
    value = planner.expectation(integrand.xreplace(real))
    return _recipe(value, integrand.xreplace(real), planner, {inside: outside for outside, inside in real.items()})


def _real_symbols(symbols: set[Symbol]) -> dict[Symbol, Symbol]:
    """A real symbol for each."""
    # SymPy simplifies sqrt(x**2), abs(x) and signs of real symbols alone.
    return {s: s if s.is_real else Symbol(s.name, real=True) if not isinstance(s, Dummy) else Dummy(s.name, real=True)
            for s in symbols}


def _recipe(value: Expr, integrand: Expr, planner: Planner, outside: dict[Symbol, Symbol]) -> Recipe:
    integrals = {s: i for s, i in planner.integrals().items() if value.has(s)}
    closed = not integrals
    instead = planner.instead(value, integrand) if closed else None
    used = [*integrals.values(), *([instead.integral] if instead else [])]
    free = value.free_symbols.union(*(i.integrand.free_symbols for i in used),
                                    *(e.free_symbols for i in used for row in i.covariance for e in row))
    arguments = tuple(sorted((s for s in free if s in outside), key=lambda s: (s.name, s.sort_key())))
    pairs = planner.steep_pairs(value) if closed and not instead else []
    wholes = {s: whole for s, i in integrals.items() if (whole := planner.whole(i, free)) is not None}
    source = function_source(value, integrals, arguments, instead, pairs, wholes)
    formula = plain(value).xreplace(outside) if closed else None
    dimension = max((i.dimension for i in integrals.values()), default=0)
    return Recipe("closed" if closed else "quadrature", dimension, formula, not closed or instead is not None or bool(pairs),
                  tuple(sorted(planner.log)), source, tuple(outside[a] for a in arguments))


@dataclass
class Planner:
    """Collects the integrals of one expectation; `log` has the names of the rules used. `smoothed` says that a closed form
    came from the calculus with variables of its own (`basis.py`), whose covariances lose digits if others are large."""

    gaussians: frozenset[Symbol]
    covariance: Covariance
    log: set[str] = field(default_factory=set)
    smoothed: bool = False
    _integrals: dict[tuple[Affine, ...], tuple[Symbol, list[Integral]]] = field(default_factory=dict)

    def expectation(self, integrand: Expr) -> Expr:
        """E[integrand], with symbols for integrals.

        An integral is over products as they stand, because their parts may cancel, unless only the parts have fewer
        variables.

        Raises:
            NoRecipe: if it would have too many variables.
        """
        # First as it stands: a table's formula has fewer terms that cancel than one of parts.
        row = self._row(Mul.make_args(integrand))
        if row is not None:
            return row
        try:
            return self._expanded(integrand, integrals=False)
        except NotClosed:
            pass
        found = [attempt for way in (Planner._as_it_stands, Planner._expanded) if (attempt := self._attempt(way, integrand))]
        if not found:
            return self._expanded(integrand)
        # On a tie the first one, the product as it stands: expanded, terms of opposite sign may each be large.
        value, planner = min(found, key=lambda attempt: attempt[1].dimension)
        self.log |= planner.log
        self._integrals |= planner._integrals
        return value

    @property
    def dimension(self) -> int:
        """The most variables of an integral."""
        return max((parts[0].dimension for _, parts in self._integrals.values()), default=0)

    def _attempt(self, way: Callable[[Planner, Expr], Expr], integrand: Expr) -> tuple[Expr, Planner] | None:
        planner = Planner(self.gaussians, self.covariance)
        try:
            return way(planner, integrand), planner
        except NoRecipe:
            return None

    def _as_it_stands(self, integrand: Expr) -> Expr:
        """Integrals over the terms of a sum, or over all of it where each has all the variables."""
        terms = Add.make_args(integrand)
        value = Add(*(self._summand(S.One, Mul.make_args(term)) for term in terms))
        # Terms that need all the variables anyway may cancel under one integral.
        if len(terms) > 1 and self.dimension == len(integrand.free_symbols & self.gaussians):
            self._integrals.clear()
            return self._shared(self._integral((integrand,)))
        return value

    def _expanded(self, integrand: Expr, integrals: bool = True) -> Expr:
        """The sum over the terms of the integrand multiplied out; raises NotClosed if one needs an integral, but there
        shall be none."""
        total: list[Expr] = []
        rest: list[Summand] = []
        parts = summands(integrand, self.gaussians)
        for coefficient, factors in parts:
            # Rows of users come before the calculus, so that they can stand in for what it would do.
            row = self._row(factors)
            if row is None:
                rest.append((coefficient, factors))
            else:
                total.append(coefficient * row)
        if len(parts) > 1:
            self.log.add("linearity")
        try:
            total.append(self._closed(Add(*(c * Mul(*factors) for c, factors in rest))))
        except NotClosed:
            if not integrals:
                raise
            total += [self._summand(c, factors) for c, factors in rest]
        return Add(*total)

    def integrals(self) -> dict[Symbol, Integral]:
        """What the symbols stand for; integrals over the same variables are one."""
        return {symbol: replace(parts[0], integrand=Add(*(i.integrand for i in parts)), original=Add(*(i.original for i in parts)))
                for symbol, parts in self._integrals.values()}

    def whole(self, integral: Integral, known: set[Symbol]) -> Integral | None:
        """The same over all of its variables, for where the mean over some of them, which is a closed form, loses digits; None
        where it hangs on more than the `known` covariances: then that mean is linear in the other variables, and loses none."""
        found = integral_of((integral.original,), GaussianBasis(self.gaussians, self.covariance), set())
        # (In three dimensions it would take a thousand times as long as in one.)
        if found is None or not integral.dimension < found.dimension <= 2 or not printable(found.integrand):
            return None
        used = found.integrand.free_symbols.union(*(e.free_symbols for row in found.covariance for e in row))
        return found if used - {*XI, *NATURAL} <= known else None

    def instead(self, value: Expr, integrand: Expr) -> Instead | None:
        """A quadrature for where a closed form loses digits, because its terms cancel or variances are large."""
        used = [g for g in self.gaussians if g in integrand.free_symbols]
        # Without a sum nothing cancels. (Of three variables, the closed form stands as it is.)
        if len(used) > 2 or not (self.smoothed or any(isinstance(e, Add) for e in sympy.preorder_traversal(value))):
            return None
        integral = integral_of((integrand,), GaussianBasis(self.gaussians, self.covariance), set())
        if integral is None or not printable(integral.integrand):
            return None
        signs = sorted(value.atoms(sign_of_sum), key=sympy.default_sort_key)
        return Instead(integral, magnitude(value), tuple(map(self.covariance, used, used)) if self.smoothed else (),
                       tuple(signs))

    def steep_pairs(self, value: Expr) -> list[Pair]:
        """The pairs of variables near whose correlations 1 and -1 a closed form hangs on the last digits of covariances."""
        if not value.has(*STEEP):
            return []
        pairs = [(self.covariance(g, g), self.covariance(g, h), self.covariance(h, h))
                 for g, h in combinations(sorted(self.gaussians, key=str), 2)]
        return [pair for pair in pairs if pair[1] != 0 and all(e.is_Symbol or e.is_number for e in pair)
                and any(e.is_Symbol for e in pair) and value.free_symbols.issuperset(e for e in pair if e.is_Symbol)]

    def _row(self, factors: tuple[Expr, ...]) -> Expr | None:
        forms = list({form: None for factor in factors for form in forms_of(factor, self.gaussians)})
        found = look_up(factors, forms, self.covariance)
        if found is None:
            return None
        row, value = found
        self.log.add(row.name)
        return value

    def _closed(self, expr: Expr) -> Expr:
        # Rules that led nowhere are not said to have been used.
        tried: set[str] = set()
        basis = GaussianBasis(self.gaussians, self.covariance)
        value = Conditional(basis, tried).expectation(expr)
        self.log |= tried
        self.smoothed |= bool(basis.added)
        return value

    def _summand(self, coefficient: Expr, factors: tuple[Expr, ...]) -> Expr:
        """The expectation of a product, split into independent groups."""
        groups = self._independent(factors)
        closed, open_groups = coefficient, []
        for group in groups:
            value = self._group_closed(group)
            if value is None:
                open_groups.append(group)
            else:
                closed *= value
        # A group with mean 0 spares the integrals of the others.
        if closed == 0:
            return S.Zero
        if len(open_groups) == 1:
            integral = self._integral(open_groups[0])
            # The factor goes inside, so that integrals over the same variables are one.
            return self._shared(replace(integral, integrand=closed * integral.integrand, original=closed * integral.original))
        return closed * Mul(*(self._single(self._integral(group)) for group in open_groups))

    def _group_closed(self, factors: tuple[Expr, ...]) -> Expr | None:
        # E of what changes its sign with all Gaussians: they are centred, and means are in the expressions.
        if is_odd(factors, self.gaussians):
            self.log.add(SYMMETRY)
            return S.Zero
        value = self._row(factors)
        if value is not None:
            return value
        try:
            return self._closed(Mul(*factors))
        except NotClosed:
            return None

    def _integral(self, factors: tuple[Expr, ...]) -> Integral:
        integral = integral_of(factors, GaussianBasis(self.gaussians, self.covariance), self.log)
        if integral is None:
            reason = f"has no closed form, and depends on more than {MOST_DIMENSIONS} Gaussian variables"
            raise NoRecipe(f"E[{Mul(*factors)}] {reason}")
        self.log.add(f"quadrature in {integral.dimension} dimension{'s' * (integral.dimension > 1)}")
        return integral

    def _shared(self, integral: Integral) -> Expr:
        # By their variables: integrals over the same ones are computed together, panels and all.
        symbol, parts = self._integrals.setdefault(integral.fixed, (Dummy("q", real=True), []))
        parts.append(integral)
        # The symbol stands for the sum of all integrals over these variables, and is counted once.
        return symbol if len(parts) == 1 else S.Zero

    def _single(self, integral: Integral) -> Expr:
        symbol = Dummy("q", real=True)
        # Factors are not added to other integrals over the same variables: the key is one that no other has.
        self._integrals[(*integral.fixed, Affine((), symbol))] = (symbol, [integral])
        return symbol

    def _independent(self, factors: tuple[Expr, ...]) -> list[tuple[Expr, ...]]:
        groups: list[tuple[list[Expr], list[Affine]]] = []
        for factor in factors:
            forms = forms_of(factor, self.gaussians)
            joined = [g for g in groups if self._dependent(forms, g[1])]
            groups = [g for g in groups if g not in joined]
            groups.append(([*(f for g in joined for f in g[0]), factor], [*(f for g in joined for f in g[1]), *forms]))
        if len(groups) > 1:
            self.log.add(INDEPENDENCE)
        return [tuple(group) for group, _ in groups]

    def _dependent(self, some: list[Affine], others: list[Affine]) -> bool:
        return any(covariance_of(a, b, self.covariance) != 0 for a in some for b in others)
