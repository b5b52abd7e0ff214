"""Planned expectations as duals E[phi(u) psi(v)] of one function of each row, or as algebra in covariances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sympy
from sympy import Dummy, Expr, Integer, Symbol

from tensorprog.covariance.system import System
from tensorprog.pairs.nodes import NotPairs

# Where a function's sign is taken, so that f and -f come out alike.
PROBE = sympy.Rational(3, 8)
_PROBES = {"sigmoid": lambda x: 1 / (1 + sympy.exp(-x)), "step": sympy.Heaviside, "relu": lambda x: sympy.Max(x, 0)}


@dataclass(frozen=True, slots=True)
class GaussianPair:
    """E[phi(first) psi(second)]; with first == second, of one Gaussian, where phi and psi are equal if they can be."""

    phi: Expr
    psi: Expr
    first: Symbol
    second: Symbol

    @property
    def is_covariance(self) -> bool:
        return self.phi == self.first and self.psi == self.second

    @property
    def is_odd(self) -> bool:
        """Whether it is the mean of an odd function of one Gaussian."""
        f = self.phi * self.psi
        return self.first == self.second and f.subs(self.first, -self.first) == -f


Independence = Callable[[Symbol, Symbol], bool]


def products(system: System, number: int, independent: Independence, one_row: bool) -> list[tuple[Expr, list[GaussianPair]]]:
    """The integrand of a recipe, of `one_row` or two, as a sum: coefficients, and the parts whose means are multiplied.

    Raises:
        NotPairs: if more than two dependent Gaussians are mixed, or two in one function.
    """
    integrand, covariance = system.integrands[number]
    gaussians = sorted({g for pair in covariance for g in pair}, key=lambda s: int(s.name[1:]))
    # Of two rows, only a declared vector has one variance for both.
    known = {z for (z, other), value in covariance.items() if z == other and (one_row or value.is_number)}
    return [_product(t, gaussians, known, independent) for t in _terms(integrand, gaussians)]


def algebra(system: System, number: int) -> Expr | None:
    """The closed form of a recipe, if it holds nothing but powers."""
    formula = system.recipes[number].formula
    # Functions in a formula are those of a quadrature or of a table: means, not algebra.
    if formula is None or formula.atoms(sympy.Function, sympy.Piecewise):
        return None
    powers = formula.atoms(sympy.Pow)
    return formula if all(p.exp.is_Number for p in powers) else None


def polynomial(system: System, number: int) -> bool:
    """Whether the integrand is a polynomial in its Gaussians."""
    integrand, covariance = system.integrands[number]
    return integrand.is_polynomial(*{g for pair in covariance for g in pair})


def _terms(integrand: Expr, gaussians: list[Symbol]) -> list[Expr]:
    """An integrand as a sum of products. Functions of one Gaussian stay as they are: those that are sums of large terms,
    as exp(x) - 1, lose digits term by term."""
    whole = {f: Dummy() for f in sympy.Mul.make_args(integrand)
             if sum(f.has(z) for z in gaussians) == 1 and not f.is_polynomial(*gaussians)}
    names = {name: f for f, name in whole.items()}
    return [t.xreplace(names) for t in sympy.Add.make_args(sympy.expand(integrand.xreplace(whole)))]


def _product(term: Expr, gaussians: list[Symbol], known: set[Symbol],
             independent: Independence) -> tuple[Expr, list[GaussianPair]]:
    """`known`: Gaussians that may be independent of a single other one; of those of two rows, declared vectors."""
    coefficient, functions = _separated(term, gaussians)
    # With two Gaussians there is nothing to separate, unless one is a declared vector.
    some = len(functions) >= 3 or not known.isdisjoint(functions)
    groups: list[list[Symbol]] = []
    for z in sorted(functions, key=gaussians.index):
        touching = [g for g in groups if not some or not all(independent(z, other) for other in g)]
        groups = [*(g for g in groups if g not in touching), [*(x for g in touching for x in g), z]]
    return coefficient, [_part(group, functions) for group in groups]


def _separated(term: Expr, gaussians: list[Symbol]) -> tuple[Expr, dict[Symbol, Expr]]:
    """A product as its coefficient and one function of each Gaussian, without a number that multiplies it: which of
    the functions has the number is an accident of how a mean is written, and (u, v) and (v, u) are to be alike."""
    coefficient: Expr = Integer(1)
    functions: dict[Symbol, Expr] = {}
    for factor in sympy.Mul.make_args(term):
        used = [g for g in gaussians if factor.has(g)]
        if len(used) > 1:
            raise NotPairs(f"E[{term}] holds a function of several Gaussians")
        if not used:
            coefficient *= factor
        else:
            functions[used[0]] = functions.get(used[0], Integer(1)) * factor
    for z, f in functions.items():
        if f.free_symbols != {z}:
            raise NotPairs(f"a function of a Gaussian depends on numbers: {f}")
        number, functions[z] = _monic(f, z)
        coefficient *= number
    return coefficient, functions


def _monic(f: Expr, z: Symbol) -> tuple[Expr, Expr]:
    """A function of z as a number times one whose sums are normalised."""
    number, factors = Integer(1), []
    for factor in sympy.Mul.make_args(f):
        if factor.is_Add:
            coefficients: dict[Expr, Expr] = {}
            for term in factor.args:
                c, g = term.as_independent(z, as_Add=False)
                coefficients[g] = coefficients.get(g, Integer(0)) + c
            factor, scale = normalised(coefficients)
            number *= scale
        factors.append(factor)
    return number, sympy.Mul(*factors)


def normalised(coefficients: Mapping[Expr, Expr]) -> tuple[Expr, Expr]:
    """A combination of functions as one that has a coefficient 1 or -1 and is positive at a point, and the number that
    multiplies it."""
    # The same term whatever number multiplies the function: the first by its text.
    scale = abs(min(coefficients.items(), key=lambda item: str(item[0]))[1])
    f = sum(c / scale * g for g, c in coefficients.items())
    value = f.replace(lambda e: e.func.__name__ in _PROBES, lambda e: _PROBES[e.func.__name__](*e.args))
    (z,) = f.free_symbols
    negative = (value.subs(z, PROBE).evalf() < 0) == sympy.true
    return (-f, -scale) if negative else (f, scale)


def _part(group: list[Symbol], functions: dict[Symbol, Expr]) -> GaussianPair:
    if len(group) > 2:
        raise NotPairs(f"a mean is of {len(group)} dependent Gaussians")
    if len(group) == 2:
        return GaussianPair(functions[group[0]], functions[group[1]], *group)
    (z,) = group
    # A square g**2 as E[g(u) g(u)], the diagonal of a mean over pairs.
    root = _root(functions[z])
    return GaussianPair(*((root, root) if root is not None else (functions[z], Integer(1))), z, z)


def _root(f: Expr) -> Expr | None:
    """g with f = g**2."""
    parts = [factor.as_base_exp() for factor in sympy.Mul.make_args(f)]
    if not all(k.is_Integer and k % 2 == 0 for _, k in parts):
        return None
    return sympy.Mul(*(base**(k // 2) for base, k in parts))
