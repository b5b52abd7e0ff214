"""The records of symbolic execution: values, functions by cases, sites, and what was written to which elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import sympy
from sympy import Expr, Symbol

from tensorprog.covariance.guards import known
from tensorprog.covariance.nodes import AtLeastZero, IsZero, flat
from tensorprog.ir.program import Cell
from tensorprog.limit.solve import solve_indices


@dataclass(frozen=True)
class Binding:
    """An index with its range start <= symbol < stop, run through upwards or downwards."""

    symbol: Symbol
    start: Expr
    stop: Expr
    descending: bool = False

    @property
    def first(self) -> Expr:
        """The first iteration."""
        return self.stop - 1 if self.descending else self.start

    @property
    def end(self) -> Expr:
        """What would come after the last iteration."""
        return flat(self.start - 1) if self.descending else self.stop

    def previous(self, i: Expr) -> Expr:
        """The iteration before `i`."""
        return i + 1 if self.descending else i - 1

    def later(self, i: Expr, j: Expr) -> Expr:
        """1 if iteration `i` comes after `j`, else 0."""
        # Of integers: i > j is i - j - 1 >= 0.
        return AtLeastZero(flat(j - i if self.descending else i - j) - 1)


@dataclass(frozen=True)
class AxisExpression:
    """An expression with finite axes: `expr` in the axis symbols."""

    expr: Expr
    axes: tuple[Symbol, ...] = ()
    sizes: tuple[Expr, ...] = ()

    def at(self, indices: tuple[Expr, ...]) -> Expr:
        return self.expr.xreplace(dict(zip(self.axes, indices))) if self.axes else self.expr


@dataclass
class FunctionDef:
    """A function of integers by cases: the first case all of whose guards are 1. No cases yet: to be resolved. One that
    is `opaque` is never replaced by its cases; `named` is a number of the program's that has a name of its own."""

    name: str
    params: tuple[Symbol, ...]
    random: bool
    cases: list[tuple[tuple[Expr, ...], Expr]] = field(default_factory=list)
    resolve: Callable[[], list] | None = None
    family: bool = False
    opaque: bool = False
    named: bool = False

    def at(self, expr: Expr, indices: tuple[Expr, ...]) -> Expr:
        """An expression in the parameters, at given indices."""
        return expr.xreplace(dict(zip(self.params, indices)))

    @property
    def facts(self) -> tuple[Expr, ...]:
        """What is known to be >= 0 wherever the function is used: the indices of a family."""
        return self.params if self.family else ()


@dataclass(frozen=True)
class Site:
    """One statement that applies a matrix: Z of (matrix[items]) @ argument, a function of `params`."""

    number: int
    matrix: Cell
    items: tuple[Expr, ...]
    transposed: bool
    argument: Expr
    bindings: tuple[Binding, ...]
    loops: tuple[str, ...]
    guards: tuple[Expr, ...]
    order: int

    @property
    def params(self) -> tuple[Symbol, ...]:
        return tuple(b.symbol for b in self.bindings)

    def at(self, expr: Expr, indices: tuple[Expr, ...]) -> Expr:
        """An expression in the site's parameters, at given indices."""
        return expr.xreplace(dict(zip(self.params, indices)))

    def facts(self, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """What is >= 0 if the site is reached with these indices."""
        found = [flat(e) for b in self.bindings for e in (b.symbol - b.start, b.stop - 1 - b.symbol)]
        found += [f for g in self.guards for f in known(g)]
        return tuple(self.at(f, indices) for f in found)


@dataclass(frozen=True)
class Write:
    """What a statement writes to a cell: `kind` is 'store', 'add', 'zero' or, with a `body`, 'loop'. It writes `expr` to
    tensors and `terms` to matrices."""

    kind: str
    bindings: tuple[Binding, ...] = ()
    guards: tuple[Expr, ...] = ()
    items: tuple[Expr, ...] = ()
    expr: Expr | None = None
    body: tuple[Write, ...] = ()
    terms: tuple[MatrixPart, ...] = ()

    @property
    def value(self) -> Expr:
        """What a 'store' or an 'add' to a tensor writes."""
        assert self.expr is not None, f"a {self.kind} has no value"
        return self.expr


class Frame:
    """A loop that is being executed (no binding: the program itself): the cells that it writes, what was written to
    each so far, and the functions of those that it carries."""

    def __init__(self, binding: Binding | None, written: set[Cell]):
        self.binding, self.written = binding, written
        self.log: dict[Cell, list[Write]] = {}
        self.carried: dict[Cell, int] = {}

    @property
    def loop(self) -> Binding:
        """The loop, of a frame that is not the program itself."""
        assert self.binding is not None, "the program itself is no loop"
        return self.binding


@dataclass(frozen=True)
class MatrixPart:
    """coef * matrix, or coef * outer(left, right), summed over `bindings`."""

    coef: Expr
    matrix: tuple[Cell, tuple[Expr, ...], bool] | None = None
    outer: tuple[Expr, Expr] | None = None


def leaves(write: Write, outer: tuple[Binding, ...]) -> Iterator[tuple[tuple[Binding, ...], Write]]:
    """The writes inside of loops, each with the loops around it."""
    if write.kind != "loop":
        yield outer, write
        return
    for inner in write.body:
        for bindings, leaf in leaves(inner, (*outer, *write.bindings)):
            if write.guards:
                leaf = replace(leaf, guards=(*write.guards, *leaf.guards))
            yield bindings, leaf


def expressions_of(body: tuple[Write, ...]) -> list[Expr]:
    found: list[Expr] = []
    for write in body:
        found += [*write.items, *write.guards]
        for b in write.bindings:
            found += [b.start, b.stop]
        found += expressions_of(write.body) if write.kind == "loop" else [write.expr] if write.expr is not None else []
    return found


def bound_symbols(body: tuple[Write, ...]) -> set[Symbol]:
    found: set[Symbol] = set()
    for write in body:
        found |= {b.symbol for b in write.bindings} | bound_symbols(write.body)
    return found


def shifted(write: Write, symbol: Symbol, by: Expr) -> Write:
    """A write of another iteration."""
    def sub(e: Expr) -> Expr:
        return e.xreplace({symbol: by})

    bindings = tuple(Binding(b.symbol, sub(b.start), sub(b.stop), b.descending) for b in write.bindings)
    return Write(write.kind, bindings, tuple(map(sub, write.guards)), tuple(map(sub, write.items)),
                 None if write.expr is None else sub(write.expr), tuple(shifted(w, symbol, by) for w in write.body),
                 write.terms)


def solve(bindings: tuple[Binding, ...], stored: tuple[Expr, ...],
          wanted: tuple[Expr, ...]) -> tuple[dict[Symbol, Expr], list[Expr], list[Binding]] | None:
    """Which iteration wrote element `wanted`, if `stored` is what each iteration writes: (values of loop variables,
    guards under which that is in range, loop variables that are not determined); None if none can have."""
    found = solve_indices({b.symbol for b in bindings}, stored, wanted, flat)
    # An element at 2*i was written for even indices alone.
    guards = [IsZero(sympy.Mod(multiple, slope)) for multiple, slope in found.divisible]
    guards += [IsZero(flat(pattern - target)) for pattern, target in found.equal]
    for b in bindings:
        if b.symbol in found.values:
            v = found.values[b.symbol]
            start, stop = b.start.subs(found.values), b.stop.subs(found.values)
            # Outside of its range, no iteration has written the element.
            guards += [AtLeastZero(flat(v - start)), AtLeastZero(flat(stop - 1 - v))]
    if any(g == 0 for g in guards):
        return None
    return found.values, [g for g in guards if g != 1], [b for b in bindings if b.symbol not in found.values]


def substituted(term: MatrixPart, mapping: dict) -> MatrixPart:
    def sub(e: Expr) -> Expr:
        return e.xreplace(mapping)

    matrix = None
    if term.matrix is not None:
        matrix = (term.matrix[0], tuple(map(sub, term.matrix[1])), term.matrix[2])
    outer = None if term.outer is None else tuple(map(sub, term.outer))
    return MatrixPart(sub(term.coef), matrix, outer)
