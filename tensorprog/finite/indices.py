"""The integers of a run: sizes, parameters, loop variables and entries of integer inputs, with every index checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any, assert_never

import numpy as np

from tensorprog.diagnostics import Diagnostic, ProgramError, Source, Span
from tensorprog.ir.integers import (
    COMPARISONS,
    OPERATIONS,
    BoolExpr,
    Comparison,
    IntBin,
    IntChoice,
    IntExpr,
    IntLit,
    IntLoad,
    IntSym,
    Logic,
    int_text,
)
from tensorprog.ir.program import Cell, Item, Range, TensorType


def index_error(message: str, span: Span | None, source: Source) -> ProgramError:
    """TP601: an element that does not exist, or that has no value yet."""
    return ProgramError([Diagnostic("TP601", message, span)], source)


def each_key(keys: Iterable[int | range]) -> product:
    """The index tuples of a family access, in C order of its open axes."""
    return product(*(k if isinstance(k, range) else (k,) for k in keys))


class Indices:
    """Evaluates integer expressions, to integers, or to arrays of them where loops stand for all their iterations (`Grids`):
    the same code does both. `values` holds the bound names and the current value of each open loop."""

    def __init__(self, env: Mapping[str, object], source: Source):
        # Integers of NumPy would wrap around at 64 bits; those of Python do not.
        self.values: dict[str, Any] = {name: int(value) if isinstance(value, np.integer) else value for name, value in env.items()}
        self.source = source
        self.span: Span | None = None

    def error(self, message: str) -> ProgramError:
        """TP601 at the statement that is running."""
        return index_error(message, self.span, self.source)

    def integer(self, expr: IntExpr) -> Any:
        """The value of an expression: an int, or an int array where a loop variable is bound to one."""
        match expr:
            case IntLit(value):
                return value
            case IntSym(name, _):
                return self.values[name]
            case IntBin(op, left, right):
                return self._operate(op, self.integer(left), self.integer(right), expr)
            case IntLoad(name, items):
                return self._entry(name, tuple(self.integer(i) for i in items))
            case IntChoice(condition, then, orelse):
                return self.integer(then if self.condition(condition) else orelse)
            case _:
                assert_never(expr)

    def integers(self, exprs: tuple[IntExpr, ...]) -> tuple[int, ...]:
        """The values of several expressions."""
        return tuple(self.integer(e) for e in exprs)

    def condition(self, expr: BoolExpr) -> bool:
        """The truth of a condition."""
        match expr:
            case Comparison(op, left, right):
                return COMPARISONS[op](self.integer(left), self.integer(right))
            case Logic("not", (operand,)):
                return not self.condition(operand)
            case Logic("and", operands):
                return all(self.condition(o) for o in operands)
            case Logic(_, operands):
                return any(self.condition(o) for o in operands)
            case _:
                assert_never(expr)

    def subscript(self, items: tuple[Item, ...], shape: tuple[int, ...], name: str) -> tuple[int | slice, ...]:
        """Checked indices into the leading axes of an array of `shape`."""
        return tuple(self.slice(item, size, name) if isinstance(item, Range)
                     else self.checked(self.integer(item), size, name) for item, size in zip(items, shape))

    def checked(self, index: Any, size: int, name: str) -> Any:
        """`index`, if it (or each entry of it) is in range."""
        # NumPy takes negative indices from the end, and here they are errors, as in the language.
        low, high = (index, index) if isinstance(index, int) else (np.min(index), np.max(index))
        if low < 0 or high >= size:
            bad = low if low < 0 else high
            raise self.error(f"index {bad} is out of range for an axis of `{name}` of length {size}")
        return index

    def slice(self, item: Range, size: int, name: str) -> slice:
        """A checked slice of an axis of length `size`."""
        start = 0 if item.start is None else self.integer(item.start)
        stop = size if item.stop is None else self.integer(item.stop)
        if not 0 <= start <= stop <= size:
            raise self.error(f"slice {start}:{stop} is out of range for an axis of `{name}` of length {size}")
        return slice(start, stop)

    def keys(self, cell: Cell, items: tuple[Item, ...], kind: TensorType, index: Callable | None = None) -> list:
        """The family part of `items`: an index for each closed axis (by `index`), a range for each open one.

        The extents of open axes are the leading axes of `kind`, the type of what is read or written.
        """
        family = items[:cell.rank] + (Range(),) * (cell.rank - len(items))
        sizes = iter(kind.shape)
        index = index or self.integer
        return [self._open(item, next(sizes)) if isinstance(item, Range) else index(item) for item in family]

    def _open(self, item: Range, size: IntExpr) -> range:
        start = 0 if item.start is None else self.integer(item.start)
        return range(start, start + self.integer(size))

    def _entry(self, name: str, index: tuple[Any, ...]) -> Any:
        array = self.values[name]
        for i, size in zip(index, array.shape):
            self.checked(i, size, name)
        entry = array[index]
        return int(entry) if np.ndim(entry) == 0 else entry.astype(int)

    def _operate(self, op: str, left: Any, right: Any, expr: IntBin) -> Any:
        if op in ("//", "%") and np.any(np.equal(right, 0)) or op == "**" and np.any(np.less(right, 0)):
            raise self.error(f"`{int_text(expr)}` has no integer value")
        # `min` and `max` of Python compare arrays as a whole.
        if isinstance(left, int) and isinstance(right, int) or op not in ("min", "max"):
            return OPERATIONS[op](left, right)
        return np.minimum(left, right) if op == "min" else np.maximum(left, right)
