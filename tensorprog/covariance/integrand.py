"""A mean of a product of functions of Gaussians as a planned expectation (`tensorprog.expectations`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.directions import Directions, multiples_of
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.linear import LinearFunctions
from tensorprog.covariance.nodes import Call, Expectation, Hat, Init, Total, Whole, flat, is_constant
from tensorprog.covariance.parts import Parts
from tensorprog.covariance.unwound import Unwound
from tensorprog.expectations import NoRecipe, plan_expectation

#: Terms of a sum inside of a nonlinear function.
MOST_WRITTEN = 8


class Integrands:
    """The planned expectations of a system; equal integrands share one.

    Args:
        covariance: the covariance of two Gaussians, as a number.

    Attributes:
        recipes: planned expectations.
        integrands: of each recipe, the integrand in z0, z1, ..., and the covariances {(z_i, z_j): symbol or number}.
    """

    def __init__(self, unwound: Unwound, linear: LinearFunctions, parts: Parts,
                 covariance: Callable[[Expr, Expr], Expr]):
        self.unwound, self.linear, self.parts, self.covariance = unwound, linear, parts, covariance
        self.recipes: list = []
        self.integrands: list[tuple[Expr, dict]] = []
        self._directions = Directions(unwound, linear.responses.inlining)
        self._numbers: dict[tuple, int] = {}

    def expectation(self, expr: Expr) -> Expr:
        """E[expr], of a product of functions of centred Gaussians, as an `Expectation` over covariances and scalars.

        Raises:
            Unsupported: if it depends on too many Gaussians.
        """
        builder, integrand = self._fewest(self._directions.aligned(expr))
        integrand, scales = _rescaled(integrand, builder.gaussians, set(builder.parameters))
        scales = {z: c.xreplace(builder.parameters) for z, c in scales.items()}
        covariance, values = builder.covariances(scales)
        groups = _independent(integrand, covariance)
        # The mean of independent factors is the product of their means.
        if len(groups) > 1:
            meaning = builder.meaning
            meaning |= {z: c * meaning[z] for z, c in scales.items()}
            return sympy.Mul(*(self.expectation(group.xreplace(meaning)) for group in groups))
        # E[u v] is the covariance itself.
        for pair, value in covariance.items():
            if integrand == sympy.Mul(*pair):
                return values.get(value, value)
        number = self._planned(integrand, builder, covariance)
        recipe = self.recipes[number]
        values |= builder.parameters
        formula = recipe.formula if recipe.kind == "closed" else None
        # A number needs no equation.
        if formula is not None and formula.is_number and formula.evalf().is_Number:
            return formula
        return Expectation(Integer(number), *(values.get(s, s) for s in recipe.arguments))

    def named(self, terms: list[Expr]) -> tuple[dict[Expr, Expr], dict[Symbol, Expr]]:
        """Products in Gaussians z0, z1, ... and scalars p0, p1, ..., and what these stand for. Those that are sums in them,
        or that an expectation could not be of, are left out."""
        builder, found = _Builder(self), {}
        for term in terms:
            try:
                named = builder.abstract(term)
            except Unsupported:
                continue
            if not isinstance(named, sympy.Add):
                found[term] = named
        return found, builder.meaning

    def _fewest(self, expr: Expr) -> tuple[_Builder, Expr]:
        """The integrand with powers kept whole or multiplied out: whichever is of fewer Gaussians."""
        forms = [expr, flat(expr.replace(Whole, lambda x, k: x**k))] if expr.has(Whole) else [expr]
        found = [(builder := _Builder(self), builder.abstract(form)) for form in forms]
        return min(found, key=lambda pair: len(pair[0].gaussians))

    def _planned(self, integrand: Expr, builder: _Builder, covariance: dict) -> int:
        key = (integrand, tuple(covariance.items()))
        if key not in self._numbers:
            try:
                recipe = plan_expectation(integrand, builder.gaussians, covariance)
            except NoRecipe:
                names = dict.fromkeys(self._written(atom) for atom in builder.atoms)
                raise Unsupported(f"an expectation of a function of {len(builder.gaussians)} Gaussians "
                                  f"({', '.join(names)}) has no closed form, and is of too many for a quadrature") from None
            self._numbers[key] = len(self.recipes)
            self.recipes.append(recipe)
            self.integrands.append((integrand, covariance))
        return self._numbers[key]

    def _written(self, atom: Expr) -> str:
        """A Gaussian by the names of the program."""
        number = int(atom.args[0])
        if isinstance(atom, Init):
            name = self.unwound.laws.display(atom)
        elif isinstance(atom, Hat):
            site = self.unwound.sites[number]
            name = f"{site.matrix.display}{'.T' * site.transposed} @ ..."
        else:
            name = self.unwound.functions[number].name
        return f"`{name}`"


class _Builder:
    """Gaussians and scalars of one integrand, given short names."""

    def __init__(self, owner: Integrands):
        self.owner = owner
        self.gaussians: list[Symbol] = []
        self.atoms: list[Expr] = []
        self.parameters: dict[Symbol, Expr] = {}
        self._names: dict[Expr, Symbol] = {}

    def abstract(self, expr: Expr) -> Expr:
        """The integrand in z0, z1, ... and p0, p1, ..."""
        if not self._random(expr):
            return self._parameter(expr)
        if self._atom(expr):
            return self._gaussian(expr)
        if isinstance(expr, sympy.Add):
            return self._sum(expr)
        if isinstance(expr, Whole):
            return self.abstract(expr.args[0])**expr.args[1]
        if isinstance(expr, Total):
            written = _written_out(expr)
            if written is not None:
                return self.abstract(written)
            if self.owner.linear.is_linear_sum(flat(expr.args[0])):
                return self._gaussian(self.owner.linear.one_gaussian(expr))
            raise Unsupported("a sum over an index stands inside a nonlinear function")
        if isinstance(expr, sympy.Mul):
            fixed = [f for f in expr.args if not self._random(f)]
            rest = [self.abstract(f) for f in expr.args if self._random(f)]
            return sympy.Mul(self.abstract(sympy.Mul(*fixed)), *rest)
        return expr.func(*(self.abstract(a) for a in expr.args))

    def _sum(self, expr: Expr) -> Expr:
        """The linear part of a sum is one Gaussian, what is not random one parameter."""
        linear, fixed, others = [], [], []
        for term in sympy.Add.make_args(flat(expr)):
            if not self._random(term):
                fixed.append(term)
            elif self.owner.linear.is_linear_term(term) and self.owner.parts.target(term) is None:
                linear.append(term)
            else:
                others.append(term)
        parts = [self.abstract(t) for t in others]
        multiples = multiples_of(sympy.Add(*linear), self.owner.unwound) if linear else {}
        if len(multiples) == 1:
            # Also a difference of multiples of one vector: its correlation with others would have lost digits.
            ((vector, factor),) = multiples.items()
            parts.append(self.abstract(factor) * self.abstract(vector))
        elif linear:
            parts.append(self._gaussian(self.owner.linear.one_gaussian(sympy.Add(*linear))))
        if fixed:
            parts.append(self._parameter(sympy.Add(*fixed)))
        return sympy.Add(*parts)

    def _random(self, expr: Expr) -> bool:
        return self.owner.unwound.is_random_or_hat(expr)

    def _atom(self, expr: Expr) -> bool:
        return isinstance(expr, Hat | Init) or isinstance(expr, Call) and self.owner.unwound.is_random(expr)

    def _gaussian(self, atom: Expr) -> Symbol:
        if atom not in self._names:
            symbol = Symbol(f"z{len(self.gaussians)}", real=True)
            self._names[atom] = symbol
            self.gaussians.append(symbol)
            self.atoms.append(atom)
        return self._names[atom]

    def _parameter(self, expr: Expr) -> Expr:
        if is_constant(expr):
            return expr
        if expr not in self._names:
            symbol = Symbol(f"p{len(self.parameters)}", real=True)
            self._names[expr] = symbol
            self.parameters[symbol] = expr
        return self._names[expr]

    @property
    def meaning(self) -> dict[Symbol, Expr]:
        """What the short names stand for."""
        return dict(zip(self.gaussians, self.atoms)) | self.parameters

    def covariances(self, scales: Mapping[Symbol, Expr]) -> tuple[dict, dict]:
        """(covariance of the symbols as `plan_expectation` wants it, the values of its symbols). Some symbols stand for
        numbers (`scales`) times their Gaussians."""
        covariance, values = {}, {}
        for i, (a, x) in enumerate(zip(self.gaussians, self.atoms)):
            for b, y in list(zip(self.gaussians, self.atoms))[i:]:
                value = scales.get(a, Integer(1)) * scales.get(b, Integer(1)) * self.owner.covariance(x, y)
                if is_constant(value):
                    covariance[a, b] = value
                    continue
                symbol = Symbol(f"k{a.name[1:]}{b.name[1:]}", real=True)
                covariance[a, b] = symbol
                values[symbol] = value
        return covariance, values


def _rescaled(integrand: Expr, gaussians: list[Symbol], parameters: set[Symbol]) -> tuple[Expr, dict[Symbol, Expr]]:
    """An integrand f(c*z) as f(z) of a Gaussian c times as large, wherever no function needs z otherwise: networks with
    numbers in front of their layers are then as those with these numbers in their variances. With the numbers c."""
    scales = {}
    for z in gaussians:
        factors = {c for f in integrand.atoms(sympy.Function) for arg in f.args if arg.has(z)
                   for c in [_factor_of(arg, z, parameters)]}
        # A function that needs z under two factors, as in tanh(a*z) * tanh(b*z), cannot have both in its variance.
        if len(factors) != 1 or None in factors:
            continue
        (c,) = factors
        found = integrand.xreplace({z: z / c}) if c != 1 else integrand
        # Factors of 1/p that arise from this would divide by a parameter that may be 0.
        if c != 1 and not any(p.exp.is_negative and p.base.free_symbols & parameters for p in found.atoms(sympy.Pow)):
            integrand, scales[z] = found, c
    return integrand, scales


def _factor_of(arg: Expr, z: Symbol, parameters: set[Symbol]) -> Expr | None:
    """c, for an argument c*z with a product c of parameters and numbers; None for others."""
    c = arg / z
    return c if c.free_symbols and c.free_symbols <= parameters and not c.is_Add else None


def _written_out(expr: Expr) -> Expr | None:
    """A sum over a few indices without its sign; None if it is long."""
    body, var, start, stop = expr.args
    if not (start.is_Integer and stop.is_Integer and stop - start <= MOST_WRITTEN):
        return None
    return sympy.Add(*(body.subs(var, k) for k in range(int(start), int(stop))))


def _independent(integrand: Expr, covariance: Mapping[tuple[Symbol, Symbol], Expr]) -> list[Expr]:
    """A product as groups of factors that hold independent Gaussians; numbers are with the first."""
    related = {frozenset(pair) for pair, value in covariance.items() if value != 0}
    numbers: Expr = Integer(1)
    groups: list[tuple[Expr, set[Symbol]]] = []
    gaussians = {z for pair in covariance for z in pair}
    for factor in sympy.Mul.make_args(integrand):
        mine = factor.free_symbols & gaussians
        if not mine:
            numbers *= factor
            continue
        touching = [g for g in groups if any(frozenset((a, b)) in related for a in mine for b in g[1])]
        groups = [g for g in groups if g not in touching]
        groups.append((factor * sympy.Mul(*(f for f, _ in touching)), mine.union(*(z for _, z in touching))))
    return [numbers * f if k == 0 else f for k, (f, _) in enumerate(groups)]
