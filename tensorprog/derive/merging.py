"""Equal vectors that the compiler named twice become one: what a forward pass computes, and what is kept of it for the
backward pass."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

import sympy

from tensorprog.derive.rules import Index, Rule, Step
from tensorprog.derive.symbols import Z

Definition = tuple[sympy.Basic, ...]


def merged(rules: Iterable[Rule], placeholders: Collection[str]) -> tuple[Rule, ...]:
    """The rules without a second definition of one vector.

    Args:
        placeholders: the names that the program's text does not have. Of two names of the program both stay.
    """
    rules = tuple(rules)
    known: dict[Definition, str] = {}
    names: dict[str, str] = {}
    dropped: set[int] = set()
    for position, rule in enumerate(rules):
        definition = _definition(rule)
        if definition is None:
            continue
        name = str(rule.left.args[0])
        first = known.setdefault(definition, name)
        if first != name and name in placeholders:
            names[name] = first
            dropped.add(position)
    renaming = {sympy.Symbol(old): sympy.Symbol(new) for old, new in names.items()}
    return tuple(_renamed(rule, names, renaming) for k, rule in enumerate(rules) if k not in dropped)


def _definition(rule: Rule) -> Definition | None:
    """What a vector is, whatever its indices are called; None for other rules and for single elements."""
    symbols = [index.symbol for index in rule.indices]
    if rule.kind != "nonlin" or not isinstance(rule.left, Z) or list(rule.left.args[1:]) != symbols:
        return None
    places = {s: sympy.Symbol(f"#{k}", integer=True) for k, s in enumerate(symbols)}
    ranges = [end.xreplace(places) for index in rule.indices for end in (index.low, index.high)]
    return (rule.right.xreplace(places), sympy.sympify(rule.condition).xreplace(places), *ranges)


def _renamed(rule: Rule, names: dict[str, str], renaming: dict[sympy.Symbol, sympy.Symbol]) -> Rule:
    if not renaming:
        return rule
    return replace(
        rule,
        left=rule.left.xreplace(renaming),
        right=rule.right.xreplace(renaming),
        indices=tuple(Index(i.symbol, i.low.xreplace(renaming), i.high.xreplace(renaming)) for i in rule.indices),
        steps=tuple(Step(step.name, _in_text(step.text, names)) for step in rule.steps),
    )


def _in_text(text: str, names: dict[str, str]) -> str:
    return re.sub(r"(?<![\w.])[A-Za-z_]\w*(?:\.\d+)?", lambda found: names.get(found[0], found[0]), text)
