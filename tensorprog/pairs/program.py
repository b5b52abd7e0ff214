"""Pair programs: what is computed for one pair (a, b) of inputs, the source of an infinite-width kernel over all pairs.

    PairProgram(name, grams, params, sizes, inputs, arrays, body, outputs, symmetric)
    Gram(name, left, right)                  the pair scalar <X1[a], X2[b]> of two [N, d] inputs, without a factor
    Array(name, extents)                     a scratch array of each pair, such as one entry a layer
    Statement = Set(target, value) | AddTo(target, value) | Loop(var, start, stop, step, body)
    Expr      = Number | Param | Ref | Diagonal | Input | Sum | PairProduct | Quotient | Power | Dual

The body is run for pairs (a, b) and, with b = a, for single indices: `Diagonal(ref, "a")` is the value that `ref` has
at this point of the run on (a, a). `Dual(phi, psi, kaa, kab, kbb)` is E[phi(u) psi(v)] for centred Gaussian (u, v) of
variances `Diagonal(kaa, "a")` and `Diagonal(kbb, "b")` and covariance `kab`; phi and psi are SymPy expressions in one
symbol. Loop bounds and indices are integer expressions (`ir/integers.py`) of sizes and loop variables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from tensorprog.ir.integers import IntExpr

Side = Literal["a", "b"]
SIDES: tuple[Side, Side] = ("a", "b")


@dataclass(frozen=True, slots=True)
class Gram:
    """The pair scalar `name`: <left[a], right[b]> over the last axis, of the first and of the second data set."""

    name: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class ScratchArray:
    """A scratch array of each pair."""

    name: str
    extents: tuple[IntExpr, ...]


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class RunParameter:
    """A float given at run time."""

    name: str


@dataclass(frozen=True, slots=True)
class Ref:
    """A pair scalar, or an entry of a scratch array."""

    name: str
    index: tuple[IntExpr, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagonal:
    """The value of `ref` at (a, a) or (b, b)."""

    ref: Ref
    side: Side


@dataclass(frozen=True, slots=True)
class RowInput:
    """An entry of a per-row input of shape [N, ...]: that of row a of the first data set, or row b of the second."""

    name: str
    side: Side
    index: tuple[IntExpr, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class PairProduct:
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    numerator: Expr
    denominator: Expr


@dataclass(frozen=True, slots=True)
class Power:
    """`base` to a constant power; 0.5 is the square root."""

    base: Expr
    exponent: float


@dataclass(frozen=True, slots=True)
class Dual:
    """E[phi(u) psi(v)]; `phi` and `psi` are SymPy expressions in at most one symbol."""

    phi: Any
    psi: Any
    kaa: Ref
    kab: Ref
    kbb: Ref


Expr = Number | RunParameter | Ref | Diagonal | RowInput | Sum | PairProduct | Quotient | Power | Dual


@dataclass(frozen=True, slots=True)
class Set:
    target: Ref
    value: Expr


@dataclass(frozen=True, slots=True)
class AddTo:
    target: Ref
    value: Expr


@dataclass(frozen=True, slots=True)
class PairLoop:
    """`for var in range(start, stop, step)`, with a literal step."""

    var: str
    start: IntExpr
    stop: IntExpr
    step: int
    body: tuple[Statement, ...]


Statement = Set | AddTo | PairLoop


@dataclass(frozen=True, slots=True)
class PairProgram:
    """One recursion for a pair; `symmetric` says that outputs of (b, a) equal those of (a, b)."""

    name: str
    grams: tuple[Gram, ...]
    params: tuple[str, ...]
    sizes: tuple[str, ...]
    body: tuple[Statement, ...]
    outputs: tuple[tuple[str, Ref], ...]
    arrays: tuple[ScratchArray, ...] = ()
    inputs: tuple[str, ...] = ()
    symmetric: bool = True


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The operands of an expression; those of a dual are its variances and its covariance."""
    match expr:
        case Sum(args) | PairProduct(args):
            return args
        case Quotient(numerator, denominator):
            return numerator, denominator
        case Power(base, _):
            return (base,)
        case Dual(_, _, kaa, kab, kbb):
            return kab, Diagonal(kaa, "a"), Diagonal(kbb, "b")
        case _:
            return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and everything in it."""
    yield expr
    for part in parts(expr):
        yield from walk(part)


def reads(expr: Expr) -> Iterator[Ref]:
    """The pair scalars that an expression reads, at (a, b) or on the diagonal."""
    for node in walk(expr):
        if isinstance(node, Ref):
            yield node
        elif isinstance(node, Diagonal):
            yield node.ref


def restrict(program: PairProgram, outputs: tuple[str, ...]) -> PairProgram:
    """The program of some of the outputs, without the statements that only the others need."""
    kept = tuple((name, ref) for name, ref in program.outputs if name in outputs)
    needed = {ref.name for _, ref in kept}
    while True:
        body = _needed(program.body, needed)
        read = needed | {ref.name for statement in _leaves(body) for ref in reads(statement.value)}
        # What a kept statement reads keeps the statements that make it.
        if read == needed:
            break
        needed = read
    return replace(program, outputs=kept, body=body, grams=tuple(g for g in program.grams if g.name in needed),
                   arrays=tuple(a for a in program.arrays if a.name in needed))


def _needed(body: tuple[Statement, ...], names: set[str]) -> tuple[Statement, ...]:
    kept: list[Statement] = []
    for statement in body:
        if isinstance(statement, PairLoop):
            inner = _needed(statement.body, names)
            kept += [replace(statement, body=inner)] if inner else []
        elif statement.target.name in names:
            kept.append(statement)
    return tuple(kept)


def _leaves(body: tuple[Statement, ...]) -> Iterator[Set | AddTo]:
    for statement in body:
        if isinstance(statement, PairLoop):
            yield from _leaves(statement.body)
        else:
            yield statement
