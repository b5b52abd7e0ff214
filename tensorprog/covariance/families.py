"""Families whose elements are stored once, which makes them functions of their indices."""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.ir.integers import IntBin, IntExpr, IntLit, IntSym, int_bin, linear_form, substitute
from tensorprog.ir.program import Accum, Cell, For, If, Let, Load, Program, Statement, Store, Zero, walk

Bounds = dict[str, tuple[IntExpr, IntExpr]]


def single_assignment(program: Program) -> dict[Cell, tuple[str, ...]]:
    """Families whose elements are stored by one iteration of one statement each, and the loops in which such a family
    is new, which count as indices too. Additions to an element must come before it is read."""
    search = _Search()
    search.block(program.body, {}, ())
    initials = {i.cell for i in program.initials}
    return {cell: homes for cell, homes in search.homes.items()
            if cell not in search.refused and cell not in initials and _disjoint(search.stores.get(cell, []))}


@dataclass(frozen=True)
class _Loop:
    """A loop around a statement, and the statements before it in the same body."""

    loop: For
    before: tuple[Statement, ...]


class _Search:
    def __init__(self) -> None:
        self.homes: dict[Cell, tuple[str, ...]] = {}
        self.refused: set[Cell] = set()
        self.stores: dict[Cell, list[tuple[tuple, Bounds]]] = {}

    def block(self, body: tuple[Statement, ...], bounds: Bounds, earlier: tuple[Statement, ...],
              around: tuple[_Loop, ...] = ()) -> None:
        for position, s in enumerate(body):
            before = (*earlier, *body[:position])
            match s:
                case For(var=var, start=start, stop=stop, step=step, body=inner):
                    last = int_bin("-", stop, IntLit(1 if step > 0 else -1))
                    self.block(inner, {**bounds, var: (start, last) if step > 0 else (last, start)}, (),
                               (*around, _Loop(s, before)))
                case If(then=then, orelse=orelse):
                    self.block(then, bounds, before, around)
                    self.block(orelse, bounds, before, around)
                case Zero(cell=cell):
                    self.refused.add(cell)
                case Store(cell=cell, items=items):
                    if self._homes(cell, bounds) and self._loops(cell, items, bounds):
                        self.refused.add(cell)
                    self.stores.setdefault(cell, []).append((items, bounds))
                case Accum(cell=cell, items=items):
                    if self._homes(cell, bounds) and not self._adds(cell, items, bounds, before, around):
                        self.refused.add(cell)

    def _homes(self, cell: Cell, bounds: Bounds) -> bool:
        """Notes the loops in which a family is new; it is refused if it is none, or if another statement has others."""
        homes = tuple(h for h in cell.home if h in bounds)
        known = bool(cell.rank) and self.homes.get(cell, homes) == homes
        if not known:
            self.refused.add(cell)
        self.homes[cell] = homes
        return known

    def _loops(self, cell: Cell, items: tuple, bounds: Bounds) -> set[str]:
        """The loops that an element does not determine."""
        return set(bounds) - _named(items) - set(self.homes[cell])

    def _adds(self, cell: Cell, items: tuple, bounds: Bounds, before: tuple[Statement, ...],
              around: tuple[_Loop, ...]) -> bool:
        """Whether an addition is part of the element's value: the element was stored before it in the same body (before
        the loops, if it is made in inner loops), and nothing since then reads the element."""
        summed = self._loops(cell, items, bounds)
        loops: tuple[Statement, ...] = ()
        if summed:
            outermost = next(k for k, a in enumerate(around) if a.loop.var in summed)
            if {a.loop.var for a in around[outermost:]} != summed:
                return False
            before, loops = around[outermost].before, (around[outermost].loop,)
        stored = [k for k, b in enumerate(before) if isinstance(b, Store) and b.cell is cell and b.items == items]
        return bool(stored) and all(_differ(load.items, items) for load in _loads((*before[stored[-1]:], *loops), cell))


def _loads(body: tuple[Statement, ...], cell: Cell) -> list[Load]:
    return [s.op for s in walk(body) if isinstance(s, Let) and isinstance(s.op, Load) and s.op.cell is cell]


def _differ(one: tuple, two: tuple) -> bool:
    """Whether two elements are different whatever the loops and sizes are."""
    for a, b in zip(one, two):
        # The difference has a constant and nothing else; of 0 it would have no terms at all.
        if isinstance(a, IntExpr) and isinstance(b, IntExpr) and set(linear_form(int_bin("-", a, b))) == {IntLit(1)}:
            return True
    return False


def _named(items: tuple) -> set[str]:
    """The loop variables that an index determines: it is a multiple of the variable plus something fixed."""
    names: set[str] = set()
    for item in items:
        if not isinstance(item, IntSym | IntBin):
            continue
        loops = [(atom, c) for atom, c in linear_form(item).items() if isinstance(atom, IntSym) and atom.kind == "loop"]
        # c*i + b with c != 0 takes every value at most once, so that the index determines i.
        if len(loops) == 1 and loops[0][1] != 0:
            names.add(loops[0][0].name)
    return names


def _disjoint(stores: list[tuple[tuple, Bounds]]) -> bool:
    """Whether no two statements can store the same element."""
    return all(_apart(a, b) for k, a in enumerate(stores) for b in stores[:k])


def _apart(one: tuple[tuple, Bounds], two: tuple[tuple, Bounds]) -> bool:
    return any(_below(a, one[1], b, two[1]) or _below(b, two[1], a, one[1]) for a, b in zip(one[0], two[0])
               if isinstance(a, IntExpr) and isinstance(b, IntExpr))


def _below(a: IntExpr, a_bounds: Bounds, b: IntExpr, b_bounds: Bounds) -> bool:
    """Whether the largest value of `a` is below the smallest of `b`, whatever the (non-negative) sizes are."""
    gap = linear_form(int_bin("-", _end(b, b_bounds, False), _end(a, a_bounds, True)))
    constant = gap.pop(IntLit(1), 0)
    return constant >= 1 and all(c > 0 and isinstance(atom, IntSym) and atom.kind == "size" for atom, c in gap.items())


def _end(e: IntExpr, bounds: Bounds, largest: bool) -> IntExpr:
    """The extreme value of a linear expression over its loops."""
    # The end of an inner loop may hold outer ones. What is left of deeper nests is no size, and proves nothing
    # (`_below`).
    for _ in range(8):
        loops = [(a, c) for a, c in linear_form(e).items() if isinstance(a, IntSym) and a.name in bounds]
        if not loops:
            break
        atom, c = loops[0]
        e = substitute(e, {atom.name: bounds[atom.name][1 if (c > 0) == largest else 0]})
    return e
