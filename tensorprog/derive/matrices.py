"""A matrix of the limit program as a sum of multiples of initial matrices, of states at the head of a loop, and of
outer products. Nothing is ever multiplied out: a matrix meets a vector in `Matrix.product`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import sympy
from sympy import Expr, S

from tensorprog.derive.binders import Binder, sum_over
from tensorprog.derive.symbols import OuterProduct, Transpose, expectation


@dataclass(frozen=True, slots=True)
class Base:
    """An initial matrix, the state of one at the head of a loop (`state`), or a function of matrices (`made`), whose products are
    not written out."""

    label: Expr
    state: bool = False
    made: bool = False

    def xreplace(self, mapping: Mapping[Expr, Expr]) -> Base:
        return replace(self, label=self.label.xreplace(mapping))


@dataclass(frozen=True, slots=True)
class OuterSummand:
    left: Expr
    right: Expr

    def xreplace(self, mapping: Mapping[Expr, Expr]) -> OuterSummand:
        return OuterSummand(self.left.xreplace(mapping), self.right.xreplace(mapping))


@dataclass(frozen=True, slots=True)
class MatrixSummand:
    """The sum over `binders` of `coefficient * factor`, or of its transpose."""

    coefficient: Expr
    factor: Base | OuterSummand
    transposed: bool = False
    binders: tuple[Binder, ...] = ()

    def xreplace(self, mapping: Mapping[Expr, Expr]) -> MatrixSummand:
        return MatrixSummand(self.coefficient.xreplace(mapping), self.factor.xreplace(mapping), self.transposed,
                          tuple(b.subs(mapping) for b in self.binders))


@dataclass(frozen=True, slots=True)
class MatrixSum:
    terms: tuple[MatrixSummand, ...] = ()

    def __add__(self, other: MatrixSum | Expr) -> MatrixSum:
        if not isinstance(other, MatrixSum):
            return self
        terms = list(self.terms)
        for term in other.terms:
            for position, old in enumerate(terms):
                # Terms that are equal but for their numbers add up. Under sums they would have to be compared up to
                # names of variables, and stay apart.
                if replace(old, coefficient=S.One) == replace(term, coefficient=S.One) and not term.binders:
                    terms[position] = replace(old, coefficient=old.coefficient + term.coefficient)
                    break
            else:
                terms.append(term)
        return MatrixSum(tuple(t for t in terms if t.coefficient != 0))

    def __radd__(self, other: Expr) -> MatrixSum:
        return self

    def __rmul__(self, factor: Expr) -> MatrixSum:
        return MatrixSum(tuple(replace(t, coefficient=factor * t.coefficient) for t in self.terms))

    @property
    def transpose(self) -> MatrixSum:
        return MatrixSum(tuple(replace(t, transposed=not t.transposed) for t in self.terms))

    def xreplace(self, mapping: Mapping[Expr, Expr]) -> MatrixSum:
        return MatrixSum(tuple(t.xreplace(mapping) for t in self.terms))

    def mapped(self, change: Callable[[Expr], Expr]) -> MatrixSum:
        """The matrix with the vectors of its outer products and its coefficients changed."""
        return MatrixSum(tuple(replace(t, coefficient=change(t.coefficient), factor=OuterSummand(change(t.factor.left),
                                                                                       change(t.factor.right)))
                            if isinstance(t.factor, OuterSummand) else t for t in self.terms))

    @property
    def has_functions(self) -> bool:
        """Whether a function of matrices is among its terms."""
        return any(isinstance(t.factor, Base) and t.factor.made for t in self.terms)

    def expression(self) -> Expr:
        """The matrix as a SymPy expression in labels and outer products."""
        return sympy.Add(*(_term_expression(t) for t in self.terms))

    def bound(self, binder: Binder) -> MatrixSum:
        """The sum over one more binder (outermost)."""
        return MatrixSum(tuple(replace(t, binders=(binder, *t.binders)) for t in self.terms))

    def product(self, x: Expr, base: Callable[[Base, bool], Expr], ratio: Expr) -> Expr:
        """The limit variable of `self @ x`; `base` gives that of a product with an initial matrix, `ratio` is the
        width of `x` over the base width."""
        return sympy.Add(*(_term_product(t, x, base, ratio) for t in self.terms))


def initial(label: Expr, *, state: bool = False) -> MatrixSum:
    return MatrixSum((MatrixSummand(S.One, Base(label, state)),))


def made(label: Expr) -> MatrixSum:
    """A function of matrices, by its name."""
    return MatrixSum((MatrixSummand(S.One, Base(label, made=True)),))


def _term_expression(term: MatrixSummand) -> Expr:
    factor = term.factor
    if isinstance(factor, Base):
        value = Transpose(factor.label) if term.transposed else factor.label
    else:
        value = OuterProduct(*((factor.right, factor.left) if term.transposed else (factor.left, factor.right)))
    value = term.coefficient * value
    for binder in reversed(term.binders):
        value = sum_over(value, binder)
    return value


def _term_product(term: MatrixSummand, x: Expr, base: Callable[[Base, bool], Expr], ratio: Expr) -> Expr:
    if isinstance(term.factor, Base):
        value = term.coefficient * base(term.factor, term.transposed)
    else:
        left, right = term.factor.left, term.factor.right
        if term.transposed:
            left, right = right, left
        # outer(u, v) @ x: Z^u E[Z^v Z^x], times the number of terms in units of n.
        value = term.coefficient * ratio * left * expectation(right * x)
    for binder in reversed(term.binders):
        value = sum_over(value, binder)
    return value
