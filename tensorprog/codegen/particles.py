"""The `particles` evaluator: from the limit program to Python source (docs/architecture.md).

Sequential loops become Python loops. Parallel loops disappear: what depends on their variables gets an axis, so that
`W @ x` for all iterations is one block and an accumulated outer product one matrix product. Coordinatewise
operations are fused into Numba ufuncs, and sums and averages of products into matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from tensorprog.codegen.compiled_loops import CompiledLoops
from tensorprog.codegen.emitter import Value, local_names
from tensorprog.codegen.expressions import KernelPool, number_text
from tensorprog.codegen.indexing import grid_text, index_text
from tensorprog.codegen.layout import Axis, Layout, shape_parts, tuple_text, union
from tensorprog.codegen.names import bool_text, int_text, python_name
from tensorprog.ir.integers import IntExpr, loop_names
from tensorprog.ir.program import (
    Accum,
    Const,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    GradRecord,
    GradStmt,
    If,
    InputRef,
    KernelStmt,
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
    Range,
    Statement,
    Store,
    SumAxis,
    Var,
    WidthConst,
    Zero,
    cells_read,
    operands,
    walk,
)
from tensorprog.passes.spaces import Spaces

#: Operations that are fused into one another: an expression of many more would be too deep for Python's parser.
MOST_NESTED = 60


class Emitter(CompiledLoops):
    """Emits the body of one replicate: statements, loops and temporaries. With `ticks` every step of an outermost loop is
    reported."""

    ticks = True

    # --- blocks ---

    def block(self, body: tuple[Statement, ...]) -> None:
        for position, statement in enumerate(body):
            if body is self.program.body and position - 1 in self.unchanged_after:
                self.changing = self.changing - self.unchanged_after[position - 1]
            self._statement(statement, body)

    def _statement(self, statement: Statement, body: tuple[Statement, ...]) -> None:
        match statement:
            case Let(var=var, op=op):
                self._let(var, op, body)
            case Store(cell=cell, items=items, value=value):
                self._store(cell, items, value)
            case Accum(cell=cell, items=items, value=value):
                self._accumulate(cell, items, value)
            case MatStore(cell=cell, items=items, terms=terms):
                self.line(f"{self._matrix_name(cell, items)} = "
                          f"{self._matrix_value(cell, self._zero_matrix(cell), terms)}")
            case MatAccum(cell=cell, items=items, terms=terms):
                name = self._matrix_name(cell, items)
                self.line(f"{name} = {self._matrix_value(cell, name, terms)}")
            case Zero(cell=cell):
                self._zero(cell)
            case For():
                self._for(statement)
            case If():
                self._if(statement)
            case GradStmt() | KernelStmt() | GradRecord():
                raise AssertionError("gradients are written out before a program is emitted")
            case _:
                assert_never(statement)

    def _for(self, loop: For) -> None:
        if loop.parallel:
            self._parallel(loop)
            return
        self._flush_zeros(self.touched[id(loop)])
        kernel = self._compiled(loop)
        if kernel is None:
            self._step_by_step(loop)
            return
        before = dict(self.layouts)
        self.line(f"if rt.worth_compiling(range({int_text(loop.start)}, {int_text(loop.stop)}, {loop.step})):")
        self.depth += 1
        self._run_compiled(loop, kernel)
        self.depth -= 1
        self.line("else:")
        self.layouts = before
        self.depth += 1
        self.compiles = False
        self._step_by_step(loop)
        self.compiles = True
        self.depth -= 1
        self._settle(kernel)

    def _step_by_step(self, loop: For) -> None:
        bounds = [int_text(loop.start), int_text(loop.stop)] + ([str(loop.step)] if loop.step != 1 else [])
        args = bounds[1] if bounds[0] == "0" and len(bounds) == 2 else ", ".join(bounds)
        self.line(f"for {python_name(loop.var)} in range({args}):")
        self._indented(loop.body)
        if self.ticks and loop in self.program.body and not self.active:
            self.lines.append("    " * (self.depth + 1) + "tick()")

    def _indented(self, body: tuple[Statement, ...]) -> None:
        before, outside = len(self.lines), set(self.unzeroed)
        self.depth += 1
        self.block(body)
        self._flush_zeros(self.unzeroed - outside)
        if len(self.lines) == before:
            self.line("pass")
        self.depth -= 1

    def _parallel(self, loop: For) -> None:
        axis = Axis(loop.var, loop.start, loop.stop)
        self.active.append(axis)
        self.every_axis[loop.var] = axis
        self.line(f"# all {loop.var} in range({int_text(loop.start)}, {int_text(loop.stop)}) at once")
        self.block(loop.body)
        self.active.pop()
        self.gridded.discard(loop.var)
        self._leave_parallel(loop)

    def _grid(self, text: str) -> str:
        """`text`, with the index grids that it names defined before it."""
        for axis in self.active:
            if f"{axis.var}_grid" in text and axis.var not in self.gridded:
                self.gridded.add(axis.var)
                self.line(f"{axis.var}_grid = np.arange({int_text(axis.start)}, {int_text(axis.stop)})")
        return text

    def _leave_parallel(self, loop: For) -> None:
        """A name set inside keeps its last value, if something reads it later."""
        inside = {id(s) for s in walk(loop.body)}
        for cell in sorted(self.touched[id(loop)], key=lambda c: c.name):
            if loop.var not in self.storage[cell].axes or cell.rank:
                continue
            later = any(cell in cells_read(s) for s in walk(self.program.body) if id(s) not in inside)
            layout = self.layouts.get(cell)
            if layout is None or loop.var not in layout.axes:
                continue
            if later or cell in self.program.results:
                position = layout.axes.index(loop.var)
                self.line(f"{python_name(cell.name)} = {python_name(cell.name)}[{':, ' * position}-1]")
                axes = tuple(a for a in layout.axes if a != loop.var)
                self.layouts[cell] = Layout(axes, layout.finite, layout.width)

    def _if(self, statement: If) -> None:
        self._flush_zeros(self.touched[id(statement)])
        self.line(f"if {bool_text(statement.condition)}:")
        self._indented(statement.then)
        if statement.orelse:
            self.line("else:")
            self._indented(statement.orelse)

    # --- temporaries ---

    def _let(self, var: Var, op: Op, body: tuple[Statement, ...]) -> None:
        if self._let_factored(var, op):
            return
        if isinstance(op, Elementwise | Contract) and self.uses[var] == 1 and self.use_block[var] == {id(body)} \
                and self._depth(op) <= MOST_NESTED:
            self.pending[var] = op
            self.depths[var] = self._depth(op)
            self.values[var] = Value("", self._pending_layout(var, op))
            return
        match op:
            case Const(value=value):
                self.values[var] = Value(number_text(value), Layout())
            case ParamRef(name=name):
                self.values[var] = Value(python_name(name), Layout())
            case WidthConst(width=width):
                self.values[var] = Value(f"ratios[{width!r}]", Layout())
            case FromInt(expr=expr):
                self._from_int(var, expr)
            case InputRef(name=name, items=items):
                declared = next(i for i in self.program.inputs if i.name == name)
                self._read(var, python_name(name), items, (), tuple(map(int_text, declared.shape)), copy=False)
            case Load(cell=cell, items=items):
                self._load(var, cell, items)
            case Elementwise():
                text, layout = self._expression(var, op)
                self.assign(var, text, layout)
            case Contract():
                text, layout = self._contraction(op, ())
                self.assign(var, text, layout)
            case Moment(arg=arg):
                self.assign(var, *self._reduced(arg, ("N",), mean=True))
            case SumAxis(arg=arg, axis=axis):
                self._sum_axis(var, arg, axis)
            case Expand(arg=arg, axis=axis, size=size):
                self._expand(var, arg, axis, size)
            case Pick(arg=arg, items=items):
                self._pick(var, arg, items)
            case Place(arg=arg, items=items):
                self._place(var, arg, items)
            case MatDot(left=left, right=right):
                sides = ", ".join(map(self._matrix_argument, (left, right)))
                self.assign(var, f"rt.matrix_dot({sides})", Layout())
            case MatMul(matrix=matrix, items=items, transposed=transposed, arg=arg):
                text, layout = self._full(arg, width=True)
                name = self._matrix_name(matrix, items)
                turned = ", transposed=True" if transposed else ""
                self.assign(var, f"{name}.apply({text}{turned})", layout)
            case Fluctuation():
                raise AssertionError("an input of draws stands in its place")
            case _:
                assert_never(op)

    def _depth(self, op: Op) -> int:
        """How deeply an operation is nested with those that are fused into it."""
        return 1 + max((self.depths[a] for a in operands(op) if a in self.pending), default=0)

    def _pending_layout(self, var: Var, op: Op) -> Layout:
        if isinstance(op, Elementwise):
            return union([self.values[a].layout for a in op.args], self.order)
        layouts = [self.values[op.left].layout, self.values[op.right].layout]
        axes = union(layouts, self.order).axes
        return Layout(axes, len(op.out_axes), layouts[0].width or layouts[1].width)

    def _from_int(self, var: Var, expr: IntExpr) -> None:
        axes = [a for a in self.order if a in loop_names(expr)]
        if axes:
            self.assign(var, f"({grid_text(expr, axes)}).astype(float)", Layout(tuple(axes)))
        else:
            self.values[var] = Value(f"float({int_text(expr)})", Layout())

    def _sum_axis(self, var: Var, arg: Var, axis: int) -> None:
        self.assign(var, *self._reduced(arg, (f"f{axis}",)))

    def _expand(self, var: Var, arg: Var, axis: int, size: IntExpr) -> None:
        text, layout = self._full(arg)
        parts = [":"] * len(layout.axes) + [":"] * axis + ["None"]
        spread = f"{text}[{', '.join(parts)}]" if layout.dims else text
        target = Layout(layout.axes, len(var.type.shape), layout.width)
        shape = tuple_text(shape_parts(target, self.every_axis, var.type.shape, "samples"))
        self.assign(var, f"np.broadcast_to({spread}, {shape})", target)

    def _pick(self, var: Var, arg: Var, items: tuple) -> None:
        if not items:
            value = self.value(arg)
            self.values[var] = value
            return
        text, layout = self._full(arg)
        extents = tuple(map(int_text, arg.type.shape))
        self._read(var, text, items, layout.axes, extents, copy=False, width=layout.width)

    def _place(self, var: Var, arg: Var, items: tuple) -> None:
        axes = tuple(a for a in self.order if a in self.value(arg).layout.axes or any(
            a in loop_names(i) for i in items if not isinstance(i, Range)))
        target = Layout(axes, len(var.type.shape), bool(var.type.width))
        shape = tuple_text(shape_parts(target, self.every_axis, var.type.shape, "samples"))
        self.assign(var, f"np.zeros({shape}{', dtype' if target.width else ''})", target)
        text, _ = self._full(arg, axes=axes)
        if any(loop_names(i) & set(self.order) for i in items if not isinstance(i, Range)):
            # One position per iteration: the axis' own index travels along.
            grids = [f"{a}_grid[:{', None' * (len(axes) - 1 - k)}] - {int_text(self.every_axis[a].start)}"
                     for k, a in enumerate(axes)]
            index = ", ".join([*grids, *(grid_text(i, axes) for i in items)])
        else:
            index = ", ".join([*([":"] * len(axes)), index_text(items, [], None).text])
        self.line(f"{self.values[var].text}[{index}] = {text}")


@dataclass(frozen=True, slots=True)
class Body:
    """A program's statements as source text: lines of a function, and the functions that they call. `special` tells
    that they have compiled loops or factored tensors."""

    lines: list[str]
    functions: list[str]
    special: bool


def emit_body(program: Program, spaces: Spaces, *, compiles: bool = False, pool: KernelPool | None = None) -> Body:
    """The statements of a program; `compiles` allows loops to be compiled. `pool` has the kernels that there are already."""
    pool = pool or KernelPool(local_names(program))
    emitter = Emitter(program, spaces, pool)
    emitter.compiles = compiles
    emitter.allocate()
    allocations, emitter.lines = emitter.lines, []
    emitter.block(program.body)
    functions = [*pool.sources, *(kernel.source for kernel in emitter.loop_kernels)]
    return Body([*allocations, *emitter.lines], functions, bool(emitter.loop_kernels or emitter.factored.vars))
