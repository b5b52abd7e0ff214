"""Closed two-point functions E[f(u) g(v)] of pieces as source text, for centred Gaussians of covariance `kab`.

A formula is written through a `DualScope`: `row` asks for a quantity of one index, computed outside of the pair loop, and
`let` names a value of the pair; equal texts are computed once, so relu and its derivative share the correlation, its
root and the polynomial's argument.

Sources: Cho and Saul 2009 (|u| and sign: the arc-cosine kernels of degree 1 and 0), Williams 1998 (erf), Tsuchida
et al. arXiv 2002.08517 (gelu); the others by Stein's lemma from E[erf erf] and its Gaussian derivatives. A polynomial
pairs with any piece: E[p(u) g(v)] = sum_n kab**n / n! E[p^(n)(u)] E[g^(n)(v)], Price's theorem iterated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import sympy
from sympy.printing.numpy import NumPyPrinter

from tensorprog.pairs.codegen.arcsine import SERIES, SINH, horner
from tensorprog.pairs.codegen.pieces import Piece
from tensorprog.pairs.codegen.steps import Near
from tensorprog.pairs.program import SIDES, Side

#: Derivatives at 0 that are looked at: every piece other than a power is constant, linear or quadratic there.
MOST_ORDERS = 3


class NoClosedForm(Exception):
    """Two pieces, or a function, without a formula in the table."""


class DualScope(Protocol):
    """Where a formula puts its text."""

    kab: str

    def row(self, side: Side, text: str) -> str:
        """The name of a quantity of one index: NumPy `text` of the variance `q`."""

    def let(self, text: str, exact: str | None = None, diagonal: str | None = None, near: Near = None) -> str:
        """The name of a value of the pair; in NumPy, on the diagonal, `diagonal` stands for the text, and `exact` where
        u and v are the same variable. `near`: what it
        is, if digits are lost where u and v are nearly the same."""


def expectation(scope: DualScope, phi: Mapping[Piece, float], psi: Mapping[Piece, float]) -> str:
    """Source text of E[phi(u) psi(v)]; raises NoClosedForm."""
    if _cancels(phi) or _cancels(psi):
        raise NoClosedForm("pieces that cancel at small variances")
    terms = []
    for f, a in phi.items():
        for g, b in psi.items():
            text = _pair(scope, f, g)
            if text is not None:
                terms.append(text if a * b == 1 else f"{number(a * b)}*{text}")
    return "(" + " + ".join(terms or [number(0.0)]) + ")"


def _cancels(phi: Mapping[Piece, float]) -> bool:
    """Whether the pieces of a function cancel near 0 to leading order, as those of 1 - cos(x): at small variances their
    expectations would leave nothing but rounding errors."""
    # Nothing that is smooth cancels a jump or a kink at 0.
    if any(piece.kind == "sign" for piece in phi):
        return False
    for order in range(MOST_ORDERS):
        values = [a * _derivative_at_zero(piece, order) for piece, a in phi.items()]
        if any(values):
            return abs(sum(values)) <= 1e-9 * sum(map(abs, values))
    return False


@lru_cache(maxsize=256)
def _derivative_at_zero(piece: Piece, order: int) -> float:
    m, q = sympy.Symbol("m", real=True), sympy.Symbol("q", positive=True)
    return float(sympy.diff(_smoothed(piece, m, q).subs(q, 0), m, order).subs(m, 0))


def number(value: float) -> str:
    """A literal of the kernel's precision."""
    return f"f8({float(value)!r})"


def correlation(scope: DualScope) -> str:
    """The correlation of u and v, 0 where a variance is 0."""
    a, b = (scope.row(side, "rt.inverse_root(q)") for side in ("a", "b"))
    # Rounding makes correlations of equal rows 1 + 2e-16, where root and arcsine would be NaN.
    return scope.let(f"clamp({scope.kab}*{a}*{b}, f8(-1.0), f8(1.0))", exact="np.where(q > 0.0, 1.0, 0.0)",
                     near="correlation")


def _pair(scope: DualScope, f: Piece, g: Piece) -> str | None:
    """E[f(u) g(v)], None for zero."""
    # An odd function of u times an even one of v changes its sign with both.
    if -1 not in (f.parity, g.parity) and f.parity != g.parity:
        return None
    if "power" in (f.kind, g.kind):
        return _with_power(scope, f, g)
    kinds = {f.kind, g.kind}
    if kinds == {"sign"}:
        return _signs(scope, f, g)
    if kinds <= {"erf", "xerf", "gauss", "xgauss"}:
        return _error_functions(scope, f, g)
    if kinds <= {"exp", "sin", "cos"}:
        return _exponentials(scope, f, g)
    raise NoClosedForm(f"{f} and {g}")


def _with_power(scope: DualScope, f: Piece, g: Piece) -> str | None:
    """A monomial and any piece; f is the first argument's."""
    (side, other), power, piece = (SIDES, int(f.k), g) if f.kind == "power" else (SIDES[::-1], int(g.k), f)
    terms = []
    for n in range(power + 1):
        # Odd moments of u, and means of odd derivatives of g.
        rest = power - n
        if rest % 2 or (piece.parity >= 0 and (n - piece.parity) % 2):
            continue
        factors = [scope.kab] * n
        # E[(u**p)^(n)] / n! = binom(p, n) E[u**(p - n)], and E[u**(2 k)] = (2 k - 1)!! q**k.
        scale = math.comb(power, n) * math.prod(range(1, rest, 2))
        if rest or scale != 1:
            factors.append(scope.row(side, f"({float(scale)!r}*q**{rest // 2})"))
        text = _mean_derivative(piece, n)
        if text is None:
            continue
        if text != "1":
            # The mean of a derivative of a kink is infinite at variance 0, where kab is 0 as well.
            factors.append(scope.row(other, f"rt.finite({text})"))
        terms.append("*".join(factors) or number(1.0))
    return "(" + " + ".join(terms) + ")" if terms else None


def _mean_derivative(piece: Piece, n: int) -> str | None:
    """NumPy text of E[g^(n)(v)], the n-th derivative at m = 0 of E[g(m + v)]."""
    m, q = sympy.Symbol("m", real=True), sympy.Symbol("q", positive=True)
    value = sympy.diff(_smoothed(piece, m, q), m, n).subs(m, 0)
    if value == 0:
        return None
    return "1" if value == 1 else NumPyPrinter().doprint(value.evalf(17)).replace("numpy.", "np.")


def _smoothed(piece: Piece, m: sympy.Symbol, q: sympy.Symbol) -> sympy.Expr:
    """E[g(m + v)] for v of variance q."""
    k, exp, sqrt = sympy.Float(piece.k), sympy.exp, sympy.sqrt
    match piece.kind:
        case "power":
            return sum(math.comb(int(piece.k), j) * math.prod(range(1, j, 2)) * m**(int(piece.k) - j) * q**(j // 2)
                       for j in range(0, int(piece.k) + 1, 2))
        case "sign":
            value = sympy.erf(m / sqrt(2 * q))
            for _ in range(int(piece.k)):  # E[x f(x)] = m E f + q d/dm E f
                value = m * value + q * sympy.diff(value, m)
            return value
        case "erf" | "xerf":
            # erf is the mean of a sign over a Gaussian of variance 1/2 in its argument, which adds to k q.
            value = sympy.erf(sqrt(k) * m / sqrt(1 + 2 * k * q))
            return value if piece.kind == "erf" else m * value + q * sympy.diff(value, m)
        case "gauss" | "xgauss":
            value = exp(-k * m**2 / (1 + 2 * k * q)) / sqrt(1 + 2 * k * q)
            # x exp(-k x**2) is the derivative of exp(-k x**2) over -2 k.
            return value if piece.kind == "gauss" else -sympy.diff(value, m) / (2 * k)
        case "exp":
            return exp(k * m + k**2 * q / 2)
    return getattr(sympy, piece.kind)(k * m) * exp(-k**2 * q / 2)


def _signs(scope: DualScope, f: Piece, g: Piece) -> str:
    """E[sign sign] = (2/pi) asin(c) and E|u v| = sa sb (2/pi) (sqrt(1 - c**2) + c asin(c))."""
    # Arc-cosine kernels of higher degree (Cho and Saul 2009, Eq. 6) are not in the table.
    if (f.k, g.k) not in ((0, 0), (1, 1)):
        raise NoClosedForm(f"{f} and {g}")
    c = correlation(scope)
    # As a product: 1 - c**2 has lost the digits of a small root.
    root = scope.let(f"np.sqrt((f8(1.0) - {c})*(f8(1.0) + {c}))")
    angle = _arcsine(scope, c, root)
    if f.k == 0:
        return angle
    folded = scope.let(f"{_scaled(scope, root)} + {c}*{angle}", exact="1.0")
    return f"{scope.row('a', 'np.sqrt(q)')}*{scope.row('b', 'np.sqrt(q)')}*{folded}"


def _scaled(scope: DualScope, root: str) -> str:
    return scope.let(f"{number(2 / math.pi)}*{root}")


def _arcsine(scope: DualScope, c: str, root: str) -> str:
    """(2/pi) asin(c) with root = sqrt(1 - c**2), exact relative to a small c: covariances of error functions of small
    variances; and to a small root."""
    m = scope.let(f"abs({c})")
    low = scope.let(f"{m} < f8(0.5)")
    # In both halves w is in [0, 1/4], so that they share a polynomial, and a strip needs no branch.
    w = scope.let(f"select({low}, {m}*{m}, f8(0.5) - f8(0.5)*{m})")
    angle = scope.let(f"{_scaled(scope, root)}*(f8(1.0) + {w}*{scope.let(horner(w, SERIES))})")
    text = f"copysign(select({low}, {m}*{angle}, f8(1.0) - {angle}), {c})"
    # From sine and cosine, the angle has all its digits at both ends.
    return scope.let(text, diagonal=f"np.arctan2({c}, {root})/{math.asin(1.0)!r}")


def _error_functions(scope: DualScope, f: Piece, g: Piece) -> str:
    """Products of erf(alpha u), its derivative and their multiples by u; D = 1 + 2 alpha**2 q, with k = alpha**2.

    With t = 2 alpha beta kab / sqrt(Da Db): E[erf erf] = (2/pi) asin t, and for Gauss functions
    E[exp(-alpha**2 u**2) exp(-beta**2 v**2)] = 1 / sqrt(Da Db (1 - t**2)). At large variances t is near 1, and what is
    small comes from the determinant qa qb - kab**2: Da Db (1 - t**2) = 1 + 2 a qa + 2 b qb + 4 a b (qa qb - kab**2).
    """
    a, b = f.k, g.k
    ia, ib = (scope.row(side, f"(1.0/(1.0 + {2 * s!r}*q))") for side, s in zip(SIDES, (a, b)))
    ra, rb = (scope.row(side, f"np.sqrt({2 * s!r}/(1.0 + {2 * s!r}*q))") for side, s in zip(SIDES, (a, b)))
    k, kinds = scope.kab, (f.kind, g.kind)
    qa, qb = _own(scope, "a"), _own(scope, "b")
    c = correlation(scope)
    # qa qb - kab**2 by the correlation, whose distance from 1 is known to more digits than the difference.
    gap = scope.let(f"{qa}*{qb}*((f8(1.0) - {c})*(f8(1.0) + {c}))", exact="0.0*q")
    t = scope.let(f"clamp({k}*{ra}*{rb}, f8(-1.0), f8(1.0))")
    # Their sum has the 1 of the determinant once.
    da, db = (scope.row(side, f"({constant!r} + {2 * s!r}*q)") for side, s, constant in zip(SIDES, (a, b), (1.0, 0.0)))
    root = scope.let(f"np.sqrt(({da} + {db} + {number(4 * a * b)}*{gap})*{ia}*{ib})")
    if kinds == ("erf", "erf"):
        return _arcsine(scope, t, root)
    inverse = scope.let(f"f8(1.0)/{root}")
    base = scope.let(f"{ra}*{rb}*{inverse}")  # 2 sqrt(a b) times the expectation of two Gauss functions
    norm = {"erf": 2 / math.sqrt(math.pi), "xerf": 2 / math.sqrt(math.pi)}
    scale = 1.0
    for p, s in ((f, a), (g, b)):
        scale *= norm.get(p.kind, 1 / math.sqrt(s)) / math.sqrt(2)
    match kinds:
        case ("gauss", "gauss"):
            value = base
        case ("xgauss", "xgauss"):
            value = f"{base}*{k}*{ia}*{ib}*{inverse}*{inverse}"
        case ("erf", "xgauss"):
            value = f"{base}*{k}*{ib}"
        case ("xgauss", "erf"):
            value = f"{base}*{k}*{ia}"
        case ("xerf", "gauss"):
            value = f"{base}*{ib}*({qa} + {number(2 * b)}*{gap})"
        case ("gauss", "xerf"):
            value = f"{base}*{ia}*({qb} + {number(2 * a)}*{gap})"
        case _:
            return f"({k}*{_arcsine(scope, t, root)} + {number(scale)}*{base}*({gap} + {k}*{k}*({ia} + {ib})))"
    return f"{number(scale)}*{value}"


def _own(scope: DualScope, side: Side) -> str:
    return scope.row(side, "q")


def _exponentials(scope: DualScope, f: Piece, g: Piece) -> str:
    """E[exp(z u) exp(w v)] = exp((z**2 kaa + 2 z w kab + w**2 kbb)/2), or its parts for imaginary z, w."""
    ea, eb = (scope.row(s, f"({(0.5 if p.kind == 'exp' else -0.5) * p.k**2!r}*q)") for s, p in zip(SIDES, (f, g)))
    # For what it notes: nearly equal rows are told by their correlation, which the formula itself does not need.
    correlation(scope)
    cross = scope.let(f"{number(f.k * g.k)}*{scope.kab}", near="covariance")
    kinds = {f.kind, g.kind}
    if kinds == {"exp"}:
        return scope.let(f"np.exp({cross} + {ea} + {eb})")
    if "exp" in kinds:
        function = (kinds - {"exp"}).pop()
        return scope.let(f"np.exp({ea} + {eb})*np.{function}({cross})")
    sign = "-" if f.kind == "sin" else "+"
    plus, minus = (scope.let(f"np.exp({s}{cross} + {ea} + {eb})") for s in ("", "-"))
    half = f"f8(0.5)*({plus} {sign} {minus})"
    if sign == "+":
        return half
    # The difference loses all digits of a small sinh.
    small = scope.let(f"np.exp({ea} + {eb})*{cross}*{scope.let(horner(f'({cross}*{cross})', SINH))}")
    return scope.let(f"select(abs({cross}) < f8(0.5), {small}, {half})")
