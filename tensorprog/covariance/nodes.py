"""The SymPy nodes in which limits are written while they are derived.

    Random, in one coordinate:  Hat(site, i...)    Zhat of a matrix product (TP IV, Definition 7.3)
                                Product(site, i...) Z of a matrix product, Zhat + Zdot
                                Init(cell, i...)   a declared random vector
    Either:                     Call(function, i...) a function of integers that `Functions` defines by cases
    Numbers:                    Mean(id, i...)     an expectation      Entry(input, i...)  an entry of an input
                                AtLeastZero(e), IsZero(e)    1 where the integer e is >= 0, = 0, else 0
    Both:                       Total(body, j, start, stop)  the sum over start <= j < stop
                                Whole(x, k)        x**k inside of a function, which is not multiplied out

Sites, cells, functions and inputs are numbered; the first argument is the number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import sympy
from sympy import Expr, Function, Integer, Symbol

from tensorprog.covariance.budget import require_expandable, size, spend


class Node(Function):
    """A function that SymPy leaves alone."""

    is_real = True
    is_commutative = True
    # Its arguments may all be integers, and still it is not a number that SymPy could compare.
    is_number = False

    @classmethod
    def eval(cls, *args: Expr) -> Expr | None:
        return None

    def fdiff(self, argindex: int = 1) -> Expr:
        return Integer(0)


class Hat(Node):
    pass


class Product(Node):
    pass


class Init(Node):
    pass


class Call(Node):
    pass


class Mean(Node):
    pass


class Expectation(Node):
    """A planned expectation: the recipe's number, then the values of its arguments."""


class Entry(Node):
    pass


class _Guard(Node):
    def _eval_power(self, exponent: Expr) -> Expr | None:
        # 0 and 1 are their own powers.
        return self if exponent.is_positive else None


class AtLeastZero(_Guard):
    @classmethod
    def eval(cls, e: Expr) -> Expr | None:
        if e.is_Integer:
            return Integer(int(int(e) >= 0))
        return None


class IsZero(_Guard):
    @classmethod
    def eval(cls, e: Expr) -> Expr | None:
        if e.is_Integer:
            return Integer(int(int(e) == 0))
        # 2 t = 0 is t = 0, of which ranges of t say something.
        content, primitive = e.as_content_primitive()
        if content.is_Integer and content > 1:
            return cls(primitive)
        # One form for e = 0 and -e = 0.
        if e.could_extract_minus_sign():
            return cls(-e)
        return None


class Total(Node):
    @classmethod
    def eval(cls, body: Expr, var: Symbol, start: Expr, stop: Expr) -> Expr | None:
        if body == 0 or start == stop:
            return Integer(0)
        return None


class Whole(Node):
    """x**k of something random, which is not multiplied out: exp(-(u + v)**2) stays a function of one Gaussian."""

    @classmethod
    def eval(cls, x: Expr, k: Expr) -> Expr | None:
        return None if x.has(Hat, Product, Init, Call) else x**k

    def fdiff(self, argindex: int = 1) -> Expr:
        x, k = self.args
        return k * x ** (k - 1)


def index_symbol(name: str) -> Symbol:
    """The symbol of a loop variable or of an axis."""
    return Symbol(name, integer=True)


def flat(expr: Expr) -> Expr:
    """Products of sums multiplied out, also inside of functions, which are left as they are otherwise.

    Raises:
        Unsupported: if the budget of work is used up.
    """
    result, steps = _flat(expr)
    spend(steps)
    return result


@lru_cache(maxsize=1 << 16)
def _flat(expr: Expr) -> tuple[Expr, int]:
    """`flat`, and the steps that it takes: nodes read and written."""
    steps = require_expandable(expr)
    result = _expanded(expr)
    return result, steps + (0 if result is expr else size(result))


def _expanded(expr: Expr) -> Expr:
    """Products of sums multiplied out, but for sums in denominators, which `expand` would multiply with each other and with
    numbers: x/(2*(1 + a)) and 2*x/(4 + 4*a) are the same, and x/((1 + a)*(1 + b)) keeps its two factors."""
    if not any(_is_denominator(p) for p in expr.atoms(sympy.Pow)):
        return _multiplied_out(expr)
    inverse: dict[Expr, sympy.Dummy] = {}

    def hidden(p: Expr) -> Expr:
        base = sympy.factor_terms(_multiplied_out(p.base), clear=True)
        number, rest = base.as_coeff_Mul()
        return (inverse.setdefault(rest, sympy.Dummy(real=True)) / number)**-p.exp if rest.is_Add else base**p.exp

    found = _multiplied_out(expr.replace(_is_denominator, hidden))
    # Those inside of others were hidden first.
    for base, symbol in reversed(inverse.items()):
        found = found.xreplace({symbol: 1 / base})
    return found


def _multiplied_out(expr: Expr) -> Expr:
    # Only products of sums are multiplied out: (a*b)**x, x**(a + b) and log(a*b) stay as they are.
    return sympy.expand(expr, power_base=False, power_exp=False, log=False)


def _is_denominator(expr: Expr) -> bool:
    return expr.is_Pow and expr.base.is_Add and expr.exp.is_Integer and expr.exp.is_negative


_named = 0


def fresh_index() -> Symbol:
    """An index symbol that occurs nowhere else."""
    global _named
    _named += 1
    return sympy.Dummy(f"j{_named - 1:07d}", integer=True)


def indices_named() -> int:
    """How many index symbols were made."""
    return _named


def name_others(count: int) -> None:
    """Let fresh indices have other names than the first `count`, which come from another process."""
    global _named
    _named = max(_named, count)


def ordered(nodes: Iterable[Expr]) -> list[Expr]:
    """Nodes in an order that is the same in every process (that of a set is not): modules are cached by their text."""
    found = list(nodes)
    return sorted(found, key=str) if len(found) > 1 else found


def total(body: Expr, var: Symbol, start: Expr, stop: Expr) -> Expr:
    """The sum over start <= var < stop; a factor IsZero(...) that fixes `var` is carried out."""
    body = flat(body)
    if body.is_Add:
        return sympy.Add(*(total(term, var, start, stop) for term in body.args))
    if body == 0:
        return Integer(0)
    if not body.has(var):
        return body * count(start, stop)
    # sum_j [j = v] f(j) is f(v) if v is in the range.
    solved = _fixed(body, var)
    if solved is not None:
        factor, value, exists = solved
        rest = (body / factor).subs(var, value) * exists
        return rest * AtLeastZero(flat(value - start)) * AtLeastZero(flat(stop - 1 - value))
    outside: list[Expr] = []
    inside: list[Expr] = []
    for factor in sympy.Mul.make_args(body):
        (inside if factor.has(var) else outside).append(factor)
    return sympy.Mul(*outside) * Total(sympy.Mul(*inside), var, start, stop)


def factors_of(expr: Expr) -> list[Expr]:
    """The factors of a product, of which powers with positive integer exponents are as many."""
    found: list[Expr] = []
    for factor in sympy.Mul.make_args(expr):
        base, power = factor.as_base_exp()
        found += [base] * int(power) if power.is_Integer and power > 0 else [factor]
    return found


def is_constant(expr: Expr) -> bool:
    """Whether an expression is a number that is known now."""
    return bool(expr.is_number) and not expr.atoms(Node)


def _renamed(expr: Expr) -> Expr:
    """A sum with a new summation index, so that two can be multiplied."""
    body, var, start, stop = expr.args
    fresh = fresh_index()
    return Total(body.subs(var, fresh), fresh, start, stop)


def count(start: Expr, stop: Expr) -> Expr:
    """How many integers there are in start <= j < stop (for stop >= start)."""
    return flat(stop - start)


def _fixed(body: Expr, var: Symbol) -> tuple[Expr, Expr, Expr] | None:
    """A factor that is 1 at one integer only, that integer, and 1 if there is one."""
    for factor in sympy.Mul.make_args(body):
        if isinstance(factor, IsZero) and factor.has(var):
            e = flat(factor.args[0])
            slope = e.coeff(var, 1)
            rest = flat(e - slope * var)
            if slope.is_Integer and slope != 0 and not rest.has(var):
                # slope*var + rest = 0 has an integer solution only if slope divides rest.
                return factor, flat(sympy.floor(-rest / slope)), IsZero(sympy.Mod(rest, abs(slope)))
    return None


def _apart(factor: Expr) -> list[Expr]:
    """A factor, or the factors that a power of a sum is made of."""
    # (sum_j a_j)**2 is a product of two sums, whose indices may differ.
    base, k = factor.as_base_exp()
    return [base] * int(k) if isinstance(base, Total) and k.is_Integer and k > 1 else [factor]


def equal_indices(left: Iterable[Expr], right: Iterable[Expr]) -> Expr:
    """1 where all indices agree, else 0."""
    return sympy.Mul(*(IsZero(flat(a - b)) for a, b in zip(left, right)))


def by_linearity(integrand: Expr, is_random: Callable[[Expr], bool], mean: Callable[[Expr], Expr]) -> Expr:
    """An expectation term by term, with sums and factors that are not random outside; `mean` gives that of a product of
    random factors."""
    integrand = flat(integrand)
    if isinstance(integrand, sympy.Add):
        return sympy.Add(*(by_linearity(term, is_random, mean) for term in integrand.args))
    outside: list[Expr] = []
    inside: list[Expr] = []
    for factor in sympy.Mul.make_args(integrand):
        (inside if is_random(factor) else outside).extend(_apart(factor))
    if not inside:
        return integrand
    sums = [f for f in inside if isinstance(f, Total)]
    if not sums:
        return sympy.Mul(*outside) * mean(sympy.Mul(*inside))
    body, var, start, stop = _renamed(sums[0]).args
    inside.remove(sums[0])
    rest = sympy.Mul(*inside)
    return sympy.Mul(*outside) * total(by_linearity(body * rest, is_random, mean), var, start, stop)
