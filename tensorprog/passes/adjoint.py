"""One reverse sweep: the adjoint of each statement of a region, last to first (see `differentiate`)."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from tensorprog.diagnostics import Reporter
from tensorprog.ir.build import Builder, same_shape
from tensorprog.ir.calculus import partial
from tensorprog.ir.integers import (
    IntBin,
    IntExpr,
    IntLit,
    IntSym,
    Logic,
    int_bin,
    last_value,
    loop_names,
    substitute,
    substitute_bool,
)
from tensorprog.ir.program import (
    SCALAR,
    Accum,
    Cell,
    Const,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    For,
    FromInt,
    If,
    InputRef,
    Item,
    Let,
    Load,
    MatAccum,
    MatDot,
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
    Range,
    Statement,
    Store,
    SumAxis,
    TensorType,
    Type,
    Var,
    WidthConst,
    Zero,
    blocks,
    cells_written,
    reads,
    touched,
    walk,
    written,
)
from tensorprog.passes.adjoint_matrices import MatrixAdjoints
from tensorprog.passes.factors import Guard, LoopStep, Recorder
from tensorprog.passes.regions import GradientSite, written_first
from tensorprog.passes.rewrite import map_items, map_op_indices, map_op_vars, over_elements

# Taken again wherever the sweep needs them: they depend on nothing but indices.
_REPEATABLE = (Const, FromInt, ParamRef, WidthConst, InputRef)


class AdjointSweep:
    """Emits the sweep of one site. `recorded` holds what the forward pass must store: statement -> (before, after)."""

    def __init__(self, builder: Builder, site: GradientSite, reporter: Reporter):
        self.builder = builder
        self.site = site
        self.reporter = reporter
        self.recorded: dict[int, tuple[list[Statement], list[Statement]]] = {}
        self.shadows: dict[Cell, Cell] = {}
        self.private: set[Cell] = set()
        self.adjoints: dict[Var, list[Var]] = {}
        self.adjoint_cells: dict[Var, Cell] = {}
        self.indices: dict[str, IntExpr] = {}
        self.tapes: dict[Var, Cell] = {}
        self.matrix_tapes: dict[tuple[int, str, tuple[Item, ...]], Cell] = {}
        self.recorder = Recorder(builder, site)
        self.matrices = MatrixAdjoints(self)
        self._survey()

    # --- what is where ---

    def _survey(self) -> None:
        site = self.site
        self.definition: dict[Var, Let] = {}
        self.loops_of: dict[Var, tuple[For, ...]] = {}
        self.block_of: dict[Var, int] = {}
        self.loops_at: dict[int, tuple[For, ...]] = {}
        self._survey_block(site.ancestors[0], ())
        region = [s for p in site.parts for s in p.statements]
        self.region = tuple(walk(tuple(region)))
        self.region_written = cells_written(tuple(region))
        self.reversed_loops = {s.var for s in self.region if isinstance(s, For)}
        self.reversed_loops |= {p.loop.var for p in site.parts if p.loop}
        self.visible = {id(block) for block in site.ancestors}
        # Around the anchor: a sweep inside of a loop has shadows that are new in each of its iterations.
        self.home = tuple(loop.var for loop in self.loops_at[id(site.anchor)])
        # Read in another block than they are made in, as in a loop: their adjoints come from there.
        self.crossing = {v for s in self.region for v in reads(s)
                         if v in site.active.vars and self.block_of[v] != self.block_at[id(s)]}

    def _survey_block(self, body: tuple[Statement, ...], loops: tuple[For, ...]) -> None:
        self.block_at = getattr(self, "block_at", {})
        for statement in body:
            self.block_at[id(statement)] = id(body)
            self.loops_at[id(statement)] = loops
            if isinstance(statement, Let):
                self.definition[statement.var] = statement
                self.loops_of[statement.var] = loops
                self.block_of[statement.var] = id(body)
            inner = (*loops, statement) if isinstance(statement, For) else loops
            for block in blocks(statement):
                self._survey_block(block, inner)

    # --- the sweep ---

    def run(self) -> tuple[list[Statement], dict[Cell, Cell]]:
        """The code of the sweep, and for each variable the cell that holds its gradient afterwards."""
        with self.builder.nested() as code:
            seed = self.builder.const(1)
            # What is stored and not read in the region: the sweep begins at the value itself.
            if isinstance(self.site.anchor, Store) and self.site.scalar not in self.site.active.cells:
                self.contribute(self.site.anchor.value, seed, SCALAR)
            else:
                shadow = self.shadow(self.site.scalar)
                self.builder.append(Store(shadow, self.site.scalar_items, seed, span=self.builder.span))
            crossing = [v for p in self.site.parts if not p.loop for v in self._crossing_of(p.statements)]
            for part in self.site.parts:
                if part.loop is None:
                    self._reverse_statements(part.statements)
                else:
                    self._reverse_earlier(part.loop, part.statements)
            results = {g.wrt: self._result(g.wrt) for g in self.site.gradients if self.recorder.adjoint_needed(g.wrt)}
        # What other blocks add to starts from zero before the sweep, and in every iteration of a reversed loop
        # (`_reverse_block`).
        start: list[Statement] = [Zero(self.adjoint_cells[v]) for v in crossing if v in self.adjoint_cells]
        start += [Zero(shadow) for cell, shadow in self.shadows.items() if cell not in self.private]
        return start + code, results

    def _result(self, wrt: Cell) -> Cell:
        shadow = self.shadow(wrt)
        # In a loop that the gradient does not stand in the shadow serves every iteration, and each keeps a copy.
        extra = self.site.extra
        if not extra:
            return shadow
        items = tuple(IntSym(name, "loop") for name in extra)
        result = self.builder.cell(f"{wrt.display}_grad", wrt.type, len(extra))
        if isinstance(wrt.type, MatrixType):
            self.builder.append(MatStore(result, items, (MatrixTerm(None, shadow, ()),), span=self.builder.span))
        else:
            self.builder.append(Store(result, items, self.builder.load(shadow), span=self.builder.span))
        return result

    def _crossing_of(self, statements: tuple[Statement, ...]) -> list[Var]:
        return [s.var for s in statements if isinstance(s, Let) and s.var in self.crossing]

    def _reverse_statements(self, statements: tuple[Statement, ...]) -> None:
        for statement in reversed(statements):
            outer, self.builder.span = self.builder.span, statement.span or self.builder.span
            self._reverse(statement)
            self.builder.span = outer

    def _reverse(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op):
                if var in self.site.active.vars:
                    self._reverse_let(statement, var, op)
            case For():
                self._reverse_loop(statement)
            case If(condition=condition, then=then, orelse=orelse):
                # The forward pass took one of the branches, and so does the sweep, at its own indices.
                condition = substitute_bool(condition, self.indices)
                forward = self._reverse_branch(then, Guard(condition))
                backward = self._reverse_branch(orelse, Guard(Logic("not", (condition,))))
                if forward or backward:
                    self.builder.append(If(condition, forward, backward, span=statement.span))
            case _ if written(statement) in self.site.active.cells:
                self._reverse_write(statement)

    def _reverse_branch(self, statements: tuple[Statement, ...], guard: Guard) -> tuple:
        self.recorder.nest.append(guard)
        code = self._reverse_block(statements)
        self.recorder.nest.pop()
        return code

    def _reverse_block(self, statements: tuple[Statement, ...], start: tuple[Statement, ...] = ()) -> tuple:
        with self.builder.nested() as code:
            self._reverse_statements(statements)
        # What the code has not asked for has no adjoint cell, and nothing to clear.
        zeros = [Zero(self.adjoint_cells[v]) for v in self._crossing_of(statements) if v in self.adjoint_cells]
        # Without code, nothing is cleared either: the block has no part in the gradient.
        return (*start, *zeros, *code) if code else ()

    def _reverse_loop(self, loop: For) -> None:
        last = last_value(loop.start, loop.stop, loop.step)
        self._emit_reversed(loop, last, int_bin("-", loop.start, IntLit(loop.step)))

    def _reverse_earlier(self, loop: For, body: tuple[Statement, ...]) -> None:
        """The iterations before the current one."""
        current = IntSym(loop.var, "loop")
        self._emit_reversed(loop, int_bin("-", current, IntLit(loop.step)), int_bin("-", loop.start, IntLit(loop.step)))

    def _emit_reversed(self, loop: For, start: IntExpr, stop: IntExpr) -> None:
        start, stop = substitute(start, self.indices), substitute(stop, self.indices)
        var = self.builder.names.fresh(loop.var)
        saved = dict(self.indices)
        self.indices[loop.var] = IntSym(var, "loop")
        private = self._make_private(loop, var)
        self.recorder.nest.append(LoopStep(var, start, stop, -loop.step, substitute(_counter(loop), self.indices)))
        body = self._reverse_block(loop.body, tuple(Zero(s) for s in private))
        self.recorder.nest.pop()
        self.indices = saved
        if body:
            self.builder.append(For(var, start, stop, -loop.step, body, span=loop.span))

    def _make_private(self, loop: For, var: str) -> list[Cell]:
        """Shadows of cells that live within one iteration, which start from zero in each."""
        made = []
        for cell in sorted(self.site.active.cells, key=lambda c: c.name):
            if cell in self.shadows or not self._lives_in(cell, loop):
                continue
            home = tuple(here.name for h in cell.home if isinstance(here := self.indices.get(h), IntSym)) or (var,)
            shadow = self.builder.cell(f"{cell.display}_bar", self._type_here(cell), cell.rank, display=cell.display,
                                       home=home)
            self.shadows[cell] = shadow
            self.private.add(cell)
            made.append(shadow)
        return made

    def _lives_in(self, cell: Cell, loop: For) -> bool:
        ends = {self.site.scalar, *(g.wrt for g in self.site.gradients)}
        # Where earlier iterations are run backwards as well, adjoints pass from one iteration to another.
        if cell in ends or any(p.loop for p in self.site.parts):
            return False
        inside = {id(s) for s in walk(loop.body)}
        elsewhere = any(id(s) not in inside and cell in touched(s)
                        for p in self.site.parts for s in walk(p.statements))
        return not elsewhere and ((cell.home and cell.home[-1] == loop.var) or written_first(loop.body, cell))

    # --- adjoints of temporaries and cells ---

    def shadow(self, cell: Cell) -> Cell:
        if cell not in self.shadows:
            home = () if isinstance(cell.type, MatrixType) else self.home
            self.shadows[cell] = self.builder.cell(f"{cell.display}_bar", cell.type, cell.rank, display=cell.display,
                                                   home=home)
        return self.shadows[cell]

    def contribute(self, var: Var, value: Var | None, out: TensorType) -> None:
        """Add to the adjoint of `var` a value of (at most) type `out`, summed over the axes that `var` lacks."""
        if value is None or var not in self.site.active.vars:
            return
        value = self._reduce(value, out, var.type)
        # What another block reads has contributions from there, which have to outlive that block.
        if var in self.crossing:
            cell = self.adjoint_cells.get(var)
            if cell is None:
                cell = self.adjoint_cells[var] = self.builder.cell(f"{var.name}_bar", var.type)
            self.builder.append(Accum(cell, (), self._fit(value, var.type), span=self.builder.span))
        else:
            self.adjoints.setdefault(var, []).append(value)

    def _adjoint(self, var: Var) -> Var | None:
        """The collected adjoint of a temporary, or None if nothing reached it."""
        # Its definition is met last of all statements with it: nothing is added any more.
        parts = self.adjoints.pop(var, [])
        if var in self.adjoint_cells:
            parts.append(self.builder.load(self.adjoint_cells[var]))
        if not parts:
            return None
        total = parts[0]
        for part in parts[1:]:
            total = self.builder.add(total, part)
        return total

    def _reduce(self, value: Var, out: TensorType, target: TensorType) -> Var:
        builder = self.builder
        if out.width and not target.width:
            inner = builder.moment(value) if value.type.width else value
            # The adjoint of a number that is spread over coordinates is a sum over them: the width times their mean.
            value = builder.mul(builder.width(out.width), inner)
        if out.shape and not target.shape:
            if value.type.shape:
                # From the last axis on, which leaves the others where they are.
                for axis in reversed(range(len(value.type.shape))):
                    value = builder.sum_axis(value, axis)
            else:
                # The value is the same along the axis: its sum is the length times it.
                for size in out.shape:
                    value = builder.mul(builder.from_int(substitute(size, self.indices)), value)
        return value

    def _type_here(self, cell: Cell) -> Type:
        """The type of a cell's elements with its lengths in terms of the sweep's loops."""
        return cell.type if isinstance(cell.type, MatrixType) else self._here(cell.type)

    def _here(self, type: TensorType) -> TensorType:
        """A type of the forward pass with its lengths in terms of the sweep's loops."""
        return replace(type, shape=tuple(substitute(size, self.indices) for size in type.shape))

    def _fit(self, value: Var, type: TensorType) -> Var:
        """A value that is the same along some axes, repeated along them."""
        type = self._here(type)
        if value.type.width == type.width and same_shape(value.type.shape, type.shape):
            return value
        # A constant of the right type, instead of a sum with zeros.
        known = self.builder.constant_value(value)
        if known is not None:
            return self.builder.const(known, type)
        return self.builder.add(self.builder.const(0, type), value)

    # --- values of the forward pass ---

    def fetch(self, var: Var) -> Var:
        """A forward temporary, visible at this place of the sweep."""
        definition = self.definition[var]
        reversed_here = any(loop.var in self.indices for loop in self.loops_of[var])
        # Still in scope, and not of an iteration that the sweep goes back to.
        if self.block_of[var] in self.visible and not reversed_here:
            return var
        op = definition.op
        if isinstance(op, Const) and var.type == SCALAR:
            return self.builder.const(op.value)
        # Cheap, or unchanged since: taken again instead of recorded.
        if isinstance(op, _REPEATABLE) or (isinstance(op, Load) and op.cell not in self.region_written):
            return self.builder.let(map_op_indices(op, self.indices), self._here(var.type), var.name)
        if any(loop_names(size) & self.reversed_loops for size in var.type.shape):
            return self._recompute(var, definition)
        tape = self.tapes.get(var)
        if tape is None:
            tape = self._record(var, definition)
        return self.builder.let(Load(tape, self._tape_items(self.loops_of[var], self.indices)), var.type, var.name)

    def _recompute(self, var: Var, definition: Let) -> Var:
        """A temporary whose length differs from iteration to iteration, as that of `f[:t]`, once more from what it was
        made of: the elements of a family have one length, so that none can record it."""
        op = definition.op
        cell = op.cell if isinstance(op, Load) else None
        stores = [s for s in self.region if cell is not None and written(s) is cell]
        simple = all(isinstance(s, Store) for s in stores)
        # What the same iteration has stored is what it loads.
        if len(stores) == 1 and isinstance(stores[0], Store) and cell is not None and not cell.rank \
                and self.block_at[id(stores[0])] == self.block_of[var]:
            return self.fetch(stores[0].value)
        if stores and cell is not None and not (cell.rank and simple):  # an element of a family is stored once, and is still there
            self.reporter.error("TP428", f"a gradient through `{cell.display}`, which changes and whose length differs "
                                "from iteration to iteration, is not available", definition.span,
                                help="give each of its values a name of its own")
        return self.builder.let(map_op_vars(map_op_indices(op, self.indices), self.fetch), self._here(var.type),
                                var.name)

    def _record(self, var: Var, definition: Let) -> Cell:
        loops = self.loops_of[var]
        # Around the sweep, every iteration has a tape of its own.
        home = tuple(loop.var for loop in loops if loop.var not in self.reversed_loops)
        tape = self.builder.cell(f"{var.name}_tape", var.type, len(self._tape_items(loops, {})), home=home)
        self.tapes[var] = tape
        store = Store(tape, self._tape_items(loops, {}), var, span=definition.span)
        self.recorded.setdefault(id(definition), ([], []))[1].append(store)
        return tape

    def _tape_items(self, loops: tuple[For, ...], indices: dict[str, IntExpr]) -> tuple[IntExpr, ...]:
        # Loops around the whole sweep are no index: what they record is used within one of their iterations.
        return tuple(substitute(_counter(loop), indices) for loop in loops if loop.var in self.reversed_loops)

    def matrix(self, statement: Statement, cell: Cell, items: tuple[IntExpr, ...]) -> tuple[Cell, tuple]:
        """The matrix as the forward statement saw it: itself, or a copy if the region changes it."""
        if cell not in self.region_written:
            return cell, map_items(items, self.indices)
        loops = self.loops_at[id(statement)]
        key = id(statement), cell.name, items
        tape = self.matrix_tapes.get(key)
        if tape is None:
            here = self._tape_items(loops, {})
            tape = self.matrix_tapes[key] = self.builder.cell(f"{cell.display}_then", cell.type, len(here))
            # Only a name for the initial matrix with its updates so far: no matrix is formed.
            copy = MatStore(tape, here, (MatrixTerm(None, cell, items),), span=statement.span)
            self.recorded.setdefault(id(statement), ([], []))[0].append(copy)
        return tape, self._tape_items(loops, self.indices)

    # --- adjoint rules: operations ---

    def _reverse_let(self, statement: Let, var: Var, op: Op) -> None:
        bar = self._adjoint(var)
        if bar is None:
            return
        match op:
            case Elementwise():
                self._reverse_elementwise(op, var, bar)
            case Moment(arg=arg):
                # moment(x) = sum(x)/n, so that its adjoint is divided by n.
                inverse = self.builder.div(self.builder.const(1), self.builder.width(arg.type.of_width))
                self.contribute(arg, self.builder.mul(inverse, bar), arg.type)
            case Contract():
                self._reverse_contract(op, self._fit(bar, var.type))
            case SumAxis(arg=arg, axis=axis):
                # What is the same for all entries is handed on as one number.
                if bar.type.shape or not var.type.shape:
                    size = substitute(arg.type.shape[axis], self.indices)
                    type = TensorType(bar.type.width, (*bar.type.shape[:axis], size, *bar.type.shape[axis:]))
                    bar = self.builder.let(Expand(bar, axis, size), type)
                self.contribute(arg, bar, arg.type)
            case Expand(arg=arg, axis=axis):
                self.contribute(arg, self.builder.sum_axis(self._fit(bar, var.type), axis), arg.type)
            case Pick(arg=arg, items=()):
                self.contribute(arg, bar, arg.type)
            case Pick(arg=arg, items=items):
                whole = self._here(arg.type)
                place = Place(self._fit(bar, var.type), map_items(items, self.indices), whole.shape)
                self.contribute(arg, self.builder.let(place, whole), arg.type)
            case Place(arg=arg, items=items):
                pick = Pick(self._fit(bar, var.type), map_items(items, self.indices))
                self.contribute(arg, self.builder.let(pick, self._here(arg.type)), arg.type)
            case MatDot():
                self.matrices.reverse_dot(statement, op, bar)
            case MatMul():
                self._reverse_matmul(statement, op, self._fit(bar, var.type))
            case Load(cell=cell, items=items):
                if cell in self.site.active.cells:
                    self._reverse_load(self.shadow(cell), map_items(items, self.indices), bar, var.type)
            case Const() | WidthConst() | FromInt() | ParamRef() | InputRef() | Fluctuation():
                pass  # These depend on nothing that is differentiated.
            case _:
                assert_never(op)

    def _reverse_load(self, shadow: Cell, items: tuple[Item, ...], bar: Var, type: TensorType) -> None:
        """Add the adjoint of what was loaded to a cell's shadow: of a row or slice of a family, element by element."""
        builder = self.builder
        family = [*items[:shadow.rank], *[Range()] * (shadow.rank - len(items))]
        sliced = [p for p, item in enumerate(family) if isinstance(item, Range)]
        if not sliced:
            value = self._fit(bar, type)
            builder.append(Accum(shadow, items, value, span=builder.span))
            return
        sizes = [substitute(size, self.indices) for size in type.shape[:len(sliced)]]
        loops = [builder.names.fresh("i") for _ in sizes]
        entries = tuple(IntSym(name, "loop") for name in loops)
        for position, entry in zip(sliced, entries, strict=True):
            item = family[position]
            start = item.start if isinstance(item, Range) else None
            family[position] = int_bin("+", start or IntLit(0), entry)
        rest = TensorType(type.width, type.shape[len(sliced):])
        with builder.nested() as body:
            value = builder.let(Pick(bar, entries), TensorType(bar.type.width, rest.shape)) if bar.type.shape else bar
            builder.append(Accum(shadow, (*family, *items[shadow.rank:]), self._fit(value, rest), span=builder.span))
        for statement in over_elements(loops, sizes, tuple(body), builder.span):
            builder.append(statement)

    def _reverse_elementwise(self, op: Elementwise, var: Var, bar: Var) -> None:
        for position, arg in enumerate(op.args):
            if arg in self.site.active.vars:
                factor = partial(self.builder, op, var, position, self.fetch)
                # A derivative that is zero everywhere, as that of `sign`, adds nothing.
                if factor is not None:
                    self.contribute(arg, self.builder.mul(bar, factor), var.type)

    def _reverse_contract(self, op: Contract, bar: Var) -> None:
        sides = ((op.left, op.left_axes, op.right, op.right_axes), (op.right, op.right_axes, op.left, op.left_axes))
        for arg, axes, other, other_axes in sides:
            if arg in self.site.active.vars:
                # For kernels outer(bar, x) is kept as its two vectors (`factors`).
                if self.recorder.applied(arg):
                    self.recorder.contraction(arg, bar, self.fetch(other))
                    continue
                value = self.builder.contract(bar, op.out_axes, self.fetch(other), other_axes, axes)
                out = TensorType(bar.type.width or other.type.width, arg.type.shape)
                self.contribute(arg, value, out)

    def _reverse_matmul(self, statement: Let, op: MatMul, bar: Var) -> None:
        matrix, items = self.matrix(statement, op.matrix, op.items)
        if op.arg in self.site.active.vars:
            # d<bar, W x> = <W.T bar, dx> + <bar, dW x>.
            back = MatMul(matrix, items, not op.transposed, bar)
            self.contribute(op.arg, self.builder.let(back, op.arg.type), op.arg.type)
        if op.matrix in self.site.active.cells:
            # Of y = W.T x, the gradient by W is outer(x, bar).
            left, right = (self.fetch(op.arg), bar) if op.transposed else (bar, self.fetch(op.arg))
            items = map_items(op.items, self.indices)
            self.recorder.product(op.matrix, items, left, right)
            if self.recorder.adjoint_needed(op.matrix):
                term = OuterTerm(None, left, right)
                self.builder.append(MatAccum(self.shadow(op.matrix), items, (term,), span=self.builder.span))

    # --- adjoint rules: writes ---

    def _reverse_write(self, statement: Statement) -> None:
        match statement:
            case Store(cell=cell, items=items, value=value):
                items = map_items(items, self.indices)
                shadow = self.shadow(cell)
                bar = self.builder.load(shadow, items, self._here(value.type))
                if not (cell.rank and any(cell is g.wrt for g in self.site.gradients)):
                    # A family's element is stored once: its shadow then stays, as the gradient asked for.
                    # What the cell held before had no part in what is read after the store: its adjoint starts again
                    # from zero.
                    zero = self.builder.const(0, shadow.tensor)
                    self.builder.append(Store(shadow, items, zero, span=statement.span))
                self.contribute(value, bar, value.type)
            case Accum(cell=cell, items=items, value=value):
                # An addition leaves the adjoint of what was there before as it is.
                bar = self.builder.load(self.shadow(cell), map_items(items, self.indices), self._here(value.type))
                self.contribute(value, bar, value.type)
            case MatStore(cell=cell, items=items, terms=terms):
                self.matrices.reverse_write(statement, cell, items, terms, replace=True)
            case MatAccum(cell=cell, items=items, terms=terms):
                self.matrices.reverse_write(statement, cell, items, terms, replace=False)
            case Zero(cell=cell):
                self.builder.append(Zero(self.shadow(cell), span=statement.span))


def _counter(loop: For) -> IntExpr:
    """A non-negative index for a loop's iterations: its variable where that is never negative."""
    symbol = IntSym(loop.var, "loop")
    ascending = loop.step > 0 and isinstance(loop.start, IntLit) and loop.start.value >= 0
    descending = loop.step < 0 and isinstance(loop.stop, IntLit) and loop.stop.value >= -1
    if ascending or descending:
        return symbol
    return IntBin("//", int_bin("-", symbol, loop.start), IntLit(loop.step))
