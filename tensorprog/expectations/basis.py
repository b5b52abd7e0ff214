"""Integrands as sums of products of basic factors of affine forms: powers, signs, deltas, exponentials, waves.

    relu(L) = (L + L sign(L)) / 2          step(L) = (1 + sign(L)) / 2          |L| = L sign(L)
    erf(L)  = E_w sign(sqrt(2) L + w)      exp(-L**2) = sqrt(2 pi) E_w delta(sqrt(2) L + w)

with a standard normal w of its own for every occurrence, so that the error function, GELU and their derivatives need no
rules of their own (Williams, Computing with infinite networks, 1997, uses the same device).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement

import sympy
from sympy import Add, DiracDelta, Dummy, Expr, Max, Min, Mul, Pow, S, Symbol, erf, exp, pi, sqrt

from tensorprog.expectations.affine import Affine, Covariance, affine, covariance_of
from tensorprog.expectations.functions import gelu, normal_cdf, relu, step
from tensorprog.expectations.guarded import nonzero

# A product with more terms is left to quadrature: closed forms grow with the number of terms, and their terms cancel.
MOST_TERMS = 400


class NotClosed(Exception):
    """No closed form is known; the message says of what."""


@dataclass(frozen=True)
class Term:
    """`coefficient * product of factors`; `exponent` is the form in exp, `wave` ("cos" | "sin", form) or None."""

    coefficient: Expr = S.One
    powers: tuple[Affine, ...] = ()
    signs: tuple[Affine, ...] = ()
    deltas: tuple[Affine, ...] = ()
    exponent: Affine = field(default=Affine(()))
    wave: tuple[str, Affine] | None = None


@dataclass
class GaussianBasis:
    """Writes expressions in the Gaussian variables `gaussians` as sums of terms; adds variables of its own.

    `covariance` gives that of two of the given variables, and is extended to the added ones.
    """

    gaussians: frozenset[Symbol]
    given: Covariance
    added: set[Symbol] = field(default_factory=set)

    def covariance(self, g: Symbol, h: Symbol) -> Expr:
        # Variables of the basis are standard normal and independent of everything else.
        if g in self.added or h in self.added:
            return S.One if g == h else S.Zero
        return self.given(g, h)

    def terms(self, expr: Expr) -> list[Term]:
        """`expr` as a sum of terms. Raises NotClosed for a function that the basis does not have."""
        form = affine(expr, self.gaussians)
        if form is not None:
            return [Term(powers=(form,))] if form.linear else [Term(coefficient=expr)]
        if isinstance(expr, Add):
            return [term for arg in expr.args for term in self.terms(arg)]
        if isinstance(expr, Mul):
            return self._product([self.terms(arg) for arg in expr.args])
        # (A higher power is left to quadrature.)
        if isinstance(expr, Pow) and expr.exp.is_Integer and 0 < expr.exp <= 12:
            return self._power(expr.base, int(expr.exp))
        rule = _RULES.get(expr.func)
        if rule is None:
            raise NotClosed(f"{expr.func.__name__}")
        return rule(self, *expr.args)

    def _power(self, base: Expr, exponent: int) -> list[Term]:
        if isinstance(base, sympy.sign):
            return self._sign_squared(base.args[0]) if exponent % 2 == 0 else self.terms(base)
        if isinstance(base, sympy.Abs) and exponent % 2 == 0:
            return self.terms(base.args[0]**exponent)
        if isinstance(base, step):
            # 0 and 1 are their own powers.
            return self.terms(base)
        # relu(x)**k = x**(k-1) relu(x), of which the product of k sums of two terms would have 2**k.
        if isinstance(base, relu):
            return self._product([self.terms(base.args[0]**(exponent - 1)), self.terms(base)])
        # Every factor erf needs a variable of its own: erf(x)**2 = E sign(x sqrt(2) + w) sign(x sqrt(2) + w').
        if isinstance(base, erf) or not _many(self.terms(base), exponent):
            return self._product([self.terms(base) for _ in range(exponent)])
        raise NotClosed("a power with many terms")

    def _product(self, sums: list[list[Term]]) -> list[Term]:
        result = [Term()]
        for terms in sums:
            if len(result) * len(terms) > MOST_TERMS:
                raise NotClosed("a product with many terms")
            result = [product for a in result for b in terms for product in _multiply(a, b)]
        return result

    def _sign_squared(self, x: Expr) -> list[Term]:
        """sign(x)**2, which is not 1 where x is 0 on more than a point, as sign(relu(u))**2."""
        form = affine(x, self.gaussians)
        return self.step(x) + self.step(-x) if form is None else [self._nonzero(form)]

    def _nonzero(self, form: Affine) -> Term:
        # Of a form whose variance is 0 in the limit, as W @ x for x = 0, the sign is 0 and so is its square.
        return Term(coefficient=nonzero(form.constant, covariance_of(form, form, self.covariance)))

    def _added(self) -> Affine:
        w = Dummy("w", real=True)
        self.added.add(w)
        return Affine(((w, S.One),))

    def _smoothed(self, x: Expr, scale: Expr) -> Affine:
        form = affine(x, self.gaussians)
        if form is None:
            raise NotClosed("a smooth function of something that is not affine")
        return form.scaled(scale).plus(self._added())

    def relu(self, x: Expr) -> list[Term]:
        form = affine(x, self.gaussians)
        if form is None:
            # relu of a maximum or of an absolute value: x step(x), with the step taken apart.
            return self._product([self.terms(x), self.step(x)])
        if not form.linear:
            return [Term(relu(x))]
        return [Term(S.Half, powers=(form,)), Term(S.Half, powers=(form,), signs=(form,))]

    def step(self, x: Expr) -> list[Term]:
        form = affine(x, self.gaussians)
        if form is None:
            return self._step_of_pieces(x)
        if not form.linear:
            return [Term(step(x))]
        # (1 + sign(0))/2 is 1/2, but step(0) = 0: the 1 is left out where the form is 0 for sure.
        whole = self._nonzero(form)
        return [replace(whole, coefficient=whole.coefficient / 2), Term(S.Half, signs=(form,))]

    def sign(self, x: Expr) -> list[Term]:
        form = affine(x, self.gaussians)
        if form is None:
            return self.step(x) + _scaled(self.step(-x), -S.One)
        return [Term(signs=(form,))] if form.linear else [Term(sympy.sign(x))]

    def abs(self, x: Expr) -> list[Term]:
        if affine(x, self.gaussians) is not None:
            return self._product([self.terms(x), self.sign(x)])
        # |x| = x (2 step(x) - 1): at x = 0 the first factor is 0.
        return self._product([self.terms(x), _scaled(self.step(x), 2 * S.One) + [Term(-S.One)]])

    def _step_of_pieces(self, x: Expr) -> list[Term]:
        """The step of c max(p, q) + r: the union of those of c p + r and c q + r, and for c < 0 their intersection."""
        part, scale, inner = _with_pieces(x)
        one, other = (self.step(x - part + scale * piece) for piece in pieces(inner))
        both = self._product([one, other])
        # min(p, q) > 0 if both are, max(p, q) > 0 if one is; a negative factor changes the two.
        if (scale > 0) == isinstance(inner, Min):
            return both
        return one + other + _scaled(both, -S.One)

    def _delta_of_pieces(self, x: Expr) -> list[Term]:
        """The Dirac delta of c max(p, q) + r: that of c p + r where p > q, and of c q + r where q > p."""
        part, scale, inner = _with_pieces(x)
        p, q = pieces(inner)
        order = -1 if isinstance(inner, Min) else 1
        return (self._product([self.delta(x - part + scale * p), self.step(order * (p - q))])
                + self._product([self.delta(x - part + scale * q), self.step(order * (q - p))]))

    def max(self, *args: Expr) -> list[Term]:
        rest = Max(*args[1:])
        # max(a, b) = b + relu(a - b).
        return self.terms(rest) + self.relu(args[0] - rest)

    def min(self, *args: Expr) -> list[Term]:
        rest = Min(*args[1:])
        # min(a, b) = b - relu(b - a).
        return self.terms(rest) + _scaled(self.relu(rest - args[0]), -S.One)

    def erf(self, x: Expr) -> list[Term]:
        return [Term(signs=(self._smoothed(x, sqrt(2)),))]

    def gelu(self, x: Expr) -> list[Term]:
        return self.terms(x * normal_cdf(x))

    def delta(self, x: Expr, order: Expr = S.Zero) -> list[Term]:
        # Its mean would have a derivative of the density, which no rule of `closed.py` has.
        if order != 0:
            raise NotClosed("the derivative of a Dirac delta")
        form = affine(x, self.gaussians)
        return self._delta_of_pieces(x) if form is None else [Term(deltas=(form,))]

    def sin(self, x: Expr) -> list[Term]:
        return [Term(wave=("sin", self._affine(x)))]

    def cos(self, x: Expr) -> list[Term]:
        return [Term(wave=("cos", self._affine(x)))]

    def _affine(self, x: Expr) -> Affine:
        form = affine(x, self.gaussians)
        if form is None:
            raise NotClosed("a wave of something that is not affine")
        return form

    def exp(self, x: Expr) -> list[Term]:
        """exp of an affine form, or of one minus squares."""
        linear, squares = Affine(()), []
        for part in Add.make_args(x):
            form = affine(part, self.gaussians)
            if form is not None:
                linear = linear.plus(form)
                continue
            scale, inner = part.as_independent(*self.gaussians, as_Add=False)
            square = inner.base if isinstance(inner, Pow) and inner.exp == 2 else None
            # E exp(a s**2) is infinite from Var s = 1/(2 a) on.
            if square is None or not (-scale).is_nonnegative:
                raise NotClosed("an exponential that grows faster than linearly")
            # exp(-a s**2) = sqrt(2 pi) E_w delta(sqrt(2 a) s + w).
            squares.append(self._smoothed(square, sqrt(-2 * scale)))
        return [Term(sqrt(2 * pi)**len(squares), deltas=tuple(squares), exponent=linear)]


_RULES = {
    relu: GaussianBasis.relu, step: GaussianBasis.step, sympy.sign: GaussianBasis.sign, sympy.Abs: GaussianBasis.abs,
    Max: GaussianBasis.max, Min: GaussianBasis.min,
    erf: GaussianBasis.erf, gelu: GaussianBasis.gelu, exp: GaussianBasis.exp, DiracDelta: GaussianBasis.delta, sympy.sin: GaussianBasis.sin,
    sympy.cos: GaussianBasis.cos,
}


def _scaled(terms: list[Term], factor: Expr) -> list[Term]:
    return [replace(term, coefficient=factor * term.coefficient) for term in terms]


def _with_pieces(x: Expr) -> tuple[Expr, Expr, Expr]:
    """A term of a sum that is a number times a function of pieces, the number and the function.

    Raises:
        NotClosed: if there is none.
    """
    for part in Add.make_args(x):
        scale, inner = part.as_coeff_Mul()
        if isinstance(inner, (sympy.Abs, relu, Max, Min)):
            return part, scale, inner
    raise NotClosed("a jump at something that is not affine")


def pieces(x: Expr) -> tuple[Expr, Expr]:
    """What an absolute value, relu, maximum or minimum chooses from."""
    if isinstance(x, sympy.Abs):
        return x.args[0], -x.args[0]
    if isinstance(x, relu):
        return x.args[0], S.Zero
    return x.args[0], x.func(*x.args[1:])


def _many(terms: list[Term], exponent: int) -> bool:
    return len(list(combinations_with_replacement(range(len(terms)), exponent))) > MOST_TERMS


def _multiply(a: Term, b: Term) -> list[Term]:
    product = Term(a.coefficient * b.coefficient, a.powers + b.powers, a.signs + b.signs, a.deltas + b.deltas,
                   # exp(a) exp(b) = exp(a + b): a term has one exponent, as it has one wave.
                   a.exponent.plus(b.exponent), a.wave or b.wave)
    if a.wave is None or b.wave is None:
        return [product]
    return [replace(product, coefficient=product.coefficient * c, wave=wave) for c, wave in _waves(a.wave, b.wave)]


def _waves(a: tuple[str, Affine], b: tuple[str, Affine]) -> list[tuple[Expr, tuple[str, Affine]]]:
    """A product of two waves as a sum of two."""
    plus, minus = a[1].plus(b[1]), a[1].plus(b[1].scaled(S.NegativeOne))
    match a[0], b[0]:
        case "sin", "sin":
            return [(S.Half, ("cos", minus)), (-S.Half, ("cos", plus))]
        case "cos", "cos":
            return [(S.Half, ("cos", minus)), (S.Half, ("cos", plus))]
        case "sin", "cos":
            return [(S.Half, ("sin", plus)), (S.Half, ("sin", minus))]
        case _:
            return [(S.Half, ("sin", plus)), (-S.Half, ("sin", minus))]
