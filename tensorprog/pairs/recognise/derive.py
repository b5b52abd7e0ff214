"""Equations specialised to a pair of rows: the values that an output needs, as expressions in each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from sympy import Expr, Integer

from tensorprog.covariance.nodes import AtLeastZero, Call, Total, flat
from tensorprog.covariance.system import System
from tensorprog.pairs.nodes import LEVEL, At, Definition, Key, NotPairs, RowSymbols, Undecided
from tensorprog.pairs.recognise.terms import Terms
from tensorprog.pairs.recognise.vanish import Vanishing

#: Equations at arguments that a recursion may need: the largest of the tests' networks has 82, and each is a few lines
#: of the kernel.
MOST_DEFINITIONS = 400
#: Levels at either end at which a recursion may have other steps; the tests' networks have 2.
MOST_BASES = 4
#: How many levels at the beginning and at the end a step may leave out, in the order in which they are tried.
# Fewest first, and those at the beginning before those at the end.
MARGINS = tuple(sorted(itertools.product(range(MOST_BASES + 1), repeat=2), key=lambda m: (sum(m), m[1])))


class PairDefinitions(Terms):
    """The definitions behind pair values.

    Attributes:
        definitions: number -> Definition, of those that were asked for.
        bounds: number -> the largest level that a definition is needed at.
        bases: (number, level) -> the value of a definition at a fixed level.
        widened: set when a definition is needed at larger levels than it was derived for.
    """

    def __init__(self, system: System, rows: RowSymbols, sizes: dict[int, tuple[Expr, ...]]):
        super().__init__(system, rows, sizes)
        self.zeros = Vanishing(system, self.kinds)
        self._symmetric = system.symmetric
        self.keys: dict[Key, int] = {}
        self.listed: list[Key] = []
        self.bounds: dict[int, Expr] = {}
        self.definitions: dict[int, Definition] = {}
        self.bases: dict[tuple[int, Expr], Expr] = {}
        self.widened = False
        self._top: Expr | None = None
        self._requests: list[tuple[int, Expr]] = []

    # --- definitions ---

    def value(self, call: Expr) -> Expr:
        """A call at rows of both sides as a node."""
        return self._attempt((), None, lambda: self._call(call, False))

    def derive(self, number: int) -> Definition:
        """The definition with a number.

        Raises:
            NotPairs: if its cases cannot be told apart.
        """
        if number not in self.definitions:
            key = self.listed[number]
            self.definitions[number] = self._stepped(number, key) if key.leveled else Definition(
                key, self._expression(key, ()))
        return self.definitions[number]

    def base(self, number: int, level: Expr) -> Expr:
        """The value of a definition at a fixed level."""
        if (number, level) not in self.bases:
            key, bound = self.listed[number], self.bounds.get(number)
            fixed = Key(key.number, tuple(flat(a.xreplace({LEVEL: level})) for a in key.args), key.extend, False)
            facts = () if level.is_Integer else (level,)
            facts += (bound - level,) if bound is not None else ()
            self.bases[number, level] = self._expression(fixed, facts)
        return self.bases[number, level]

    def _stepped(self, number: int, key: Key) -> Definition:
        for start, end in MARGINS:
            bound = self.bounds.get(number)
            if bound is None and end:
                continue
            top = None if bound is None else flat(bound - end)
            facts = (LEVEL - start, *((top - LEVEL, top - start) if top is not None else ()))
            try:
                return Definition(key, self._attempt(facts, top, lambda: self._cases(key)), start, end)
            except Undecided as reason:
                # A first failure tells at which level a step ends (`layer < L - 1`): with it as the bound, margins at
                # the end can be tried.
                if bound is None:
                    self._bounded_by(number, reason.guard)
        raise NotPairs(f"the recursion {self._name(key)} has no uniform step")

    def _bounded_by(self, number: int, guard: Expr) -> None:
        """Takes the level after which a guard does not hold for the last one that is needed."""
        for atom in guard.atoms(AtLeastZero):
            last = flat(atom.args[0] + LEVEL)
            if last.free_symbols and not last.has(LEVEL):
                self.bounds[number] = flat(last + 1)

    def _expression(self, key: Key, facts: tuple[Expr, ...]) -> Expr:
        try:
            return self._attempt(facts, None, lambda: self._cases(key))
        except Undecided as reason:
            raise NotPairs(f"{self._name(key)}: it depends on `{reason}`") from None

    def _attempt(self, facts: tuple[Expr, ...], top: Expr | None, translate: Callable[[], Expr]) -> Expr:
        """A translation under facts, `top` the largest level; what it needs at which levels is noted if it succeeds."""
        self._facts, self._top, self._requests = (*self.rows.facts(), *self.assumed, *facts), top, []
        # Assumptions on sizes, once made, hold for all definitions of the lowering.
        found = translate()
        for number, bound in self._requests:
            self._widen(number, flat(bound))
        return found

    def _widen(self, number: int, bound: Expr) -> None:
        if number in self.bounds:
            gap = flat(bound - self.bounds[number])
            if gap.is_nonpositive:
                return
            if not gap.is_nonnegative:
                raise NotPairs("it is needed at several levels")
        self.bounds[number] = bound
        # Derived for fewer levels, it may have left out a case.
        self.widened |= self.definitions.pop(number, None) is not None
        # Values at fixed levels were found under the same bound.
        self.bases = {at: e for at, e in self.bases.items() if at[0] != number}

    def _cases(self, key: Key) -> Expr:
        expr = key.args[0] if key.number is None else self._unfolded(Call(Integer(key.number), *key.args))
        # A sum up to the level itself: each level adds a term to that of the level before.
        if isinstance(expr, Total) and expr.args[3] == LEVEL + 1:
            return self.partial_sum(expr, key.extend)
        return self.translated(expr, key.extend)

    def _name(self, key: Key) -> str:
        if key.number is None:
            return str(key.args[0])
        return self.system.equations[key.number].name

    def _number(self, key: Key) -> int:
        if key not in self.keys:
            if len(self.listed) >= MOST_DEFINITIONS:
                raise NotPairs("the recursion needs too many covariances")
            self.keys[key] = len(self.listed)
            self.listed.append(key)
        return self.keys[key]

    def _placed(self, key: Key, level: Expr) -> Expr:
        number = self._number(key)
        if not level.has(LEVEL):
            if not level.is_Integer:
                self._requests.append((number, level))
        elif self._top is not None:
            self._requests.append((number, level.xreplace({LEVEL: self._top})))
        return At(Integer(number), level)

    # --- calls ---

    def _call(self, call: Expr, extend: bool) -> Expr:
        number, args = int(call.args[0]), tuple(flat(a) for a in call.args[1:])
        for a in args:
            if self.rows.sides(a) and a not in self.rows:
                raise NotPairs(f"a row's number is computed: {a}")
        # At equal rows, one of two arguments may as well be of the other side: then the definition is of pairs.
        if extend:
            places = [k for k, a in enumerate(args) if a in self.rows]
            if len(places) > 1:
                args = tuple(self.rows.moved(a, 1) if k in places[1:] else a for k, a in enumerate(args))
                extend = False
        if number in self.kinds.recursive and self.zeros.is_zero(number, args):
            return Integer(0)
        args = self._later_first(number, args)
        if any(a.has(LEVEL) for a in args):
            return self._at_level(number, args, extend)
        if number in self.kinds.recursive or self._depends_on_level(number, args):
            return self._entered(number, args, extend)
        return At(Integer(self._number(Key(number, args, extend, False))))

    def _later_first(self, number: int, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The arguments of a covariance of two elements of one family with the one first that is computed later, which
        is unfolded first; of two of equal levels, that of the first row: both orders are one definition."""
        half = len(args) // 2
        if number in self._symmetric:
            if self._rows_turned(args):
                return (*args[half:], *args[:half])
            for k in range(half):
                gap = flat(args[half + k] - args[k]) * (-1 if (number, k) in self.kinds.rising else 1)
                if (number, k) in self.kinds.moving and gap.is_Integer and gap > 0:
                    return (*args[half:], *args[:half])
        return args

    def _rows_turned(self, args: tuple[Expr, ...]) -> bool:
        """Whether the halves of some arguments are equal, but for a row of the second side before one of the first."""
        half = len(args) // 2
        different = [(a, b) for a, b in zip(args[:half], args[half:]) if a != b]
        return len(different) == 1 and [self.rows.side(a) if a in self.rows else None for a in different[0]] == [1, 0]

    def _at_level(self, number: int, args: tuple[Expr, ...], extend: bool) -> Expr:
        """A value at levels LEVEL + constants: that of a definition at LEVEL + the largest of them."""
        shifts = [flat(a - LEVEL) for a in args if a.has(LEVEL)]
        if not all(s.is_Integer for s in shifts):
            raise NotPairs("its levels do not move by constants")
        shift = max(shifts)
        args = tuple(flat(a.xreplace({LEVEL: LEVEL - shift})) for a in args)
        return self._placed(Key(number, args, extend, True), LEVEL + shift)

    def _depends_on_level(self, number: int, args: tuple[Expr, ...]) -> bool:
        """Whether an equation leads to a recursion, and which of its cases applies depends on the level
        where it enters."""
        if not any((number, k) in self.kinds.moving for k in range(len(args))):
            return False
        # Whether it does must not be settled by an assumption that sizes are large.
        facts, self._assuming = self._facts, False
        try:
            self._unfolded(Call(Integer(number), *args))
        except Undecided:
            return True
        finally:
            self._facts, self._assuming = facts, True
        return False

    def _entered(self, number: int, args: tuple[Expr, ...], extend: bool) -> Expr:
        """A recursion's value at fixed levels: that of a definition with levels."""
        # Of the arguments that are handed on, those that change on the way round are the levels.
        places = [k for k in range(len(args)) if (number, k) in self.kinds.turning] or [
            k for k in range(len(args)) if (number, k) in self.kinds.moving]
        moving = [args[k] for k in places]
        if not moving:
            raise NotPairs(f"{self.system.equations[number].name} calls itself with the same indices")
        level = _highest(moving)
        generalised = []
        for k, a in enumerate(args):
            gap = flat(a - level)
            free = k in places and gap.is_Integer
            generalised.append(LEVEL + gap if free else a)
            if free and gap > 0:
                raise NotPairs("its levels differ by more than constants")
        return self._placed(Key(number, tuple(generalised), extend, True), level)


def _highest(levels: list[Expr]) -> Expr:
    """The largest of some levels; one with a size, if there are such, is taken to be larger than numbers."""
    found = levels[0]
    for level in levels[1:]:
        gap = flat(level - found)
        if gap > 0 if gap.is_Integer else found.is_Integer:
            found = level
    return found
