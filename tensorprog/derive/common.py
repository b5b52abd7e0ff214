"""Common expectations: one that occurs more than once, at the same indices or at others, gets a name and an equation of
its own before its first use. Where the program names it before that, it keeps that name.

This is the last simplification. It works on finished rules; putting the definitions back in undoes it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import sympy
from sympy import Expr, Product, Sum

from tensorprog.derive.families import ExpectationFamily, ExpectationPlace, family_of
from tensorprog.derive.formula import formula
from tensorprog.derive.instances import skeleton
from tensorprog.derive.rules import OTHER_SECTION, Index, Rule, Step
from tensorprog.derive.spans import Ranges
from tensorprog.derive.symbols import E, element

STEP = "common-expectation"
MARK = Step(STEP, "")
# Outputs may have these names; in formulas they would read as what they stand for there.
RESERVED = ("E", "Cov")


def name_common_expectations(rules: tuple[Rule, ...], words: Iterable[str]) -> tuple[Rule, ...]:
    """The rules with a name for each expectation, or family of them, that occurs more than once. `words` are those of
    the program, which the names avoid."""
    current, count = list(rules), itertools.count()
    # Expectations that hold others come first: named as a whole, what is inside of them stands in their definition
    # only, and may then occur just once.
    for height in range(max((_height(r.right) for r in rules), default=0), 0, -1):
        places = _places(current, height)
        families = [f for f in _families(places, current) if len(f.uses) > 1]
        current = _named(current, height, families, count)
    return _numbered(current, set(words))


def _height(expr: sympy.Basic) -> int:
    """How deeply expectations are nested."""
    return max(map(_height, expr.args), default=0) + isinstance(expr, E) if expr.has(E) else 0


# --- places --------------------------------------------------------------------------------------------------


def _rewritten(expr: sympy.Basic, ranges: Ranges, height: int, change: Callable[[Expr, Ranges], Expr]) -> sympy.Basic:
    """The expression with its expectations of one height changed, always in the same order."""
    if not expr.has(E):
        return expr
    if isinstance(expr, E) and _height(expr) == height:
        return change(expr, ranges)
    if isinstance(expr, Sum | Product):
        # SymPy lists the limit of the innermost sum first.
        ranges = (*ranges, *(Index(*limit) for limit in reversed(expr.limits)))
        return expr.func(_rewritten(expr.function, ranges, height, change), *expr.limits)
    args = [_rewritten(a, ranges, height, change) for a in expr.args]
    return expr if args == list(expr.args) else expr.func(*args)


def _places(rules: list[Rule], height: int) -> list[ExpectationPlace]:
    """The expectations of one height, in order."""
    found: list[ExpectationPlace] = []
    for number, rule in enumerate(rules):
        def note(expr: Expr, ranges: Ranges, number: int = number, rule: Rule = rule) -> Expr:
            found.append(ExpectationPlace(len(found), number, expr, ranges, rule.condition))
            return expr
        _rewritten(rule.right, rule.indices, height, note)
    return found


# --- families ------------------------------------------------------------------------------------------------


def _families(places: list[ExpectationPlace], rules: list[Rule]) -> list[ExpectationFamily]:
    """Families that share out the places, those with the most free indices first."""
    alike: dict[str, list[ExpectationPlace]] = {}
    for place in places:
        alike.setdefault(skeleton(place.expr), []).append(place)
    return [family for group in alike.values() if len(group) > 1 for family in _shared_out(group, rules)]


def _shared_out(places: list[ExpectationPlace], rules: list[Rule]) -> list[ExpectationFamily]:
    candidates = [(p, f) for p in places if (f := family_of(p)) is not None]
    candidates.sort(key=lambda pair: _preference(pair[0], pair[1], rules))
    found, rest = [], places
    for place, family in candidates:
        if place in rest:
            # Places that a more general family has taken are not offered to later ones.
            rest = [p for p in rest if not family.takes(p)]
            found.append(family)
    return found


def _preference(place: ExpectationPlace, family: ExpectationFamily, rules: list[Rule]) -> tuple:
    """The most general family, in the program's own name and the equation's own indices where there is a choice."""
    rule = rules[place.rule]
    own = {each.symbol for each in rule.indices}
    return (-len(family.indices), len(family.dependent), not _is_definition(rule, place),
            sum(s not in own for s in family.symbols), place.number)


def _is_definition(rule: Rule, place: ExpectationPlace) -> bool:
    """Whether the program gives the expectation a name there (one that does not look like an expectation)."""
    return rule.kind == "moment" and rule.right == place.expr and rule.condition == sympy.true \
        and set(_arguments(rule.left)) == {each.symbol for each in rule.indices} and _name(rule.left) not in RESERVED


def _arguments(left: Expr) -> tuple[Expr, ...]:
    return tuple(left.indices) if isinstance(left, sympy.Indexed) else ()


# --- names ---------------------------------------------------------------------------------------------------


def _named(rules: list[Rule], height: int, families: list[ExpectationFamily], count: Iterator[int]) -> list[Rule]:
    """The rules with families named, provisionally, and defined."""
    # A name that covariances alone use is defined at the end of the equations: after these, there is no section for it.
    equations = 1 + max((n for n, r in enumerate(rules) if r.section == OTHER_SECTION), default=-1)
    labels: dict[int, Expr] = {}
    definitions: dict[int, list[Rule]] = {}
    own: set[int] = set()
    for family in sorted(families, key=lambda f: f.first.number):
        uses = dict(family.uses)
        left = _own_name(family, rules)
        if left is None:
            # No name of a program begins with "@": provisional names cannot meet real ones.
            left = element(f"@{next(count)}", family.symbols)
            made = Rule("expectation", left, family.expr, family.indices, family.condition, steps=(MARK,))
            definitions.setdefault(min(family.first.rule, equations), []).append(made)
        else:
            own.add(family.first.rule)
            del uses[family.first]
        labels |= {place.number: left.xreplace(values) for place, values in uses.items()}
    # `_rewritten` visits expectations in the order in which `_places` has numbered them, so that counting finds the
    # labels.
    numbers = itertools.count()

    def label(expr: Expr, ranges: Ranges) -> Expr:
        return labels.get(next(numbers), expr)
    result = []
    for number, rule in enumerate(rules):
        steps = (*rule.steps, MARK) if number in own and MARK not in rule.steps else rule.steps
        right = _rewritten(rule.right, rule.indices, height, label)
        result += [*definitions.get(number, ()), replace(rule, right=right, steps=steps)]
    return result + definitions.get(len(rules), [])


def _own_name(family: ExpectationFamily, rules: list[Rule]) -> Expr | None:
    """The program's name in terms of the family's indices, if it comes first and is defined wherever it is used."""
    place = family.first
    rule, values = rules[place.rule], family.uses[place]
    if not _is_definition(rule, place) or family.is_wider:
        return None
    back = {value: symbol for symbol, value in values.items()}
    # Two indices with the same value, as in `c[t, t]`, do not say which of them is which.
    if len(back) != len(values) or set(back) != set(_arguments(rule.left)):
        return None
    return rule.left.xreplace(back)


def _numbered(rules: list[Rule], words: set[str]) -> tuple[Rule, ...]:
    """The rules with final names, numbered in the order of their definitions, and the text of the steps."""
    made = [r for r in rules if r.kind == "expectation"]
    stem = _stem(rules, words)
    names = {sympy.Symbol(_name(r.left)): sympy.Symbol(f"{stem}_{n}") for n, r in enumerate(made, 1)}
    rules = [replace(r, left=r.left.xreplace(names), right=r.right.xreplace(names)) for r in rules]
    return tuple(replace(r, steps=tuple(_described(r) if s == MARK else s for s in r.steps)) for r in rules)


def _described(rule: Rule) -> Step:
    return Step(STEP, f"{formula(rule.left)} stands for {formula(rule.right)}, which occurs more than once")


def _name(left: Expr) -> str:
    return str(left.base.label) if isinstance(left, sympy.Indexed) else str(left)


def _stem(rules: list[Rule], words: set[str]) -> str:
    """A letter that the formulas have for nothing but an index, and that no word of the program has with a number."""
    indices = {each.symbol for r in rules for each in r.indices}
    names = {str(s) for r in rules for s in (r.left.free_symbols | r.right.free_symbols) - indices}
    letters = (*"ckegqw", *(f"{a}{b}" for a, b in itertools.product("ce", "cdefg")))
    return next(c for c in letters if c not in names and not any(re.fullmatch(rf"{c}_\d+", w) for w in words | names))

