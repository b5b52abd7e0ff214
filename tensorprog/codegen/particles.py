"""The `particles` evaluator: from the limit program to Python source (docs/architecture.md).

Sequential loops become Python loops. Parallel loops disappear: what depends on their variables gets an axis, so that
`W @ x` for all iterations is one block and an accumulated outer product one matrix product. Coordinatewise
operations are fused into Numba ufuncs, and sums and averages of products into matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from tensorprog.codegen.cells import Cells
from tensorprog.codegen.compiled_loops import CompiledLoops
from tensorprog.codegen.emission import Emission, Value, local_names
from tensorprog.codegen.expressions import KernelPool, number_text
from tensorprog.codegen.factored_text import FactoredTensors
from tensorprog.codegen.fusion import Fusion
from tensorprog.codegen.indexing import grid_text, grids_text, index_text
from tensorprog.codegen.layout import Axis, Layout, shape_parts, tuple_text, union
from tensorprog.codegen.matrix_states import MatrixStates
from tensorprog.codegen.names import bool_text, int_text, python_name
from tensorprog.ir.integers import IntExpr, loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    GradAdd,
    GradDot,
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


class Emitter:
    """Emits the body of one replicate: statements, loops and temporaries. With `ticks` every step of an outermost loop is
    reported."""

    # Programs that draw readouts have none: what they do is no step of the run.
    ticks = True

    def __init__(self, program: Program, spaces: Spaces, pool: KernelPool):
        self.state = Emission(program, spaces, pool)
        self.fusion = Fusion(self.state)
        self.matrices = MatrixStates(self.state, self.fusion)
        self.cells = Cells(self.state, self.fusion, self.matrices)
        self.factored_tensors = FactoredTensors(self.state, self.fusion, self.cells)
        self.compiled_loops = CompiledLoops(self.state, self.fusion)

    def whole(self) -> tuple[list[str], list[str]]:
        """The lines that allocate the program's storage, and those of its statements."""
        self.cells.allocate()
        allocations, self.state.lines = self.state.lines, []
        self.block(self.state.program.body)
        return allocations, self.state.lines

    def store(self, cell: Cell, items: tuple, value: Var) -> None:
        """A statement that stores a temporary."""
        self.factored_tensors.store(cell, items, value)

    # --- blocks ---

    def block(self, body: tuple[Statement, ...]) -> None:
        for position, statement in enumerate(body):
            # From here on loads of such cells are views, and no copies.
            if body is self.state.program.body and position - 1 in self.state.unchanged_after:
                self.state.changing = self.state.changing - self.state.unchanged_after[position - 1]
            self._statement(statement, body)

    def _statement(self, statement: Statement, body: tuple[Statement, ...]) -> None:
        match statement:
            case Let(var=var, op=op):
                self._let(var, op, body)
            case Store(cell=cell, items=items, value=value):
                self.store(cell, items, value)
            case Accum(cell=cell, items=items, value=value):
                self.factored_tensors.accumulate(cell, items, value)
            case MatStore(cell=cell, items=items, terms=terms):
                self.state.line(f"{self.matrices.matrix_name(cell, items)} = "
                                f"{self.matrices.matrix_value(cell, self.matrices.zero_matrix(cell), terms)}")
            case MatAccum(cell=cell, items=items, terms=terms):
                name = self.matrices.matrix_name(cell, items)
                self.state.line(f"{name} = {self.matrices.matrix_value(cell, name, terms)}")
            case Zero(cell=cell):
                self.cells.zero(cell)
            case For():
                self._for(statement)
            case If():
                self._if(statement)
            case GradStmt() | KernelStmt() | GradRecord() | GradAdd() | GradDot():
                raise AssertionError("gradients are written out before a program is emitted")
            case _:
                assert_never(statement)

    def _for(self, loop: For) -> None:
        if loop.parallel:
            self._parallel(loop)
            return
        # What is zero before a loop may be added to in its second iteration: it has to be there in the first.
        self.cells.flush_zeros(self.state.touched[id(loop)])
        kernel = self.compiled_loops.kernel_of(loop)
        if kernel is None:
            self._step_by_step(loop)
            return
        before = dict(self.state.layouts)
        self.state.line(f"if rt.worth_compiling(range({int_text(loop.start)}, {int_text(loop.stop)}, {loop.step})):")
        self.state.depth += 1
        self.compiled_loops.run(loop, kernel)
        self.state.depth -= 1
        self.state.line("else:")
        # Both forms begin with the same layouts, and `settle` lets them end with the same.
        self.state.layouts = before
        self.state.depth += 1
        self.compiled_loops.compiles = False
        self._step_by_step(loop)
        self.compiled_loops.compiles = True
        self.state.depth -= 1
        self.compiled_loops.settle(kernel)

    def _step_by_step(self, loop: For) -> None:
        bounds = [int_text(loop.start), int_text(loop.stop)] + ([str(loop.step)] if loop.step != 1 else [])
        args = bounds[1] if bounds[0] == "0" and len(bounds) == 2 else ", ".join(bounds)
        self.state.line(f"for {python_name(loop.var)} in range({args}):")
        self._indented(loop.body)
        if self.ticks and loop in self.state.program.body and not self.state.active:
            self.state.lines.append("    " * (self.state.depth + 1) + "tick()")

    def _indented(self, body: tuple[Statement, ...]) -> None:
        before, outside, grids = len(self.state.lines), set(self.state.unzeroed), set(self.state.gridded)
        self.state.depth += 1
        self.block(body)
        # What was to be zero in this block may be read after it.
        self.cells.flush_zeros(self.state.unzeroed - outside)
        if len(self.state.lines) == before:
            self.state.line("pass")
        self.state.depth -= 1
        # An index grid that was made in this block is not there after it if the branch was not taken, or the loop was empty.
        self.state.gridded = grids

    def _parallel(self, loop: For) -> None:
        axis = Axis(loop.var, loop.start, loop.stop)
        self.state.active.append(axis)
        self.state.every_axis[loop.var] = axis
        self.state.line(f"# all {loop.var} in range({int_text(loop.start)}, {int_text(loop.stop)}) at once")
        self.block(loop.body)
        self.state.active.pop()
        self.state.gridded.discard(loop.var)
        self._leave_parallel(loop)

    def _leave_parallel(self, loop: For) -> None:
        """A name set inside keeps its last value, if something reads it later."""
        inside = {id(s) for s in walk(loop.body)}
        for cell in sorted(self.state.touched[id(loop)], key=lambda c: c.name):
            if loop.var not in self.state.storage[cell].axes or cell.rank:
                continue
            # An array over all iterations is left as it is if no one asks for the last.
            later = any(cell in cells_read(s) for s in walk(self.state.program.body) if id(s) not in inside)
            layout = self.state.layouts.get(cell)
            if layout is None or loop.var not in layout.axes:
                continue
            if later or cell in self.state.program.results:
                position = layout.axes.index(loop.var)
                self.state.line(f"{python_name(cell.name)} = {python_name(cell.name)}[{':, ' * position}-1]")
                axes = tuple(a for a in layout.axes if a != loop.var)
                self.state.layouts[cell] = Layout(axes, layout.finite, layout.width)

    def _if(self, statement: If) -> None:
        self.cells.flush_zeros(self.state.touched[id(statement)])
        self.state.line(f"if {bool_text(statement.condition)}:")
        self._indented(statement.then)
        if statement.orelse:
            self.state.line("else:")
            self._indented(statement.orelse)

    # --- temporaries ---

    def _let(self, var: Var, op: Op, body: tuple[Statement, ...]) -> None:
        if self.factored_tensors.let(var, op):
            return
        # Used once, in this block: it is written where it is used. (There its operands are what they are here: a temporary is
        # assigned once, and what reads a cell is not fused.)
        if isinstance(op, Elementwise | Contract) and self.state.uses[var] == 1 and self.state.use_block[var] == {id(body)} \
                and self._depth(op) <= MOST_NESTED:
            self.state.pending[var] = op
            self.state.depths[var] = self._depth(op)
            self.state.values[var] = Value("", self._pending_layout(op))
            return
        match op:
            case Const(value=value):
                self.state.values[var] = Value(number_text(value), Layout())
            case ParamRef(name=name):
                self.state.values[var] = Value(python_name(name), Layout())
            case WidthConst(width=width):
                self.state.values[var] = Value(f"ratios[{width!r}]", Layout())
            case FromInt(expr=expr):
                self._from_int(var, expr)
            case InputRef(name=name, items=items):
                declared = next(i for i in self.state.program.inputs if i.name == name)
                self.cells.read(var, python_name(name), items, (), tuple(map(int_text, declared.shape)), copy=False)
            case Load(cell=cell, items=items):
                self.cells.load(var, cell, items)
            case Elementwise():
                text, layout = self.fusion.expression(var, op)
                self.state.assign(var, text, layout)
            case Contract():
                text, layout = self.fusion.contraction(op, ())
                self.state.assign(var, text, layout)
            case Moment(arg=arg):
                self.state.assign(var, *self.fusion.reduced(arg, ("N",), mean=True))
            case SumAxis(arg=arg, axis=axis):
                self._sum_axis(var, arg, axis)
            case Expand(arg=arg, axis=axis, size=size):
                self._expand(var, arg, axis, size)
            case Pick(arg=arg, items=items):
                self._pick(var, arg, items)
            case Place(arg=arg, items=items):
                self._place(var, arg, items)
            case MatDot(left=left, right=right):
                sides = ", ".join(map(self.matrices.matrix_argument, (left, right)))
                self.state.assign(var, f"rt.matrix_dot({sides})", Layout())
            case MatMul(matrix=matrix, items=items, transposed=transposed, arg=arg):
                text, layout = self.fusion.full(arg, width=True)
                name = self.matrices.matrix_name(matrix, items)
                turned = ", transposed=True" if transposed else ""
                self.state.assign(var, f"{name}.apply({text}{turned})", layout)
            case Fluctuation():
                raise AssertionError("an input of draws stands in its place")
            case _:
                assert_never(op)

    def _depth(self, op: Op) -> int:
        """How deeply an operation is nested with those that are fused into it."""
        return 1 + max((self.state.depths[a] for a in operands(op) if a in self.state.pending), default=0)

    def _pending_layout(self, op: Elementwise | Contract) -> Layout:
        if isinstance(op, Elementwise):
            return union([self.state.values[a].layout for a in op.args], self.state.order)
        layouts = [self.state.values[op.left].layout, self.state.values[op.right].layout]
        axes = union(layouts, self.state.order).axes
        return Layout(axes, len(op.out_axes), layouts[0].width or layouts[1].width)

    def _from_int(self, var: Var, expr: IntExpr) -> None:
        axes = [a for a in self.state.order if a in loop_names(expr)]
        if axes:
            # Numbers of loop variables are arrays along their axes.
            self.state.assign(var, f"({grid_text(expr, axes)}).astype(float)", Layout(tuple(axes)))
        else:
            self.state.values[var] = Value(f"float({int_text(expr)})", Layout())

    def _sum_axis(self, var: Var, arg: Var, axis: int) -> None:
        self.state.assign(var, *self.fusion.reduced(arg, (f"f{axis}",)))

    def _expand(self, var: Var, arg: Var, axis: int, size: IntExpr) -> None:
        text, layout = self.fusion.full(arg)
        # The new axis stands behind the parallel ones, among the finite ones.
        parts = [":"] * len(layout.axes) + [":"] * axis + ["None"]
        spread = f"{text}[{', '.join(parts)}]" if layout.dims else text
        target = Layout(layout.axes, len(var.type.shape), layout.width)
        shape = tuple_text(shape_parts(target, self.state.every_axis, var.type.shape, "samples"))
        self.state.assign(var, f"np.broadcast_to({spread}, {shape})", target)

    def _pick(self, var: Var, arg: Var, items: tuple) -> None:
        if not items:
            value = self.fusion.value(arg)
            self.state.values[var] = value
            return
        text, layout = self.fusion.full(arg)
        extents = tuple(map(int_text, arg.type.shape))
        self.cells.read(var, text, items, layout.axes, extents, copy=False, width=layout.width)

    def _place(self, var: Var, arg: Var, items: tuple) -> None:
        axes = tuple(a for a in self.state.order if a in self.fusion.value(arg).layout.axes or any(
            a in loop_names(i) for i in items if not isinstance(i, Range)))
        target = Layout(axes, len(var.type.shape), bool(var.type.width))
        shape = tuple_text(shape_parts(target, self.state.every_axis, var.type.shape, "samples"))
        self.state.assign(var, f"np.zeros({shape}{', dtype' if target.width else ''})", target)
        text, _ = self.fusion.full(arg, axes=axes)
        if any(loop_names(i) & set(self.state.order) for i in items if not isinstance(i, Range)):
            # One position per iteration: the axis' own index travels along.
            grids = [f"{a}_grid[:{', None' * (len(axes) - 1 - k)}] - {int_text(self.state.every_axis[a].start)}"
                     for k, a in enumerate(axes)]
            index = ", ".join([*grids, grids_text(items, axes)])
        else:
            index = ", ".join([*([":"] * len(axes)), index_text(items, [], None).text])
        self.state.line(f"{self.state.values[var].text}[{index}] = {text}")


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
    emitter.compiled_loops.compiles = compiles
    allocations, lines = emitter.whole()
    state = emitter.state
    functions = [*pool.sources, *(kernel.source for kernel in state.loop_kernels)]
    return Body([*allocations, *lines], functions, bool(state.loop_kernels or state.factored.vars))
