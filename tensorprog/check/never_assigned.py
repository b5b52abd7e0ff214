"""Reads of family elements that no statement assigns, whatever the sizes and data are.

An index that is linear in loop variables runs over a range whose ends are linear in sizes and parameters. The elements
that a statement stores lie within such a box, so that an element outside of all boxes is never assigned. A read is
reported where one of its elements is provably outside: where the largest (or smallest) index it takes is beyond all boxes,
or, under an `if` that may exclude that index, where all of them are. What depends on data, on the order of statements or
on the values of parameters is left to the audit before a run (`audit.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tensorprog.diagnostics import Reporter, Span
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin, int_text, linear_form, loop_names
from tensorprog.ir.places import placed
from tensorprog.ir.program import (
    Accum,
    Cell,
    For,
    Item,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatStore,
    Program,
    Statement,
    Store,
    matrices_read,
    written,
)


@dataclass(frozen=True, slots=True)
class _Place:
    """A statement's access of a family: its indices, the loops around it, whether an `if` is among these."""

    items: tuple[Item, ...]
    loops: tuple[For, ...]
    guarded: bool
    span: Span | None

    def box(self, position: int) -> tuple[IntExpr, IntExpr] | None:
        """Bounds of the index at a position; None if they are not known."""
        low, high = self.end(position, False), self.end(position, True)
        return None if low is None or high is None else (low, high)

    def end(self, position: int, largest: bool, attained: bool = False) -> IntExpr | None:
        """The smallest or largest index at a position, or a bound of it that may not be `attained`; None if it is not
        known."""
        item = self.items[position] if position < len(self.items) else None
        return _end(item, self.loops, largest, attained) if isinstance(item, IntExpr) else None


def report_never_assigned(program: Program, reporter: Reporter) -> None:
    """TP235 for every read of an element that is provably never assigned."""
    declared = {i.cell for i in program.initials}
    stores: dict[Cell, list[_Place]] = defaultdict(list)
    reads: list[tuple[Cell, _Place]] = []
    opaque: set[Cell] = set()
    for at in placed(program.body):
        statement, loops, guarded = at.statement, at.loops, at.guarded
        for cell, items in _stored(statement):
            stores[cell].append(_Place(items, loops, guarded, statement.span))
        whole = written(statement)
        if whole is not None and not _stored(statement):
            # What gradients and zeros write has no indices to go by.
            opaque.add(whole)
        for cell, items in _read(statement):
            if cell.rank and cell.role == "user" and cell not in declared:
                reads.append((cell, _Place(items, loops, guarded, statement.span)))
    for cell, place in reads:
        # (Of a family without any store the checker knows no name.)
        if cell not in opaque and stores[cell]:
            _check(cell, place, stores[cell], reporter)


def _stored(statement: Statement) -> tuple[tuple[Cell, tuple[Item, ...]], ...]:
    match statement:
        case Store(cell=cell, items=items) | Accum(cell=cell, items=items) | MatStore(cell=cell, items=items) \
                | MatAccum(cell=cell, items=items):
            return ((cell, items),)
        case _:
            return ()


def _read(statement: Statement) -> Iterator[tuple[Cell, tuple[Item, ...]]]:
    match statement:
        case Let(op=Load(cell=cell, items=items)) | Let(op=MatMul(matrix=cell, items=items)):
            yield cell, items
        case MatStore() | MatAccum() | Let(op=MatDot()):
            yield from ((m.cell, m.items) for m in matrices_read(statement))


def _check(cell: Cell, read: _Place, stores: list[_Place], reporter: Reporter) -> None:
    for position in range(cell.rank):
        boxes = [box for store in stores if (box := store.box(position)) is not None]
        # A store that might be anywhere.
        if len(boxes) < len(stores):
            continue
        # Under an `if` it may be any of the indices that is read, else it is the largest one among others.
        high = read.end(position, not read.guarded, attained=not read.guarded)
        low = read.end(position, read.guarded, attained=not read.guarded)
        above = high is not None and all(_is_less(box[1], high) for box in boxes)
        below = low is not None and all(_is_less(low, box[0]) for box in boxes)
        index = high if above else low
        if index is not None and (above or below):
            element = ", ".join(int_text(index) if p == position else ":" for p in range(cell.rank))
            reporter.error("TP235", f"`{cell.display}[{element}]` is read here, and no statement assigns it", read.span,
                           help=f"`{cell.display}` is assigned where {_assigned_text(cell, position, boxes)}: change the "
                                "index, or assign the element")
            return


def _assigned_text(cell: Cell, position: int, boxes: list[tuple[IntExpr, IntExpr]]) -> str:
    """The indices that are assigned, for a message."""
    which = "its index" if cell.rank == 1 else f"index {position + 1} of {cell.rank}"
    ranges = [int_text(a) if a == b else f"{int_text(a)} to {int_text(b)}" for a, b in dict.fromkeys(boxes)]
    return f"{which} is " + " or ".join(ranges)


def _end(item: IntExpr, loops: tuple[For, ...], largest: bool, attained: bool) -> IntExpr | None:
    """The largest (or smallest) value of an index over the loops, or a bound; None if it is not linear in them."""
    for loop in reversed(loops):
        form = linear_form(item)
        coefficient = form.pop(IntSym(loop.var, "loop"), 0)
        if any(loop.var in loop_names(atom) for atom in form):
            return None
        if coefficient and attained and abs(loop.step) != 1 and largest == (coefficient * loop.step > 0):
            return None  # where a longer step ends depends on the sizes
        if coefficient:
            item = int_bin("+", _rebuilt(form), int_bin("*", IntLit(coefficient), _bound(
                loop, largest == (coefficient > 0))))
    return None if loop_names(item) else item


def _bound(loop: For, largest: bool) -> IntExpr:
    """The last (or first) value that a loop's variable may take; of a longer step, a bound."""
    one = IntLit(1)
    if loop.step > 0:
        return int_bin("-", loop.stop, one) if largest else loop.start
    return loop.start if largest else int_bin("+", loop.stop, one)


def _rebuilt(form: dict[IntExpr, int]) -> IntExpr:
    result: IntExpr = IntLit(0)
    for atom, coefficient in form.items():
        result = int_bin("+", result, int_bin("*", IntLit(coefficient), atom))
    return result


def _is_less(left: IntExpr, right: IntExpr) -> bool:
    """Whether left < right for all sizes, which are at least 1."""
    form = linear_form(int_bin("-", right, left))
    constant = form.pop(IntLit(1), 0)
    sizes = all(isinstance(atom, IntSym) and atom.kind == "size" and c > 0 for atom, c in form.items())
    # At the smallest sizes, 1 each, the difference is least.
    return sizes and constant + sum(form.values()) >= 1
