"""What an element of a cell holds, of which a loop's iterations wrote parts in a known order.

The element h[l, s] of

    for l in range(1, L):
        for s in range(S):
            h[l, s] = 0.0 * v
            for k in range(3):
                h[l, s] += W[l, k] @ relu(h[l-1, s+k])

was stored to in iteration (l, s) alone, and added to after that: it is a sum over k, although the loop carries h.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import sympy
from sympy import Expr, Symbol

from tensorprog.covariance.nodes import IsZero, flat, fresh_index, total
from tensorprog.covariance.writes import Binding, Write, leaves, shifted, solve


@dataclass(frozen=True)
class _Part:
    """A write to the element: the number of the statement in the loop's body, and the solution of `solve`."""

    position: int
    leaf: Write
    values: dict[Symbol, Expr]
    guards: list[Expr]
    free: list[Binding]

    @property
    def conditions(self) -> list[Expr]:
        return [*self.guards, *(g.xreplace(self.values) for g in self.leaf.guards)]


def summed(leaf: Write, values: dict[Symbol, Expr], guards: Sequence[Expr], free: Sequence[Binding]) -> Expr:
    """What a statement adds to an element, by the solution of `solve`: summed over loops that do not determine it."""
    rename = {b.symbol: fresh_index() for b in free}
    mapping = {**values, **rename}
    part = leaf.value.xreplace(mapping) * sympy.Mul(*(g.xreplace(mapping) for g in (*guards, *leaf.guards)))
    for b in reversed(free):
        part = total(part, rename[b.symbol], b.start.xreplace(mapping), b.stop.xreplace(mapping))
    return part


def one_iteration(solutions: Sequence[dict[Symbol, Expr]]) -> bool:
    """Whether several writes to an element, with these loop variables, were made in one iteration."""
    return all(flat(value - solutions[0][s]) == 0 for values in solutions for s, value in values.items()
               if s in solutions[0])


def in_order(body: Sequence[Write], binding: Binding, items: tuple[Expr, ...], initial: Expr,
             now: Expr | None) -> Expr | None:
    """What the element `items` holds before iteration `now` of a loop, or after the loop (None), if it held `initial`
    before; None if the order of the writes to it is not known.

    It is known if the element determines the iteration of every write to it, and those iterations differ by constants;
    or if nothing is stored to elements that several iterations add to. (What every iteration adds to the same element,
    as in `x += f(x)`, is left as the recursion that it is.)
    """
    local = fresh_index()  # `now` may be the loop's own variable
    body = [shifted(write, binding.symbol, local) for write in body]
    binding = Binding(local, binding.start, binding.stop, binding.descending)
    parts = _parts(body, binding, items)
    if parts is None:
        return None
    # Writes whose iteration the element determines, which can be put in order; and those that every iteration may make.
    once = [p for p in parts if binding.symbol in p.values]
    spread = [p for p in parts if binding.symbol not in p.values]
    ordered = _sorted(once, binding)
    if ordered is None or not all(_exclusive(p, q) for p in spread for q in once if q.leaf.kind == "store"):
        return None
    value = initial
    for p in ordered:
        # Before iteration `now`, only what earlier iterations wrote is there.
        done = sympy.Integer(1) if now is None else binding.later(now, p.values[binding.symbol])
        if p.leaf.kind == "add":
            value = value + done * summed(p.leaf, p.values, p.guards, p.free)
        else:
            held = sympy.Mul(done, *p.conditions)
            value = (1 - held) * value + held * p.leaf.value.xreplace(p.values)
    for p in spread:
        free = [_until(b, now) if b.symbol == binding.symbol else b for b in p.free]
        value = value + summed(p.leaf, p.values, p.guards, free)
    return value


def _parts(body: Sequence[Write], binding: Binding, items: tuple[Expr, ...]) -> list[_Part] | None:
    """The writes to an element; None if they do not suffice to know what it holds."""
    found = []
    for position, write in enumerate(body):
        for bindings, leaf in leaves(write, ()):
            if leaf.kind not in ("store", "add"):
                return None
            solved = solve((binding, *bindings, *leaf.bindings), leaf.items, items)
            if solved is None:
                continue
            if leaf.kind == "store" and solved[2]:
                return None
            if not any(item.has(binding.symbol) for item in leaf.items):
                return None
            found.append(_Part(position, leaf, *solved))
    return found


def _sorted(parts: list[_Part], binding: Binding) -> list[_Part] | None:
    """The parts in the order in which they were written."""
    made: list[tuple[int, _Part]] = []
    for p in parts:
        distance = flat(p.values[binding.symbol] - parts[0].values[binding.symbol])
        if not distance.is_Integer:
            return None
        made.append((-int(distance) if binding.descending else int(distance), p))
    for (when, p), (other, q) in itertools.combinations(made, 2):
        # Two statements of one inner loop: it is known which was first only if they wrote in the same iteration of it.
        together = when == other and p.position == q.position and "store" in (p.leaf.kind, q.leaf.kind)
        if together and not _exclusive(p, q) and not _same_iteration(p, q):
            return None
    return [p for _, p in sorted(made, key=lambda m: (m[0], m[1].position))]


def _same_iteration(p: _Part, q: _Part) -> bool:
    """Whether two statements of one inner loop wrote in the same iteration of it."""
    shared = (set(p.values) | {b.symbol for b in p.free}) & (set(q.values) | {b.symbol for b in q.free})
    return all(s in p.values and s in q.values and flat(p.values[s] - q.values[s]) == 0 for s in shared)


def _exclusive(p: _Part, q: _Part) -> bool:
    """Whether no element is written to by both."""
    # a = 0 and b = 0 exclude each other if a - b or a + b is a number other than 0.
    zeros = [[flat(g.args[0]) for g in part.conditions if isinstance(g, IsZero)] for part in (p, q)]
    return any(flat(a + sign * b).is_nonzero for a, b in itertools.product(*zeros) for sign in (1, -1)
               if flat(a + sign * b).is_Integer)


def _until(binding: Binding, now: Expr | None) -> Binding:
    """The iterations before `now`."""
    if now is None:
        return binding
    if binding.descending:
        return Binding(binding.symbol, now + 1, binding.stop, True)
    return Binding(binding.symbol, binding.start, now)
