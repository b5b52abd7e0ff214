"""Kernels, sums and inner products of gradients from records: `ntk` and `cov` as sums over pairs of terms of the two gradients, in
ordinary statements.

<outer(u, x), outer(v, y)> = dot(u, v) * dot(x, y): the inner product of two gradients of a matrix needs only moments.
Where the two terms come from families (`W[l]`), only equal indices meet; the pairs of loops are reduced to those by
solving for an index of the second (`passes.matching`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from tensorprog.diagnostics import Reporter, Span
from tensorprog.ir.build import Builder, Names
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, substitute, substitute_bool
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    ConstExpr,
    For,
    FromInt,
    GradAdd,
    GradDot,
    If,
    KernelStmt,
    MatAccum,
    MatMul,
    MatrixType,
    OuterTerm,
    ParamRef,
    Program,
    Statement,
    Store,
    TensorType,
    Var,
    Variable,
)
from tensorprog.passes.factors import GradientRecord, Guard, LoopStep, Nest, Outer
from tensorprog.passes.matching import Unsolved, matched, solved_for
from tensorprog.passes.rewrite import map_items

Ledger = Mapping[tuple[Cell, Cell], list[GradientRecord]]


def kernel_statements(program: Program, kernel: KernelStmt, ledger: Ledger, scope: Mapping[int, frozenset[str]],
                      names: Names, reporter: Reporter) -> list[Statement]:
    """What replaces a kernel.

    Args:
        ledger: all records of a scalar with respect to a variable.
        scope: for each record's statement (by id) and this kernel, the loops in which the record is this kernel's.

    Reports: a record whose loops depend on an index that the kernel's scalar does not name (TP426).
    """
    builder = Builder(names)
    builder.span = kernel.span
    sums = _Sums(program, kernel, scope, builder)
    try:
        total = sums.total(ledger)
    except Unsolved as error:
        reporter.error("TP426", f"which iteration of `{error.name}` computed this scalar is not said by its indices",
                       kernel.span, help="take the kernel in the same iteration, after the scalar, or store the scalar "
                                         f"in a family with `{error.name}` as an index")
        return []
    return [*builder.block, Store(kernel.target, (), total, span=kernel.span)]


def used_gradient(program: Program, user: GradAdd | GradDot, ledger: Ledger, scope: Mapping[int, frozenset[str]],
                  names: Names) -> list[Statement]:
    """What replaces a `GradAdd` or a `GradDot`, with `ledger` and `scope` as above: every term of the gradient is added, or its
    inner product is."""
    builder = Builder(names)
    builder.span = user.span
    uses = _Uses(program, scope, builder)
    if isinstance(user, GradDot):
        builder.append(Store(user.target, (), builder.const(0), span=user.span))
    for record, outer in _sources(ledger[user.scalar, user.wrt]):
        uses.use(user, record, outer)
    return builder.block


@dataclass(frozen=True, slots=True)
class _Term:
    """A term of one gradient, in the kernel's own indices and fresh loops."""

    source: Outer | GradientRecord
    place: tuple[IntExpr, ...]
    items: tuple[IntExpr, ...]
    nest: Nest
    mask: Var | None


class _Terms:
    """The terms of recorded gradients, in loops of their own."""

    def __init__(self, program: Program, scope: Mapping[int, frozenset[str]], builder: Builder):
        self.scope, self.builder = scope, builder
        self.extents = {i.cell: i.extents for i in program.initials}

    def term(self, record: GradientRecord, outer: Outer | None, items: tuple[IntExpr, ...], variable: Variable) -> _Term:
        statement = record.statement
        # An element that another store wrote has its gradient in that store's record.
        mask = None if statement.mask is None else self.builder.load(statement.mask, items)
        if outer is None:
            return self._whole(record, items, variable, mask)
        values = solved_for(statement.scalar_items, items)
        return self._outer(outer, items, values, self.scope[id(statement)], mask)

    def _whole(self, record: GradientRecord, place: tuple[IntExpr, ...], variable: Variable, mask: Var | None) -> _Term:
        nest = []
        for extent in self.extents.get(variable.cell, ())[len(variable.items):]:
            var = self.builder.names.fresh("i")
            nest.append(LoopStep(var, IntLit(0), extent, 1, IntSym(var, "loop")))
        members = (*variable.items, *(step.counter for step in nest))
        return _Term(record, (*place, *members), members, tuple(nest), mask)

    def _outer(self, outer: Outer, place: tuple[IntExpr, ...], values: Mapping[str, IntExpr], kept: frozenset[str],
               mask: Var | None) -> _Term:
        values = dict(values)
        nest: list[LoopStep | Guard] = []
        for step in outer.nest:
            Unsolved.unless_known(step, values, kept)
            if isinstance(step, Guard):
                nest.append(Guard(substitute_bool(step.condition, values)))
                continue
            start, stop = substitute(step.start, values), substitute(step.stop, values)
            var = self.builder.names.fresh(step.var)
            values[step.var] = IntSym(var, "loop")
            nest.append(LoopStep(var, start, stop, step.step, substitute(step.counter, values)))
        Unsolved.unless_known(outer.items, values, kept)
        key = tuple(step.counter for step in nest if isinstance(step, LoopStep))
        return _Term(outer, (*place, *key), map_items(outer.items, values), tuple(nest), mask)


class _Sums(_Terms):
    """The inner products of the terms of two gradients."""

    def __init__(self, program: Program, kernel: KernelStmt, scope: Mapping[int, frozenset[str]], builder: Builder):
        super().__init__(program, scope, builder)
        self.kernel = kernel

    def total(self, ledger: Ledger) -> Var:
        kernel = self.kernel
        parts: list[Var] = []
        for variable in kernel.wrt:
            weight = None if variable.weight is None else _number(self.builder, variable.weight)
            lefts, rights = (_sources(ledger[scalar, variable.cell]) for scalar in (kernel.left, kernel.right))
            for left, right in product(lefts, rights):
                # Terms are made anew for every pair, because every loop of a program has a variable of its own.
                pair = self._pair(self.term(*left, kernel.left_items, variable),
                                  self.term(*right, kernel.right_items, variable), variable)
                if pair is not None:
                    parts.append(pair if weight is None else self.builder.mul(weight, pair))
        total = parts[0] if parts else self.builder.const(0)
        for part in parts[1:]:
            total = self.builder.add(total, part)
        return total

    # --- pairs ---

    def _pair(self, left: _Term, right: _Term, variable: Variable) -> Var | None:
        """The sum over all matching iterations of two terms; None if there are none."""
        found = matched(left.nest, right.nest, left.items, right.items, variable.items)
        if found is None:
            return None
        steps, values = found
        places = map_items(left.place, values), map_items(right.place, values)
        if not steps:
            return self._masked(self._product(left.source, right.source, *places, variable.cell), left, right)
        builder = self.builder
        cell = builder.cell(f"{self.kernel.kind}_sum", SCALAR, home=self.kernel.target.home)
        builder.append(Store(cell, (), builder.const(0), span=builder.span))
        with builder.nested() as body:
            value = self._product(left.source, right.source, *places, variable.cell)
            builder.append(Accum(cell, (), value, span=builder.span))
        for statement in _nested(steps, tuple(body), self.kernel.span):
            builder.append(statement)
        return self._masked(builder.load(cell), left, right)

    def _masked(self, value: Var, *terms: _Term) -> Var:
        for term in terms:
            if term.mask is not None:
                value = self.builder.mul(term.mask, value)
        return value

    def _product(self, left: Outer | GradientRecord, right: Outer | GradientRecord, left_place: tuple, right_place: tuple,
                 cell: Cell) -> Var:
        """The inner product of two terms at given indices."""
        builder = self.builder
        if isinstance(left, Outer) and isinstance(right, Outer):
            pairs = ((builder.load(left.left, left_place), builder.load(right.left, right_place)),
                     (builder.load(left.right, left_place), builder.load(right.right, right_place)))
            first, second = (dot(builder, *pair) for pair in pairs)
            return builder.mul(first, second)
        if isinstance(left, Outer):
            return self._product(right, left, right_place, left_place, cell)
        whole = builder.load(left.statement.target, left_place)
        if isinstance(right, GradientRecord):
            return dot(builder, whole, builder.load(right.statement.target, right_place))
        # <G, outer(v, y)> = <G y, v>.
        array = builder.load(right.right, right_place)
        letters = "abcdefgh"[: len(array.type.shape)]
        return dot(builder, builder.contract(whole, letters, array, letters, ""), builder.load(right.left, right_place))


class _Uses(_Terms):
    """Statements that add the terms of gradients, or their inner products."""

    def use(self, user: GradAdd | GradDot, record: GradientRecord, outer: Outer | None) -> None:
        builder = self.builder
        term = self.term(record, outer, user.scalar_items, Variable(user.wrt))
        with builder.nested() as body:
            if isinstance(user, GradDot):
                value = self._dot(user.cell, term)
                value = value if term.mask is None else builder.mul(term.mask, value)
                builder.append(Accum(user.target, (), value, span=user.span))
            else:
                self._add(user, term, user.coef if term.mask is None else builder.mul(term.mask, user.coef))
        for statement in _nested(term.nest, tuple(body), user.span):
            builder.append(statement)

    def _add(self, added: GradAdd, term: _Term, coef: Var) -> None:
        builder, cell, source = self.builder, added.cell, term.source
        if isinstance(source, GradientRecord):
            value = builder.mul(coef, builder.load(source.statement.target, term.place))
        else:
            left, right = (builder.load(side, term.place) for side in (source.left, source.right))
            if isinstance(cell.type, MatrixType):
                builder.append(MatAccum(cell, term.items, (OuterTerm(coef, left, right),), span=added.span))
                return
            letters = "abcdefgh"[: len(right.type.shape)]
            value = builder.contract(builder.mul(coef, left), "", right, letters, letters, cell.type.width_first)
        builder.append(Accum(cell, term.items, value, span=added.span))

    def _dot(self, cell: Cell, term: _Term) -> Var:
        """The inner product of a term with the element of `cell` that it belongs to: of outer(u, x) it is <u, cell @ x>."""
        builder, source = self.builder, term.source
        if isinstance(source, GradientRecord):
            return dot(builder, builder.load(source.statement.target, term.place), builder.load(cell, term.items))
        left, right = (builder.load(side, term.place) for side in (source.left, source.right))
        if isinstance(cell.type, MatrixType):
            applied = builder.let(MatMul(cell, term.items, False, right), TensorType(cell.type.rows))
        else:
            letters = "abcdefgh"[: len(right.type.shape)]
            applied = builder.contract(builder.load(cell, term.items), letters, right, letters, "")
        return dot(builder, left, applied)


def dot(builder: Builder, left: Var, right: Var) -> Var:
    """The sum over all axes of the product."""
    if left.type.shape and not left.type.width:
        letters = "abcdefgh"[: len(left.type.shape)]
        return builder.contract(left, letters, right, letters, "")
    terms = builder.mul(left, right)
    # A moment is the average, and the sum is n times it.
    if left.type.width:
        terms = builder.mul(builder.width(left.type.width), builder.moment(terms))
    for axis in reversed(range(len(left.type.shape))):
        terms = builder.sum_axis(terms, axis)
    return terms


def _sources(records: list[GradientRecord]) -> list[tuple[GradientRecord, Outer | None]]:
    """The terms of a gradient: each outer product, or the whole."""
    return [(record, outer) for record in records for outer in ([None] if record.whole else record.outers)]


def _nested(steps: Nest, body: tuple[Statement, ...], span: Span | None) -> tuple[Statement, ...]:
    for step in reversed(steps):
        if isinstance(step, Guard):
            body = (If(step.condition, body, (), span=span),)
        else:
            body = (For(step.var, step.start, step.stop, step.step, body, span=span),)
    return body


def _number(builder: Builder, expr: ConstExpr) -> Var:
    """A declared constant as operations."""
    match expr.op:
        case "num":
            return builder.const(_exact(expr.number))
        case "param":
            return builder.let(ParamRef(expr.name), SCALAR, expr.name)
        case "int":
            return builder.let(FromInt(expr.integer))
        case "width":
            return builder.width(expr.name)
    fn = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow"}.get(expr.op, expr.op)
    return builder.elementwise(fn, *(_number(builder, a) for a in expr.args))


def _exact(value: float) -> Fraction | float:
    """The short fraction that a number was written as; exponents of n have to be exact."""
    # 0.1 is stored as a float near it; n**0.1 has to be n**(1/10).
    short = Fraction(value).limit_denominator(10**6)
    return short if float(short) == value else float(value)

