"""Closed forms: E of a term of the basis under jointly Gaussian variables.

An exponential shifts the means (Girsanov), a Dirac delta conditions, a power goes by Stein's lemma,
`E[(y + m) F] = m E[F] + sum_j Cov(y, y_j) E[dF/dy_j]`, with `d sign(y + m) = 2 delta(y + m)`, and what remains are
means of one sign (the error function) and of two (Sheppard's arcsine, or the bivariate normal distribution off the
origin).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import sympy
from sympy import Add, Expr, S, pi, sqrt

from tensorprog.expectations.basis import NotClosed
from tensorprog.expectations.family import Family
from tensorprog.expectations.guarded import arcsine, decay, density, growth, ratio, sign_mean, sign_of_sum, sign_pair

# What the rules leave in the list of steps.
STEIN, GIRSANOV, CONDITIONING, SYMMETRY, INDEPENDENCE = (
    "Stein's lemma", "Girsanov shift", "conditioning on a jump", "odd symmetry", "independence")

Shifted = tuple[int, Expr]  # the variable y_i plus a mean


@dataclass(frozen=True)
class FactorProduct:
    """A product of factors of variables of a family, each shifted by a mean.

    powers: (y + m); signs: sign(y + m); deltas: delta(y + m); exponent: exp(y + m); wave: sin or cos of (y + m).
    """

    powers: tuple[Shifted, ...] = ()
    signs: tuple[Shifted, ...] = ()
    deltas: tuple[Shifted, ...] = ()
    exponent: Shifted | None = None
    wave: tuple[str, int, Expr] | None = None

    @property
    def odd(self) -> bool:
        """Whether y -> -y changes the sign, as far as it shows."""
        waves = (self.wave[1:],) if self.wave is not None else ()
        # With a mean or an exponent, y -> -y makes another product of it.
        if self.exponent is not None or any(m != 0 for _, m in (*self.powers, *self.signs, *self.deltas, *waves)):
            return False
        sine = self.wave is not None and self.wave[0] == "sin"
        # (A delta and a cosine are even.)
        return (len(self.powers) + len(self.signs) + sine) % 2 == 1

    def moved(self, by: list[Expr]) -> FactorProduct:
        """The product with `by[i]` added to the mean of y_i."""

        def move(entries: tuple[Shifted, ...]) -> tuple[Shifted, ...]:
            return tuple((i, m + by[i]) for i, m in entries)

        exponent = None if self.exponent is None else move((self.exponent,))[0]
        wave = None if self.wave is None else (self.wave[0], *move((self.wave[1:],))[0])
        return FactorProduct(move(self.powers), move(self.signs), move(self.deltas), exponent, wave)

    def merged(self, same: dict[int, tuple[int, Expr]]) -> tuple[Expr, FactorProduct]:
        """The product with y_i = c y_j put in for the powers, signs and deltas, and the factor that this takes out."""
        factor = S.One

        def put(entries: tuple[Shifted, ...], taken: Callable[[Expr], Expr]) -> tuple[Shifted, ...]:
            nonlocal factor
            kept = []
            for i, m in entries:
                # y_i + m = c (y_j + m/c).
                j, c = same.get(i, (i, S.One))
                factor *= taken(c)
                kept.append((j, m / c))
            return tuple(kept)

        powers, signs = put(self.powers, lambda c: c), put(self.signs, sympy.sign)
        return factor, replace(self, powers=powers, signs=signs, deltas=put(self.deltas, lambda c: 1 / abs(c)))


@dataclass
class FamilyMeans:
    """E of products over one family; `log` collects the names of the rules."""

    family: Family
    log: set[str]
    _known: dict[FactorProduct, Expr] = field(default_factory=dict)
    _given: dict[int, FamilyMeans] = field(default_factory=dict)

    def value(self, product: FactorProduct) -> Expr:
        """E[product]. Raises NotClosed."""
        if product not in self._known:
            self._known[product] = self._value(product)
        return self._known[product]

    def given(self, k: int, deviations: Expr, product: FactorProduct) -> tuple[FamilyMeans, Expr, FactorProduct]:
        """For y_k held at deviations * sd(y_k): the evaluator, a factor, and the product with the means it gives."""
        if k not in self._given:
            self._given[k] = FamilyMeans(self.family.given(k), self.log)
        if deviations != 0:
            product = product.moved([self._move(i, k, deviations) for i in range(len(self.family.sd))])
        evaluator = self._given[k]
        return evaluator, *product.merged(evaluator.family.same)

    def _move(self, i: int, k: int, deviations: Expr) -> Expr:
        """By what y_i moves with y_k; exactly by the mean of y_k where that is divided out of `deviations`."""
        # y_k + m is then 0 exactly, and not what dividing by sd and multiplying again leaves.
        if i == k and isinstance(-deviations, ratio):
            return -(-deviations).args[0]
        return deviations * self.family.loading(i, k)

    def _value(self, product: FactorProduct) -> Expr:
        # In this order each rule leaves less for the next. Stein's lemma then meets no exponents, no deltas, and no two signs of
        # one variable, of which the product rule does not hold: by it, the jump of sign(y)**3 would be 3 sign(0)**2 2 delta(y) = 0
        # in the place of 2 delta(y).
        if product.odd:
            self.log.add(SYMMETRY)
            return S.Zero
        if product.exponent is not None:
            return self._girsanov(product, product.exponent)
        if product.deltas:
            jump = product.deltas[0]
            return self._at_jump(jump, replace(product, deltas=product.deltas[1:])) / self.family.sd[jump[0]]
        twice = _same_variable(product.signs)
        if twice is not None:
            return self._two_jumps(product, *twice)
        if product.powers:
            return self._stein(product)
        if product.wave is not None:
            return self._wave(product, *product.wave)
        return self._signs(product.signs)

    def _girsanov(self, product: FactorProduct, exponent: Shifted) -> Expr:
        self.log.add(GIRSANOV)
        k, m = exponent
        cov = self.family.cov[k]
        # E[exp(y_k + m) F(y)] = exp(m + Var y_k / 2) E[F(y + Cov(y, y_k))].
        return sympy.exp(m) * growth(cov[k]) * self.value(replace(product, exponent=None).moved(cov))

    def _stein(self, product: FactorProduct) -> Expr:
        (i, m), rest = product.powers[0], product.powers[1:]
        without = replace(product, powers=rest)
        # E[y F] = sum_j Cov(y, y_j) E[dF/dy_j] (Stein), where F is the rest; TP I and II derive their V-transforms so.
        total = [m * self.value(without)] if m != 0 else []
        cov = self.family.cov[i]
        for at, (j, _) in enumerate(rest):
            if cov[j] != 0:
                total.append(cov[j] * self.value(replace(product, powers=rest[:at] + rest[at + 1:])))
        for at, jump in enumerate(product.signs):
            if cov[jump[0]] != 0:
                fewer = replace(without, signs=product.signs[:at] + product.signs[at + 1:])
                # 2 Cov(y_i, y_j) E[delta(y_j + m) ...]: the loading is the covariance over sd, which is a factor of
                # `_at_jump`.
                total.append(2 * self.family.loading(i, jump[0]) * self._at_jump(jump, fewer))
        if product.wave is not None:
            kind, j, phase = product.wave
            slope, turned = (cov[j], "cos") if kind == "sin" else (-cov[j], "sin")
            if slope != 0:
                total.append(slope * self.value(replace(without, wave=(turned, j, phase))))
        self.log.add(STEIN)
        return Add(*total)

    def _two_jumps(self, product: FactorProduct, one: Shifted, other: Shifted) -> Expr:
        """sign(y + a) sign(y + b) = 1 - sign(a - b) (sign(y + a) - sign(y + b)), and sign(y + a)**2 = 1."""
        signs = list(product.signs)
        signs.remove(one)
        signs.remove(other)
        rest = self.value(replace(product, signs=tuple(signs)))
        order = sympy.sign(one[1] - other[1])
        if order == 0:
            return rest
        first, second = (self.value(replace(product, signs=(*signs, jump))) for jump in (one, other))
        return rest - order * (first - second)

    def _at_jump(self, jump: Shifted, product: FactorProduct) -> Expr:
        """sd(y) E[delta(y + m) product]."""
        self.log.add(CONDITIONING)
        k, m = jump
        sd = self.family.sd[k]
        # Held at a first jump, the same variable is a number: delta(0) has no value.
        if sd == 0:
            raise NotClosed("a product of Dirac deltas of one variable")
        # E[delta(y + m) F] is the density of y at -m times E[F | y = -m].
        given, factor, product = self.given(k, -ratio(m, sd), product)
        return factor * density(m, sd) / sqrt(2 * pi) * given.value(product)

    def _wave(self, product: FactorProduct, kind: str, i: int, phase: Expr) -> Expr:
        # E sin(y) sign(z) of correlated y and z is an error function of an imaginary argument.
        if any(self.family.cov[i][j] != 0 for j, _ in product.signs):
            raise NotClosed("a wave times a jump")
        wave = sympy.sin(phase) if kind == "sin" else sympy.cos(phase)
        # E sin(y + p) = exp(-Var y / 2) sin(p), and signs that are uncorrelated with y are independent of it.
        return decay(self.family.cov[i][i]) * wave * self._signs(product.signs)

    def _signs(self, signs: tuple[Shifted, ...]) -> Expr:
        value = S.One
        for group in self._independent(list(signs)):
            value *= self._dependent(group)
            if value == 0:
                break
        return value

    def _dependent(self, signs: list[Shifted]) -> Expr:
        cov, sd = self.family.cov, self.family.sd
        match signs:
            case [(i, m)]:
                if sd[i] == 0:
                    return sympy.sign(m)
                # A mean that is a sum may be zero but for rounding, which decides where the deviation is about zero, too.
                return sign_of_sum(*m.as_two_terms(), sd[i]) if m.is_Add else sign_mean(m, sd[i])
            case [(i, a), (j, b)]:
                if a == b == 0:
                    return 2 * arcsine(cov[i][j], cov[i][i], cov[j][j]) / pi
                return sign_pair(a, cov[i][i], b, cov[j][j], cov[i][j])
        # An odd number of signs without means changes its sign with all variables.
        if len(signs) % 2 and all(m == 0 for _, m in signs):
            self.log.add(SYMMETRY)
            return S.Zero
        # Orthant probabilities of dimension three have a formula for mean 0 alone, of four and more none (Sheppard's is of two).
        raise NotClosed("a product of more than two dependent jumps")

    def _independent(self, signs: list[Shifted]) -> list[list[Shifted]]:
        groups: list[list[Shifted]] = []
        for sign in signs:
            # Uncorrelated Gaussians are independent; groups are the connected components of what is correlated.
            joined = [g for g in groups if any(self.family.cov[sign[0]][j] != 0 for j, _ in g)]
            groups = [g for g in groups if g not in joined] + [[sign, *(s for g in joined for s in g)]]
        if len(groups) > 1:
            self.log.add(INDEPENDENCE)
        return groups


def _same_variable(signs: tuple[Shifted, ...]) -> tuple[Shifted, Shifted] | None:
    """Two signs of one variable."""
    seen: dict[int, Shifted] = {}
    for sign in signs:
        if sign[0] in seen:
            return seen[sign[0]], sign
        seen[sign[0]] = sign
    return None
