"""Equations specialised to a pair of rows: the values that an output needs, as expressions in each other."""

from __future__ import annotations

from sympy import Expr, Integer

from tensorprog.covariance.nodes import Call, flat
from tensorprog.covariance.pairs_nodes import LEVEL, At, Definition, Key, NotPairs, Rows, Undecided
from tensorprog.covariance.pairs_terms import Terms
from tensorprog.covariance.pairs_vanish import Vanishing
from tensorprog.covariance.system import System

MOST_DEFINITIONS = 400
MOST_BASES = 4


class Derivation(Terms):
    """The definitions behind pair values.

    Attributes:
        definitions: number -> Definition, of those that were asked for.
        bases: (number, level) -> the value of a definition at a literal level.
    """

    def __init__(self, system: System, rows: Rows, sizes: dict[int, tuple[Expr, ...]]):
        super().__init__(system, rows, sizes)
        self.zeros = Vanishing(system, self.kinds)
        self._symmetric = system.symmetric
        self.keys: dict[Key, int] = {}
        self.listed: list[Key] = []
        self.bounds: dict[int, Expr] = {}
        self.definitions: dict[int, Definition] = {}
        self.bases: dict[tuple[int, int], Expr] = {}
        self._bound: Expr | None = None

    # --- definitions ---

    def value(self, call: Expr) -> Expr:
        """A call at rows of both sides as a node."""
        self._facts, self._bound = self.rows.facts(), None
        return self._call(call, False)

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

    def base(self, number: int, level: int) -> Expr:
        """The value of a definition at a literal level."""
        if (number, level) not in self.bases:
            key, bound = self.listed[number], self.bounds.get(number)
            fixed = Key(key.number, tuple(a.subs(LEVEL, level) for a in key.args), key.extend, False)
            self.bases[number, level] = self._expression(fixed, (bound - level,) if bound is not None else ())
        return self.bases[number, level]

    def _stepped(self, number: int, key: Key) -> Definition:
        bound = self.bounds.get(number)
        for start in range(MOST_BASES + 1):
            facts = (LEVEL - start, *((bound - LEVEL, bound - start) if bound is not None else ()))
            try:
                self._bound = bound
                return Definition(key, self._cases(key, facts), start, bound)
            except Undecided:
                continue
        raise NotPairs(f"the recursion {self._name(key)} has no uniform step")

    def _expression(self, key: Key, facts: tuple[Expr, ...]) -> Expr:
        self._bound = None
        try:
            return self._cases(key, facts)
        except Undecided as reason:
            raise NotPairs(f"{self._name(key)}: it depends on `{reason}`") from None

    def _cases(self, key: Key, facts: tuple[Expr, ...]) -> Expr:
        self._facts = (*self.rows.facts(), *facts)
        expr = key.args[0] if key.number is None else self._unfolded(Call(Integer(key.number), *key.args))
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

    def _defined(self, key: Key) -> Integer:
        number = self._number(key)
        if self._bound is not None and key.leveled:
            self.bounds.setdefault(number, self._bound)
        return Integer(number)

    # --- calls ---

    def _call(self, call: Expr, extend: bool) -> Expr:
        number, args = int(call.args[0]), tuple(flat(a) for a in call.args[1:])
        for a in args:
            if self.rows.sides(a) and a not in self.rows:
                raise NotPairs(f"a row's number is computed: {a}")
        if extend:
            places = [k for k, a in enumerate(args) if a in self.rows]
            if len(places) > 1:
                args = tuple(self.rows.moved(a, 1) if k in places[1:] else a for k, a in enumerate(args))
                extend = False
        if number in self.kinds.recursive and self.zeros.is_zero(number, args):
            return Integer(0)
        args = self._larger_first(number, args)
        if any(a.has(LEVEL) for a in args):
            return self._at_level(number, args, extend)
        if number in self.kinds.recursive or self._depends_on_level(number, args):
            return self._entered(number, args, extend)
        return At(Integer(self._number(Key(number, args, extend, False))))

    def _larger_first(self, number: int, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The arguments of a covariance of two elements of one family with the later one first, which
        is unfolded first."""
        half = len(args) // 2
        if number in self._symmetric:
            for k in range(half):
                gap = flat(args[half + k] - args[k])
                if (number, k) in self.kinds.moving and gap.is_Integer and gap > 0:
                    return (*args[half:], *args[:half])
        return args

    def _at_level(self, number: int, args: tuple[Expr, ...], extend: bool) -> Expr:
        """A value at levels LEVEL + constants: that of a definition at LEVEL + the largest of them."""
        shifts = [flat(a - LEVEL) for a in args if a.has(LEVEL)]
        if not all(s.is_Integer for s in shifts):
            raise NotPairs("its levels do not move by constants")
        shift = max(shifts)
        args = tuple(flat(a.subs(LEVEL, LEVEL - shift)) for a in args)
        return At(self._defined(Key(number, args, extend, True)), LEVEL + shift)

    def _depends_on_level(self, number: int, args: tuple[Expr, ...]) -> bool:
        """Whether an equation leads to a recursion, and which of its cases applies depends on the level
        where it enters."""
        if not any((number, k) in self.kinds.moving for k in range(len(args))):
            return False
        try:
            self._unfolded(Call(Integer(number), *args))
        except Undecided:
            return True
        return False

    def _entered(self, number: int, args: tuple[Expr, ...], extend: bool) -> Expr:
        """A recursion's value at fixed levels: that of a definition with levels."""
        moving = [a for k, a in enumerate(args) if (number, k) in self.kinds.moving]
        if not moving:
            raise NotPairs(f"{self.system.equations[number].name} calls itself with the same indices")
        level = max(moving, key=lambda a: (not a.is_Integer, int(a) if a.is_Integer else 0))
        generalised = []
        for k, a in enumerate(args):
            gap = flat(a - level)
            free = (number, k) in self.kinds.moving and gap.is_Integer
            generalised.append(LEVEL + gap if free else a)
            if free and gap > 0:
                raise NotPairs("its levels differ by more than constants")
        made = self._number(Key(number, tuple(generalised), extend, True))
        if not level.is_Integer:
            known = self.bounds.setdefault(made, level)
            if not flat(known - level).is_nonnegative:
                raise NotPairs("it is needed at several levels")
        return At(Integer(made), level)
