"""Which parts every value of a program has, and which of them its outputs need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial

from tensorprog.ir.program import (
    Accum,
    Cell,
    Let,
    MatAccum,
    MatStore,
    Program,
    Statement,
    Store,
    walk,
)
from tensorprog.passes.gaussian import centred_variance
from tensorprog.passes.known_numbers import known_numbers
from tensorprog.passes.powers import PowerError, Powers, initial_power
from tensorprog.series.declared_draws import is_finite
from tensorprog.series.parts import Series, SeriesPart
from tensorprog.series.recipes import Recipes
from tensorprog.series.term_recipe import Node, TermRecipe, of_part

# Powers that grow for so many rounds grow in every iteration of a loop.
MAX_ROUNDS = 200


class Unfollowed(Exception):
    """A program whose series is not found: `error` says why, `statement` where."""

    def __init__(self, error: PowerError | None, statement: Statement | None):
        super().__init__(str(error))
        self.error, self.statement = error, statement


@dataclass(slots=True)
class Orders:
    """The parts of all values of a program; `initial` those of the declared objects."""

    program: Program
    recipes: Recipes
    series: dict[Node, Series] = field(default_factory=dict)
    initial: dict[Cell, SeriesPart] = field(default_factory=dict)

    def parts(self, node: Node) -> tuple[SeriesPart, ...]:
        return _parts_of(self.series, node)

    def home(self, node: Node, part: SeriesPart) -> SeriesPart | None:
        """The part of a node that holds a term that was found for it."""
        return self.series[node].home(part) if node in self.series else None

    def terms(self, statement: Statement) -> list[list[TermRecipe]]:
        """The recipes of what a statement computes or writes: of a matrix, one list a term."""
        match statement:
            case Let():
                return [self.recipes.of(statement)]
            case MatStore(terms=terms) | MatAccum(terms=terms):
                return [self.recipes.of_term(t) for t in terms]
            case Store(value=value) | Accum(value=value):
                return [[of_part(p, (value, p), lambda w, p: w.part(value, p)) for p in self.parts(value)]]
            case _:
                return []

    def powers(self) -> Powers:
        """The largest power of every value."""
        found = Powers()
        for node, series in self.series.items():
            found.of[node] = series.top if series.apart else None
        return found


def target(statement: Statement) -> Node | None:
    """What a statement computes or writes."""
    match statement:
        case Let(var=var):
            return var
        case Store(cell=cell) | Accum(cell=cell) | MatStore(cell=cell) | MatAccum(cell=cell):
            return cell
        case _:
            return None


def _parts_of(series: Mapping[Node, Series], node: Node) -> tuple[SeriesPart, ...]:
    found = series.get(node)
    return found.parts() if found is not None else ()


def find_orders(program: Program, env: Mapping[str, object]) -> Orders:
    """The parts of every value.

    Raises:
        Unfollowed: a nonlinearity of what blows up, or powers that keep growing.
    """
    # Powers are those of the first width; another one has a ratio to it.
    base = program.widths[0].name if program.widths else None
    series: dict[Node, Series] = {}
    orders = Orders(program, Recipes(partial(_parts_of, series), known_numbers(program, env), base), series)
    bit = 1
    for initial in program.initials:
        power = initial_power(program, initial, env)
        if power is None:
            continue
        # A declared array without a width is the same for all coordinates: no average over them makes it vanish.
        symmetric = not is_finite(initial) and centred_variance(initial) is not None
        part = SeriesPart(power, bit if symmetric else 0)
        # Bits are for objects with symmetric laws alone.
        bit <<= symmetric
        orders.initial[initial.cell] = part
        orders.series.setdefault(initial.cell, Series()).add(part)
    flat = list(walk(program.body))
    for _ in range(MAX_ROUNDS):
        grown = [s for s in flat if _grow(orders, s)]
        if not grown:
            return orders
    raise Unfollowed(None, grown[0])


def _grow(orders: Orders, statement: Statement) -> bool:
    node = target(statement)
    if node is None:
        return False
    if node not in orders.series:
        # What is read as a whole has one part of each power.
        orders.series[node] = Series(1) if node in orders.program.results else Series()
    series = orders.series[node]
    try:
        return any(series.add(r.part) for recipes in orders.terms(statement) for r in recipes)
    except PowerError as error:
        raise Unfollowed(error, statement) from None


@dataclass(slots=True)
class NeededParts:
    """The parts that outputs need, by node; `refused` are those that no limit has, with the statement."""

    parts: dict[Node, dict[SeriesPart, None]] = field(default_factory=dict)
    refused: list[tuple[Statement, str]] = field(default_factory=list)

    def of(self, node: Node) -> tuple[SeriesPart, ...]:
        return tuple(self.parts.get(node, ()))


def find_needed(orders: Orders) -> NeededParts:
    """From the outputs backwards: their parts of order one (of what vanishes, the largest), and what these are made of."""
    makers: dict[Node, list[Statement]] = {}
    for statement in walk(orders.program.body):
        node = target(statement)
        if node is not None:
            makers.setdefault(node, []).append(statement)
    needed = NeededParts()
    found = {o.cell: orders.series.get(o.cell, Series()) for o in orders.program.outputs}
    waiting: list[tuple[Node, SeriesPart]] = [(cell, p) for cell, s in found.items() if s.apart for p in s.at(min(Fraction(0), s.top))]
    while waiting:
        node, part = waiting.pop()
        known = needed.parts.setdefault(node, {})
        if part in known:
            continue
        known[part] = None
        for statement in makers.get(node, ()):
            for recipe in recipes_for(orders, statement, part):
                if recipe.refused:
                    needed.refused.append((statement, recipe.refused))
                waiting += recipe.needs
    return needed


def recipes_for(orders: Orders, statement: Statement, part: SeriesPart) -> Iterator[TermRecipe]:
    """The recipes of a statement that belong to one part of what it computes or writes."""
    node = target(statement)
    for recipes in orders.terms(statement):
        for recipe in recipes:
            if node is not None and orders.home(node, recipe.part) == part:
                yield recipe


def without_effect(orders: Orders, needed: NeededParts) -> Iterator[tuple[Accum | MatAccum, Fraction]]:
    """The updates of names of the user's on which no output depends, though it depends on the name, with their powers."""
    for statement in walk(orders.program.body):
        if isinstance(statement, Accum | MatAccum) and statement.cell.role != "hidden" and needed.of(statement.cell):
            parts = [r.part for recipes in orders.terms(statement) for r in recipes]
            # A part that is too small to be followed has no home: it has no effect either.
            if parts and not any(orders.home(statement.cell, p) in needed.of(statement.cell) for p in parts):
                yield statement, max(p.power for p in parts)
