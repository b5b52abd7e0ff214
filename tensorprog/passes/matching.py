"""Index equations: which iterations of two nests of loops touch the same element of a family.

For terms at `W[i]` in a loop over i and at `W[j + 1]` in a loop over j, the pairs that meet are those with j = i - 1:
one loop, and a condition where the ranges differ. What cannot be solved stays as a condition inside all loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tensorprog.ir.integers import (
    BoolExpr,
    Comparison,
    IntExpr,
    IntLit,
    IntSym,
    Logic,
    int_bin,
    linear_form,
    loop_names,
    substitute,
    substitute_bool,
)
from tensorprog.passes.factors import Guard, LoopStep, Nest

Values = Mapping[str, IntExpr]


class Unsolved(Exception):
    """An index expression that depends on a loop of which the value is not known."""

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name

    @staticmethod
    def unless_known(place: LoopStep | Guard | tuple[IntExpr, ...], values: Values, kept: frozenset[str]) -> None:
        """Raise if `place` depends on loops that are neither in `values` nor in `kept`."""
        match place:
            case LoopStep(var=var, start=start, stop=stop, counter=counter):
                used = loop_names(start) | loop_names(stop) | (loop_names(counter) - {var})
            case Guard(condition=condition):
                used = loop_names(condition)
            case _:
                used = set().union(*map(loop_names, place), set())
        unknown = used - set(values) - kept
        if unknown:
            raise Unsolved(min(unknown))


def solved_for(stored: tuple[IntExpr, ...], read: tuple[IntExpr, ...]) -> dict[str, IntExpr]:
    """The loop variables of a store's indices at which it wrote the element that is read."""
    values: dict[str, IntExpr] = {}
    for left, right in zip(stored, read):
        form = linear_form(left)
        loops = [a for a in form if isinstance(a, IntSym) and a.kind == "loop"]
        if len(loops) == 1 and _isolated(form, loops[0]):
            values[loops[0].name] = _isolate(form, loops[0], right)
    return values


def _isolated(form: Mapping[IntExpr, int], symbol: IntSym) -> bool:
    # With a coefficient of 1 or -1 the solution is an integer, whatever the other terms are.
    return abs(form.get(symbol, 0)) == 1 and not any(symbol.name in loop_names(a) for a in form if a != symbol)


def _isolate(form: Mapping[IntExpr, int], symbol: IntSym, value: IntExpr) -> IntExpr:
    """The symbol's value where the form has the value given."""
    rest: IntExpr = IntLit(0)
    for atom, c in form.items():
        if atom != symbol:
            rest = int_bin("+", rest, int_bin("*", IntLit(c), atom))
    difference = int_bin("-", value, rest)
    return difference if form[symbol] == 1 else int_bin("-", IntLit(0), difference)


def matched(left: Nest, right: Nest, left_items: tuple[IntExpr, ...], right_items: tuple[IntExpr, ...],
            given: tuple[IntExpr, ...]) -> tuple[Nest, dict[str, IntExpr]] | None:
    """One nest over all iterations of both in which the items are equal to each other and to those given.

    Returns:
        the nest, and the values of the loop variables that it does not have; None if no iterations can match.
    """
    steps = [*left, *right]
    values: dict[str, IntExpr] = {}
    conditions: list[BoolExpr] = []
    equations = [*zip(left_items, given), *zip(right_items, given),
                 *zip(left_items[len(given):], right_items[len(given):])]
    for one, other in equations:
        form = linear_form(int_bin("-", substitute(one, values), substitute(other, values)))
        if not form:
            continue
        # Two items that differ by a number are never equal.
        if set(form) == {IntLit(1)}:
            return None
        solved = _solvable(form, steps)
        if solved is None:
            conditions.append(Comparison("==", substitute(one, values), substitute(other, values)))
            continue
        value = _isolate(form, IntSym(solved.var, "loop"), IntLit(0))
        bounds = _bounds(solved, value, steps)
        if bounds is None:
            return None
        conditions += bounds
        # What was solved before may name this loop.
        values = {name: substitute(v, {solved.var: value}) for name, v in values.items()} | {solved.var: value}
        steps = [_substituted(s, {solved.var: value}) for s in steps if s is not solved]
    # Conditions may name loops that were solved for after them.
    conditions = [substitute_bool(c, values) for c in conditions]
    if conditions:
        steps.append(Guard(conditions[0] if len(conditions) == 1 else Logic("and", tuple(conditions))))
    return tuple(steps), values


def _solvable(form: Mapping[IntExpr, int], steps: list) -> LoopStep | None:
    """The last loop that the equation determines, from what stands before it."""
    own = {s.var: position for position, s in enumerate(steps) if isinstance(s, LoopStep)}
    for position in range(len(steps) - 1, -1, -1):
        step = steps[position]
        # With steps of 1, each integer of the range is an iteration; others would need a congruence.
        if not isinstance(step, LoopStep) or abs(step.step) != 1 or not _isolated(form, IntSym(step.var, "loop")):
            continue
        others = set().union(*(loop_names(a) for a in form), set()) - {step.var}
        if all(own.get(name, -1) < position for name in others):
            return step
    return None


def _bounds(step: LoopStep, value: IntExpr, steps: list) -> list[BoolExpr] | None:
    """The conditions for a value to be one of a loop's, without those that hold; None if one cannot."""
    # A loop over the same range has no other values.
    twins = (s for s in steps if isinstance(s, LoopStep) and s is not step and value == IntSym(s.var, "loop"))
    if any((twin.start, twin.stop, twin.step) == (step.start, step.stop, step.step) for twin in twins):
        return []
    low, high = (step.start, step.stop) if step.step > 0 else (int_bin("+", step.stop, IntLit(1)),
                                                               int_bin("+", step.start, IntLit(1)))
    conditions: list[BoolExpr] = []
    for op, bound in ((">=", low), ("<", high)):
        form = linear_form(int_bin("-", value, bound))
        if form and set(form) != {IntLit(1)}:
            conditions.append(Comparison(op, value, bound))
        elif not (form.get(IntLit(1), 0) >= 0 if op == ">=" else form.get(IntLit(1), 0) < 0):
            return None
    return conditions


def _substituted(step: LoopStep | Guard, values: Values) -> LoopStep | Guard:
    if isinstance(step, Guard):
        return Guard(substitute_bool(step.condition, values))
    return replace(step, start=substitute(step.start, values), stop=substitute(step.stop, values),
                   counter=substitute(step.counter, values))
