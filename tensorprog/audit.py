"""Every index checked before the program runs: within range, and of an element that was assigned before.

    audit_indices(program, env)       raises ProgramError (TP601 range, TP602 order, TP603 integer arithmetic)
    family_extents(program, env)      one more than the largest index stored, for every cell
    output_elements(program, env)     the extents of output families, and their elements that are never assigned

How: `iterations.Walker` enumerates the loops around a statement as arrays, one column a loop variable, and evaluates
indices on whole columns. An interval analysis proves most ranges without that. For the order test, the time of each
element's first store is compared with the time of each read.

Not audited: cells with role 'hidden' (the compiler's own), and the order of a statement with more than `ORDER_LIMIT`
iterations or of a family with more than `ELEMENT_LIMIT` elements.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from tensorprog.diagnostics import Note
from tensorprog.ir.integers import Environment, IntExpr, IntLit, IntSym, loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    GradAdd,
    GradDot,
    GradRecord,
    GradStmt,
    If,
    InputRef,
    Item,
    KernelStmt,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixType,
    MatStore,
    Moment,
    Op,
    Output,
    ParamRef,
    Pick,
    Place,
    Program,
    Range,
    Statement,
    Store,
    SumAxis,
    Term,
    WidthConst,
    Zero,
    matrix_terms,
    single,
)
from tensorprog.iterations import (
    Column,
    Frames,
    GridEvaluator,
    IterationGrid,
    Loop,
    StatementSite,
    Walker,
    at,
    axis_text,
    indices_text,
)

# A column of so many 64-bit integers takes 160 MB.
ORDER_LIMIT = 2 * 10**7
ELEMENT_LIMIT = 2 * 10**7
NEVER = np.iinfo(np.int64).max
# Beyond this a time would not fit into 64 bits, with which it is compared.
LONGEST = 2**62

Extents = dict[Cell, tuple[int, ...]]


def audit_indices(program: Program, env: Environment) -> None:
    """Check every index of a bound program.

    Raises:
        ProgramError: TP601 for an index out of range, TP602 for an element read before it is assigned, TP603 for
            integer arithmetic without a value. For each access, the first iteration that fails is named.
    """
    walker = Walker(program, env)
    extents = _stored_extents(walker)
    for site in walker.sites:
        _check_ranges(walker, site, extents)
    walker.reporter.raise_errors()
    _check_order(walker, extents)
    walker.reporter.raise_errors()


def family_extents(program: Program, env: Environment) -> Extents:
    """The extents of every cell: as declared for initial ones, else one more than the largest index assigned.

    Raises:
        ProgramError: for a negative index of an assignment, or integer arithmetic without a value.
    """
    return _stored_extents(Walker(program, env))


@dataclass(frozen=True, slots=True)
class OutputElements:
    """Which elements outputs have.

    Attributes:
        extents: of every output, by name; none of one that is no family.
        unassigned: for each output with elements that are never assigned, the mask of those elements.
    """

    extents: dict[str, tuple[int, ...]]
    unassigned: dict[str, np.ndarray]

    def index(self, name: str) -> tuple[slice, ...]:
        """The elements that an output has, of an array that may have more."""
        return tuple(slice(extent) for extent in self.extents.get(name, ()))

    def cut(self, name: str, array: np.ndarray) -> np.ndarray:
        """An array of an output without what is beyond its extents. Emitted modules make room for bounds of indices, which may
        be larger than the largest index that is stored, as where a condition excludes that. A number for all elements stays."""
        extents = self.extents.get(name, ())
        return array if not array.ndim or array.shape[:len(extents)] == extents else array[self.index(name)]


def output_elements(program: Program, env: Environment) -> OutputElements:
    """The elements that the outputs of a bound program have."""
    walker = Walker(program, env)
    extents = _stored_extents(walker)
    lives = _lives(walker)
    found: dict[str, np.ndarray] = {}
    for output in program.outputs:
        first = _first_stores(walker, lives[output.cell], extents[output.cell]) if output.cell in lives else None
        if first is not None and (first == NEVER).any():
            found[output.name] = (first == NEVER).reshape(extents[output.cell])
    return OutputElements({o.name: extents[o.cell] for o in program.outputs}, found)


def unassigned_outputs(program: Program, env: Environment) -> dict[str, np.ndarray]:
    """For each output family with elements that are never assigned, the mask of those elements."""
    return output_elements(program, env).unassigned


# --- what a statement touches --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Access:
    """One indexed thing: `how` is 'read' or 'write' of a cell, or 'entry' of an input or temporary.

    `place` names it in messages; `shape` holds the axes after the family's own (all of them, without a cell).
    """

    how: str
    place: str
    items: tuple[Item, ...]
    shape: tuple[IntExpr, ...] = ()
    cell: Cell | None = None

    @property
    def rank(self) -> int:
        return self.cell.rank if self.cell else 0


def _accesses(statement: Statement, env: Environment) -> list[_Access]:
    """Everything that a statement itself indexes, but for hidden cells."""
    match statement:
        case Let(op=op):
            found = _op_accesses(op, env)
        case Store(cell, items):
            found = [_cell_access("write", cell, items)]
        case Accum(cell, items) | MatAccum(cell, items):
            # An update reads what it adds to: the element has to be assigned before.
            found = [_cell_access("read", cell, items)]
        case MatStore(cell, items):
            found = [_cell_access("write", cell, items)]
        case GradStmt(target, scalar, scalar_items, wrt, wrt_items):
            found = [_cell_access("write", target, ()), _cell_access("read", scalar, scalar_items),
                     _cell_access("read", wrt, wrt_items)]
        case KernelStmt(left=left, left_items=left_items, right=right, right_items=right_items, wrt=wrt):
            found = [_cell_access("read", left, left_items), _cell_access("read", right, right_items),
                     *(_cell_access("read", v.cell, v.items) for v in wrt if len(v.items) == v.cell.rank)]
        case Zero() | GradRecord() | GradAdd() | GradDot() | For() | If():
            # Blocks have no indices of their own; the others are made by passes, and audited are programs as they are written.
            found = []
        case _:
            assert_never(statement)
    if isinstance(statement, MatStore | MatAccum):
        found += _term_accesses(statement.terms)
    return [access for access in found if access.cell is None or access.cell.role != "hidden"]


def _op_accesses(op: Op, env: Environment) -> list[_Access]:
    match op:
        case Load(cell, items) | MatMul(cell, items):
            return [_cell_access("read", cell, items)]
        case MatDot(left, right):
            return _term_accesses((left, right))
        case InputRef(name, items):
            return [_Access("entry", f"the input '{name}'", items, _array_shape(env[name]))]
        case Pick(arg, items):
            return [_Access("entry", "the array", items, arg.type.shape)]
        case Place(arg, items, shape):
            return [_Access("entry", "the array", items, shape)]
        case Const() | WidthConst() | FromInt() | ParamRef() | Elementwise() | Moment() | Fluctuation() | Contract() | SumAxis() \
                | Expand():
            return []
        case _:
            assert_never(op)


def _term_accesses(terms: Iterable[Term]) -> list[_Access]:
    return [_cell_access("read", matrix.cell, matrix.items) for matrix in matrix_terms(tuple(terms))]


def _cell_access(how: str, cell: Cell, items: tuple[Item, ...]) -> _Access:
    shape = () if isinstance(cell.type, MatrixType) else cell.type.shape
    return _Access(how, f"'{_shown(cell)}'", items, shape, cell)


def _shown(cell: Cell) -> str:
    return cell.display or cell.name


def _array_shape(array: np.ndarray) -> tuple[IntExpr, ...]:
    return tuple(IntLit(length) for length in np.shape(array))


def _whole(items: tuple[Item, ...], axes: int) -> tuple[Item, ...]:
    """The items with the missing trailing ones filled in."""
    return items + (Range(),) * (axes - len(items))


def _item_exprs(item: Item) -> tuple[IntExpr, ...]:
    if isinstance(item, Range):
        return tuple(part for part in (item.start, item.stop) if part is not None)
    return (item,)


# --- extents -------------------------------------------------------------------------------------------------


def _stored_extents(walker: Walker) -> Extents:
    """The extents of every cell that is declared, assigned or read."""
    extents = {i.cell: tuple(int(_constant(walker, e)) for e in i.extents) for i in walker.program.initials}
    declared = set(extents)
    for site in walker.sites:
        for cell, items in _assigned(site.statement):
            if cell not in declared:
                found = [_largest(walker, site, cell, item) + 1 for item in _whole(items, cell.rank)[:cell.rank]]
                old = extents.get(cell, (0,) * cell.rank)
                extents[cell] = tuple(max(pair) for pair in zip(old, found, strict=True))
        for access in _accesses(site.statement, walker.env):
            if access.cell is not None:
                extents.setdefault(access.cell, (0,) * access.rank)
    for output in walker.program.outputs:
        extents.setdefault(output.cell, (0,) * output.cell.rank)
    walker.reporter.raise_errors()
    return extents


def _constant(walker: Walker, expr: IntExpr) -> Column:
    return GridEvaluator(walker, IterationGrid(1, {}, np.zeros(1, np.int64)), None).integer(expr)


def _assigned(statement: Statement) -> list[tuple[Cell, tuple[Item, ...]]]:
    """The cells that come into being by a statement; hidden ones by accumulation, too."""
    match statement:
        case Store(cell, items) | MatStore(cell, items):
            return [(cell, items)]
        case Accum(cell, items) | MatAccum(cell, items) if cell.role == "hidden":
            return [(cell, items)]
        case GradStmt(target=target) | KernelStmt(target=target):
            return [(target, ())]
        case _:
            return []


def _largest(walker: Walker, site: StatementSite, cell: Cell, item: Item) -> int:
    """The largest index that an assignment uses on one axis (-1 if none), after reporting a negative one."""
    if isinstance(item, Range):
        return -1 if item.stop is None else _largest(walker, site, cell, item.stop) - 1
    largest = -1
    for grid in walker.grids(site.frames, loop_names(item)):
        evaluate = GridEvaluator(walker, grid, site.statement.span)
        values = evaluate.integer(item)
        largest = max(largest, int(np.max(values)))
        if cell.role != "hidden" and np.min(values) < 0:
            _report_negative(evaluate, cell, values)
            break
    return largest


def _report_negative(evaluate: GridEvaluator, cell: Cell, values: Column) -> None:
    evaluate.report("TP601", np.less(values, 0), lambda i: f"index {at(values, i)} of '{_shown(cell)}' is negative",
                    "indices start at 0")


# --- ranges --------------------------------------------------------------------------------------------------


def _check_ranges(walker: Walker, site: StatementSite, extents: Extents) -> None:
    for access in _accesses(site.statement, walker.env):
        family = tuple(IntLit(extent) for extent in extents[access.cell]) if access.cell else ()
        for axis, (item, length) in enumerate(zip(access.items, family + access.shape, strict=False)):
            if not _proved(walker, item, length):
                # An element beyond all that are stored is one that is never assigned, which is said better.
                open_ended = axis < access.rank and access.cell is not None and access.cell.role != "initial"
                _check_item(walker, site, access, axis, item, None if open_ended else length)
    if isinstance(site.statement, Let) and isinstance(site.statement.op, FromInt):
        expr = site.statement.op.expr
        # Evaluated for its mistakes alone, as a division by zero.
        if walker.interval(expr) is None:
            for grid in walker.grids(site.frames, loop_names(expr)):
                GridEvaluator(walker, grid, site.statement.span).integer(expr)


def _proved(walker: Walker, item: Item, length: IntExpr) -> bool:
    """Whether intervals show that an item is within `0 <= item < length` in every iteration."""
    if item == Range():
        return True
    if isinstance(item, Range):
        return False
    index, axis = walker.interval(item), walker.interval(length)
    return index is not None and axis is not None and 0 <= index[0] and index[1] < axis[0]


def _check_item(walker: Walker, site: StatementSite, access: _Access, axis: int, item: Item, length: IntExpr | None) -> None:
    """Report the first iteration in which an item is out of range. Without a length, only a negative one is: whether
    the element exists is for the order test."""
    names = set().union(*(loop_names(e) for e in (*_item_exprs(item), *([length] if length else []))))
    for grid in walker.grids(site.frames, names):
        evaluate = GridEvaluator(walker, grid, site.statement.span)
        before = len(walker.reporter.found)
        limit = None if length is None else evaluate.integer(length)
        if isinstance(item, Range):
            _check_slice(evaluate, access, axis, item, limit)
        else:
            _check_index(evaluate, access, axis, evaluate.integer(item), limit)
        if len(walker.reporter.found) > before:
            return


def _check_index(evaluate: GridEvaluator, access: _Access, axis: int, index: Column, limit: Column | None) -> None:
    bad = np.less(index, 0) if limit is None else np.less(index, 0) | np.greater_equal(index, limit)
    if not np.any(bad):
        return

    def message(i: int) -> str:
        place = axis_text(axis, len(access.items)) + access.place
        if limit is None:
            return f"index {at(index, i)} of {place} is negative"
        return f"index {at(index, i)} is out of range for {place}, {indices_text(at(limit, i))}"

    evaluate.report("TP601", bad, message, _range_advice(index))


def _check_slice(evaluate: GridEvaluator, access: _Access, axis: int, item: Range, limit: Column | None) -> None:
    start = 0 if item.start is None else evaluate.integer(item.start)
    # Of a family that grows with its stores the end is not known here; the order test reads each of its elements.
    default = start if limit is None else limit
    stop = default if item.stop is None else evaluate.integer(item.stop)
    bad = np.less(start, 0) | np.less(stop, start)
    if limit is not None:
        bad = bad | np.greater(stop, limit)
    if not np.any(bad):
        return

    def message(i: int) -> str:
        end = "" if limit is None else f", which has length {at(limit, i)}"
        place = axis_text(axis, len(access.items)) + access.place
        return f"the slice {at(start, i)}:{at(stop, i)} does not fit {place}{end}"

    evaluate.report("TP601", bad, message, "a slice runs from 0 to at most the length, its start before its stop")


def _range_advice(index: Column) -> str:
    if np.any(np.less(index, 0)):
        return "indices start at 0, and negative ones do not count from the end; change the bounds of the loop"
    return "change the index or the bounds of the loop"


# --- order ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Life:
    """Where a user's cell is assigned, where it is read, and which outputs it gives."""

    stores: list[tuple[StatementSite, tuple[Item, ...]]] = field(default_factory=list)
    reads: list[tuple[StatementSite, _Access]] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)


def _check_order(walker: Walker, extents: Extents) -> None:
    """Report every read of a user's cell that comes before the first store of that element."""
    if walker.duration >= LONGEST:
        return
    for cell, life in _lives(walker).items():
        if not (life.reads or life.outputs):
            continue
        first = _first_stores(walker, life, extents[cell])
        if first is None:
            continue
        for site, access in life.reads:
            _check_read(walker, site, access, extents[cell], first, life)
        for output in life.outputs:
            if cell.rank == 0 and first[0] == NEVER:
                _report_output(walker, output)


def _lives(walker: Walker) -> dict[Cell, _Life]:
    lives: dict[Cell, _Life] = defaultdict(_Life)
    for site in walker.sites:
        for cell, items in _assigned(site.statement):
            if cell.role == "user":
                lives[cell].stores.append((site, items))
        for access in _accesses(site.statement, walker.env):
            if access.how == "read" and access.cell is not None and access.cell.role == "user":
                lives[access.cell].reads.append((site, access))
    for output in walker.program.outputs:
        if output.cell.role == "user":
            lives[output.cell].outputs.append(output)
    return lives


def _first_stores(walker: Walker, life: _Life, extents: tuple[int, ...]) -> np.ndarray | None:
    """The time of the first store of every element; None if there is too much of it."""
    if math.prod(extents) > ELEMENT_LIMIT:
        return None
    first = np.full(math.prod(extents), NEVER)
    for site, items in life.stores:
        if walker.volume(site.frames, _names(items)) > ORDER_LIMIT:
            return None
        for grid in walker.grids(site.frames, _names(items)):
            indices = _indices(walker, grid, site, items)
            # `first[...] = np.minimum(...)` would keep the last of several stores to an element.
            np.minimum.at(first, _flat(indices, extents, grid), grid.time + site.offset)
    return first


def _names(items: Iterable[Item]) -> set[str]:
    return set().union(*(loop_names(expr) for item in items for expr in _item_exprs(item)))


def _indices(walker: Walker, grid: IterationGrid, site: StatementSite, items: tuple[Item, ...]) -> list[np.ndarray]:
    evaluate = GridEvaluator(walker, grid, site.statement.span)
    return [grid.full(evaluate.integer(item)) for item in single(items)]


def _flat(indices: list[np.ndarray], extents: tuple[int, ...], grid: IterationGrid) -> np.ndarray:
    """Row-major positions of family elements."""
    flat = np.zeros(grid.size, np.int64)
    for index, extent in zip(indices, extents, strict=True):
        flat = flat * extent + index
    return flat


def _check_read(walker: Walker, site: StatementSite, access: _Access, extents: tuple[int, ...], first: np.ndarray,
                life: _Life) -> None:
    """Report the first iteration that reads an element not yet assigned."""
    items, slices = _unsliced(walker, access, extents)
    frames = site.frames + slices
    if walker.volume(frames, _names(items)) > ORDER_LIMIT:
        return
    for grid in walker.grids(frames, _names(items)):
        indices = _indices(walker, grid, site, items)
        missing = np.zeros(grid.size, bool)
        for index, extent in zip(indices, extents, strict=True):
            missing |= index >= extent
        stored = np.full(grid.size, NEVER)
        stored[~missing] = first[_flat(indices, extents, grid)[~missing]]
        # An element that is never stored has the time NEVER, after everything.
        bad = stored >= grid.time + site.offset
        if bad.any():
            _report_read(GridEvaluator(walker, grid, site.statement.span), access, indices, stored, bad, life)
            return


def _unsliced(walker: Walker, access: _Access, extents: tuple[int, ...]) -> tuple[tuple[IntExpr, ...], Frames]:
    """The items on the family's axes, with a made-up loop for every slice."""
    items: list[IntExpr] = []
    loops: list[Loop] = []
    for axis, item in enumerate(_whole(access.items, access.rank)[:access.rank]):
        if isinstance(item, Range):
            stop = IntLit(extents[axis]) if item.stop is None else item.stop
            loop = Loop(f":{axis}", item.start or IntLit(0), stop, 1)
            # Every element that the slice reads has to be there: a loop along it, in no time.
            loop.trips = extents[axis]
            loops.append(loop)
            item = IntSym(loop.var, "loop")
        items.append(item)
    return tuple(items), tuple(loops)


def _report_read(evaluate: GridEvaluator, access: _Access, indices: list[np.ndarray], stored: np.ndarray,
                 bad: np.ndarray, life: _Life) -> None:
    assert access.cell is not None, "only what cells hold is assigned"
    name = _shown(access.cell)

    def message(i: int) -> str:
        element = _element(name, [int(index[i]) for index in indices])
        if stored[i] == NEVER:
            return f"{element} is read but never assigned"
        return f"{element} is read before it is assigned"

    spans = [site.statement.span for site, _ in life.stores if site.statement.span]
    notes = [Note(f"'{name}' is assigned here", spans[0])] if spans else []
    evaluate.report("TP602", bad, message, "assign the element first, or change the index or the bounds of the loop",
                    notes)


def _report_output(walker: Walker, output: Output) -> None:
    walker.reporter.error("TP602", f"the output '{output.name}' is never assigned", output.span,
                          help="the loop or branch that assigns it does not run: assign it before, too")


def _element(name: str, indices: list[int]) -> str:
    return f"{name}[{', '.join(map(str, indices))}]" if indices else name
