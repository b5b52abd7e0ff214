"""The law of the Gaussian numbers that a random limit is a function of (TP I, Corollary 5.5): their covariances, from
the program of these, as equations of the limit."""

from __future__ import annotations

from dataclasses import replace

import sympy
from sympy import Expr, IndexedBase

from tensorprog.derive.rules import OTHER_SECTION, SECTIONS, Derivation, Rule
from tensorprog.derive.symbols import Cov, Z
from tensorprog.series.draws import Gaussians

#: The sections of a limit, in the order in which they are printed.
ORDER = (SECTIONS["drawn"], SECTIONS["initial"], OTHER_SECTION, SECTIONS["matrix"], SECTIONS["covariance"])
#: The index of the draw.
DRAW = sympy.Symbol("draw", integer=True)
NOTE = "jointly Gaussian with mean zero; draws are independent"


def with_law_of_draws(limit: Derivation, law: Derivation, declared: tuple[Rule, ...], drawn: Gaussians) -> Derivation:
    """The derivation of a limit that reads draws, with that of their covariances.

    Args:
        law: of the program `drawn.covariances`, whose outputs are the covariances.
        declared: the laws of declared arrays that are drawn.
    """
    law_rules = _in_the_names_of(limit.rules, law.rules)
    covariances, others = [], []
    for rule in law_rules:
        pair = drawn.pairs.get(_name(rule.left))
        if pair is not None:
            covariances.append(replace(rule, kind="draws", left=_covariance(rule.left, pair, drawn), note=NOTE))
        elif not any(_is_same(r, rule) for r in limit.rules):
            others.append(rule)
    merged = sorted((*declared, *limit.rules, *others), key=lambda r: ORDER.index(r.section))
    families = tuple(sorted({*limit.families, *law.families}))
    steps = tuple(dict.fromkeys((*limit.steps, *law.steps)))
    return replace(limit, rules=(*merged, *covariances), families=families, steps=steps)


def _name(left: Expr) -> str:
    return str(left.base.label) if isinstance(left, sympy.Indexed) else str(left)


def _covariance(left: Expr, pair: tuple[int, int], drawn: Gaussians) -> Expr:
    """Cov of two numbers of one draw, from the indices of the output that holds it: loops, then axes."""
    indices = list(left.indices) if isinstance(left, sympy.Indexed) else []
    if _name(left) in drawn.given:
        indices = indices[1:]
    (one, axes_one), (two, axes_two) = (drawn.ranks[k] for k in pair)
    first, second = indices[:one], indices[one:one + two]
    axes = indices[one + two:]
    numbers = [IndexedBase(sympy.Symbol(drawn.inputs[k]))[(DRAW, *own)]
               for k, own in zip(pair, ([*first, *axes[:axes_one]], [*second, *axes[axes_one:]]))]
    return Cov(*numbers)


# --- one name for one vector -----------------------------------------------------------------------------------


def _in_the_names_of(known: tuple[Rule, ...], rules: tuple[Rule, ...]) -> list[Rule]:
    """The rules with the names that other rules have for the same vectors."""
    names: dict[Expr, Expr] = {}
    found = []
    for rule in rules:
        rule = _renamed(rule, names)
        same = next((r for r in known if _defines(r) and _defines(rule) and _is_same(r, rule, known_left=False)), None)
        if same is not None and same.left.args[0] != rule.left.args[0]:
            names[rule.left.args[0]] = same.left.args[0]
            rule = _renamed(rule, names)
        found.append(rule)
    return found


def _defines(rule: Rule) -> bool:
    return rule.kind == "nonlin" and isinstance(rule.left, Z)


def _renamed(rule: Rule, names: dict[Expr, Expr]) -> Rule:
    def of(expr: Expr) -> Expr:
        return expr.xreplace({z: Z(names[z.args[0]], *z.args[1:]) for z in expr.atoms(Z) if z.args[0] in names})

    return replace(rule, left=of(rule.left), right=of(rule.right)) if names else rule


def _is_same(one: Rule, two: Rule, known_left: bool = True) -> bool:
    """Whether two rules say the same, but for the names of their indices and, perhaps, of what they define."""
    if one.kind != two.kind or len(one.indices) != len(two.indices):
        return False
    names = {b.symbol: a.symbol for a, b in zip(one.indices, two.indices)}
    pairs = [(one.right, two.right), (one.condition, two.condition), *([(one.left, two.left)] if known_left else [])]
    pairs += [(getattr(a, end), getattr(b, end)) for a, b in zip(one.indices, two.indices) for end in ("low", "high")]
    return all(a == b.xreplace(names) for a, b in pairs)
