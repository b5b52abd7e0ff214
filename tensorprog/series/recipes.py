"""How each part of a result is made from parts of its operands: the rules of the series (TP IV, H.4; docs/theory.md).

    Nonlin    its Taylor series around the largest parts of its argument; products by Leibniz' rule
    MatMul    every part of the matrix applied to every part of the vector
    Moment    the expectation of what does not vanish on average; a Gaussian number, smaller by n**(-1/2), of what does

A recipe that would need a correction of finite width says so (`refused`), which matters only if an output asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import combinations_with_replacement
from math import factorial, prod

from tensorprog.ir.primitives import degree as homogeneous_degree
from tensorprog.ir.primitives import last_derivative, parity, slope_of_kink
from tensorprog.ir.program import (
    Const,
    Contract,
    Elementwise,
    Fluctuation,
    FunctionTerm,
    Let,
    Load,
    MatDot,
    MatMul,
    MatrixTerm,
    Moment,
    Op,
    OuterTerm,
    Term,
    Var,
    WidthConst,
    operands,
)
from tensorprog.passes.powers import PowerError, reject
from tensorprog.passes.rewrite import map_op_vars
from tensorprog.series.matrix_functions import MatrixFunctions
from tensorprog.series.parts import DEPTH, HALF, ONE, SeriesPart, merged, product, through
from tensorprog.series.term_recipe import DELTA, FINITE_WIDTH, Node, TermRecipe, Writer, of_part, of_parts, refusal


class Recipes:
    """Recipes of operations. `parts` gives the parts of a node; `numbers` the values of exponents; `base` is the width
    that powers count."""

    def __init__(self, parts: Callable[[Node], tuple[SeriesPart, ...]], numbers: Mapping[Var, Fraction], base: str | None):
        self.parts, self.numbers, self.base = parts, numbers, base
        self.functions = MatrixFunctions(parts, numbers.get)
        self.forms: dict[tuple[Var, SeriesPart], Mapping[tuple[Var, SeriesPart], int]] = {}

    def of(self, let: Let) -> list[TermRecipe]:
        """The recipes of a temporary.

        Raises:
            PowerError: a nonlinearity of what blows up (TP502), or an exponent that is not a number (TP503).
        """
        op = let.op
        match op:
            case Const(value=0):
                return []
            case WidthConst(width=width):
                # n is n**1 times 1, another width n**1 times its ratio to n.
                part = SeriesPart(Fraction(1))
                number = Const(Fraction(1)) if width == self.base else op
                return [TermRecipe(part, (), lambda w: w.builder.let(number, let.var.type))]
            case Load(cell=cell):
                return [of_part(p, (cell, p), lambda w, p: w.builder.let(
                    Load(w.cell(cell, p), op.items), let.var.type, cell.display)) for p in self.parts(cell)]
            case Elementwise():
                return self._elementwise(op, let.var)
            case Moment(arg=arg):
                return list(self._moment(arg, let.var))
            case MatMul(matrix=matrix, arg=arg):
                return [of_parts(product((m, a)), (matrix, m), (arg, a), lambda w, m, a: w.builder.let(
                    MatMul(w.cell(matrix, m), op.items, op.transposed, w.part(arg, a)), let.var.type))
                    for m in self.parts(matrix) for a in self.parts(arg)]
            case Contract(left=left, right=right):
                return [of_parts(product((a, b)), (left, a), (right, b), lambda w, a, b: w.builder.let(
                    Contract(w.part(left, a), op.left_axes, w.part(right, b), op.right_axes, op.out_axes), let.var.type))
                    for a in self.parts(left) for b in self.parts(right)]
            case MatDot():
                return list(self.functions.inner(op, let.var.type))
        inputs = operands(op)
        if not inputs:
            return [TermRecipe(ONE, (), lambda w: w.builder.let(op, let.var.type))]
        return self._linear(op, inputs[0], let.var)

    def _linear(self, op: Op, arg: Var, var: Var) -> list[TermRecipe]:
        return [of_part(p, (arg, p), lambda w, p: w.builder.let(
            map_op_vars(op, lambda _: w.part(arg, p)), var.type)) for p in self.parts(arg)]

    def _moment(self, arg: Var, var: Var) -> Iterator[TermRecipe]:
        for p in self.parts(arg):
            below = SeriesPart(p.power - HALF)
            # A mean of n terms of mean zero, independent in the limit: a Gaussian of order n**(-1/2) (TP IV, H.4.1).
            if p.vanishes_on_average:
                yield of_part(below, (arg, p), lambda w, p: w.builder.let(Fluctuation(w.part(arg, p)), var.type))
            else:
                yield of_part(SeriesPart(p.power), (arg, p), lambda w, p: w.builder.let(Moment(w.part(arg, p)), var.type))
                # The central limit theorem's fluctuation around a mean that is not zero, of the same relative order.
                yield refusal(below, FINITE_WIDTH)

    # --- coordinatewise functions ---

    def _elementwise(self, op: Elementwise, var: Var) -> list[TermRecipe]:
        match op.fn:
            case "neg":
                arg = op.args[0]
                for p in self.parts(arg):
                    self.forms[var, p] = {b: -c for b, c in self.forms.get((arg, p), {(arg, p): 1}).items()}
                return self._linear(op, arg, var)
            case "add" | "sub":
                return self._sum(op, var)
            case "mul":
                return self._products(*op.args)
            case "square" if op.order < 2:
                return self._products(op.args[0], op.args[0]) if op.order == 0 else self._scaled(op.args[0], 2)
            case "div":
                return list(self._quotients(*op.args))
            case "pow":
                return list(self._powers(op))
            case "max" | "min":
                return list(self._extremum(op))
            case _:
                return list(self._function(op))

    def _sum(self, op: Elementwise, var: Var) -> list[TermRecipe]:
        left, right = op.args
        both = [p for p in self.parts(left) if p in self.parts(right)]
        # `(h + d) - h` has no part of h's order: one that is zero would pass for the leading term and hide d.
        zero = {p for p in (*self.parts(left), *self.parts(right)) if self._cancels(op, var, p)}
        found = [of_parts(p, (left, p), (right, p), lambda w, a, b: w.builder.elementwise(
            op.fn, w.part(left, a), w.part(right, b))) for p in both if p not in zero]
        found += [of_part(p, (left, p), lambda w, p: _as(w, w.part(left, p), var))
                  for p in self.parts(left) if p not in both]

        def signed(w: Writer, x: Var) -> Var:
            return w.builder.neg(x) if op.fn == "sub" else x

        return found + [of_part(p, (right, p), lambda w, p: _as(w, signed(w, w.part(right, p)), var))
                        for p in self.parts(right) if p not in both]

    def _cancels(self, op: Elementwise, var: Var, part: SeriesPart) -> bool:
        """Whether a part of a sum is identically zero, as a combination of the same temporaries."""
        form: Counter[tuple[Var, SeriesPart]] = Counter()
        for arg, sign in zip(op.args, (1, -1 if op.fn == "sub" else 1)):
            if part not in self.parts(arg):
                continue
            for base, coefficient in self.forms.get((arg, part), {(arg, part): 1}).items():
                form[base] += sign * coefficient
        left = {base: c for base, c in form.items() if c}
        self.forms[var, part] = left
        return not left

    def _products(self, left: Var, right: Var) -> list[TermRecipe]:
        return [of_parts(product((a, b)), (left, a), (right, b), lambda w, a, b: w.builder.mul(
            w.part(left, a), w.part(right, b))) for a in self.parts(left) for b in self.parts(right)]

    def _scaled(self, arg: Var, factor: int) -> list[TermRecipe]:
        return [of_part(p, (arg, p), lambda w, p: w.builder.mul(w.builder.const(factor), w.part(arg, p)))
                for p in self.parts(arg)]

    def _quotients(self, top: Var, bottom: Var) -> Iterator[TermRecipe]:
        """Numerators times the series of the reciprocal, (-1)**m d**m / b**(m+1)."""
        largest, lower = self._split(bottom)
        if not largest:  # a zero denominator is reported when it is met
            yield from (of_part(p, (top, p), lambda w, p: w.builder.div(
                w.part(top, p), w.builder.const(0, bottom.type))) for p in self.parts(top))
            return
        around = merged(largest)
        for steps in _combinations(lower, around.power):
            # 1 / b**(m + 1) is odd in what b is odd in if m is even.
            inverse = product((through(_inverse(around), "odd" if len(steps) % 2 == 0 else "even"), *steps)).scaled(
                -len(steps) * around.power)
            for p in self.parts(top):
                def emit(w: Writer, p: SeriesPart = p, steps: tuple[SeriesPart, ...] = steps) -> Var:
                    b = w.total(bottom, largest)
                    value = w.builder.div(w.part(top, p), b)
                    for step in steps:
                        value = w.builder.div(w.builder.neg(w.builder.mul(value, w.part(bottom, step))), b)
                    # A multiset of steps stands for all of its orders.
                    return _times(w, value, _orderings(steps))
                yield TermRecipe(product((p, inverse)), ((top, p), *((bottom, q) for q in (*largest, *steps))), emit)

    def _powers(self, op: Elementwise) -> Iterator[TermRecipe]:
        base, exponent = op.args
        if self.parts(exponent) not in ((), (ONE,)):
            raise PowerError("TP503", "an exponent that grows or shrinks with n", "exponents do not depend on n")
        number = self.numbers.get(exponent)
        largest, lower = self._split(base)
        around = merged(largest) if largest else ONE
        if around.power and number is None:
            raise PowerError("TP503", "a power of n whose exponent is computed by the program",
                             "write the exponent as a number or a parameter, as in `n**(1/2)`")
        # 0**k = 0 for k > 0.
        if not largest and (number is None or number > 0):
            return
        needs = ((exponent, ONE),) if self.parts(exponent) else ()
        for steps in _combinations(lower, around.power):
            m = len(steps)
            # The m-th derivative of x**k is zero for m > k.
            if number is not None and number.denominator == 1 and 0 <= number < m:
                continue
            even = None if number is None or number.denominator != 1 else (number - m) % 2 == 0
            value = through(SeriesPart(Fraction(0), around.odd, around.unsure),
                            "none" if even is None else "even" if even else "odd")
            power = ((number or 0) - m) * around.power

            def emit(w: Writer, steps: tuple[SeriesPart, ...] = steps) -> Var:
                e = w.total(exponent, self.parts(exponent))
                value = w.builder.elementwise("pow", w.total(base, largest), w.builder.sub(e, w.builder.const(len(steps))))
                for k in range(len(steps)):
                    value = w.builder.mul(w.builder.sub(e, w.builder.const(k)), value)
                return _with_steps(w, value, base, steps)
            yield TermRecipe(product((value, *steps)).scaled(power), (*needs, *((base, q) for q in (*largest, *steps))), emit)

    def _extremum(self, op: Elementwise) -> Iterator[TermRecipe]:
        """The larger (smaller) operand; the first step is that of the operand that is larger at first."""
        left, right = op.args
        known = [*self.parts(left), *self.parts(right)]
        if not known:
            return
        # With the operands apart by their leading terms, as max(x0 + d, y0) = max(x0, y0) + step(x0 - y0) d.
        # Of both operands: where only one has the largest power, the other is zero beside it.
        top = max(p.power for p in known)
        first, second = (tuple(p for p in self.parts(v) if p.power == top) for v in op.args)
        around = merged((*first, *second))
        base = through(around, "none")
        needs = (*((left, p) for p in first), *((right, p) for p in second))
        yield TermRecipe(base, needs, lambda w: w.builder.elementwise(op.fn, w.total(left, first), w.total(right, second)))
        lower = []
        for k, arg in enumerate(op.args):
            for step in (p for p in self.parts(arg) if p.power < top):
                lower.append(step)

                def emit(w: Writer, arg: Var = arg, step: SeriesPart = step, k: int = k) -> Var:
                    a, b = w.total(left, first), w.total(right, second)
                    chosen = w.builder.elementwise("step", w.builder.sub(a, b) if (op.fn == "max") == (k == 0)
                                                   else w.builder.sub(b, a))
                    return w.builder.mul(chosen, w.part(arg, step))
                yield TermRecipe(product((base.scaled(-top), step)), (*needs, (arg, step)), emit)
        # Where the operands cross at first, second-order terms meet a Dirac delta.
        for a, b in combinations_with_replacement(lower, 2):
            yield refusal(product((base.scaled(-top), a, b)).scaled(-top), DELTA)

    def _function(self, op: Elementwise) -> Iterator[TermRecipe]:
        """phi(x0 + d) = sum of phi^(m)(x0) d**m / m!, around the largest parts, or around zero if all vanish."""
        arg = op.args[0]
        degree = Fraction(1, 2) if op.fn == "sqrt" else homogeneous_degree(op.fn)
        largest, lower = self._split(arg)
        if degree is None and largest and largest[0].power > 0:
            reject(op, largest[0].power)
        # All parts vanish: the value at zero, unless the function or its derivative is zero there.
        if degree is not None and not largest:
            if op.order >= degree:
                yield TermRecipe(ONE, (), lambda w: w.builder.elementwise(op.fn, w.builder.const(0, arg.type),
                                                                      order=op.order))
            return
        # Around zero: phi(d) = phi(0) + phi'(0) d + ...
        if degree is None and (not largest or largest[0].power < 0):
            largest, lower = (), (*largest, *lower)
        around = merged(largest) if largest else ONE
        for steps in _combinations(lower, around.power):
            m = len(steps)
            own = parity(op.fn, op.order + m)
            if not largest and own == "odd":
                continue  # zero at zero
            # The derivative of order k of a homogeneous function has the degree less k.
            power = Fraction(0) if degree is None else (degree - op.order - m) * around.power
            value = through(SeriesPart(Fraction(0), around.odd, around.unsure), own)
            part = product((value, *steps)).scaled(power)
            # A derivative that the program takes itself is zero almost everywhere beyond the last one; in a series it
            # would meet a Dirac delta.
            if op.order + m > last_derivative(op.fn):
                if m:
                    yield refusal(part, DELTA)
                continue

            def emit(w: Writer, steps: tuple[SeriesPart, ...] = steps) -> Var:
                value = _derivative(w, op.fn, w.total(arg, largest), op.order + len(steps))
                return _with_steps(w, value, arg, steps)
            yield TermRecipe(part, tuple((arg, q) for q in (*largest, *steps)), emit)

    def _split(self, node: Node) -> tuple[tuple[SeriesPart, ...], tuple[SeriesPart, ...]]:
        """The largest parts of a node, and the others."""
        parts = self.parts(node)
        top = max((p.power for p in parts), default=None)
        return tuple(p for p in parts if p.power == top), tuple(p for p in parts if p.power != top)

    # --- matrices ---

    def of_term(self, term: Term) -> list[TermRecipe]:
        """The recipes of a term of a matrix, whose powers are those of operators; what they emit are terms."""
        if isinstance(term, FunctionTerm):
            return self.functions.of(term)
        coefs: tuple[SeriesPart | None, ...] = self.parts(term.coef) if term.coef is not None else (None,)
        found: list[TermRecipe] = []
        for c in coefs:
            factor: Factor = () if c is None or term.coef is None else ((term.coef, c),)
            found += self._multiples(term, factor) if isinstance(term, MatrixTerm) else self._outers(term, factor)
        return found

    def _multiples(self, term: MatrixTerm, factor: Factor) -> list[TermRecipe]:
        def made(m: SeriesPart) -> TermRecipe:
            return TermRecipe(product([*(p for _, p in factor), m]), (*factor, (term.cell, m)), lambda w: MatrixTerm(
                _coef(w, factor), w.cell(term.cell, m), term.items, term.transposed))

        return [made(m) for m in self.parts(term.cell)]

    def _outers(self, term: OuterTerm, factor: Factor) -> list[TermRecipe]:
        def made(a: SeriesPart, b: SeriesPart) -> TermRecipe:
            # As an operator, an outer product is n times as large as its entries.
            return TermRecipe(product([*(p for _, p in factor), a, b]).scaled(Fraction(1)),
                              (*factor, (term.left, a), (term.right, b)), lambda w: OuterTerm(
                                  _coef(w, factor), w.part(term.left, a), w.part(term.right, b)))

        return [made(a, b) for a in self.parts(term.left) for b in self.parts(term.right)]


#: The number of a term of a matrix, with the part of it that is meant; nothing where the term has none.
Factor = tuple[()] | tuple[tuple[Var, SeriesPart]]


def _coef(w: Writer, factor: Factor) -> Var | None:
    return w.part(*factor[0]) if factor else None


def _derivative(w: Writer, fn: str, arg: Var, order: int) -> Var:
    slope = slope_of_kink(fn) if order == 1 else None
    if slope is not None:
        return w.builder.elementwise(slope, arg)
    return w.builder.elementwise(fn, arg, order=order)


def _as(w: Writer, value: Var, like: Var) -> Var:
    """The value with the axes of `like`: a number added to a vector becomes one."""
    if value.type.width == like.type.width and len(value.type.shape) == len(like.type.shape):
        return value
    return w.builder.add(value, w.builder.const(0, like.type))


def _inverse(part: SeriesPart) -> SeriesPart:
    return SeriesPart(-part.power, part.odd, part.unsure)


def _combinations(lower: tuple[SeriesPart, ...], top: Fraction) -> Iterator[tuple[SeriesPart, ...]]:
    """Products of parts that are small beside n**top, as far as they are followed; the empty one first."""
    yield ()
    waiting: list[tuple[SeriesPart, ...]] = [()]
    while waiting:
        shorter = waiting.pop(0)
        # Multisets: parts in the order of `lower`.
        start = lower.index(shorter[-1]) if shorter else 0
        for part in lower[start:]:
            longer = (*shorter, part)
            # What is smaller than the largest part by more than DEPTH is not followed.
            if sum(p.power - top for p in longer) >= -DEPTH:
                yield longer
                waiting.append(longer)


def _orderings(steps: tuple[SeriesPart, ...]) -> Fraction:
    """In how many orders a product of steps occurs."""
    return Fraction(factorial(len(steps)), prod(factorial(k) for k in Counter(steps).values()))


def _times(w: Writer, value: Var, number: Fraction) -> Var:
    return value if number == 1 else w.builder.mul(w.builder.const(number), value)


def _with_steps(w: Writer, value: Var, arg: Var, steps: tuple[SeriesPart, ...]) -> Var:
    """A derivative times the steps, over m! for each order that they occur in."""
    for step in steps:
        value = w.builder.mul(value, w.part(arg, step))
    return _times(w, value, _orderings(steps) / factorial(len(steps)))
