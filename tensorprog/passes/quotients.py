"""Quotients that are bounded near a zero of their denominator, as u*w / (u*u + w*w) or abs(u) / sqrt(u*u + w*w).

A denominator D with |x|**p <= c D for some vector x *controls* x at the power p. A numerator that is at most a constant
times a product of |x|**q is then at most D to the power of the sum of q/p; where that is 1 or more, the quotient has no
singularity, only a jump at D = 0, which has probability zero.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from fractions import Fraction

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.bounds import Bound
from tensorprog.ir.program import Const, Elementwise, Op, Var

Powers = dict[Var, Fraction]
Term = frozenset[tuple[Var, Fraction]]  # Powers as a member of a set

# A value whose reading needs more products, or more operations one inside of another, is read as a vector of its own.
MOST_TERMS = 64
DEEPEST = 40


def is_bounded(quotient: Elementwise, ops: Mapping[Var, Op], bounds: Mapping[Var, Bound | None]) -> bool:
    """Whether a quotient of vectors stays bounded where its denominator tends to 0."""
    top, bottom = quotient.args
    reader = _Reader(ops, bounds)
    controlled = reader.controlled(bottom, deep=DEEPEST)
    return all(sum((q / controlled[x] for x, q in term if x in controlled), Fraction(0)) >= 1
               for term in reader.terms(top, deep=DEEPEST))


class _Reader:
    def __init__(self, ops: Mapping[Var, Op], bounds: Mapping[Var, Bound | None]):
        self.ops, self.bounds = ops, bounds
        self.controlled, self.terms = functools.cache(self._controlled), functools.cache(self._terms)

    def _controlled(self, var: Var, deep: int) -> Powers:
        """The vectors that a value controls, each at the smallest power that is found."""
        controlled = functools.partial(self.controlled, deep=deep - 1)
        match self.ops.get(var) if deep else None:
            # A sum of what is not negative is at least each of its terms.
            case Elementwise(fn="add" | "max", args=(a, b)) if self._at_least_zero(a) and self._at_least_zero(b):
                return _smallest(controlled(a), controlled(b))
            case Elementwise(fn="abs" | "neg", order=0, args=(a,)):
                return controlled(a)
            case Elementwise(fn="square", order=0, args=(a,)):
                return _scaled(controlled(a), Fraction(2))
            case Elementwise(fn="mul", args=(a, b)) if a is b:
                return _scaled(controlled(a), Fraction(2))
            case Elementwise(fn="mul", args=(a, b)) if self._constant(a) or self._constant(b):
                return controlled(b if self._constant(a) else a)
            case Elementwise(fn="div", args=(a, b)) if self._constant(b):
                return controlled(a)
            case Elementwise(fn="sqrt", order=0, args=(a,)):
                return _scaled(controlled(a), Fraction(1, 2))
            case Elementwise(fn="pow", args=(a, k)) if (power := self._power(k)):
                return _scaled(controlled(a), power)
        return {var: Fraction(1)} if var.type.width is not None else {}

    def _terms(self, var: Var, deep: int) -> frozenset[Term]:
        """Products of powers of vectors; the size of the value is at most a constant times their sum."""
        itself = frozenset([frozenset([(var, Fraction(1))] if var.type.width is not None else [])])
        found = self._parts(var, functools.partial(self.terms, deep=deep - 1)) if deep else None
        return itself if found is None or len(found) > MOST_TERMS else found

    def _parts(self, var: Var, terms: Callable[[Var], frozenset[Term]]) -> frozenset[Term] | None:
        match self.ops.get(var):
            case Elementwise(fn="add" | "sub" | "max" | "min", args=(a, b)):
                return terms(a) | terms(b)
            case Elementwise(fn="mul", args=(a, b)):
                return frozenset(_multiplied(x, y) for x in terms(a) for y in terms(b))
            case Elementwise(fn="div", args=(a, b)) if self._constant(b):
                return terms(a)
            # (a + b)**2 has mixed products.
            case Elementwise(fn="square", order=0, args=(a,)):
                return frozenset(_multiplied(x, y) for x in terms(a) for y in terms(a))
            case Elementwise(fn=fn, order=0, args=(a,)) if _at_most_linear(fn):
                return terms(a)
            case Elementwise(fn="sqrt", order=0, args=(a,)):
                return frozenset(frozenset(_scaled(dict(x), Fraction(1, 2)).items()) for x in terms(a))
            case Elementwise(fn="pow", args=(a, k)) if (power := self._power(k)) and len(found := terms(a)) == 1:
                return frozenset(frozenset(_scaled(dict(x), power).items()) for x in found)
        return None

    def _at_least_zero(self, var: Var) -> bool:
        bound = self.bounds.get(var)
        return bound is not None and bound.low >= 0

    def _constant(self, var: Var) -> bool:
        """Whether a value is a number that is not zero."""
        bound = self.bounds.get(var)
        return bound is not None and bound.fixed and not bound.zero

    def _power(self, var: Var) -> Fraction | None:
        op = self.ops.get(var)
        return Fraction(op.value) if isinstance(op, Const) and op.value > 0 else None


def _smallest(a: Powers, b: Powers) -> Powers:
    # The smaller power is the stronger control.
    return {x: min(powers[x] for powers in (a, b) if x in powers) for x in a | b}


def _scaled(powers: Powers, factor: Fraction) -> Powers:
    return {x: p * factor for x, p in powers.items()}


def _multiplied(a: Term, b: Term) -> Term:
    left, right = dict(a), dict(b)
    return frozenset((x, left.get(x, Fraction(0)) + right.get(x, Fraction(0))) for x in left | right)


def _at_most_linear(fn: str) -> bool:
    """Whether |f(x)| <= c |x|."""
    function = NONLINEARITIES.get(fn)
    return function is not None and function.lipschitz and function.vanishes_at_zero
