"""Functions of covariances that closed forms are written in, safe where a covariance is singular.

Each stands for a plain formula (`plain` puts it in, for printing), and has a Numba counterpart of the same name in
`runtime/expectations.py`, which clamps what rounding pushed out of range and gives limits where a variance is zero. `s` is a
standard deviation, `k` a covariance, `m` a mean.
"""

from __future__ import annotations

import sympy
from sympy import Expr, Function, S, Symbol, asin, erf, exp, pi, sqrt
from sympy.printing.latex import LatexPrinter


class root(Function):
    """sqrt(k), the standard deviation of a variance; 0 for k < 0."""

    nargs = 1

    @classmethod
    def eval(cls, k: Expr) -> Expr | None:
        return sqrt(k) if k.is_number and k.is_nonnegative else None

    @staticmethod
    def formula(k: Expr) -> Expr:
        return sqrt(k)


class ratio(Function):
    """k / s; 0 where s = 0 (k is a covariance with something of standard deviation s, so it is 0 too)."""

    nargs = 2

    @classmethod
    def eval(cls, k: Expr, s: Expr) -> Expr | None:
        if k.is_zero:
            return S.Zero
        if s.is_number and s.is_positive:
            return k / s
        # Where k cancels all of s, the quotient is not singular.
        quotient = k / s
        # (As of sqrt(k)*c over sqrt(k); s alone in a denominator keeps its guard.)
        return None if quotient.as_numer_denom()[1].has(*_bases(s)) else quotient

    @staticmethod
    def formula(k: Expr, s: Expr) -> Expr:
        return k / s


def _bases(s: Expr) -> list[Expr]:
    return [factor.as_base_exp()[0] for factor in sympy.Mul.make_args(s) if not factor.is_number]


class cosine(Function):
    """The correlation k12 / sqrt(k11 k22), within [-1, 1]; 0 where a variance is 0."""

    nargs = 3

    @classmethod
    def eval(cls, k12: Expr, k11: Expr, k22: Expr) -> Expr | None:
        if k12.is_zero:
            return S.Zero
        # One expression for all three: the two variables are the same, whatever its value is, and rounding is out of it.
        if k12 == k11 == k22:
            return S.One
        return cls.formula(k12, k11, k22) if _regular(k12, k11, k22) else None

    @staticmethod
    def formula(k12: Expr, k11: Expr, k22: Expr) -> Expr:
        return k12 / sqrt(k11 * k22)


class sine(Function):
    """sqrt(1 - c**2) of the correlation c: by what a standard deviation shrinks under conditioning."""

    nargs = 3

    @classmethod
    def eval(cls, k12: Expr, k11: Expr, k22: Expr) -> Expr | None:
        if k12.is_zero:
            return S.One
        if k12 == k11 == k22:
            return S.Zero
        return cls.formula(k12, k11, k22) if _regular(k12, k11, k22) else None

    @staticmethod
    def formula(k12: Expr, k11: Expr, k22: Expr) -> Expr:
        return sqrt(1 - k12**2 / (k11 * k22))


class arcsine(Function):
    """asin of the correlation; 0 where a variance is 0."""

    nargs = 3

    @classmethod
    def eval(cls, k12: Expr, k11: Expr, k22: Expr) -> Expr | None:
        if k12.is_zero:
            return S.Zero
        # Not pi/2 for u = v: with variance 0 it is 0, as the mean of sign(0)**2 is.
        return cls.formula(k12, k11, k22) if _regular(k12, k11, k22) else None

    @staticmethod
    def formula(k12: Expr, k11: Expr, k22: Expr) -> Expr:
        return asin(k12 / sqrt(k11 * k22))


def _regular(k12: Expr, k11: Expr, k22: Expr) -> bool:
    if not (k12.is_number and k11.is_number and k22.is_number and k11.is_positive and k22.is_positive):
        return False
    # Numbers that are no covariances, by rounding, are left to the runtime, which clamps them.
    return bool(k12**2 <= k11 * k22)


class nonzero(Function):
    """Whether a Gaussian of mean m and variance k is almost surely not 0, as 1 or 0."""

    nargs = 2

    @classmethod
    def eval(cls, m: Expr, k: Expr) -> Expr | None:
        # A variance that is only known to be nonnegative, as one with parameters in it, is looked at in the run.
        if k.is_positive or (m.is_number and m.is_nonzero):
            return S.One
        return S.Zero if k.is_zero and m.is_zero else None

    @staticmethod
    def formula(m: Expr, k: Expr) -> Expr:
        return S.One


class density(Function):
    """exp(-(m/s)**2 / 2), the Gaussian density at 0 over that at its mean; 0 where s = 0 and m is not."""

    nargs = 2

    @classmethod
    def eval(cls, m: Expr, s: Expr) -> Expr | None:
        return S.One if m.is_zero else None

    @staticmethod
    def formula(m: Expr, s: Expr) -> Expr:
        # Without the factor 1/(s sqrt(2 pi)), which is singular at s = 0 and cancels in most uses.
        return exp(-(m / s)**2 / 2)


class sign_mean(Function):
    """E sign(m + s x), x standard normal."""

    nargs = 2

    @classmethod
    def eval(cls, m: Expr, s: Expr) -> Expr | None:
        return S.Zero if m.is_zero else None

    @staticmethod
    def formula(m: Expr, s: Expr) -> Expr:
        # 2 Phi(m/s) - 1.
        return erf(m / (sqrt(2) * s))


class sign_of_sum(Function):
    """E sign(a + b + s x): a sum that is zero but for rounding has the sign 0, which matters where s is zero too."""

    nargs = 3

    @staticmethod
    def formula(a: Expr, b: Expr, s: Expr) -> Expr:
        return erf((a + b) / (sqrt(2) * s))


class sign_pair(Function):
    """E sign(m1 + u) sign(m2 + v), (u, v) Gaussian with variances k11, k22 and covariance k12."""

    nargs = 5

    @staticmethod
    def formula(m1: Expr, k11: Expr, m2: Expr, k22: Expr, k12: Expr) -> Expr:
        s1, s2 = sqrt(k11), sqrt(k22)
        upper = normal_cdf_2(m1 / s1, m2 / s2, k12 / (s1 * s2))
        # 4 P(+, +) - 2 P(+, .) - 2 P(., +) + 1, with 2 Phi(x) = 1 + erf(x/sqrt(2)).
        return 4 * upper - 1 - erf(m1 / (sqrt(2) * s1)) - erf(m2 / (sqrt(2) * s2))


class normal_cdf_2(Function):
    """P(x < a, y < b), (x, y) standard normal with correlation c; only for printing."""

    nargs = 3

    def _latex(self, printer: LatexPrinter, exp: str | None = None) -> str:
        return r"\Phi_2\left(" + ", ".join(map(printer._print, self.args)) + r"\right)" + (f"^{{{exp}}}" if exp else "")


class arc1(Function):
    """E relu(u) relu(v): the arc-cosine kernel of degree 1, over 2."""

    nargs = 3

    @staticmethod
    def formula(k11: Expr, k12: Expr, k22: Expr) -> Expr:
        # J_1 of Cho and Saul (Kernel Methods for Deep Learning, 2009), with the angle acos(c); below, J_2 and J_0.
        c = k12 / sqrt(k11 * k22)
        return sqrt(k11 * k22) * (sqrt(1 - c**2) + (pi - sympy.acos(c)) * c) / (2 * pi)


class arc2(Function):
    """E relu(u)**2 relu(v)**2: the arc-cosine kernel of degree 2, over 2."""

    nargs = 3

    @staticmethod
    def formula(k11: Expr, k12: Expr, k22: Expr) -> Expr:
        c = k12 / sqrt(k11 * k22)
        return k11 * k22 * (3 * c * sqrt(1 - c**2) + (pi - sympy.acos(c)) * (1 + 2 * c**2)) / (2 * pi)


class arc0(Function):
    """E step(u) step(v): the arc-cosine kernel of degree 0, over 2."""

    nargs = 3

    @staticmethod
    def formula(k11: Expr, k12: Expr, k22: Expr) -> Expr:
        return (pi - sympy.acos(k12 / sqrt(k11 * k22))) / (2 * pi)


class arc_mixed(Function):
    """E relu(u) step(v)."""

    nargs = 3

    @staticmethod
    def formula(k11: Expr, k12: Expr, k22: Expr) -> Expr:
        # s1 (1 + c) / (2 sqrt(2 pi)).
        return (sqrt(k11) + k12 / sqrt(k22)) / (2 * sqrt(2 * pi))


class arc_mixed2(Function):
    """E relu(u)**2 step(v)."""

    nargs = 3

    @staticmethod
    def formula(k11: Expr, k12: Expr, k22: Expr) -> Expr:
        c = k12 / sqrt(k11 * k22)
        return k11 * (pi - sympy.acos(c) + c * sqrt(1 - c**2)) / (2 * pi)


class determinant(Function):
    """k11 k22 - k12**2."""

    nargs = 3

    @staticmethod
    def formula(k12: Expr, k11: Expr, k22: Expr) -> Expr:
        return k11 * k22 - k12**2


class decay(Function):
    """exp(-k/2): the mean of a wave of variance k."""

    nargs = 1

    @staticmethod
    def formula(k: Expr) -> Expr:
        return exp(-k / 2)


class growth(Function):
    """exp(k/2): the mean of the exponential of a variable of variance k."""

    nargs = 1

    @staticmethod
    def formula(k: Expr) -> Expr:
        return exp(k / 2)


class sine_pair(Function):
    """E sin(u) sin(v), from the covariance and the variances of u - v and u + v."""

    nargs = 3

    @staticmethod
    def formula(k12: Expr, difference: Expr, total: Expr) -> Expr:
        # sin u sin v = (cos(u - v) - cos(u + v))/2, and the mean of a cosine is exp(-variance/2).
        return (exp(-difference / 2) - exp(-total / 2)) / 2


class growth_less_one(Function):
    """exp(k) - 1."""

    nargs = 1

    @staticmethod
    def formula(k: Expr) -> Expr:
        return exp(k) - 1


class exact_sum(Function):
    """A sum that is rounded once."""

    @staticmethod
    def formula(*terms: Expr) -> Expr:
        return sympy.Add(*terms)


class noisy_determinant(Function):
    """(e1 + k11) (e2 + k22) - k12**2, of which no digit is lost where the variances k are large and the e are not."""

    nargs = 5

    @staticmethod
    def formula(k12: Expr, e1: Expr, k11: Expr, e2: Expr, k22: Expr) -> Expr:
        return (e1 + k11) * (e2 + k22) - k12**2


class noisy_arcsine(Function):
    """asin of the correlation of variances e1 + k11 and e2 + k22."""

    nargs = 5

    @staticmethod
    def formula(k12: Expr, e1: Expr, k11: Expr, e2: Expr, k22: Expr) -> Expr:
        return asin(k12 / sqrt((e1 + k11) * (e2 + k22)))


GUARDED = (root, ratio, cosine, sine, arcsine, nonzero, density, sign_mean, sign_of_sum, sign_pair, arc0, arc1, arc2,
           arc_mixed, arc_mixed2, determinant, decay, growth, growth_less_one, sine_pair, exact_sum, noisy_determinant, noisy_arcsine)

#: Of two variables, and steep where their correlation is 1 or -1, or vanishing there: the last digit of a covariance shows.
STEEP = (sine, arcsine, sign_pair, arc0, arc1, arc2, arc_mixed, arc_mixed2, determinant, decay, growth, sine_pair)


def plain(expr: Expr) -> Expr:
    """The expression with every guarded function written out, as for regular covariances."""
    if not expr.args:
        return expr
    args = [plain(arg) for arg in expr.args]
    if isinstance(expr, GUARDED):
        return type(expr).formula(*args)
    return expr if tuple(args) == expr.args else expr.func(*args)


def accurate(expr: Expr) -> Expr:
    """The expression with sums inside of decaying or growing functions rounded once, and those of independent variances
    kept apart in determinants."""
    if not expr.args:
        return expr
    args = [accurate(arg) for arg in expr.args]
    # An absolute error of the exponent is a relative one of the value: the sum of covariances is rounded once.
    if isinstance(expr, decay | growth):
        return expr.func(_summed_once(args[0]))
    if isinstance(expr, sine_pair):
        return expr.func(args[0], *map(_summed_once, args[1:]))
    if isinstance(expr, determinant | arcsine):
        # The number in a variance is that of an independent part, which k12 has none of.
        (e1, k11), (e2, k22) = (k.as_coeff_Add() for k in args[1:])
        if e1 or e2:
            return (noisy_determinant if isinstance(expr, determinant) else noisy_arcsine)(args[0], e1, k11, e2, k22)
    return expr.func(*args)


def _summed_once(expr: Expr) -> Expr:
    whole = sympy.factor_terms(expr)
    return whole.func(*(_summed_once(a) for a in whole.args)) if isinstance(whole, sympy.Mul) else (
        exact_sum(*whole.args) if isinstance(whole, sympy.Add) else whole)


def magnitude(expr: Expr) -> Expr:
    """What the expression would be if no terms of its sums cancelled, nor those that the function of a pair of jumps is made of."""
    if isinstance(expr, sign_pair | density):
        return S.One if isinstance(expr, sign_pair) else expr
    if isinstance(expr, sympy.Add):
        return sympy.Add(*map(magnitude, expr.args))
    if isinstance(expr, sympy.Mul):
        return sympy.Mul(*map(magnitude, expr.args))
    if isinstance(expr, sympy.Pow) and expr.exp.is_number:  # of a base that is not known to be positive, as 1 + k
        return sympy.Abs(expr.base)**expr.exp
    return expr if expr.is_nonnegative else sympy.Abs(expr)


def rounding(expr: Expr, variables: frozenset[Symbol]) -> Expr:
    """What the errors of sums that cancel are units in the last place of; 0 if there are none. (A polynomial, or the argument of
    a function, is moved by rounding as it is by that of the data.)"""
    if not expr.free_symbols & variables or expr.is_polynomial(*variables):
        return S.Zero
    match expr:
        case sympy.Add():
            inner = sympy.Add(*(rounding(term, variables) for term in expr.args))
            return inner if all(term.is_nonnegative for term in expr.args) else inner + sympy.Add(*map(magnitude, expr.args))
        case sympy.Mul():
            moved = [rounding(factor, variables) for factor in expr.args]
            sizes = [_size(factor, own) for factor, own in zip(expr.args, moved)]
            return sympy.Add(*(own * sympy.Mul(*sizes[:k], *sizes[k + 1:]) for k, own in enumerate(moved) if own != 0))
        case sympy.Pow() if expr.exp.is_number:
            moved_base = rounding(expr.base, variables)
            return abs(expr.exp) * moved_base * _size(expr.base, moved_base)**(expr.exp - 1)
    return S.Zero


def _size(factor: Expr, moved: Expr) -> Expr:
    """How large a factor is, with its rounding errors, of which nothing else may be left."""
    return sympy.Abs(factor) + sympy.Float(2.0**-52) * moved if moved != 0 else sympy.Abs(factor)
