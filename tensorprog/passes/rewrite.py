"""Rebuilding statements with other temporaries or indices: shared by the passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import overload

from tensorprog.diagnostics import Span
from tensorprog.ir.build import Names
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, same_int, substitute, substitute_bool
from tensorprog.ir.program import (
    Accum,
    Cell,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    FunctionTerm,
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
    MatrixTerm,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    Pick,
    Place,
    Range,
    Statement,
    Store,
    SumAxis,
    Term,
    Var,
    Zero,
    single,
)

VarMap = Callable[[Var], Var]


def map_vars(statement: Statement, var_map: VarMap) -> Statement:
    """The statement with its operands (not nested blocks, not its own result) replaced."""
    match statement:
        case Let(op=op):
            return replace(statement, op=map_op_vars(op, var_map))
        case Store(value=value) | Accum(value=value):
            return replace(statement, value=var_map(value))
        case MatStore(terms=terms) | MatAccum(terms=terms):
            return replace(statement, terms=tuple(map_term_vars(t, var_map) for t in terms))
        case GradAdd(coef=coef):
            return replace(statement, coef=var_map(coef))
        case _:
            return statement


def map_op_vars(op: Op, var_map: VarMap) -> Op:
    match op:
        case Elementwise(args=args):
            return replace(op, args=tuple(var_map(a) for a in args))
        case Contract(left=left, right=right):
            return replace(op, left=var_map(left), right=var_map(right))
        case Moment(arg=arg) | Fluctuation(arg=arg) | SumAxis(arg=arg) | Expand(arg=arg) | Pick(arg=arg) | Place(arg=arg) \
                | MatMul(arg=arg):
            return replace(op, arg=var_map(arg))
        case _:
            return op


def map_term_vars(term: Term, var_map: VarMap) -> Term:
    coef = None if term.coef is None else var_map(term.coef)
    if isinstance(term, OuterTerm):
        return OuterTerm(coef, var_map(term.left), var_map(term.right))
    if isinstance(term, FunctionTerm):
        return replace(term, args=tuple(var_map(a) if isinstance(a, Var) else a for a in term.args))
    return replace(term, coef=coef)


IndexMap = Mapping[str, IntExpr]


def map_item(item: Item, values: IndexMap) -> Item:
    if isinstance(item, Range):
        start = None if item.start is None else substitute(item.start, values)
        stop = None if item.stop is None else substitute(item.stop, values)
        return Range(start, stop)
    return substitute(item, values)


@overload
def map_items(items: tuple[IntExpr, ...], values: IndexMap) -> tuple[IntExpr, ...]: ...


@overload
def map_items(items: tuple[Item, ...], values: IndexMap) -> tuple[Item, ...]: ...


def map_items(items: tuple[Item, ...], values: IndexMap) -> tuple[Item, ...]:
    return tuple(map_item(i, values) for i in items)


def map_op_indices(op: Op, values: IndexMap) -> Op:
    match op:
        case FromInt(expr=expr):
            return FromInt(substitute(expr, values))
        case InputRef(items=items) | Load(items=items) | Pick(items=items) | Place(items=items):
            return replace(op, items=map_items(items, values))
        case MatMul(items=indices):
            return replace(op, items=map_items(indices, values))
        case _:
            return map_op_matrices(op, lambda m: replace(m, items=map_items(m.items, values)))


def map_term_indices(term: Term, values: IndexMap) -> Term:
    return map_term_matrices(term, lambda m: replace(m, items=map_items(m.items, values)))


MatrixMap = Callable[[MatrixTerm], MatrixTerm]


def map_term_matrices(term: Term, matrix_map: MatrixMap) -> Term:
    """The term with the matrices that it reads replaced."""
    if isinstance(term, MatrixTerm):
        return matrix_map(term)
    if isinstance(term, FunctionTerm):
        return replace(term, args=tuple(matrix_map(a) if isinstance(a, MatrixTerm) else a for a in term.args))
    return term


def map_op_matrices(op: Op, matrix_map: MatrixMap) -> Op:
    """The operation with the matrices that it reads (but for a product with a vector) replaced."""
    return MatDot(matrix_map(op.left), matrix_map(op.right)) if isinstance(op, MatDot) else op


def map_indices(statement: Statement, values: IndexMap) -> Statement:
    """The statement, nested blocks included, with loop variables replaced."""
    match statement:
        case Let(op=op):
            return replace(statement, op=map_op_indices(op, values))
        case Store(items=indices):
            return replace(statement, items=map_items(indices, values))
        case Accum(items=items):
            return replace(statement, items=map_items(items, values))
        case MatStore(items=indices, terms=terms) | MatAccum(items=indices, terms=terms):
            return replace(statement, items=map_items(indices, values),
                           terms=tuple(map_term_indices(t, values) for t in terms))
        case GradStmt(scalar_items=si, wrt_items=wi):
            return replace(statement, scalar_items=map_items(si, values), wrt_items=map_items(wi, values))
        case KernelStmt(left_items=li, right_items=ri, wrt=wrt):
            wrt = tuple(replace(v, items=map_items(v.items, values)) for v in wrt)
            return replace(statement, left_items=map_items(li, values), right_items=map_items(ri, values), wrt=wrt)
        case GradRecord(scalar_items=si) | GradAdd(scalar_items=si) | GradDot(scalar_items=si):
            return replace(statement, scalar_items=map_items(si, values))
        case For(start=start, stop=stop, body=body):
            return replace(statement, start=substitute(start, values), stop=substitute(stop, values),
                           body=tuple(map_indices(s, values) for s in body))
        case If(condition=condition, then=then, orelse=orelse):
            return replace(statement, condition=substitute_bool(condition, values),
                           then=tuple(map_indices(s, values) for s in then),
                           orelse=tuple(map_indices(s, values) for s in orelse))
        case _:
            return statement


BlockMap = Callable[[tuple[Statement, ...]], tuple[Statement, ...]]


@overload
def map_blocks(statement: For, block_map: BlockMap) -> For: ...


@overload
def map_blocks(statement: If, block_map: BlockMap) -> If: ...


@overload
def map_blocks(statement: Statement, block_map: BlockMap) -> Statement: ...


def map_blocks(statement: Statement, block_map: BlockMap) -> Statement:
    """The statement with each nested block rebuilt."""
    match statement:
        case For(body=body):
            return replace(statement, body=block_map(body))
        case If(then=then, orelse=orelse):
            return replace(statement, then=block_map(then), orelse=block_map(orelse))
        case _:
            return statement


def with_own_variables(loops: Iterable[For], names: Names) -> tuple[tuple[For, ...], dict[str, IntExpr]]:
    """Nested loops, outermost first, with variables of their own and without bodies; and these by the old ones."""
    found: list[For] = []
    values: dict[str, IntExpr] = {}
    for loop in loops:
        name = names.fresh(loop.var)
        found.append(replace(loop, var=name, start=substitute(loop.start, values), stop=substitute(loop.stop, values),
                             body=(), parallel=False))
        values[loop.var] = IntSym(name, "loop")
    return tuple(found), values


def in_loops(loops: Sequence[For], body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Statements in nested loops, outermost first, whatever the bodies of these are."""
    for loop in reversed(loops):
        body = (replace(loop, body=body),)
    return body


def over_elements(names: Iterable[str], sizes: Iterable[IntExpr], body: tuple[Statement, ...],
                  span: Span | None = None) -> tuple[Statement, ...]:
    """Statements in loops over all indices below some sizes, outermost first; `names` are the loops' variables."""
    return in_loops([For(name, IntLit(0), size, 1, (), span=span) for name, size in zip(names, sizes)], body)


def are_over_elements(loops: Sequence[For], items: Sequence[Item], extents: Sequence[IntExpr]) -> bool:
    """Whether loops, outermost first, go through all indices `items` below some sizes, each once."""
    return (tuple(items) == tuple(IntSym(loop.var, "loop") for loop in loops) and len(extents) == len(loops) and all(
        loop.step == 1 and loop.start == IntLit(0) and same_int(loop.stop, extent) for loop, extent in zip(loops, extents)))


CellMap = dict[Cell, tuple[Cell, Callable[[tuple[Item, ...]], tuple[Item, ...]]]]


def map_cells(body: tuple[Statement, ...], cells: CellMap) -> tuple[Statement, ...]:
    """The statements, without gradients, with other cells: each with the function that gives the new indices."""
    return tuple(_map_cell(map_blocks(s, lambda b: map_cells(b, cells)), cells) for s in body)


def _map_cell(statement: Statement, cells: CellMap) -> Statement:
    def element(cell: Cell, items: tuple[Item, ...]) -> tuple[Cell, tuple[Item, ...]]:
        if cell not in cells:
            return cell, items
        new, indices = cells[cell]
        return new, indices(items)

    def matrix(term: MatrixTerm) -> MatrixTerm:
        cell, items = element(term.cell, term.items)
        return replace(term, cell=cell, items=single(items))

    match statement:
        case Let(op=Load(cell=cell, items=items)):
            return replace(statement, op=Load(*element(cell, items)))
        case Let(op=MatMul(matrix=cell, items=items) as op):
            cell, moved = element(cell, items)
            return replace(statement, op=replace(op, matrix=cell, items=single(moved)))
        case Let(op=MatDot() as op):
            return replace(statement, op=map_op_matrices(op, matrix))
        case Store(cell=cell, items=items):
            cell, moved = element(cell, items)
            return replace(statement, cell=cell, items=single(moved))
        case Accum(cell=cell, items=part):
            cell, moved = element(cell, part)
            return replace(statement, cell=cell, items=moved)
        case MatStore(cell=cell, items=items, terms=terms) | MatAccum(cell=cell, items=items, terms=terms):
            cell, moved = element(cell, items)
            return replace(statement, cell=cell, items=single(moved), terms=tuple(map_term_matrices(t, matrix) for t in terms))
        case Zero(cell=cell):
            return replace(statement, cell=element(cell, ())[0])
        case _:
            return statement


def without_kernels(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The statements, nested blocks included, without kernels (whose targets are then never assigned)."""
    return tuple(map_blocks(s, without_kernels) for s in body if not isinstance(s, KernelStmt))
