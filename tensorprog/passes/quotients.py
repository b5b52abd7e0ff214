"""Quotients that are bounded near a zero of their denominator, as u*w / (u*u + w*w) or abs(u) / sqrt(u*u + w*w).

A denominator D with |x|**p <= c D for some vector x *controls* x at the power p. A numerator that is at most a constant
times a product of |x|**q is then at most D to the power of the sum of q/p; where that is 1 or more, the quotient has no
singularity, only a jump at D = 0, which has probability zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tensorprog.ir.program import Const, Elementwise, Op, Var
from tensorprog.passes.bounds import Bound

Powers = dict[Var, Fraction]

# |f(x)| <= c |x|.
LINEAR_AT_ZERO = frozenset("neg abs relu tanh erf gelu silu sin".split())


def is_bounded(quotient: Elementwise, ops: Mapping[Var, Op], bounds: Mapping[Var, Bound | None]) -> bool:
    """Whether a quotient of vectors stays bounded where its denominator tends to 0."""
    top, bottom = quotient.args
    reader = _Reader(ops, bounds)
    controlled = reader.controlled(bottom)
    return all(sum((q / controlled[x] for x, q in term.items() if x in controlled), Fraction(0)) >= 1
               for term in reader.terms(top))


class _Reader:
    def __init__(self, ops: Mapping[Var, Op], bounds: Mapping[Var, Bound | None]):
        self.ops, self.bounds = ops, bounds

    def controlled(self, var: Var) -> Powers:
        """The vectors that a value controls, each at the smallest power that is found."""
        match self.ops.get(var):
            case Elementwise(fn="add" | "max", args=(a, b)) if self._at_least_zero(a) and self._at_least_zero(b):
                return _smallest(self.controlled(a), self.controlled(b))
            case Elementwise(fn="abs" | "neg", order=0, args=(a,)):
                return self.controlled(a)
            case Elementwise(fn="square", order=0, args=(a,)):
                return _scaled(self.controlled(a), Fraction(2))
            case Elementwise(fn="mul", args=(a, b)) if a is b:
                return _scaled(self.controlled(a), Fraction(2))
            case Elementwise(fn="mul", args=(a, b)) if self._constant(a) or self._constant(b):
                return self.controlled(b if self._constant(a) else a)
            case Elementwise(fn="div", args=(a, b)) if self._constant(b):
                return self.controlled(a)
            case Elementwise(fn="sqrt", order=0, args=(a,)):
                return _scaled(self.controlled(a), Fraction(1, 2))
            case Elementwise(fn="pow", args=(a, k)) if (power := self._power(k)):
                return _scaled(self.controlled(a), power)
        return {var: Fraction(1)} if var.type.width is not None else {}

    def terms(self, var: Var) -> list[Powers]:
        """Products of powers of vectors; the size of the value is at most a constant times their sum."""
        match self.ops.get(var):
            case Elementwise(fn="add" | "sub" | "max" | "min", args=(a, b)):
                return self.terms(a) + self.terms(b)
            case Elementwise(fn="mul", args=(a, b)):
                return [_multiplied(x, y) for x in self.terms(a) for y in self.terms(b)]
            case Elementwise(fn="div", args=(a, b)) if self._constant(b):
                return self.terms(a)
            case Elementwise(fn="square", order=0, args=(a,)):
                return [_multiplied(x, y) for x in self.terms(a) for y in self.terms(a)]
            case Elementwise(fn=fn, order=0, args=(a,)) if fn in LINEAR_AT_ZERO:
                return self.terms(a)
            case Elementwise(fn="sqrt", order=0, args=(a,)):
                return [_scaled(x, Fraction(1, 2)) for x in self.terms(a)]
            case Elementwise(fn="pow", args=(a, k)) if (power := self._power(k)) and len(found := self.terms(a)) == 1:
                return [_scaled(found[0], power)]
        return [{var: Fraction(1)} if var.type.width is not None else {}]

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
    return {x: min(a.get(x, b.get(x)), b.get(x, a.get(x))) for x in a | b}


def _scaled(powers: Powers, factor: Fraction) -> Powers:
    return {x: p * factor for x, p in powers.items()}


def _multiplied(a: Powers, b: Powers) -> Powers:
    return {x: a.get(x, Fraction(0)) + b.get(x, Fraction(0)) for x in a | b}
