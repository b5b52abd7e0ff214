"""Operations of the typed program on values with finite axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import sympy
from sympy import Expr, KroneckerDelta, S

from tensorprog.derive.binders import Binder, IndexScope, sum_over
from tensorprog.derive.integers import number, to_integer
from tensorprog.derive.symbols import Cases, apply_primitive, element, expectation, index
from tensorprog.ir.program import (
    Const,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    FromInt,
    InputRef,
    Item,
    Load,
    MatDot,
    MatMul,
    Moment,
    Op,
    ParamRef,
    Pick,
    Place,
    Range,
    SumAxis,
    TensorType,
    Var,
    WidthConst,
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A scalar or a coordinate of a vector, as a function of its finite axes."""

    expr: Expr
    axes: tuple[sympy.Symbol, ...] = ()

    def at(self, indices: tuple[Expr, ...]) -> Expr:
        return self.expr.xreplace(dict(zip(self.axes, indices, strict=True))) if self.axes else self.expr


def fresh_axes(scope: IndexScope, type: TensorType) -> tuple[sympy.Symbol, ...]:
    """A symbol for each finite axis."""
    return tuple(scope.fresh(index("i"), S.Zero, to_integer(size) - 1) for size in type.shape)


def evaluate(scope: IndexScope, op: Op, var: Var, values: dict[Var, Tensor]) -> Tensor:
    """The value of an operation other than a load or a product with a matrix."""
    match op:
        case Const(value=value):
            return Tensor(number(value), fresh_axes(scope, var.type))
        case FromInt(expr=expr):
            return Tensor(to_integer(expr))
        case ParamRef(name=name):
            return Tensor(sympy.Symbol(name))
        case InputRef(name=name, items=items):
            axes = fresh_axes(scope, var.type)
            return Tensor(element(name, full_items(items, axes)), axes)
        case Elementwise():
            return _elementwise(op, values)
        case Moment(arg=arg):
            return Tensor(expectation(values[arg].expr), values[arg].axes)
        case Contract():
            return _contract(scope, op, values)
        case SumAxis(arg=arg, axis=axis):
            axes = values[arg].axes
            total = sum_over(values[arg].expr, _axis_binder(arg, axis, axes[axis]), scope)
            return Tensor(total, (*axes[:axis], *axes[axis + 1:]))
        case Expand(arg=arg, axis=axis, size=size):
            new = scope.fresh(index("i"), S.Zero, to_integer(size) - 1)
            axes = values[arg].axes
            return Tensor(values[arg].expr, (*axes[:axis], new, *axes[axis:]))
        case Pick(arg=arg, items=items):
            axes = fresh_axes(scope, var.type)
            return Tensor(values[arg].at(full_items(items, axes)), axes)
        case Place(arg=arg, items=items):
            return _place(scope, op, values)
        case Load() | MatMul() | MatDot() | WidthConst() | Fluctuation():
            raise AssertionError(f"`trace` writes {type(op).__name__} itself")
        case _:
            assert_never(op)


def full_items(items: tuple[Item, ...], axes: tuple[sympy.Symbol, ...]) -> tuple[Expr, ...]:
    """One index a position: `axes` stand where a slice or nothing is given."""
    rest = list(axes)
    out: list[Expr] = []
    for item in items:
        if isinstance(item, Range):
            axis = rest.pop(0)
            out.append(axis if item.start is None else axis + to_integer(item.start))
        else:
            out.append(to_integer(item))
    return (*out, *rest)


def _axis_binder(var: Var, axis: int, symbol: sympy.Symbol) -> Binder:
    return Binder(symbol, S.Zero, to_integer(var.type.shape[axis]) - 1)


def _elementwise(op: Elementwise, values: dict[Var, Tensor]) -> Tensor:
    axes = next((values[a].axes for a in op.args if values[a].axes), ())
    args = [values[a].at(axes) if values[a].axes else values[a].expr for a in op.args]
    return Tensor(apply_primitive(op.fn, op.order, args), axes)


def _contract(scope: IndexScope, op: Contract, values: dict[Var, Tensor]) -> Tensor:
    letters: dict[str, sympy.Symbol] = {}
    sizes: dict[str, Expr] = {}
    for var, names in ((op.left, op.left_axes), (op.right, op.right_axes)):
        for letter, size in zip(names, var.type.shape, strict=True):
            if letter not in letters:
                sizes[letter] = to_integer(size) - 1
                letters[letter] = scope.fresh(index("i"), S.Zero, sizes[letter])
    left = values[op.left].at(tuple(letters[c] for c in op.left_axes))
    right = values[op.right].at(tuple(letters[c] for c in op.right_axes))
    total = left * right
    for letter in letters:
        if letter not in op.out_axes:
            total = sum_over(total, Binder(letters[letter], S.Zero, sizes[letter]), scope)
    return Tensor(total, tuple(letters[c] for c in op.out_axes))


def _place(scope: IndexScope, op: Place, values: dict[Var, Tensor]) -> Tensor:
    """Zeros with the argument at some indices."""
    sizes = [to_integer(size) for size in op.shape]
    axes = tuple(scope.fresh(index("i"), S.Zero, size - 1) for size in sizes)
    inner: list[Expr] = []
    factor: Expr = S.One
    for position, axis in enumerate(axes):
        item = op.items[position] if position < len(op.items) else None
        if item is None or (isinstance(item, Range) and item.start is None and item.stop is None):
            inner.append(axis)
        elif isinstance(item, Range):
            start = S.Zero if item.start is None else to_integer(item.start)
            stop = sizes[position] if item.stop is None else to_integer(item.stop)
            inner.append(axis - start)
            factor *= Cases(S.One, sympy.And(axis >= start, axis < stop), S.Zero)
        else:
            factor *= KroneckerDelta(axis, to_integer(item))
    return Tensor(factor * values[op.arg].at(tuple(inner)), axes)
