"""Making typed-program statements: a stack of open blocks, fresh names, and the typing rule of each operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

from tensorprog.diagnostics import Span
from tensorprog.ir.integers import IntExpr, IntLit, int_text, same_int
from tensorprog.ir.primitives import exact
from tensorprog.ir.program import (
    SCALAR,
    Cell,
    Const,
    Contract,
    Elementwise,
    FromInt,
    Let,
    Load,
    Moment,
    Op,
    Statement,
    SumAxis,
    TensorType,
    Type,
    Var,
    WidthConst,
)


class TypeMismatch(Exception):
    """Operands that do not fit together; the message says how."""


class Names:
    """Unique names: `h`, `h_1`, `h_2`, ..."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        # The number of names that were made of the hint; 0 for one that was only taken.
        count = self._used.get(hint)
        self._used[hint] = 0 if count is None else count + 1
        if count is None:
            return hint
        name = f"{hint}_{count + 1}"
        # The user may have a name with a number at its end.
        return self.fresh(name) if name in self._used else self.reserve(name)

    def reserve(self, name: str) -> str:
        """Take a name as it is."""
        self._used.setdefault(name, 0)
        return name


class Builder:
    """Appends statements to the innermost open block."""

    def __init__(self, names: Names | None = None) -> None:
        self.names = names or Names()
        self.block: list[Statement] = []
        self.made = 0
        self.stored = 0
        self.hint = "e"
        self.span: Span | None = None
        # Of scalars alone: 1 * x is x for a number 1, but not for a vector of ones, which may give x its width.
        self._constants: dict[Var, Fraction | float] = {}

    @contextmanager
    def nested(self) -> Iterator[list[Statement]]:
        """Collect statements into a new block instead."""
        outer, self.block = self.block, []
        try:
            yield self.block
        finally:
            self.block = outer

    def append(self, statement: Statement) -> None:
        """Add a statement; `made` counts them, `stored` those that are not of a temporary, whatever their block."""
        self.block.append(statement)
        self.made += 1
        self.stored += not isinstance(statement, Let)

    def cell(self, hint: str, type: Type, rank: int = 0, *, role: str = "hidden", display: str = "",
             span: Span | None = None, home: tuple[str, ...] = ()) -> Cell:
        return Cell(self.names.fresh(hint), type, rank, display or hint, role, span, home)

    def let(self, op: Op, type: TensorType = SCALAR, hint: str | None = None) -> Var:
        var = Var(self.names.fresh(hint or self.hint), type)
        self.append(Let(var, op, span=self.span))
        return var

    # --- operations ---

    def const(self, value: Fraction | float | int, type: TensorType = SCALAR) -> Var:
        # Exact, as literals are: exponents of n are fractions.
        value = Fraction(value) if isinstance(value, int) else value
        var = self.let(Const(value), type, "c")
        if type == SCALAR:
            self._constants[var] = value
        return var

    def constant_value(self, var: Var) -> Fraction | float | None:
        """The number that a temporary is known to hold, if this builder made it as a constant."""
        return self._constants.get(var)

    def from_int(self, expr: IntExpr) -> Var:
        # A literal is a constant, with which the builder calculates.
        return self.const(expr.value) if isinstance(expr, IntLit) else self.let(FromInt(expr))

    def width(self, width: str) -> Var:
        return self.let(WidthConst(width), hint=width)

    def load(self, cell: Cell, items: tuple = (), type: TensorType | None = None) -> Var:
        return self.let(Load(cell, items), type or cell.tensor, cell.display)

    def elementwise(self, fn: str, *args: Var, order: int = 0) -> Var:
        """Raises TypeMismatch when shapes or widths differ."""
        # Only functions are folded; a derivative of order 1 or more has the same name and another value.
        folded = self._fold(fn, args) if order == 0 else None
        if folded is not None:
            return folded
        return self.let(Elementwise(fn, args, order), broadcast([a.type for a in args]))

    def _fold(self, fn: str, args: tuple[Var, ...]) -> Var | None:
        values = [self.constant_value(a) for a in args]
        if fn == "mul":
            for value, other in ((values[0], args[1]), (values[1], args[0])):
                # 0 * x is not 0 here: what it is has the width and the axes of x, which a number has not.
                if value == 1:
                    return other
        if fn == "div" and values[1] == 1 or fn in ("add", "sub") and values[1] == 0:
            return args[0]
        if fn == "add" and values[0] == 0:
            return args[1]
        value = exact(fn, values)
        return None if value is None else self.const(value)

    def add(self, a: Var, b: Var) -> Var:
        return self.elementwise("add", a, b)

    def sub(self, a: Var, b: Var) -> Var:
        return self.elementwise("sub", a, b)

    def mul(self, a: Var, b: Var) -> Var:
        return self.elementwise("mul", a, b)

    def div(self, a: Var, b: Var) -> Var:
        return self.elementwise("div", a, b)

    def neg(self, a: Var) -> Var:
        return self.elementwise("neg", a)

    def moment(self, a: Var) -> Var:
        return self.let(Moment(a), TensorType(None, a.type.shape))

    def sum_axis(self, a: Var, axis: int) -> Var:
        shape = a.type.shape[:axis] + a.type.shape[axis + 1:]
        return self.let(SumAxis(a, axis), TensorType(a.type.width, shape, a.type.width_first))

    def contract(self, left: Var, left_axes: str, right: Var, right_axes: str, out_axes: str,
                 width_first: bool = False) -> Var:
        # An axis of both operands has one length, written in two ways perhaps; the right operand's stands in the type.
        sizes = dict(zip(left_axes, left.type.shape)) | dict(zip(right_axes, right.type.shape))
        shape = tuple(sizes[letter] for letter in out_axes)
        type = TensorType(left.type.width or right.type.width, shape, width_first)
        return self.let(Contract(left, left_axes, right, right_axes, out_axes), type)


def broadcast(types: list[TensorType]) -> TensorType:
    """The type of a coordinatewise operation on operands of these types."""
    # A number beside a vector stands in every coordinate, and beside an array in every entry.
    widths = {t.width for t in types if t.width}
    if len(widths) > 1:
        raise TypeMismatch(f"vectors of different widths, {' and '.join(sorted(widths))}")
    shaped = [t for t in types if t.shape]
    for other in shaped[1:]:
        if not same_shape(shaped[0].shape, other.shape):
            raise TypeMismatch(f"arrays of different shapes, {shape_text(shaped[0])} and {shape_text(other)}")
    first = next((t for t in types if t.shape and t.width), None)
    shape = shaped[0].shape if shaped else ()
    return TensorType(next(iter(widths), None), shape, first.width_first if first else False)


def same_shape(left: tuple[IntExpr, ...], right: tuple[IntExpr, ...]) -> bool:
    return len(left) == len(right) and all(same_int(a, b) for a, b in zip(left, right))


def shape_text(type: TensorType) -> str:
    """`[K, n]`, as the user would write the shape."""
    axes = [int_text(s) for s in type.shape]
    if type.width:
        axes = [type.width, *axes] if type.width_first else [*axes, type.width]
    return f"[{', '.join(axes)}]"
