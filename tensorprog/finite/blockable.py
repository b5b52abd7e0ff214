"""Which parallel loops `finite.blocks` can run as one block; the others run iteration by iteration.

A loop stays sequential when its variable decides the shape of something, selects a matrix, or indexes a cell that the
body stores in more than one way, and when the body replaces a matrix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tensorprog.ir.integers import BoolExpr, IntBin, IntExpr, IntLoad, loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    Expand,
    For,
    GradStmt,
    If,
    InputRef,
    Item,
    Let,
    Load,
    MatAccum,
    MatMul,
    MatrixType,
    MatStore,
    Pick,
    Place,
    Range,
    Statement,
    Store,
    Zero,
    matrices_read,
    walk,
    written,
)


def blockable(loop: For) -> bool:
    """Whether a loop is flagged parallel and fit to be run as one block."""
    if not loop.parallel:
        return False
    body = tuple(walk(loop.body))
    # A replaced matrix has another value in each iteration: a block would need [iterations, rows, cols].
    if any(_replaces_matrix(s, loop.var) or isinstance(s, GradStmt) for s in body):
        return False
    fixed = [e for s in body for e in (*_sizes(s), *_matrix_items(s))]
    return not any(loop.var in loop_names(e) for e in fixed) and _consistent(body, loop.var)


def _replaces_matrix(statement: Statement, var: str) -> bool:
    cell = written(statement)
    if cell is None or not isinstance(cell.type, MatrixType):
        return False
    return isinstance(statement, MatStore | Zero) or var in cell.home


def _sizes(statement: Statement) -> Iterator[IntExpr | BoolExpr]:
    """The expressions that decide shapes and control flow."""
    match statement:
        case For(start=start, stop=stop):
            yield from (start, stop)
        case If(condition=condition):
            yield condition
        case Let(var, op):
            yield from var.type.shape
            if isinstance(op, Expand):
                yield op.size
            if isinstance(op, Place):
                yield from op.shape
            if isinstance(op, InputRef | Load | Pick | Place):
                yield from _bounds(op.items)
        case Store(items=items) | Accum(items=items):
            yield from _bounds(items)


def _bounds(items: tuple[Item, ...]) -> Iterator[IntExpr]:
    for item in items:
        if isinstance(item, Range):
            yield from (bound for bound in (item.start, item.stop) if bound is not None)


def _matrix_items(statement: Statement) -> Iterator[IntExpr]:
    """The indices of the matrices that a statement uses."""
    match statement:
        case Let(op=MatMul(items=items)):
            yield from items
        case MatAccum(items=items):
            yield from items
            yield from (i for m in matrices_read(statement) for i in m.items)


def _consistent(body: tuple[Statement, ...], var: str) -> bool:
    """Whether each cell that the body may own is indexed by the variable in all its accesses, directly, or in none."""
    # A variable that is stored or zeroed, or that is new in each iteration, may be private to an iteration.
    own = {cell for s in body if (cell := written(s)) and (isinstance(s, Store | Zero) or var in cell.home)}
    patterns: dict[Cell, set[str]] = defaultdict(set)
    for statement in body:
        match statement:
            case Let(op=Load(cell, items)) | Store(cell, items) | Accum(cell, items):
                patterns[cell].add(_pattern(items, var))
            case Zero(cell):
                patterns[cell].add("none")
    return all(patterns[cell] in ({"none"}, {"direct"}) for cell in own)


def _pattern(items: tuple[Item, ...], var: str) -> str:
    """How items depend on a loop variable: 'none', 'direct', or 'entry' (through an integer input)."""
    used = [item for item in items if not isinstance(item, Range) and var in loop_names(item)]
    # Through an input, as in `x[batch[i]]`, two iterations may meet in one element, in the order of the loop.
    if any(_through_input(item, var) for item in used):
        return "entry"
    return "direct" if used else "none"


def _through_input(expr: IntExpr, var: str) -> bool:
    match expr:
        case IntLoad(_, items):
            return any(var in loop_names(i) for i in items)
        case IntBin(_, left, right):
            return _through_input(left, var) or _through_input(right, var)
        case _:
            return False
