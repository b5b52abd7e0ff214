"""The pair program as steps with their text, shared by the two forms of the recursion (`rows.py`, `strip.py`).

    Step  = Block(lines, slots) | For(loop, steps) | SeriesCall
    Line  = Load(name, ref) | Row(slot, source, text) | Let(name, text, exact) | Store(ref, name)

A block is a run of statements between loops: one inner loop over the pairs of a strip. Its names are assigned once. A
`RowLine` is a quantity of one index, recorded under a slot when the recursion runs on the diagonal, and read by the pairs
as `a<slot>` and `b<slot>`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, assert_never

from tensorprog.codegen.names import int_text
from tensorprog.ir.integers import (
    BoolExpr,
    Comparison,
    IntBin,
    IntChoice,
    IntExpr,
    IntLit,
    IntSym,
    Logic,
    linear_form,
)
from tensorprog.pairs.program import PairLoop, Ref

_LITERAL = re.compile(r"f8\(([^()]*)\)")


#: Of a value from which small differences come.
Near = Literal["correlation", "covariance"] | None


@dataclass(slots=True)
class LoadLine:
    """`pairs` is false where only the diagonal is read."""

    name: str
    ref: Ref
    pairs: bool


@dataclass(frozen=True, slots=True)
class RowLine:
    """`text` in NumPy, with `q` for the diagonal value called `source`."""

    slot: int
    source: str | None
    text: str


@dataclass(frozen=True, slots=True)
class LetLine:
    """`exact` replaces the text on the diagonal, with `q` for `source`; `near` says what it is, if
    digits are lost where u and v are nearly the same."""

    name: str
    text: str
    exact: str | None
    source: str | None
    near: Near = None


@dataclass(frozen=True, slots=True)
class StoreLine:
    ref: Ref
    name: str


Line = LoadLine | RowLine | LetLine | StoreLine


@dataclass(slots=True)
class Block:
    lines: list[Line] = field(default_factory=list)
    slots: int = 0


@dataclass(frozen=True, slots=True)
class SeriesCall:
    """A Hermite series of the functions numbered `f` (of kaa) and `g` (of kbb): value = E[f g] = sum t_n c**n.

    With `means`, the numbers of antiderivatives F and G, also integral = sum t_n c**n / (n + 1), which gives
    E[F G] = E[F] E[G] + kab integral.
    """

    number: int
    f: int
    g: int
    means: tuple[int, int] | None
    kaa: Ref
    kbb: Ref
    correlation: Ref
    value: Ref
    integral: Ref


@dataclass(frozen=True, slots=True)
class LoopOfSteps:
    loop: PairLoop
    steps: tuple[Step, ...]


Step = Block | LoopOfSteps | SeriesCall


def scalar_name(name: str) -> str:
    return f"s_{name}"


def array_name(name: str) -> str:
    return f"x_{name}"


def param_name(name: str) -> str:
    return f"p_{name}"


def input_name(name: str) -> str:
    return f"u_{name}"


def size_name(name: str) -> str:
    """Of a size or a loop variable."""
    return f"n_{name}"


def int_source(expr: IntExpr) -> str:
    """Source text of an integer expression, in the generated names."""
    return int_text(_renamed(expr))


def _renamed(expr: IntExpr) -> IntExpr:
    match expr:
        case IntSym(name, kind):
            return IntSym(size_name(name), kind)
        case IntBin(op, left, right):
            return IntBin(op, _renamed(left), _renamed(right))
        case IntChoice(condition, then, orelse):
            return IntChoice(_renamed_condition(condition), _renamed(then), _renamed(orelse))
        case _:
            return expr


def _renamed_condition(condition: BoolExpr) -> BoolExpr:
    match condition:
        case Comparison(op, left, right):
            return Comparison(op, _renamed(left), _renamed(right))
        case Logic(op, operands):
            return Logic(op, tuple(map(_renamed_condition, operands)))
        case _:
            assert_never(condition)


def range_source(loop: PairLoop) -> str:
    bounds = [int_source(loop.start), int_source(loop.stop)] + ([str(loop.step)] if loop.step != 1 else [])
    return f"for {size_name(loop.var)} in range({', '.join(bounds)}):"


def same_place(left: Ref, right: Ref) -> bool | None:
    """Whether two references name one place; None if that depends on run-time values."""
    if left.name != right.name:
        return False
    gaps = [linear_form(IntBin("-", a, b)) for a, b in zip(left.index, right.index)]
    # Indices that differ by a number other than 0 in some axis never meet.
    if any(set(gap) == {IntLit(1)} for gap in gaps):
        return False
    return True if not any(gaps) else None


def literals(text: str) -> str:
    """The text with its literals, written f8(number), plain."""
    return _LITERAL.sub(lambda m: m[1] if m[1][0] != "-" else f"({m[1]})", text)


def named_literals(text: str, names: dict[float, str]) -> str:
    """The text with names instead of its literals, which are added to `names`."""
    return _LITERAL.sub(lambda m: names.setdefault(float(m[1]), f"k{len(names)}"), text)
