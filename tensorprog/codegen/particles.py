"""The `particles` evaluator: from the limit program to Python source (design, section 3).

Sequential loops become Python loops. Parallel loops disappear: what depends on their variables gets an axis, so that
`W @ x` for all iterations is one block and an accumulated outer product one matrix product. Coordinatewise
operations are fused into Numba ufuncs, and sums and averages of products into matrix products.
"""

from __future__ import annotations

import keyword
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tensorprog.codegen.expressions import KernelBody, KernelPool, number_text, numpy_derivative, numpy_text
from tensorprog.codegen.extents import family_extents
from tensorprog.codegen.indexing import grid_text, index_text
from tensorprog.codegen.layout import Axis, Layout, aligned, shape_parts, tuple_text, union
from tensorprog.ir.integers import IntExpr, bool_text, int_text, loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    For,
    FromInt,
    If,
    InputRef,
    Let,
    Load,
    MatAccum,
    MatMul,
    MatrixTerm,
    MatrixType,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    ParamRef,
    Pick,
    Place,
    Program,
    Range,
    Statement,
    Store,
    SumAxis,
    Term,
    Var,
    WidthConst,
    Zero,
    blocks,
    cells_read,
    reads,
    walk,
    written,
)
from tensorprog.passes.regions import written_first
from tensorprog.passes.spaces import Spaces

RESERVED = frozenset({"np", "rt", "env", "samples", "seed", "tolerance", "vectorize", "run", "bind", "replicate", "spaces",
                      "ratios", "max", "min", "int", "float", "range", "len", "exp", "log", "sqrt", "sin", "cos", "tanh",
                      "erf", "log1p", "abs", "inf", "defaultdict", "seeds"})


def python_name(name: str) -> str:
    """A name of the program as a name of the module."""
    taken = keyword.iskeyword(name) or name in RESERVED or name.endswith("_grid")
    return f"{name}_" if taken else name


def local_names(program: Program) -> set[str]:
    """Every name that the program's own values take in the module."""
    names = {d.name for d in (*program.sizes, *program.params, *program.inputs)} | {i.cell.name for i in program.initials}
    for s in walk(program.body):
        if isinstance(s, Let | For):
            names.add(s.var.name if isinstance(s, Let) else s.var)
        names |= {c.name for c in (*cells_read(s), written(s)) if c is not None}
    return {python_name(n) for n in names}


@dataclass(slots=True)
class Value:
    """What a temporary is in the module: source text and the axes of the array that it names."""

    text: str
    layout: Layout


@dataclass(slots=True)
class Storage:
    """How a cell is kept.

    `axes` are parallel loops whose iterations each have their own. `full`: it is written in several ways, so it has every
    axis that it can have. `named`: a family that one statement fills as a whole, so that the array stored there is the
    family.
    """

    axes: tuple[str, ...]
    full: bool
    named: bool = False


class Emitter:
    """Emits the body of one replicate. Lines accumulate in `lines`, kernels in `pool`."""

    def __init__(self, program: Program, spaces: Spaces, pool: KernelPool):
        self.program, self.spaces, self.pool = program, spaces, pool
        self.lines: list[str] = []
        self.depth = 1
        self.active: list[Axis] = []
        self.every_axis: dict[str, Axis] = {}
        self.values: dict[Var, Value] = {}
        self.pending: dict[Var, Op] = {}
        self.extents = family_extents(program)
        self.initials = {i.cell: i for i in program.initials}
        self.unzeroed: set[Cell] = set()
        self.layouts: dict[Cell, Layout] = {}
        self.gridded: set[str] = set()
        self.taken = local_names(program)
        self._survey()

    # --- what is used where ---

    def _survey(self) -> None:
        self.uses: Counter[Var] = Counter()
        self.use_block: dict[Var, set[int]] = {}
        self.storage: dict[Cell, Storage] = {}
        self.touched: dict[int, set[Cell]] = {}
        private: dict[Cell, list[str]] = {}
        writes: Counter[Cell] = Counter()
        accumulated: set[Cell] = set()
        self._survey_block(self.program.body, (), private)
        whole = self._filled_whole(self.program.body, []) - {o.cell for o in self.program.outputs}
        for s in walk(self.program.body):
            cell = written(s)
            if cell is not None:
                writes[cell] += 1
                if isinstance(s, Accum | Zero):
                    accumulated.add(cell)
        cells = {c for s in walk(self.program.body) for c in (*cells_read(s), written(s)) if c is not None}
        for cell in cells | set(self.initials):
            once = writes[cell] <= 1 and cell not in accumulated and cell not in self.initials
            axes = tuple(private.get(cell, ()))
            self.storage[cell] = Storage(axes, not once, once and cell in whole)

    def _survey_block(self, body: tuple[Statement, ...], loops: tuple[For, ...], private: dict) -> set[Cell]:
        touched: set[Cell] = set()
        for statement in body:
            for var in reads(statement):
                self.uses[var] += 1
                self.use_block.setdefault(var, set()).add(id(body))
            here = {c for c in (*cells_read(statement), written(statement)) if c is not None}
            inner = (*loops, statement) if isinstance(statement, For) else loops
            for block in blocks(statement):
                here |= self._survey_block(block, inner, private)
            if isinstance(statement, For) and statement.parallel:
                self._note_private(statement, here, private)
            self.touched[id(statement)] = here
            touched |= here
        return touched

    def _filled_whole(self, body: tuple[Statement, ...], active: list[Axis]) -> set[Cell]:
        """Families that a statement under parallel loops stores completely, in the order of the loops."""
        found: set[Cell] = set()
        for statement in body:
            if isinstance(statement, Store) and statement.cell.rank and not statement.cell.home:
                indexed = index_text(statement.items, active, self.extents.get(statement.cell))
                if indexed.whole and list(indexed.axes) == [a.var for a in active]:
                    found.add(statement.cell)
            inner = active
            if isinstance(statement, For) and statement.parallel:
                inner = [*active, Axis(statement.var, statement.start, statement.stop)]
            for block in blocks(statement):
                found |= self._filled_whole(block, inner)
        return found

    def _note_private(self, loop: For, cells: Iterable[Cell], private: dict) -> None:
        written_here = {written(s) for s in walk(loop.body)}
        for cell in sorted(cells & written_here, key=lambda c: c.name):
            if not isinstance(cell.type, MatrixType) and (loop.var in cell.home or written_first(loop.body, cell)):
                private.setdefault(cell, []).insert(0, loop.var)

    # --- lines and names ---

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + (self._grid(text) if "_grid" in text else text))

    def assign(self, var: Var, text: str, layout: Layout) -> None:
        name = python_name(var.name)
        self.line(f"{name} = {text}")
        self.values[var] = Value(name, layout)

    def _scratch(self) -> str:
        """A name that the program does not use."""
        name = f"product_{len(self.lines)}"
        while name in self.taken:
            name = f"_{name}"
        return name

    @property
    def order(self) -> list[str]:
        return [a.var for a in self.active]

    # --- blocks ---

    def block(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
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
                self.line(f"{self._matrix_name(cell, items)} = {self._matrix_text(self._zero_matrix(cell), terms)}")
            case MatAccum(cell=cell, items=items, terms=terms):
                name = self._matrix_name(cell, items)
                self.line(f"{name} = {self._matrix_text(name, terms)}")
            case Zero(cell=cell):
                self._zero(cell)
            case For():
                self._for(statement)
            case If():
                self._if(statement)

    def _for(self, loop: For) -> None:
        if loop.parallel:
            self._parallel(loop)
            return
        self._flush_zeros(self.touched[id(loop)])
        bounds = [int_text(loop.start), int_text(loop.stop)] + ([str(loop.step)] if loop.step != 1 else [])
        args = bounds[1] if bounds[0] == "0" and len(bounds) == 2 else ", ".join(bounds)
        self.line(f"for {python_name(loop.var)} in range({args}):")
        self._indented(loop.body)

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
            if later or any(o.cell is cell for o in self.program.outputs):
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
        if isinstance(op, Elementwise | Contract) and self.uses[var] == 1 and self.use_block[var] == {id(body)}:
            self.pending[var] = op
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
                self._reduce(var, arg, ("N",))
            case SumAxis(arg=arg, axis=axis):
                self._sum_axis(var, arg, axis)
            case Expand(arg=arg, axis=axis, size=size):
                self._expand(var, arg, axis, size)
            case Pick(arg=arg, items=items):
                self._pick(var, arg, items)
            case Place(arg=arg, items=items):
                self._place(var, arg, items)
            case MatMul(matrix=matrix, items=items, transposed=transposed, arg=arg):
                text, layout = self._full(arg, width=True)
                name = self._matrix_name(matrix, items)
                turned = ", transposed=True" if transposed else ""
                self.assign(var, f"{name}.apply({text}{turned})", layout)

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

    def value(self, var: Var) -> Value:
        """The named array of a temporary; a fused one is computed now."""
        op = self.pending.pop(var, None)
        if op is not None:
            text, layout = self._expression(var, op) if isinstance(op, Elementwise) else self._contraction(op, ())
            self.assign(var, text, layout)
        return self.values[var]

    def _full(self, var: Var, *, width: bool = False, axes: tuple[str, ...] | None = None) -> tuple[str, Layout]:
        """A temporary with all the finite axes (and particles) of its type, and at least `axes`."""
        value = self.value(var)
        type = var.type
        target = Layout(axes if axes is not None else value.layout.axes, len(type.shape), bool(type.width) or width)
        if value.layout == target:
            return value.text, target
        shape = tuple_text(shape_parts(target, self.every_axis, type.shape, "samples"))
        text = value.text if value.layout.dims else f"float({value.text})"
        if shape == "()":
            return value.text, target
        return f"np.broadcast_to({aligned(text, value.layout, target)}, {shape})", target

    # --- coordinatewise expressions ---

    def _expression(self, var: Var, op: Elementwise) -> tuple[str, Layout]:
        """Source text of a fused expression, and the layout of its value."""
        leaves: dict[Var, None] = {}
        count = self._collect(op, leaves)
        layout = union([self.values[leaf].layout for leaf in leaves], self.order)
        if layout.width and count > 1:
            return self._kernel_call(op, list(leaves), layout), layout
        return self._numpy(op, layout), layout

    def _collect(self, op: Elementwise, leaves: dict[Var, None]) -> int:
        """The leaves of an expression in order of appearance, and its number of operations."""
        count = 1
        for arg in op.args:
            inner = self.pending.get(arg)
            if isinstance(inner, Elementwise):
                count += self._collect(inner, leaves)
            else:
                self.value(arg)
                leaves.setdefault(arg)
        return count

    def _kernel_call(self, op: Elementwise, leaves: list[Var], layout: Layout) -> str:
        body = KernelBody()
        params = [leaf for leaf in leaves if not _is_literal(self.values[leaf].text)]
        names = {leaf: self.values[leaf].text for leaf in leaves} | {leaf: f"a{i}" for i, leaf in enumerate(params)}
        result = self._kernel_expression(op, body, names)
        kernel = self.pool.name(len(params), body, result)
        args = [aligned(self.values[p].text, self.values[p].layout, layout) for p in params]
        return f"{kernel}({', '.join(args)})"

    def _kernel_expression(self, op: Elementwise, body: KernelBody, names: dict[Var, str]) -> str:
        args = []
        for arg in op.args:
            inner = self.pending.get(arg)
            if isinstance(inner, Elementwise) and arg not in names:
                args.append(self._kernel_expression(inner, body, names))
                del self.pending[arg]
            else:
                args.append(_kernel_literal(names[arg]))
        return body.emit(op.fn, args, op.order)

    def _numpy(self, op: Elementwise, target: Layout) -> str:
        args = []
        for arg in op.args:
            inner = self.pending.get(arg)
            if isinstance(inner, Elementwise):
                del self.pending[arg]
                args.append(f"({self._numpy(inner, target)})")
            else:
                value = self.values[arg]
                text = aligned(value.text, value.layout, target)
                args.append(f"({text})" if text.startswith("-") else text)
        return numpy_derivative(op.fn, op.order, args[0]) if op.order else numpy_text(op.fn, args)

    # --- reductions ---

    def _factors(self, var: Var) -> tuple[list[Var], float]:
        """A fused product as factors and a number."""
        op = self.pending.get(var)
        if isinstance(op, Elementwise) and op.fn in ("mul", "neg") and not op.order:
            del self.pending[var]
            parts = [self._factors(a) for a in op.args]
            sign = -1.0 if op.fn == "neg" else 1.0
            for _, number in parts:
                sign *= number
            return [f for factors, _ in parts for f in factors], sign
        if not isinstance(op, Contract):
            value = self.value(var)
            if _is_literal(value.text) and not value.layout.dims:
                return [], float(value.text.replace("np.inf", "inf"))
        return [var], 1.0

    def _labels(self, var: Var) -> tuple[str, ...]:
        layout = self.values[var].layout
        return _labels(layout)

    def _reduce(self, var: Var, arg: Var, labels: tuple[str, ...], *, mean: bool = True) -> None:
        text, layout = self._reduced(arg, labels, mean=mean)
        self.assign(var, text, layout)

    def _reduced(self, arg: Var, labels: tuple[str, ...], *, mean: bool = False) -> tuple[str, Layout]:
        """The sum (over particles with `mean` the average) of a temporary over labelled axes: a parallel axis' name,
        `f0`, `f1`, ... for finite axes, `N` for particles."""
        if isinstance(self.pending.get(arg), Contract):
            op = self.pending.pop(arg)
            inner = tuple(label for label in labels if label in self.order)
            text, layout = self._contraction(op, inner)
            rest = tuple(label for label in labels if label not in inner)
            return self._plain_sum(text, layout, rest, mean) if rest else (text, layout)
        layout = self.values[arg].layout
        factors, number = self._factors(arg)
        inner = [f for f in factors if set(self._labels(f)) & set(labels)]
        outer = [f for f in factors if f not in inner]
        text, reduced = self._sum_of_product(inner, labels, mean) if inner else ("1.0", Layout())
        for label in labels:
            if label not in _labels(layout) and not (label == "N" and mean):
                text = f"{text} * {self._length(label, arg)}"
        return self._times(text, reduced, outer, number)

    def _length(self, label: str, arg: Var) -> str:
        if label.startswith("f") and label[1:].isdigit():
            return f"float({int_text(arg.type.shape[int(label[1:])])})"
        return f"float({int_text(self.every_axis[label].length)})"

    def _times(self, text: str, layout: Layout, factors: list[Var], number: float) -> tuple[str, Layout]:
        target = union([layout, *(self.values[f].layout for f in factors)], self.order)
        if text != "1.0" and layout.dims and aligned("x", layout, target) != "x":
            text = aligned(f"({text})", layout, target)
        parts = ([] if text == "1.0" else [text]) + [aligned(self.values[f].text, self.values[f].layout, target) for f in factors]
        if number != 1.0 or not parts:
            parts.insert(0, repr(number) if number >= 0 else f"({number!r})")
        return " * ".join(parts), target

    def _sum_of_product(self, factors: list[Var], labels: tuple[str, ...], mean: bool) -> tuple[str, Layout]:
        every = {label for f in factors for label in self._labels(f)}
        largest = max((self._labels(f) for f in factors), key=len)
        first = [f for f in factors if self._labels(f) == largest]
        second = [f for f in factors if f not in first]
        spread = union([self.values[f].layout for f in factors], self.order)
        out = _without(spread, labels)
        reduced = [label for label in labels if label in every]
        if not second and len(first) == 2 and reduced == ["N"] and mean:
            left, right = (self.values[f].text for f in first)
            return f"rt.mean_product({left}, {right})", out
        if not second:
            text, layout = self._product(first)
            return self._plain_sum(text, layout, tuple(reduced), mean)
        return self._product_contraction(first, second, reduced, out, mean)

    def _product_contraction(self, first: list[Var], second: list[Var], reduced: list[str], out: Layout,
                             mean: bool) -> tuple[str, Layout]:
        (left, left_layout), (right, right_layout) = self._product(first), self._product(second)
        both = set(_labels(left_layout)) & set(_labels(right_layout))
        for label in [r for r in reduced if r not in both]:
            if label in _labels(left_layout):
                left, left_layout = self._plain_sum(left, left_layout, (label,), False)
            else:
                right, right_layout = self._plain_sum(right, right_layout, (label,), False)
        text = contract_text(left, _labels(left_layout), right, _labels(right_layout), _labels(out))
        return (f"{text} / samples" if mean and "N" in reduced else text), out

    def _product(self, factors: list[Var]) -> tuple[str, Layout]:
        layout = union([self.values[f].layout for f in factors], self.order)
        texts = [aligned(self.values[f].text, self.values[f].layout, layout) for f in factors]
        if len(texts) == 1:
            return texts[0], layout
        name = self._scratch()
        self.line(f"{name} = {' * '.join(texts)}")
        return name, layout

    def _plain_sum(self, text: str, layout: Layout, labels: tuple[str, ...], mean: bool) -> tuple[str, Layout]:
        own = _labels(layout)
        positions = [own.index(label) for label in labels if label in own]
        out = _without(layout, labels)
        if not positions:
            return text, out
        axis = str(positions[0] - len(own)) if len(positions) == 1 else str(tuple(positions))
        function = "mean" if mean and labels == ("N",) else "sum"
        result = f"np.{function}({text}, axis={axis})"
        if mean and "N" in labels and labels != ("N",):
            result += " / samples"
        return result, out

    def _contraction(self, op: Contract, summed: tuple[str, ...]) -> tuple[str, Layout]:
        """An einsum over finite axes, also summed over the parallel axes `summed`."""
        sides = []
        for arg, letters in ((op.left, op.left_axes), (op.right, op.right_axes)):
            text, layout = self._full(arg)
            labels = [*layout.axes, *(f"c{c}" for c in letters), *(["N"] if layout.width else [])]
            sides.append([text, labels])
        (left, left_labels), (right, right_labels) = sides
        axes = tuple(a for a in self.order if a in left_labels or a in right_labels)
        width = "N" in left_labels or "N" in right_labels
        kept = [a for a in axes if a not in summed]
        out = [*kept, *(f"c{c}" for c in op.out_axes), *(["N"] if width else [])]
        for side, other in ((sides[0], sides[1]), (sides[1], sides[0])):
            for label in [x for x in side[1] if x not in other[1] and x not in out]:
                position = side[1].index(label)
                side[0] = f"np.sum({side[0]}, axis={position})"
                side[1] = [x for x in side[1] if x != label]
        (left, left_labels), (right, right_labels) = sides
        text = contract_text(left, tuple(left_labels), right, tuple(right_labels), tuple(out))
        for axis in summed:
            if axis not in axes:
                text = f"{text} * float({int_text(self.every_axis[axis].length)})"
        return text, Layout(tuple(kept), len(op.out_axes), width)

    def _sum_axis(self, var: Var, arg: Var, axis: int) -> None:
        text, layout = self._reduced(arg, (f"f{axis}",))
        self.assign(var, text, layout)

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
        self.assign(var, f"np.zeros({shape})", target)
        text, _ = self._full(arg, axes=axes)
        if any(loop_names(i) & set(self.order) for i in items if not isinstance(i, Range)):
            # One position per iteration: the axis' own index travels along.
            grids = [f"{a}_grid[:{', None' * (len(axes) - 1 - k)}] - {int_text(self.every_axis[a].start)}"
                     for k, a in enumerate(axes)]
            index = ", ".join([*grids, *(grid_text(i, axes) for i in items)])
        else:
            index = ", ".join([*([":"] * len(axes)), index_text(items, [], None).text])
        self.line(f"{self.values[var].text}[{index}] = {text}")

    # --- cells ---

    def _read(self, var: Var, text: str, items: tuple, lead: tuple[str, ...], extents: tuple, *, copy: bool,
              width: bool = False) -> None:
        """`text[items]`, an array whose leading axes are the parallel axes `lead`."""
        free = [a for a in self.active if a.var not in lead]
        moving = {n for i in items if not isinstance(i, Range) for n in loop_names(i)} & set(lead)
        if moving:
            indexed = self._read_along(items, lead)
            axes = indexed[1]
            index = indexed[0]
        else:
            found = index_text(items, free, extents)
            axes = self._sorted((*lead, *found.axes))
            index = ", ".join([*([":"] * len(lead)), *([found.text] if found.text else [])])
            made = (*lead, *found.axes)
            if set(index.replace(" ", "").split(",")) <= {":"} and made == axes:
                index = ""
        result = f"{text}[{index}]" if index else text
        layout = Layout(axes, len(var.type.shape), width or bool(var.type.width))
        if not moving and made != axes:
            order = [made.index(a) for a in axes] + list(range(len(made), layout.dims))
            result = f"np.transpose({result}, {tuple_text([str(o) for o in order])})"
        if copy and layout.dims:
            result = f"{result}.copy()"
        if result == text:
            self.values[var] = Value(text, layout)
        else:
            self.assign(var, result, layout)

    def _read_along(self, items: tuple, lead: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """An index that moves with an axis that the array itself has: index arrays for all."""
        axes = self._sorted({*lead, *(n for i in items if not isinstance(i, Range) for n in loop_names(i) if n in self.order)})
        grids = [f"{a}_grid[:{', None' * (len(axes) - 1 - axes.index(a))}] - {int_text(self.every_axis[a].start)}"
                 for a in lead]
        return ", ".join([*grids, *(grid_text(i, axes) for i in items)]), axes

    def _sorted(self, axes: Iterable[str]) -> tuple[str, ...]:
        wanted = set(axes)
        return tuple(a for a in self.order if a in wanted)

    def _load(self, var: Var, cell: Cell, items: tuple) -> None:
        self._flush_zeros({cell})
        storage = self.storage[cell]
        name = python_name(cell.name)
        lead = self._lead(storage)
        if cell.rank == 0 and not items:
            layout = self.layouts.get(cell) or self._cell_layout(cell)
            if self._rebound(cell):
                self.assign(var, name, layout)
            else:
                self.values[var] = Value(name, layout)
            return
        extents = (*self.extents.get(cell, ()), *map(int_text, cell.type.shape))
        self._read(var, name, items, lead, extents, copy=storage.full, width=bool(cell.type.width))

    def _rebound(self, cell: Cell) -> bool:
        return cell not in self.initials or any(written(s) is cell for s in walk(self.program.body))

    def _lead(self, storage: Storage) -> tuple[str, ...]:
        return tuple(a for a in storage.axes if a in self.order)

    def _cell_layout(self, cell: Cell) -> Layout:
        return Layout(self._lead(self.storage[cell]), len(cell.type.shape), bool(cell.type.width))

    def _store(self, cell: Cell, items: tuple, value: Var) -> None:
        storage = self.storage[cell]
        name = python_name(cell.name)
        self.unzeroed.discard(cell)
        if cell.rank == 0:
            if storage.full:
                text, layout = self._fitted(cell, value)
            else:
                found = self.value(value)
                text, layout = found.text, found.layout
            self.line(f"{name} = {text}")
            self.layouts[cell] = layout
            return
        self._flush_zeros({cell})
        index, axes = self._write_index(cell, items)
        text, _ = self._full(value, width=bool(cell.type.width), axes=axes)
        self.line(f"{name} = {text}" if storage.named else f"{name}[{index}] = {text}")

    def _fitted(self, cell: Cell, value: Var) -> tuple[str, Layout]:
        """A value with every axis of the cell that it is stored in."""
        axes = self._lead(self.storage[cell])
        found = self.value(value)
        target = Layout(axes, len(cell.type.shape), bool(cell.type.width))
        if found.layout == target:
            return found.text, target
        shape = tuple_text(shape_parts(target, self.every_axis, cell.type.shape, "samples"))
        if shape == "()":
            return found.text, target
        return f"np.broadcast_to({aligned(found.text, found.layout, target)}, {shape})", target

    def _write_index(self, cell: Cell, items: tuple) -> tuple[str, tuple[str, ...]]:
        """The index of a family's element, and the axes, in order, of what is written there."""
        lead = self._lead(self.storage[cell])
        free = [a for a in self.active if a.var not in lead]
        moving = {n for i in items if not isinstance(i, Range) for n in loop_names(i)} & set(lead)
        if moving:
            return self._read_along(items, lead)
        found = index_text(items, free, self.extents.get(cell))
        axes = (*lead, *found.axes)
        return ", ".join([*([":"] * len(lead)), *([found.text] if found.text else [])]), axes

    def _accumulate(self, cell: Cell, items: tuple, value: Var) -> None:
        storage = self.storage[cell]
        name = python_name(cell.name)
        index, axes = self._write_index(cell, items) if cell.rank or items else ("", self._lead(storage))
        summed = tuple(a for a in self.order if a not in axes)
        text, layout = self._reduced(value, summed) if summed else self._plain(value)
        if cell in self.unzeroed and cell.rank == 0 and not items:
            self.unzeroed.discard(cell)
            self._first_accumulation(cell, text, layout)
            return
        self._flush_zeros({cell})
        if cell.rank == 0 and not items:
            lined = self._lined_up(text, layout, self._cell_layout(cell))
            self.line(f"{name} = {name} + {lined}")
            return
        target = Layout(axes, _finite_left(cell, items), bool(cell.type.width))
        lined = self._lined_up(text, layout, target)
        if "_grid" in index:
            self.line(f"np.add.at({name}, ({index},), {lined})")
        else:
            self.line(f"{name}[{index}] += {lined}")

    def _plain(self, value: Var) -> tuple[str, Layout]:
        found = self.value(value)
        return found.text, found.layout

    def _lined_up(self, text: str, layout: Layout, target: Layout) -> str:
        """`text` broadcastable to `target`, whose axes may be in another order than the nest's."""
        if layout.axes and tuple(a for a in target.axes if a in layout.axes) != layout.axes:
            order = [layout.axes.index(a) for a in target.axes if a in layout.axes]
            order += range(len(order), layout.dims)
            text = f"np.transpose({text}, {tuple_text([str(o) for o in order])})"
            layout = Layout(tuple(a for a in target.axes if a in layout.axes), layout.finite, layout.width)
        lined = aligned("@", layout, target)
        return text if lined == "@" else lined.replace("@", f"({text})", 1)

    def _first_accumulation(self, cell: Cell, text: str, layout: Layout) -> None:
        """The first addition to a zeroed cell sets it."""
        target = self._cell_layout(cell)
        lined = self._lined_up(text, layout, target)
        if layout != target and target.dims:
            shape = tuple_text(shape_parts(target, self.every_axis, cell.type.shape, "samples"))
            lined = f"np.broadcast_to({lined}, {shape})"
        self.line(f"{python_name(cell.name)} = {lined}")
        self.layouts[cell] = target

    # --- zeros and storage ---

    def _zero(self, cell: Cell) -> None:
        if isinstance(cell.type, MatrixType):
            self.line(f"{python_name(cell.name)} = {self._matrix_family(cell) if cell.rank else self._zero_matrix(cell)}")
        else:
            self.unzeroed.add(cell)

    def _flush_zeros(self, cells: set[Cell]) -> None:
        """Make the zeros of cells that are about to be used in a way that needs them."""
        for cell in sorted(cells & self.unzeroed, key=lambda c: c.name):
            self.unzeroed.discard(cell)
            layout = self._cell_layout(cell)
            shape = self._shape(cell)
            self.line(f"{python_name(cell.name)} = {f'np.zeros({shape})' if shape != '()' else '0.0'}")
            self.layouts[cell] = layout

    def _shape(self, cell: Cell) -> str:
        lead = [int_text(self.every_axis[a].length) for a in self._lead(self.storage[cell])]
        finite = [int_text(s) for s in cell.type.shape]
        extents = list(self.extents.get(cell, ())) if cell.rank else []
        return tuple_text([*lead, *extents, *finite, *(["samples"] if cell.type.width else [])])

    def allocate(self) -> None:
        """Storage of the families that the program assigns, not a number anywhere yet."""
        zeroed = {written(s) for s in walk(self.program.body) if isinstance(s, Zero)}
        for cell in sorted(self.storage, key=lambda c: c.name):
            if not cell.rank or cell in self.initials or cell in zeroed or self.storage[cell].named:
                continue
            if isinstance(cell.type, MatrixType):
                self.line(f"{python_name(cell.name)} = {self._matrix_family(cell)}")
                continue
            for loop in self.storage[cell].axes:
                statement = next(s for s in walk(self.program.body) if isinstance(s, For) and s.var == loop)
                self.every_axis.setdefault(loop, Axis(loop, statement.start, statement.stop))
            lead = [int_text(self.every_axis[a].length) for a in self.storage[cell].axes]
            finite = [int_text(s) for s in cell.type.shape]
            extents = self.extents.get(cell, ("0",) * cell.rank)
            shape = tuple_text([*lead, *extents, *finite, *(["samples"] if cell.type.width else [])])
            only_added = all(isinstance(s, Accum) for s in walk(self.program.body) if written(s) is cell)
            fill = "np.zeros(" + shape + ")" if only_added and cell.role == "hidden" else f"np.full({shape}, np.nan)"
            self.line(f"{python_name(cell.name)} = {fill}")

    # --- matrices ---

    def _matrix_name(self, cell: Cell, items: tuple[IntExpr, ...]) -> str:
        name = python_name(cell.name)
        if not cell.rank:
            return name
        return f"{name}[{tuple_text([int_text(i) for i in items])}]"

    def _matrix_family(self, cell: Cell) -> str:
        """A family of matrices by index; elements that are only added to start from zero."""
        return f"defaultdict(lambda: {self._zero_matrix(cell)})"

    def _zero_matrix(self, cell: Cell) -> str:
        rows, cols = self.spaces.of((cell, "rows")), self.spaces.of((cell, "cols"))
        ratios = f"(ratios[{cell.type.rows!r}], ratios[{cell.type.cols!r}])"
        return f"rt.zero_matrix(spaces[{rows}], spaces[{cols}], {ratios}, tolerance)"

    def _matrix_text(self, start: str, terms: tuple[Term, ...]) -> str:
        text = start
        for term in terms:
            text += self._matrix_term(term) if isinstance(term, MatrixTerm) else self._outer_term(term)
        return text

    def _matrix_term(self, term: MatrixTerm) -> str:
        coef = self._scalar(term.coef)
        turned = ", transposed=True" if term.transposed else ""
        return f".add({coef}, {self._matrix_name(term.cell, term.items)}{turned})"

    def _scalar(self, coef: Var | None) -> str:
        """A factor summed over all parallel axes (the term is added once an iteration)."""
        if coef is None:
            text, axes = "1.0", ()
        else:
            value = self.value(coef)
            text, axes = value.text, value.layout.axes
        if axes:
            text = f"np.sum({text})"
        for axis in self.active:
            if axis.var not in axes:
                text = f"{text} * float({int_text(axis.length)})"
        return text

    def _outer_term(self, term: OuterTerm) -> str:
        coef = self.value(term.coef) if term.coef is not None else Value("1.0", Layout())
        left, right = self.value(term.left), self.value(term.right)
        axes = union([coef.layout, left.layout, right.layout], self.order).axes
        left_text, left_layout = self._full(term.left, axes=axes)
        right_text, _ = self._full(term.right, axes=axes)
        factor = coef.text
        if coef.layout.dims:
            left_text = f"{aligned(coef.text, coef.layout, left_layout)} * {left_text}"
            factor = "1.0"
        for axis in self.active:
            if axis.var not in axes:
                factor = f"{factor} * float({int_text(axis.length)})"
        return f".add_outer({factor}, {left_text}, {right_text})"


def _labels(layout: Layout) -> tuple[str, ...]:
    return (*layout.axes, *(f"f{i}" for i in range(layout.finite)), *(["N"] if layout.width else []))


def _without(layout: Layout, labels: tuple[str, ...]) -> Layout:
    finite = layout.finite - sum(label.startswith("f") and label[1:].isdigit() for label in labels if label in _labels(layout))
    return Layout(tuple(a for a in layout.axes if a not in labels), finite, layout.width and "N" not in labels)


def contract_text(left: str, left_labels: tuple[str, ...], right: str, right_labels: tuple[str, ...],
                  out: tuple[str, ...]) -> str:
    """A call of `rt.contract` with one letter a label."""
    letters: dict[str, str] = {}
    for label in (*left_labels, *right_labels, *out):
        letters.setdefault(label, "abcdefghijklmopqrstuvwxyz"[len(letters)])
    spec = ["".join(letters[x] for x in side) for side in (left_labels, right_labels, out)]
    return f'rt.contract("{spec[0]},{spec[1]}->{spec[2]}", {left}, {right})'


def _is_literal(text: str) -> bool:
    try:
        float(text.replace("np.inf", "inf"))
    except ValueError:
        return False
    return True


def _kernel_literal(text: str) -> str:
    return f"({text})" if text.startswith("-") else text.replace("np.inf", "inf")


def _finite_left(cell: Cell, items: tuple) -> int:
    """The number of finite axes that `cell[items]` has left."""
    given = items[cell.rank:]
    return len(cell.type.shape) - sum(not isinstance(i, Range) for i in given)

