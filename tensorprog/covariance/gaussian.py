"""Which functions of a limit are Gaussian, and the response Zdot (TP IV, Definition 7.3, with unwinding, Remark F.1).

    Zdot^{W x} = s * sum over earlier uses W.T @ y of Z^y * E[ d Z^x / d Zhat^{W.T y} ]

A value carried from iteration to iteration is a recursion of Gaussians if every case of it is linear in Gaussians. The
response coefficients of such a value follow its own recursion. Before that, a shorter hypothesis is tried: that
the responses cancel whatever a case takes over from earlier iterations, so that what is left are the Zhat's that
the case itself names. If substituting the coefficients which follow from it leaves exactly those Zhat's, it is true by
induction over the program's order. That is how the Onsager term of approximate message passing cancels.

Of an orthogonal matrix, W = g O with O : [m, n], W @ W.T is a projection times g**2, which changes both parts. Let k be the
share of the space of y that it reaches, m / max(m, n), and

    R^y = Z^y - k * sum over earlier uses W @ x of Zhat^{W x} * E[ d Z^y / d Zhat^{W x} ]

be what W has not told of y. Then R^y stands in the place of Z^y in Zdot^{W x}, and Cov(Zhat^{W.T y}, Zhat^{W.T y'}) =
s E[Z^y R^{y'}]. It follows from the sampled operator (`runtime/haar.py`) by Stein's lemma; for square matrices compare
Fan, "Approximate message passing algorithms for rotationally invariant matrices" (2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

import sympy
from sympy import Dummy, Expr, Integer, Symbol

from tensorprog.covariance.budget import spend
from tensorprog.covariance.cases import sum_of_cases
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.inlining import Inlining
from tensorprog.covariance.nodes import (
    Call,
    Hat,
    Init,
    Mean,
    Product,
    Total,
    equal_indices,
    flat,
    fresh_index,
    ordered,
    total,
)
from tensorprog.covariance.reach import Reach
from tensorprog.covariance.signs import Symmetries
from tensorprog.covariance.unwound import Unwound
from tensorprog.covariance.writes import Binding, Site
from tensorprog.expectations.functions import step, with_slopes
from tensorprog.expectations.inside import JUMPS, linear_in_jumps

#: Steps of the budget that the derivative of a node takes.
DERIVATIVE = 4


class Responses:
    """Products as Zhat + Zdot, under the hypothesis of cancellation or without it.

    Args:
        program: the unwound program.
        cancelling: whether responses are taken to cancel what a recursion carries over.

    Attributes:
        inlining: functions with a single case replaced by it.
        reach: which Zhats have a derivative other than zero; under the hypothesis those of what a case names itself.
        sources: what values are made of, whatever the hypothesis.
        assumed: functions whose response was taken to be that of a linear recursion; to be checked by the caller.
        trusted: sums with products whose derivative was taken as the hypothesis has it; to be checked by the caller.
    """

    def __init__(self, program: Unwound, cancelling: bool):
        self.program, self.cancelling = program, cancelling
        self.inlining = Inlining(program)
        self.reach, self.symmetries = Reach(program, responses=not cancelling), Symmetries(program)
        # The hypothesis leaves responses that are made of declared vectors, so that independence needs all of them.
        self.sources = Reach(program, responses=True)
        self._dots: dict[int, Expr] = {}
        self._untold: dict[int, Expr] = {}
        self._busy: set[int] = set()
        self._as_it_is: dict[int, bool] = {}
        self._dot_coefficients: dict[tuple[int, int], int] = {}
        self._coefficients: dict[tuple[int, int], int] = {}
        self.assumed: set[int] = set()
        self.trusted: set[Expr] = set()

    # --- Z of a product ---

    def expanded(self, expr: Expr) -> Expr:
        """Every Product as Hat + Zdot."""
        return expr.xreplace({p: Hat(*p.args) + self.dot(p) for p in ordered(expr.atoms(Product))})

    def dot(self, product: Expr) -> Expr:
        """Zdot of one product."""
        number = int(product.args[0])
        site = self.program.sites[number]
        if number not in self._dots:
            # A site stands for all its iterations: Zdot at t that holds Zdot at t-1 is no finite expression, unless it
            # is made a function of its own (`_dot_derivative`).
            if number in self._busy:
                raise Unsupported("the response of a matrix product depends on itself")
            self._busy.add(number)
            try:
                self._dots[number] = self._response(site)
            finally:
                self._busy.discard(number)
        return site.at(self._dots[number], product.args[1:])

    def _response(self, site: Site) -> Expr:
        # The s of ZDot is that of the matrix applied: for W : [m, n] with m/n tending to rho, W.T has rho times that of
        # W (TP III, App. F).
        variance = self.program.laws.matrix_variance(site.matrix, site.transposed)
        return sympy.Add(*(part for other in self._told(site)
                           for part in self._pair(site, other, variance, self.untold(other))))

    def untold(self, site: Site) -> Expr:
        """What a site applies its matrix to, without what products with the transpose have told of it."""
        share = self.program.laws.projection(site.matrix, site.transposed)
        if share == 0:
            return site.argument
        if site.number not in self._untold:
            told = (part for other in self._told(site)
                    for part in self._pair(site, other, share, Hat(Integer(other.number), *other.params)))
            self._untold[site.number] = flat(site.argument - sympy.Add(*told))
        return self._untold[site.number]

    def _told(self, site: Site) -> list[Site]:
        """The sites of the transposed matrix on whose Zhat the argument of a site depends."""
        others = (self.program.sites[number] for number in self.program.answering(site))
        # Two reasons for an expected derivative to vanish that need no differentiation: nothing to depend on, or a
        # derivative that is odd (gradient independence, TP II, Condition 1).
        return [other for other in others if self.reach.reaches(site.argument, other.number)
                and not self.symmetries.derivative_is_odd(site.argument, Hat(Integer(other.number), *other.params))]

    def _pair(self, site: Site, other: Site, factor: Expr, vector: Expr) -> Iterator[Expr]:
        """`factor` times the expected derivatives by a site's Zhats times a `vector` of that site."""
        argument = flat(self.inlining.inlined(site.argument))
        for indices, bindings in earlier(site, other):
            derivative = self._without_zeros(self.derivative(argument, Hat(Integer(other.number), *indices)))
            if derivative == 0:
                continue
            expected = self.program.mean(derivative)
            # A denoiser that is free of divergence, f(r) - E[f'(r)] r, has no response.
            if self.inlining.is_zero(expected):
                continue
            # Elements of a family W[l] are independent matrices, of which only the same one responds.
            same = equal_indices(site.items, (other.at(b, indices) for b in other.items))
            amount = factor * same * expected
            # Where the other product is not computed, there is nothing that it could have told.
            amount *= sympy.Mul(*(other.at(g, indices) for g in other.guards))
            part = flat(amount * other.at(vector, indices))
            # Inner sums first: their ranges may hold outer indices.
            for b in reversed(bindings):
                part = total(part, b.symbol, b.start, b.stop)
            yield part

    def _without_zeros(self, derivative: Expr) -> Expr:
        """The terms whose mean is not zero by independence."""
        derivative = flat(self.inlining.inlined(derivative))
        return sympy.Add(*(t for t in sympy.Add.make_args(derivative)
                           if not self.sources.vanishes(t)))

    # --- derivatives with respect to a Zhat ---

    def derivative(self, expr: Expr, hat: Expr, summed: bool = False) -> Expr:
        """d Z / d Zhat, by the chain rule. `summed`: of a term of a sum of products, of which as a whole the hypothesis
        says something."""
        spend(DERIVATIVE)
        if isinstance(expr, Hat | Product):
            # Derivatives go by how the program is written: that of phi(W @ (y + z)) by Zhat^{W y} is 0, and the sum
            # over all uses comes out the same.
            own = equal_indices(expr.args[1:], hat.args[1:]) if expr.args[0] == hat.args[0] else Integer(0)
            if isinstance(expr, Product) and self.cancelling and not summed:
                self.trusted.add(expr)
            # By the hypothesis, whatever a sum holds beside its Zhats cancels, Zdot of this product among it.
            if isinstance(expr, Hat) or self.cancelling:
                return own
            return own + self._dot_derivative(expr, hat)
        if isinstance(expr, Init | Mean) or not expr.args:
            return Integer(0)
        if isinstance(expr, Call):
            return self._call_derivative(expr, hat) if self.reach.reaches(expr, int(hat.args[0])) else Integer(0)
        if isinstance(expr, Total):
            body, var, start, stop = expr.args
            # The Zhat's own indices give a factor [j = i], by which the sum collapses to one term.
            return total(self.derivative(body, hat), var, start, stop)
        if isinstance(expr, sympy.Add):
            return sympy.Add(*(self.derivative(a, hat, self.program.takes_product(a)) for a in self._derived(expr)))
        if not self.program.is_random_or_hat(expr):
            return Integer(0)
        apart = self._by_sides(expr)
        if apart is not None:
            return self.derivative(apart, hat, summed)
        if isinstance(expr, sympy.Mul):
            return sympy.Add(*(sympy.Mul(*expr.args[:k], self.derivative(a, hat, summed), *expr.args[k + 1:])
                               for k, a in enumerate(expr.args)))
        if isinstance(expr, sympy.Pow):
            base, exponent = expr.args
            return exponent * base ** (exponent - 1) * self.derivative(base, hat)
        parts = []
        for k, a in enumerate(expr.args, 1):
            inner = self.derivative(a, hat)
            if inner != 0:
                parts.append(_partial(expr, k - 1) * inner)
        return sympy.Add(*parts)

    def _by_sides(self, expr: Expr) -> Expr | None:
        """What is no linear function of its jumps, as one; None for what is."""
        whole = self.inlining.inlined(expr)
        if not whole.has(*JUMPS):
            return None
        apart = linear_in_jumps(whole)
        return None if apart == whole else flat(apart)

    def _full_derivative(self, expr: Expr, hat: Expr) -> Expr:
        return self.derivative(self.inlining.inlined(expr), hat)

    def _dot_derivative(self, product: Expr, hat: Expr) -> Expr:
        """d Zdot / d Zhat. Where everything that the matrix is applied to is linear it is a number, and a function of
        the two places that follows a recursion."""
        site = self.program.sites[int(product.args[0])]
        answers = self.program.answering(site)
        if not all(self._looks_linear(self.program.sites[k].argument) for k in answers):
            return self._full_derivative(self.dot(product), hat)
        if not answers:
            return Integer(0)
        key = (site.number, int(hat.args[0]))
        if key not in self._dot_coefficients:
            indices = tuple(fresh_index() for _ in hat.args[1:])
            other = Hat(hat.args[0], *indices)
            self._dot_coefficients[key] = self.program.function(
                f"d Zdot_{site.number} / d Zhat_{hat.args[0]}", (*site.params, *indices), False,
                lambda: [((), self._full_derivative(self.dot(Product(product.args[0], *site.params)), other))])
        return Call(Integer(self._dot_coefficients[key]), *product.args[1:], *hat.args[1:])

    def _looks_linear(self, expr: Expr) -> bool:
        for term in sympy.Add.make_args(flat(self.inlining.inlined(expr))):
            random = [f for f in sympy.Mul.make_args(term) if self.program.is_random_or_hat(f)]
            if len(random) > 1 or random and not isinstance(random[0], Hat | Product | Init | Call | Total):
                return False
            if random and isinstance(random[0], Total) and not self._looks_linear(random[0].args[0]):
                return False
        return True

    def _derived(self, expr: Expr) -> tuple[Expr, ...]:
        """The terms of a sum that its derivative is made of."""
        if not self.cancelling or not any(self.program.takes_product(a) for a in expr.args):
            return expr.args
        self.trusted.add(expr)
        return self.kept(expr)

    def kept(self, expr: Expr) -> tuple[Expr, ...]:
        """The terms of a sum with matrix products that are not carried over, which are all of it by the hypothesis."""
        return tuple(t for t in sympy.Add.make_args(expr) if not self.program.is_carried(t))

    def takes_products(self, expr: Expr) -> bool:
        """Whether an expression is a matrix product, or a sum with numbers times matrix products."""
        return any(self.program.takes_product(t) for t in sympy.Add.make_args(flat(expr)))

    def _call_derivative(self, call: Expr, hat: Expr) -> Expr:
        number = int(call.args[0])
        if self.cancelling and not self._carried_as_it_is(number):
            cases = self.inlining.unfolded(call)
            return sum_of_cases((guards, self.derivative(flat(case), hat)) for guards, case in cases)
        if not self.cancelling:
            # A coefficient that is a number is right for linear recursions alone: E[dZ/dZhat] of a nonlinear one would be a
            # mean of its own at every step.
            self.assumed.add(number)
        key = (number, int(hat.args[0]))
        if key not in self._coefficients:
            self._coefficients[key] = self._new_coefficient(number, int(hat.args[0]), len(hat.args) - 1)
        return Call(Integer(self._coefficients[key]), *call.args[1:], *hat.args[1:])

    def _carried_as_it_is(self, number: int) -> bool:
        """Whether a function leads back to itself otherwise than by sums with matrix products, of which the hypothesis
        says that nothing carried is left: a damped iterate, x_{t+1} = (1 - g) x_t + g f(r_t)."""
        if number not in self._as_it_is:
            met: set[int] = set()
            pending = [number]
            while pending:
                for _, case in self.program.unfolding(pending.pop()):
                    found = {int(c.args[0]) for c in self._kept_calls(case)} - met
                    met |= found
                    pending += found
            self._as_it_is[number] = number in met
        return self._as_it_is[number]

    def _kept_calls(self, expr: Expr) -> list[Expr]:
        """The random functions in an expression that the hypothesis keeps."""
        expr = flat(self.inlining.inlined(expr))
        if any(self.program.takes_product(t) for t in sympy.Add.make_args(expr)):
            expr = sympy.Add(*self.kept(expr))
        return self.program.random_calls(expr)

    def _new_coefficient(self, number: int, site: int, arity: int) -> int:
        function = self.program.functions[number]
        indices = tuple(fresh_index() for _ in range(arity))
        hat = Hat(Integer(site), *indices)
        name = f"d {function.name} / d Zhat_{site}"

        def resolve() -> list[tuple[tuple[Expr, ...], Expr]]:
            return [(guards, self._full_derivative(expr, hat))
                    for guards, expr in self.program.unfolding(number)]

        # Under the hypothesis of cancellation what is carried need not be linear.
        return self.program.function(name, (*function.params, *indices), self.cancelling, resolve)


def _partial(expr: Expr, position: int) -> Expr:
    """The derivative of a function in one of its arguments."""
    slots = [Dummy(real=True) for _ in expr.args]
    derivative = expr.func(*slots).diff(slots[position])
    # SymPy writes the derivative of Max as Heaviside; `step` is the function whose expectations and deltas are known.
    derivative = with_slopes(derivative.replace(sympy.Heaviside, lambda x, *_: step(x)))
    return derivative.subs(dict(zip(slots, expr.args)), simultaneous=True)


def earlier(site: Site, other: Site) -> Iterator[tuple[tuple[Expr, ...], list[Binding]]]:
    """The iterations of `other` that come before the one of `site`: pieces (indices of the other site, those of them
    that run through a range)."""
    common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(site.loops, other.loops))))
    for depth in range(common + 1):
        # Where the iteration is the same in all shared loops, the order of statements decides. The transposed product
        # of the current step counts if it comes first: r = t in TP IV, Theorem 6.4, which prints r < t.
        if depth == common and other.order >= site.order:
            continue
        rename: dict[Symbol, Expr] = {}
        bindings: list[Binding] = []
        for k, b in enumerate(other.bindings):
            if k < depth:
                rename[b.symbol] = site.bindings[k].symbol
                continue
            start, stop = b.start.xreplace(rename), b.stop.xreplace(rename)
            if k == depth and depth < common:
                mine = site.bindings[k].symbol
                # Of the first loop in which they differ, all that it went through before; of loops further in,
                # everything.
                start, stop = (mine + 1, stop) if b.descending else (start, mine)
            rename[b.symbol] = fresh_index()
            bindings.append(Binding(rename[b.symbol], start, stop))
        yield tuple(rename.values()), bindings
