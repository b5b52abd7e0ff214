"""Mark loops whose iterations are independent, so that an evaluator can run them as one block (docs/architecture.md).

A loop is parallel when, for every cell that its body touches, one of these holds: the body does not write it; every
access has the same index in the loop's variable; it is only added to; it is new in every iteration. Loops inside must
not depend on the variable in their bounds or conditions, nor slices in their ends, and no index chooses between two
integers by it. Parallel loops are turned to run upwards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from tensorprog.ir.integers import IntExpr, IntLit, IntSym, chooses, int_bin, linear_form, loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    For,
    If,
    Let,
    MatAccum,
    MatDot,
    MatMul,
    MatrixType,
    MatStore,
    Program,
    Range,
    Statement,
    Store,
    Zero,
    access_indices,
    cells_read,
    integers,
    matrices_read,
    touched,
    walk,
    written,
)
from tensorprog.passes.regions import written_first
from tensorprog.passes.rewrite import map_blocks


def mark_parallel(program: Program) -> Program:
    """Set `For.parallel` wherever it can be proved."""
    uses = _uses(program.body)
    # Results are read after all loops.
    uses.reads.update(program.results)
    return program.with_body(_block(program.body, uses))


@dataclass(frozen=True, slots=True)
class _Uses:
    """How often statements read and write each cell."""

    reads: Counter[Cell]
    writes: Counter[Cell]


def _uses(body: tuple[Statement, ...]) -> _Uses:
    return _Uses(Counter(c for s in walk(body) for c in cells_read(s)), Counter(c for s in walk(body) if (c := written(s)) is not None))


def _block(body: tuple[Statement, ...], uses: _Uses) -> tuple[Statement, ...]:
    return tuple(_statement(map_blocks(s, lambda b: _block(b, uses)), uses) for s in body)


def _statement(statement: Statement, uses: _Uses) -> Statement:
    if not isinstance(statement, For) or not is_parallel(statement) or not _last_values_are_safe(statement, uses):
        return statement
    return replace(_ascending(statement), parallel=True)


def _last_values_are_safe(loop: For, uses: _Uses) -> bool:
    """Whether names that are read after the loop get their last value from a block too: the loop must run upwards, and
    nothing else may assign them (a block without iterations has no last value)."""
    # As many reads inside of the loop as everywhere: none outside.
    inside = _uses(loop.body)
    for cell in {s.cell for s in walk(loop.body) if isinstance(s, Store) and not s.cell.rank}:
        read_later = inside.reads[cell] < uses.reads[cell]
        if read_later and (loop.step != 1 or inside.writes[cell] < uses.writes[cell]):
            return False
    return True


def _ascending(loop: For) -> For:
    """A loop with step -1 as the same iterations upwards."""
    if loop.step == 1:
        return loop
    if loop.step == -1:
        one = IntLit(1)
        return replace(loop, start=int_bin("+", loop.stop, one), stop=int_bin("+", loop.start, one), step=1)
    return loop


def is_parallel(loop: For) -> bool:
    """Whether the iterations of a loop may run as one block."""
    # A block's axis is a range of consecutive values.
    if abs(loop.step) != 1:
        return False
    statements = list(walk(loop.body))
    for s in statements:
        # Blocks are rectangular: all iterations run the same loops and branches inside.
        if isinstance(s, For) and loop.var in loop_names(s.start) | loop_names(s.stop):
            return False
        if isinstance(s, If) and loop.var in loop_names(s.condition):
            return False
        if any(chooses(e, loop.var) for e in integers(s)):
            return False
        # Matrices of a family are objects with lists of directions, not rows of an array.
        if any(loop.var in loop_names(i) for items in _matrix_indices(s) for i in items):
            return False
        items = getattr(s, "items", getattr(getattr(s, "op", None), "items", ()))
        if _needs_index_array_behind_slice(items, loop.var) or _has_moving_slice(s, items, loop.var):
            return False
    return all(_independent(cell, loop, statements) for cell in {c for s in statements for c in touched(s)})


def _needs_index_array_behind_slice(items: tuple, var: str) -> bool:
    """Whether `X[:, i]` would need an array for i, which NumPy would move to the front."""
    first = next((p for p, i in enumerate(items) if isinstance(i, Range)), len(items))
    behind = [i for i in items[first:] if isinstance(i, IntExpr) and var in loop_names(i)]
    before = [i for i in items[:first] if var in loop_names(i)]
    if not behind:
        return False
    plain = all(linear_form(i).get(IntSym(var, "loop")) == 1 and len(loop_names(i)) == 1 for i in behind)
    return not plain or len(behind) + len(before) > 1


def _has_moving_slice(statement: Statement, items: tuple, var: str) -> bool:
    """Whether a slice, as `X[i:]`, or a length differs from iteration to iteration."""
    ends = [end for item in items if isinstance(item, Range) for end in (item.start, item.stop) if end is not None]
    lengths = statement.var.type.shape if isinstance(statement, Let) else ()
    return any(var in loop_names(e) for e in (*ends, *lengths))


def _matrix_indices(statement: Statement) -> list[tuple[IntExpr, ...]]:
    """The indices with which a statement picks matrices of a family."""
    match statement:
        case Let(op=MatMul(items=items)):
            return [items]
        case MatStore(items=items) | MatAccum(items=items):
            return [items, *(m.items for m in matrices_read(statement))]
        case Let(op=MatDot()):
            return [m.items for m in matrices_read(statement)]
        case _:
            return []


def _independent(cell: Cell, loop: For, statements: list[Statement]) -> bool:
    writers = [s for s in statements if written(s) is cell]
    if not writers:
        return True
    if loop.var in cell.home or written_first(loop.body, cell):
        # A tensor that is new in every iteration gets an axis for the block; a matrix cannot.
        return not isinstance(cell.type, MatrixType)
    # A sum does not depend on the order of its terms.
    if all(isinstance(s, Accum | MatAccum) for s in writers) and not any(cell in cells_read(s) for s in statements):
        return True
    # A family that is zeroed as a whole loses the elements of all other iterations.
    if isinstance(cell.type, MatrixType) or any(isinstance(s, Zero) for s in writers):
        return False
    accesses = [i for s in statements for i in access_indices(s, cell)]
    return any(private_index(accesses, p, loop.var) for p in range(cell.rank))


def private_index(accesses: list[tuple], position: int, var: str) -> bool:
    """Whether all accesses have, at one position, the same index: plus or minus `var`, and what does not depend on it."""
    first = accesses[0][position] if len(accesses[0]) > position else None
    if not isinstance(first, IntExpr):
        return False
    form = linear_form(first)
    if form.get(IntSym(var, "loop")) not in (1, -1):
        return False
    if any(var in loop_names(atom) for atom in form if atom != IntSym(var, "loop")):
        return False
    return all(len(i) > position and isinstance(i[position], IntExpr) and linear_form(i[position]) == form
               for i in accesses)
