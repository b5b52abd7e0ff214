"""What names stand for while a program is checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from tensorprog.diagnostics import Span
from tensorprog.ir.build import shape_text
from tensorprog.ir.integers import IntExpr
from tensorprog.ir.program import SCALAR, Cell, Item, MatrixTerm, MatrixType, OuterTerm, Type, Var
from tensorprog.syntax import tree

# --- values of expressions -----------------------------------------------------------------------------------


#: What the checker's matrices are made of: a function of matrices stands in a hidden one of its own.
LinearTerm: TypeAlias = MatrixTerm | OuterTerm


@dataclass(frozen=True, slots=True)
class IntValue:
    expr: IntExpr


@dataclass(frozen=True, slots=True)
class MatrixValue:
    """A linear combination of matrices and outer products."""

    rows: str
    cols: str
    terms: tuple[LinearTerm, ...]


@dataclass(frozen=True, slots=True)
class ChainValue:
    """A product of matrices that waits for the vector it is applied to."""

    factors: tuple[MatrixValue, ...]


@dataclass(frozen=True, slots=True)
class TupleValue:
    items: tuple[Value, ...]


Value = IntValue | Var | MatrixValue | ChainValue | TupleValue


def describe(type: Type) -> str:
    """What a value is, for a message: `a number`, `a vector of width n`."""
    if isinstance(type, MatrixType):
        return f"a [{type.rows}, {type.cols}] matrix"
    if type == SCALAR:
        return "a number"
    if type.width and not type.shape:
        return f"a vector of width {type.width}"
    return f"an array of shape {shape_text(type)}"


def describe_value(value: Value) -> str:
    """What an expression's value is, for a message."""
    match value:
        case IntValue():
            return "an integer"
        case MatrixValue(rows=rows, cols=cols):
            return f"a [{rows}, {cols}] matrix"
        case ChainValue():
            return "a product of matrices"
        case TupleValue(items=items):
            return f"{len(items)} values"
        case Var(type=type):
            return "a real number" if type == SCALAR else describe(type)
        case _:
            assert_never(value)


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 index`, `2 indices`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"

# --- what a name is bound to ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WidthName:
    name: str


@dataclass(frozen=True, slots=True)
class ParamName:
    name: str


@dataclass(frozen=True, slots=True)
class InputName:
    name: str
    shape: tuple[IntExpr, ...]
    kind: str
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class IntName:
    """A size, an integer parameter, a loop variable, or a name for an integer expression; `fixed` ones cannot be
    assigned."""

    expr: IntExpr
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class CellName:
    """Storage, or a part of it (a function's parameter that stands for `w[l]`).

    `block` is the path of the block that the cell was made in; `sure` tells that its first assignment there is under no
    condition.
    """

    cell: Cell
    items: tuple[Item, ...] = ()
    block: tuple[int, ...] = ()
    sure: bool = True


@dataclass(frozen=True, slots=True)
class ValueName:
    """A function's parameter bound to a computed value."""

    value: Value


@dataclass(frozen=True, slots=True)
class Pending:
    """A name that the branches of an `if` assign; the first assignment makes its cell in `block`."""

    block: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FunctionName:
    definition: tree.FuncDef


@dataclass(frozen=True, slots=True)
class Poison:
    """A name whose definition was in error: using it says nothing more. `why` explains an unusable name."""

    why: str | None = None


Binding = (WidthName | ParamName | InputName | IntName | CellName | ValueName | Pending | FunctionName | Poison)


class Scope:
    """Names of one function body (or of the program), over the names outside it."""

    def __init__(self, parent: Scope | None = None):
        self.parent = parent
        self.bindings: dict[str, Binding] = {}
        self.places: dict[str, Span | None] = {}

    def lookup(self, name: str) -> Binding | None:
        if name in self.bindings:
            return self.bindings[name]
        return self.parent.lookup(name) if self.parent else None

    def place(self, name: str) -> Span | None:
        if name in self.bindings:
            return self.places.get(name)
        # (That of the outer name, where the inner one hides none.)
        return self.parent.place(name) if self.parent else None

    def bind(self, name: str, binding: Binding, span: Span | None = None) -> None:
        self.bindings[name] = binding
        if span is not None:
            self.places[name] = span

    def names(self) -> Iterator[str]:
        yield from self.bindings
        if self.parent:
            yield from self.parent.names()
