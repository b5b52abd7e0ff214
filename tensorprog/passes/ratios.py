"""Bounds of quotients in which numerator and denominator grow together, as exp(x) / (1 + exp(x)) or x*exp(-x) / (1 + exp(-x))**2.

Bounds of operations (`bounds`) forget what their arguments have in common: of exp(x) over 1 + exp(x) they know that it grows as
exp(x). Here a value is read as a sum of products of powers of *atoms*: exponentials, sums below a fraction bar, and what is
not read further. A sum D of what is positive is at least each of its terms t, so that 1/D**k is at most the product of any k
of the 1/t. That product cancels what the numerator has in common with it; the choice that grows least is the bound. So
does step(c - t), which is 1/t at most times c. Where x > 0 another choice may be better than where x < 0: of x*exp(-x) / (1 + exp(-x))**2,
which x*exp(-x) and x*exp(x) bound, both sides together are bounded.

Gradients read values that the forward pass has kept in a cell, element by element. Two such values are of one iteration if
one block stores both, each time that it runs; a value is then known by its name and the block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations_with_replacement, product

from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.ir.functions.bounds import Bound, Problems
from tensorprog.ir.integers import Environment
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Elementwise,
    Let,
    Load,
    Op,
    ParamRef,
    Program,
    Statement,
    Store,
    Var,
    Zero,
    blocks,
    walk,
)
from tensorprog.passes.bounds import both, constant, joined, of_primitive
from tensorprog.passes.bounds import product as times

#: The most terms of a sum, choices of terms for the denominators of a product, and power of a sum that is multiplied out.
MOST_TERMS, MOST_CHOICES, MOST_POWER = 12, 64, 3

Context = tuple[object, ...]  # The iteration in which a value is computed that is read from a cell; () of the one at hand
Monomial = frozenset[tuple[int, float]]  # Atoms by their numbers, with their powers
Polynomial = Mapping[Monomial, float]
ONE: Monomial = frozenset()
Divisor = tuple[Mapping[int, float], float]  # Powers of atoms, and a coefficient


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is not read further."""

    var: Var
    context: Context = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """A function that is not read further, of values that are: alike wherever its arguments are."""

    fn: str
    order: int
    args: tuple[frozenset[tuple[Monomial, float]], ...]


@dataclass(frozen=True, slots=True)
class Exponential:
    """exp of a product; its power is the product's coefficient."""

    root: Monomial


@dataclass(frozen=True, slots=True)
class Sum:
    terms: frozenset[tuple[Monomial, float]]


Atom = Leaf | Applied | Exponential | Sum


def bounded_by_parts(program: Program, env: Environment) -> Ratios | None:
    """The reader of a program's quotients, if it has exponentials."""
    exponentials = any(isinstance(s, Let) and isinstance(s.op, Elementwise) and s.op.fn == "exp" and s.var.type.width is not None
                       for s in walk(program.body))
    return Ratios(program, env) if exponentials else None


class Ratios:
    """Every value of a program as a sum of products, in `read`."""

    def __init__(self, program: Program, env: Environment):
        self.env = env
        self.read: dict[Var, Polynomial] = {}
        self.atoms: list[Atom] = []
        self.examples: list[Var | None] = []  # a value that an atom is, for its bound
        self._numbers: dict[Atom, int] = {}
        self._kept = _kept(program)
        self._block(program.body, (id(program),))

    # --- reading ---

    def _block(self, body: Sequence[Statement], path: tuple[int, ...]) -> None:
        for statement in body:
            if isinstance(statement, Let):
                found = self._op(statement.var, statement.op, path)
                self.read[statement.var] = found if len(found) <= MOST_TERMS else self._leaf(statement.var)
            for number, block in enumerate(blocks(statement)):
                self._block(block, (*path, id(statement), number))

    def _op(self, var: Var, op: Op, path: tuple[int, ...]) -> Polynomial:
        match op:
            case Const(value=value):
                return {ONE: float(value)}
            case ParamRef(name=name) if name in self.env:
                return {ONE: float(self.env[name])}
            case Load(cell=cell) if cell in self._kept:
                return self._loaded(var, op, path)
            case Elementwise(fn=fn, order=order, args=args) if all(a in self.read for a in args):
                return self._elementwise(var, fn, order, [self.read[a] for a in args])
        return self._leaf(var)

    def _leaf(self, var: Var) -> Polynomial:
        return self._atom(Leaf(var), var)

    def _atom(self, atom: Atom, example: Var | None = None, power: float = 1.0) -> Polynomial:
        if atom not in self._numbers:
            self._numbers[atom] = len(self.atoms)
            self.atoms.append(atom)
            self.examples.append(example)
        return {frozenset([(self._numbers[atom], power)]): 1.0}

    def _loaded(self, var: Var, load: Load, path: tuple[int, ...]) -> Polynomial:
        store, home = self._kept[load.cell]
        # A block that runs the store itself may read the cell before and after.
        if home[:len(path)] == path or store.value not in self.read:
            return self._leaf(var)
        context = (home, store.items, load.items, path)
        moved = self._moved(self.read[store.value], context)
        return moved if moved is not None else self._leaf(var)

    def _moved(self, found: Polynomial, context: Context) -> Polynomial | None:
        """A value as another iteration computes it."""
        moved: dict[Monomial, float] = {}
        for monomial, coefficient in found.items():
            factors: Polynomial = {ONE: coefficient}
            for number, power in monomial:
                match self.atoms[number]:
                    case Leaf(var=var, context=inner):
                        factor: Polynomial | None = self._atom(Leaf(var, (*context, *inner)), var, power)
                    case Applied(fn=fn, order=order, args=args):
                        parts = [self._moved(dict(a), context) for a in args]
                        factor = None if None in parts else self._atom(
                            Applied(fn, order, tuple(frozenset(p.items()) for p in parts if p is not None)), self.examples[number], power)
                    case Exponential(root=root):
                        inside = self._moved({root: power}, context)
                        factor = None if inside is None else self._exp(inside)
                    case Sum(terms=terms):
                        inside = self._moved(dict(terms), context)
                        factor = None if inside is None else self._atom(Sum(frozenset(inside.items())), None, power)
                if factor is None:
                    return None
                factors = _product(factors, factor)
            _add(moved, factors)
        return moved

    def _elementwise(self, var: Var, fn: str, order: int, args: list[Polynomial]) -> Polynomial:
        found: Polynomial | None = None
        match fn, order, args:
            case "neg", 0, [a]:
                found = _product(a, {ONE: -1.0})
            case "add" | "sub", 0, [a, b]:
                found = _add(dict(a), b if fn == "add" else _product(b, {ONE: -1.0}))
            case "mul", 0, [a, b]:
                found = self._multiplied(a, b)
            case "div", 0, [a, b]:
                below = self._power(b, -1.0)
                found = None if below is None else self._multiplied(a, below)
            case "square", 0, [a]:
                found = self._power(a, 2.0)
            case "pow", 0, [a, b] if set(b) == {ONE}:
                found = self._power(a, b[ONE])
            case "sqrt", 0, [a]:
                found = self._power(a, 0.5)
            case "exp", _, [a]:
                found = self._exp(a)
            case "log", _, [a] if order > 0:
                below = self._power(a, -float(order))
                found = None if below is None else _product(below, {ONE: (-1.0)**(order - 1) * math.factorial(order - 1)})
        if found is not None:
            return found
        return self._atom(Applied(fn, order, tuple(frozenset(a.items()) for a in args)), var)

    def _multiplied(self, a: Polynomial, b: Polynomial) -> Polynomial:
        if len(a) * len(b) > MOST_TERMS:
            a, b = self._together(a), self._together(b)
        return _product(a, b)

    def _together(self, a: Polynomial) -> Polynomial:
        """A sum as one atom."""
        return a if len(a) <= 1 else self._atom(Sum(frozenset(a.items())))

    def _power(self, a: Polynomial, power: float) -> Polynomial | None:
        """None of what has no such power, or none that is known."""
        if len(a) > 1 and power in range(1, MOST_POWER + 1) and len(a)**power <= MOST_TERMS:
            return reduce(_product, [a] * int(power))
        if not a:
            return {} if power > 0 else None
        ((monomial, coefficient),) = self._together(a).items()
        if not float(power).is_integer() and not (coefficient > 0 and all(self._is_exponential(n) for n, _ in monomial)):
            return None
        try:
            return {frozenset((n, p * power) for n, p in monomial): coefficient**power}
        except (OverflowError, ZeroDivisionError):
            return None

    def _is_exponential(self, number: int) -> bool:
        """Whether an atom is positive whatever its parts are: an exponential, or a sum of some."""
        match self.atoms[number]:
            case Exponential():
                return True
            case Sum(terms=terms):
                return all(c > 0 and all(self._is_exponential(n) for n, _ in m) for m, c in terms)
        return False

    def _exp(self, a: Polynomial) -> Polynomial | None:
        try:
            found: Polynomial = {ONE: math.exp(a.get(ONE, 0.0))}
        except OverflowError:
            return None
        for monomial, coefficient in a.items():
            if monomial != ONE:
                found = _product(found, self._atom(Exponential(monomial), None, coefficient))
        return found

    # --- bounds ---

    def bound(self, var: Var, known: Mapping[Var, Bound | None]) -> Bound | None:
        """The bound of a value with exponentials or a sum below a fraction bar; None of others, and where none is found."""
        found = self.read.get(var, {})
        if not any(isinstance(self.atoms[n], Exponential) or power < 0 and isinstance(self.atoms[n], Sum)
                   for monomial in found for n, power in monomial):
            return None
        return _Sizes(self.atoms, self.examples, known).of(found)


@dataclass(frozen=True)
class _Sizes:
    """Bounds of what is read, from those of values."""

    atoms: Sequence[Atom]
    examples: Sequence[Var | None]
    known: Mapping[Var, Bound | None]

    def of(self, found: Polynomial) -> Bound | None:
        """The bound of a sum: as it is, or over one denominator, where terms may cancel, as in exp(x)/D - exp(x)**2/D**2."""
        bounds = [b for b in map(self._each, (found, self._over_one(found))) if b is not None]
        return reduce(both, bounds) if bounds else None

    def _over_one(self, found: Polynomial) -> Polynomial:
        """The sum with those terms over one denominator that have the same sum below their fraction bars."""
        below = {n for monomial in found for n, power in monomial if power < 0 and isinstance(self.atoms[n], Sum)}
        for number in below:
            powers = {dict(m).get(number, 0.0) for m in found}
            least, atom = min(powers), self.atoms[number]
            missing = [p - least for p in powers if p < 0]
            assert isinstance(atom, Sum)
            if not all(m in range(MOST_POWER) for m in missing) or len(found) * len(atom.terms)**max(missing) > MOST_TERMS**2:
                continue
            wider: dict[Monomial, float] = {}
            for monomial, coefficient in found.items():
                power = dict(monomial).get(number, 0.0)
                term: Polynomial = {monomial: coefficient}
                if power < 0:
                    factor = {frozenset([(number, least - power)]): 1.0} if least != power else {ONE: 1.0}
                    term = reduce(_product, [dict(atom.terms)] * int(power - least), _product(term, factor))
                _add(wider, term)
            found = wider
        return found

    def _each(self, found: Polynomial) -> Bound | None:
        parts = [self._term(monomial, coefficient) for monomial, coefficient in found.items()]
        known = [p for p in parts if p is not None]
        return reduce(_sum, known) if known and len(known) == len(parts) else None

    def _term(self, monomial: Monomial, coefficient: float) -> Bound | None:
        below = [(number, -power) for number, power in monomial if power < 0 and self._is_positive_sum(number)]
        rest = {number: power for number, power in monomial if not (power < 0 and self._is_positive_sum(number))}
        choices = [list(self._divisors(number, power)) for number, power in below]
        choices += [[({}, 1.0), *self._below_step(number)] for number in rest if self._is_step(number)]
        # The numbers of choices multiply; with too many of them there is no bound.
        roots = sorted(set().union(*(self._roots({number: 1.0}) for number, _ in monomial)), key=str)
        if math.prod(map(len, choices)) * 2**len(roots) > MOST_CHOICES:
            return None
        found: Bound | None = None
        for signs in product((1, -1), repeat=len(roots)):
            least = self._least(rest, choices, dict(zip(roots, signs, strict=True)))
            if least is None:
                return None
            found = joined(found, least)
        return None if found is None else times(constant(coefficient), found)

    def _least(self, rest: Mapping[int, float], choices: Sequence[Sequence[Divisor]], signs: Mapping[Monomial, int]) -> Bound | None:
        """The least bound that a choice of terms gives where the roots of exponentials have given signs."""
        bounds = [self._over(rest, chosen, signs) for chosen in product(*choices)]
        return min((b for b in bounds if b is not None), key=lambda b: (b.size, b.high - b.low), default=None)

    def _over(self, rest: Mapping[int, float], chosen: Sequence[Divisor], signs: Mapping[Monomial, int]) -> Bound | None:
        """A product divided by sums, each of them replaced by one or more of its terms: with what is left, times a
        number between 0 and that of coefficients."""
        left, largest = dict(rest), 1.0
        for divisor, coefficient in chosen:
            largest /= coefficient
            for number, power in divisor.items():
                left[number] = left.get(number, 0.0) - power
        share = Bound(0.0, largest, True) if chosen else constant(1.0)
        bounds = [self._decays(left, signs), *(self._atom(number, power) for number, power in left.items() if power)]
        known = [b for b in bounds if b is not None]
        return reduce(times, known, share) if len(known) == len(bounds) else None

    def _decays(self, left: dict[int, float], signs: Mapping[Monomial, int]) -> Bound:
        """The bound of exponentials that are below 1 where roots have these signs, with what they hold down: powers of
        their roots. All that is taken out of `left`."""
        size = Bound(0.0, 1.0, False)
        for number in [n for n in left if isinstance(self.atoms[n], Exponential)]:
            atom = self.atoms[number]
            assert isinstance(atom, Exponential)
            rate = -left[number] * signs.get(atom.root, 0)
            if rate > 0:
                del left[number]
                for n, p in atom.root:
                    # x**k exp(-r x) is at most (k / (e r))**k for x > 0, and the same for powers of x.
                    if len(atom.root) == 1 and left.get(n, 0.0) > 0:
                        k = left.pop(n) / p
                        height = (k / (math.e * rate))**k
                        size = times(size, Bound(-height, height, True))
        return size

    def _roots(self, found: Mapping[int, float]) -> frozenset[Monomial]:
        """The roots of the exponentials in a product."""
        roots: set[Monomial] = set()
        for number in found:
            match self.atoms[number]:
                case Exponential(root=root):
                    roots.add(root)
                case Sum(terms=terms):
                    roots.update(*(self._roots(dict(m)) for m, _ in terms))
        return frozenset(roots)

    def _is_step(self, number: int) -> bool:
        atom = self.atoms[number]
        return isinstance(atom, Applied) and (atom.fn, atom.order) == ("step", 0)

    def _below_step(self, number: int) -> Iterator[Divisor]:
        """The term t of step(c - t), with the coefficient by which dividing by it is multiplying with c at most."""
        atom = self.atoms[number]
        assert isinstance(atom, Applied)
        terms = dict(atom.args[0])
        limit = terms.pop(ONE, 0.0)
        for monomial, coefficient in terms.items():
            if len(terms) == 1 and limit > 0 > coefficient and all(self._at_least_zero(n, p) for n, p in monomial):
                yield dict(monomial), -coefficient / limit

    def _divisors(self, number: int, power: float) -> Iterator[Divisor]:
        """Products of terms that a power of a sum is not below, with their coefficients."""
        atom = self.atoms[number]
        assert isinstance(atom, Sum)
        whole = power in range(2, MOST_POWER + 1)
        for chosen in combinations_with_replacement(sorted(atom.terms, key=str), int(power) if whole else 1):
            divisor: dict[int, float] = {}
            for monomial, _ in chosen:
                for n, p in monomial:
                    divisor[n] = divisor.get(n, 0.0) + p * (1.0 if whole else power)
            yield divisor, math.prod(c for _, c in chosen)**(1.0 if whole else power)

    def _is_positive_sum(self, number: int) -> bool:
        atom = self.atoms[number]
        return isinstance(atom, Sum) and all(
            c > 0 and all(self._at_least_zero(n, p) for n, p in monomial) for monomial, c in atom.terms)

    def _at_least_zero(self, number: int, power: float) -> bool:
        if isinstance(self.atoms[number], Exponential) or self._is_positive_sum(number) or power % 2 == 0:
            return True
        bound = self._atom(number, 1.0)
        return bound is not None and bound.low >= 0

    def _atom(self, number: int, power: float) -> Bound | None:
        match self.atoms[number]:
            case Exponential(root=root):
                inside = self._term(root, power)
                return None if inside is None else replace(NONLINEARITIES["exp"].bound(inside, Problems()), fixed=inside.fixed)
            case Sum(terms=terms):
                bound = self.of(dict(terms))
            case Leaf() | Applied():
                example = self.examples[number]
                bound = None if example is None else self.known.get(example)
        # A negative power of what can come near 0 has no bound.
        if bound is None or power < 0 and not bound.low > 0 and not bound.high < 0:
            return None
        return bound if power == 1 else of_primitive("pow", 0, [bound, constant(power)], 0, Problems())


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    found: dict[Monomial, float] = {}
    for (m, c), (k, d) in product(a.items(), b.items()):
        powers = dict(m)
        for number, power in k:
            powers[number] = powers.get(number, 0.0) + power
        _add(found, {frozenset((n, p) for n, p in powers.items() if p): c * d})
    return found


def _add(found: dict[Monomial, float], other: Polynomial) -> dict[Monomial, float]:
    for monomial, coefficient in other.items():
        total = found.get(monomial, 0.0) + coefficient
        if total:
            found[monomial] = total
        else:
            found.pop(monomial, None)
    return found


def _sum(a: Bound, b: Bound) -> Bound:
    return of_primitive("add", 0, [a, b], 0, Problems())


def _kept(program: Program) -> dict[Cell, tuple[Store, tuple[int, ...]]]:
    """The cells that one statement alone writes, with it and the block that it is in."""
    written: dict[Cell, list[tuple[Store | None, tuple[int, ...]]]] = {i.cell: [(None, ())] for i in program.initials}

    def survey(body: Sequence[Statement], path: tuple[int, ...]) -> None:
        for statement in body:
            if isinstance(statement, Store | Accum | Zero):
                kept = statement if isinstance(statement, Store) else None
                written.setdefault(statement.cell, []).append((kept, path))
            for number, block in enumerate(blocks(statement)):
                survey(block, (*path, id(statement), number))

    survey(program.body, (id(program),))
    return {cell: (store, path) for cell, [(store, path), *others] in written.items() if store is not None and not others}


