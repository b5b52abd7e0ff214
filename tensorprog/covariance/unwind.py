"""Symbolic execution of a limit program with its loops rolled: every value as an expression in the loop variables.

In: the limit program. Out: `Unwound`: the sites at which matrices are applied, with what they are applied to; functions
of integers for families and for values carried round loops, defined by cases; means. A family whose elements are stored
once is a function of its indices. Whatever else a loop carries is a function of the iteration, one step of which is
the loop's body. Nothing is unrolled.

Loops have the steps 1 and -1 (`passes/unit_steps.py`). Not covered (`Unsupported`, with the reason): data-dependent storage.
"""

from __future__ import annotations

from typing import assert_never

import sympy
from sympy import Expr, Integer, Symbol

from tensorprog.covariance.budget import require_shallow
from tensorprog.covariance.cells import CellContents
from tensorprog.covariance.guards import Unsupported
from tensorprog.covariance.laws import Laws
from tensorprog.covariance.matrices import Matrices
from tensorprog.covariance.nodes import Call, Entry, IsZero, flat, fresh_index, index_symbol, total
from tensorprog.covariance.unwound import Unwound
from tensorprog.covariance.whole import function_of
from tensorprog.covariance.writes import AxisExpression, Binding, Frame, Write
from tensorprog.ir.integers import BoolExpr, Logic
from tensorprog.ir.program import (
    Accum,
    Const,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    If,
    InputRef,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatStore,
    Moment,
    Op,
    ParamRef,
    Pick,
    Place,
    Program,
    Statement,
    Store,
    SumAxis,
    Var,
    WidthConst,
    Zero,
    cells_written,
    operands,
    term_operands,
    walk,
)

#: Operations of a number that gets a name of its own.
LONG = 8


def unwind(program: Program, laws: Laws, keep_sums: bool = False) -> Unwound:
    """A limit program as expressions. See the module's docstring.

    Args:
        program: the limit program.
        laws: the laws of what it declares.
        keep_sums: whether sums of matrix products and of what loops carry are functions of their own, instead of being
            multiplied out: responses may cancel what is carried in such a sum as a whole alone.

    Raises:
        Unsupported: with the reason why it cannot be written so.
    """
    unwound = Unwound(program, laws, keep_sums)
    _Unwinder(unwound).run()
    return unwound


class _Unwinder:
    """The symbolic execution of a program, statement by statement."""

    def __init__(self, unwound: Unwound):
        self.unwound = unwound
        self.cells = CellContents(unwound)
        self.matrices = Matrices(unwound)
        self._beginnings = _beginnings(unwound.program)
        unwound.read = self.cells.read

    def run(self) -> None:
        """Execute the whole program."""
        self._block(self.unwound.program.body)

    def _block(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self.unwound.order += 1
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op):
                value = self._named(var, self._op(op, var))
                self.unwound.values[var] = self._whole(var, value) if self.unwound.keep_sums else value
            case Store(cell=cell, items=items, value=value):
                self.cells.write("store", cell, items, self.unwound.values[value])
            case Accum(cell=cell, items=items, value=value):
                self.cells.write("add", cell, items, self.unwound.values[value])
            case Zero(cell=cell):
                self.cells.log(cell, Write("zero", guards=tuple(self.unwound.guards)))
            case MatStore(cell=cell, items=items, terms=terms):
                self.cells.log(cell, Write("store", (), tuple(self.unwound.guards), self.unwound.integers(items),
                                           terms=self.matrices.terms(terms)))
            case MatAccum(cell=cell, items=items, terms=terms):
                self.cells.log(cell, Write("add", (), tuple(self.unwound.guards), self.unwound.integers(items),
                                           terms=self.matrices.terms(terms)))
            case For():
                self._loop(statement)
            case If(condition=condition, then=then, orelse=orelse):
                # Both branches are executed: what they write has the condition, or its negation, for a guard.
                self._branch(condition, then)
                self._branch(Logic("not", (condition,)), orelse)
            case _:
                raise Unsupported("the program has a statement that the covariance evaluator does not know")

    def _named(self, var: Var, value: AxisExpression) -> AxisExpression:
        """A value under a name of its own if it is a long number: products with it are not multiplied out."""
        if var.type.width is not None or value.expr.count_ops() <= LONG:
            return value
        free = self.unwound.free_indices(value.expr)
        number = self.unwound.function(var.name, tuple(free), False, lambda: [((), value.expr)])
        self.unwound.functions[number].named = True
        return AxisExpression(Call(Integer(number), *free), value.axes, value.sizes)

    def _branch(self, condition: BoolExpr, body: tuple[Statement, ...]) -> None:
        if not body:
            return
        guard = self.unwound.condition(condition)
        if guard == 0:
            return
        added = guard != 1
        if added:
            self.unwound.guards.append(guard)
        self._block(body)
        if added:
            self.unwound.guards.pop()

    def _loop(self, loop: For) -> None:
        start, stop = self.unwound.integer(loop.start), self.unwound.integer(loop.stop)
        symbol = index_symbol(loop.var)
        # Downwards, range(start, stop, -1) goes through start, ..., stop + 1.
        binding = (Binding(symbol, start, stop) if loop.step > 0
                   else Binding(symbol, flat(stop + 1), flat(start + 1), True))
        self.unwound.ranges[symbol] = binding
        frame = Frame(binding, cells_written(loop.body))
        self.unwound.frames.append(frame)
        # A guard around the loop is one of the loop as a whole (the write below); inside of it, writes have those of
        # the body.
        outer_guards, self.unwound.guards = self.unwound.guards, []
        self._block(loop.body)
        self.unwound.guards = outer_guards
        self.unwound.frames.pop()
        for cell, log in frame.log.items():
            self.cells.log(cell, Write("loop", (binding,), tuple(self.unwound.guards), body=tuple(log)))

    def _op(self, op: Op, var: Var) -> AxisExpression:
        match op:
            case Const(value=number):
                # Decimals as fractions, 0.1 as 1/10: coefficients that cancel are then seen to.
                return self._spread(sympy.nsimplify(number) if isinstance(number, float)
                                    else self.unwound.notation.number(number), var)
            case WidthConst():
                return AxisExpression(self.unwound.laws.ratio(op.width))
            case FromInt(expr=expr):
                return AxisExpression(self.unwound.integer(expr))
            case ParamRef(name=name):
                return AxisExpression(self.unwound.notation.parameter(name))
            case InputRef(name=name, items=items):
                return self._input(name, items, var)
            case Load(cell=cell, items=items):
                return self.cells.load(cell, items, var)
            case Elementwise():
                return self._elementwise(op, var)
            case Moment(arg=arg):
                value = self.unwound.values[arg]
                return AxisExpression(self.unwound.mean(value.expr), value.axes, value.sizes)
            case Contract():
                return self._contract(op)
            case SumAxis(arg=arg, axis=axis):
                value = self.unwound.values[arg]
                summed = total(value.expr, value.axes[axis], Integer(0), value.sizes[axis])
                keep = [k for k in range(len(value.axes)) if k != axis]
                return AxisExpression(summed, tuple(value.axes[k] for k in keep), tuple(value.sizes[k] for k in keep))
            case Expand(arg=arg, axis=axis, size=size):
                value = self.unwound.values[arg]
                axes, sizes = list(value.axes), list(value.sizes)
                axes.insert(axis, fresh_index())
                sizes.insert(axis, self.unwound.integer(size))
                return AxisExpression(value.expr, tuple(axes), tuple(sizes))
            case Pick(arg=arg, items=items):
                value = self.unwound.values[arg]
                exprs, axes = self.unwound.items(items, len(var.type.shape))
                return AxisExpression(value.at(exprs), tuple(axes), self.unwound.sizes(var))
            case Place(arg=arg, items=items):
                return self._place(self.unwound.values[arg], items, var)
            case MatMul():
                return self.matrices.matmul(op)
            case MatDot():
                raise Unsupported("inner products of matrices have no equations")
            case Fluctuation():
                raise Unsupported("draws have no equations")
            case _:
                assert_never(op)

    def _spread(self, number: Expr, var: Var) -> AxisExpression:
        sizes = self.unwound.sizes(var)
        return AxisExpression(number, tuple(fresh_index() for _ in sizes), sizes)

    def _input(self, name: str, items: tuple, var: Var) -> AxisExpression:
        exprs, axes = self.unwound.items(items, len(var.type.shape))
        number = self.unwound.inputs.index(name)
        return AxisExpression(Entry(Integer(number), *exprs), tuple(axes), self.unwound.sizes(var))

    def _elementwise(self, op: Elementwise, var: Var) -> AxisExpression:
        values = [self.unwound.values[a] for a in op.args]
        axes = max((v.axes for v in values), key=len)
        sizes = max((v.sizes for v in values), key=len)
        args = tuple(v.at(axes) if v.axes else v.expr for v in values)
        for arg in args:
            require_shallow(arg)
        return AxisExpression(function_of(op.fn, op.order, args), axes, sizes)

    def _whole(self, var: Var, value: AxisExpression) -> AxisExpression:
        """A value; one that is a sum of matrix products and of what is carried, and not only the beginning of a longer
        one, as a function of its own (see `sums`)."""
        if var.type.width is None or var in self._beginnings:
            return value
        expr = flat(value.expr)
        if not self.unwound.is_carried_sum(expr):
            return value
        free = tuple(self.unwound.free_indices(expr))
        if expr not in self.unwound.sums:
            self.unwound.sums[expr] = self.unwound.function("sum", free, True, lambda: [((), expr)])
        return AxisExpression(Call(Integer(self.unwound.sums[expr]), *free), value.axes, value.sizes)

    def _contract(self, op: Contract) -> AxisExpression:
        left, right = self.unwound.values[op.left], self.unwound.values[op.right]
        symbols: dict[str, Symbol] = {}
        sizes: dict[str, Expr] = {}
        for letters, value in ((op.left_axes, left), (op.right_axes, right)):
            for letter, size in zip(letters, value.sizes):
                symbols.setdefault(letter, fresh_index())
                sizes[letter] = size
        expr = (left.at(tuple(symbols[a] for a in op.left_axes))
                * right.at(tuple(symbols[a] for a in op.right_axes)))
        for letter in symbols:
            if letter not in op.out_axes:
                expr = total(expr, symbols[letter], Integer(0), sizes[letter])
        return AxisExpression(expr, tuple(symbols[a] for a in op.out_axes), tuple(sizes[a] for a in op.out_axes))

    def _place(self, value: AxisExpression, items: tuple, var: Var) -> AxisExpression:
        exprs, axes = self.unwound.items(items, len(value.axes))
        out = tuple(fresh_index() for _ in var.type.shape)
        expr = value.at(tuple(axes))
        for axis, size in zip(axes, value.sizes):
            # out[e(j)] of what is placed: a sum over j with the factor [out = e(j)], which collapses where e determines
            # j.
            guard = sympy.Mul(*(IsZero(flat(o - e)) for o, e in zip(out, exprs) if e.has(axis)))
            expr = total(expr * guard, axis, Integer(0), size)
        expr *= sympy.Mul(*(IsZero(flat(o - e)) for o, e in zip(out, exprs) if not any(e.has(a) for a in axes)))
        return AxisExpression(expr, out, self.unwound.sizes(var))


def _beginnings(program: Program) -> set[Var]:
    """The values that are only used once, to add something to them."""
    uses: dict[Var, int] = {}
    added: set[Var] = set()
    for statement in walk(program.body):
        for var in _read(statement):
            uses[var] = uses.get(var, 0) + 1
        if isinstance(statement, Let) and isinstance(statement.op, Elementwise) and statement.op.fn in ("add", "sub"):
            if all(a.type.width is not None for a in statement.op.args):
                added |= set(statement.op.args)
    return {var for var in added if uses[var] == 1}


def _read(statement: Statement) -> tuple[Var, ...]:
    match statement:
        case Let(op=op):
            return operands(op)
        case Store(value=value) | Accum(value=value):
            return (value,)
        case MatStore(terms=terms) | MatAccum(terms=terms):
            return term_operands(terms)
    return ()
