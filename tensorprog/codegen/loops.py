"""A sequential loop on vectors as one Numba function (`runtime.loops`).

Where a loop must run step by step and its steps are single vector operations, NumPy calls cost more than the work: here
such a loop, with everything in it, becomes straight machine code. Coordinatewise statements that follow each other
share one pass over the coordinates (a *sweep*), moments are sums within a sweep, and every scalar is a plain number.

Loops whose work is matrix products (a moment of two families, a random matrix) are left to `particles`, which
uses BLAS.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorprog.codegen.expressions import KernelBody, number_text
from tensorprog.codegen.names import bool_text, int_text, python_name
from tensorprog.ir.integers import IntExpr, loop_names
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Elementwise,
    For,
    FromInt,
    If,
    InputRef,
    Let,
    Load,
    MatrixType,
    Moment,
    Op,
    ParamRef,
    Program,
    Statement,
    Store,
    Var,
    WidthConst,
    Zero,
    blocks,
    reads,
    single,
    touched,
    walk,
    written,
)

# The range of iterations; the coordinates of this thread, of all `samples__`; a zero of the vectors' type; where threads meet;
# room.
_LEADING = "start__, stop__, step__, low__, high__, samples__, zero__, counter__, slots__, threads__, rank__, scratch__"


def compilable(loop: For) -> bool:
    """Whether a sequential loop can be compiled, and gains by it."""
    # Without vectors there is nothing to gain: numbers are computed as soon.
    return (not loop.parallel and _work_depth(loop.body) <= 1 and all(map(_plain, walk(loop.body)))
            and any(isinstance(s, Let) and s.var.type.width for s in walk(loop.body)))


def _plain(statement: Statement) -> bool:
    """Whether a statement handles single numbers and vectors only."""
    match statement:
        case Let(var=var, op=Const() | FromInt() | ParamRef() | WidthConst() | Elementwise() | Moment()):
            # An array of numbers would have to be allocated in every step.
            return not var.type.shape
        case Let(var=var, op=InputRef(items=items) | Load(items=items)):
            return not var.type.shape and all(isinstance(i, IntExpr) for i in items)
        case Store(cell=cell, items=items) | Accum(cell=cell, items=items):
            return (not isinstance(cell.type, MatrixType) and len(items) == cell.rank + len(cell.type.shape)
                    and all(isinstance(i, IntExpr) for i in items))
        case Zero(cell=cell):
            return not isinstance(cell.type, MatrixType)
        case For() | If():
            return True
    return False


def _work_depth(body: tuple[Statement, ...]) -> int:
    """How many parallel loops are nested around work on vectors: from two on it is a matrix product."""
    deepest = 0
    for s in body:
        for block in blocks(s):
            # A single parallel loop around vectors, as over negative samples in word2vec, is a loop of the kernel.
            inner = _work_depth(block)
            vectors = any(isinstance(n, Let) and n.var.type.width for n in walk(block))
            deepest = max(deepest, inner + (isinstance(s, For) and s.parallel and vectors))
    return deepest


@dataclass(frozen=True, slots=True)
class LoopKernel:
    """The source of a kernel, and what it is called with, in the order of its parameters.

    Attributes:
        name: of the function.
        fixed: names of sizes, parameters, inputs and variables of loops around it, widths as `width:n`, and temporaries
            from outside that are scalars.
        outer: temporaries from outside that are vectors.
        vectors, scalars: cells.
        scratch: how many vectors it needs room for.
    """

    name: str
    source: str
    fixed: tuple[str | Var, ...]
    outer: tuple[Var, ...]
    vectors: tuple[Cell, ...]
    scalars: tuple[Cell, ...]
    scratch: int


def loop_kernel(name: str, loop: For, program: Program) -> LoopKernel:
    """The kernel of a compilable loop."""
    return _Writer(loop, program).kernel(name)


@dataclass(slots=True)
class _Sweep:
    """A pass over the coordinates that is still open: lines of its body, rows that it needs, sums that it makes."""

    statements: set[int] = field(default_factory=set)
    rows: dict[str, str] = field(default_factory=dict)
    casts: dict[str, str] = field(default_factory=dict)
    body: KernelBody = field(default_factory=lambda: KernelBody("lane__"))
    local: dict[Var, str] = field(default_factory=dict)
    sums: list[tuple[Var, str]] = field(default_factory=list)


class _Writer:
    def __init__(self, loop: For, program: Program):
        self.loop, self.program = loop, program
        self.lines: list[str] = []
        self.depth = 1
        self.sweep = _Sweep()
        self.text: dict[Var, str] = {}
        self.slots: dict[Var, int] = {}
        self.statements = list(walk(loop.body))
        self.ops = {s.var: s.op for s in self.statements if isinstance(s, Let)}
        self.users: dict[Var, list[Statement]] = {}
        for s in self.statements:
            for var in reads(s):
                self.users.setdefault(var, []).append(s)
        # Vectors that a load gives again later, and need no room.
        self.stable = _stable_loads(loop.body)
        self.pending: set[Var] = set()

    # --- the function ---

    def kernel(self, name: str) -> LoopKernel:
        """The finished kernel."""
        outside = [v for v in dict.fromkeys(v for s in self.statements for v in reads(s)) if v not in self.ops]
        outer = tuple(v for v in outside if v.type.width)
        plain = [v for v in outside if not v.type.width]
        for var in plain:
            self.text[var] = python_name(var.name)
        around = sorted(_loop_variables(self.loop))
        # By name: the text is the same in every process.
        cells = sorted({c for s in self.statements for c in touched(s)}, key=lambda c: c.name)
        vectors = tuple(c for c in cells if c.tensor.width)
        scalars = tuple(c for c in cells if not c.tensor.width)
        self.line(f"for {python_name(self.loop.var)} in range(start__, stop__, step__):")
        self._indented(self.loop.body)
        fixed: tuple[str | Var, ...] = (*self._names(), *around, *plain)
        params = [f"width_{n[6:]}__" if n.startswith("width:") else python_name(n) for n in (*self._names(), *around)]
        params += [python_name(v.name) for v in (*plain, *outer)] + [python_name(c.name) for c in (*vectors, *scalars)]
        # Sums may be taken in another order, which lets them run in SIMD lanes; NaN and infinities keep their meaning
        # (without 'nnan' and 'ninf'), because they tell that a run has diverged.
        head = ["@njit(nogil=True, cache=True, error_model='numpy', fastmath={'reassoc', 'contract', 'nsz', 'arcp'})",
                f"def {name}({', '.join([_LEADING, *params])}):", "    phase__ = 0"]
        return LoopKernel(name, "\n".join([*head, *self.lines]), fixed, outer, vectors, scalars, len(self.slots))

    def _names(self) -> list[str]:
        """Sizes, parameters and inputs, and the widths, as `width:n`."""
        names = [*(s.name for s in self.program.sizes), *(p.name for p in self.program.params)]
        return [*names, *(i.name for i in self.program.inputs), *(f"width:{w.name}" for w in self.program.widths)]

    # --- statements ---

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def _indented(self, body: tuple[Statement, ...]) -> None:
        self.depth += 1
        before = len(self.lines)
        for statement in body:
            self._statement(statement)
        self._flush()
        if len(self.lines) == before:
            self.line("pass")
        self.depth -= 1

    def _statement(self, statement: Statement) -> None:
        if isinstance(statement, For | If):
            self._nested(statement)
        elif self._on_vectors(statement):
            self._join(statement)
        else:
            # A number that this sweep sums is known after it. Other numbers may be computed before the sweep is written:
            # temporaries are assigned once, and numbers change cells of their own.
            if self.pending & set(reads(statement)):
                self._flush()
            self._scalar(statement)

    def _on_vectors(self, statement: Statement) -> bool:
        if isinstance(statement, Let):
            return bool(statement.var.type.width) or isinstance(statement.op, Moment)
        cell = written(statement)
        # Zeros of a whole family of vectors are no coordinatewise statement of one row.
        return cell is not None and bool(cell.tensor.width) and not (isinstance(statement, Zero) and (cell.rank or cell.tensor.shape))

    def _nested(self, statement: For | If) -> None:
        # Sweeps do not go round loops, or into branches.
        self._flush()
        if isinstance(statement, For):
            bounds = ", ".join([int_text(statement.start), int_text(statement.stop), str(statement.step)])
            self.line(f"for {python_name(statement.var)} in range({bounds}):")
            self._indented(statement.body)
            return
        self.line(f"if {bool_text(statement.condition)}:")
        self._indented(statement.then)
        if statement.orelse:
            self.line("else:")
            self._indented(statement.orelse)

    def _scalar(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=op):
                self._scalar_let(var, op)
            case Store(cell=cell, items=items, value=value):
                self.line(f"{_place(cell, items)} = {self.text[value]}")
            case Accum(cell=cell, items=items, value=value):
                self.line(f"{_place(cell, items)} += {self.text[value]}")
            case Zero(cell=cell):
                self._flush()
                self.line(f"{python_name(cell.name)}[..., low__:high__] = 0.0" if cell.tensor.width
                          else f"{python_name(cell.name)}[...] = 0.0")

    def _scalar_let(self, var: Var, op: Op) -> None:
        name = python_name(var.name)
        match op:
            case Const(value=number):
                self.text[var] = f"({number_text(number)})"
                return
            case ParamRef(name=param):
                self.text[var] = python_name(param)
                return
            case WidthConst(width=width):
                self.text[var] = f"width_{width}__"
                return
            case FromInt(expr=expr):
                value = f"float({int_text(expr)})"
            case InputRef(name=array, items=items):
                value = f"float({python_name(array)}[{', '.join(map(int_text, single(items))) or '()'}])"
            case Load(cell=cell, items=items):
                value = _place(cell, items)
            case Elementwise(fn=fn, args=args, order=order):
                body = KernelBody(f"{name}_part__")
                value = body.emit(fn, [self.text[a] for a in args], order)
                for line in body.lines:
                    self.line(line)
            case _:
                raise AssertionError(f"{op} among the numbers of a compiled loop")
        self.line(f"{name} = {value}")
        self.text[var] = name

    # --- sweeps ---

    def _join(self, statement: Statement) -> None:
        """Make a statement part of the open sweep."""
        if self.pending & set(reads(statement)):
            self._flush()
        # Statements of a sweep run one after the other for each coordinate. Rows may be one and the same, as x[i] and x[j] with
        # i = j: a coordinate meets itself alone, so that this is as good as one pass for each.
        self.sweep.statements.add(id(statement))
        match statement:
            case Let(var=var, op=Moment(arg=arg)):
                self.sweep.sums.append((var, self._lane(arg)))
                # Known once the sweep is through: what reads it begins another one.
                self.pending.add(var)
            case Let(var=var, op=op):
                self.sweep.local[var] = self._vector(op)
            case Store(cell=cell, items=items, value=value):
                self.sweep.body.lines.append(f"{self._row(cell, items)}[i__] = {self._lane(value)}")
            case Accum(cell=cell, items=items, value=value):
                self.sweep.body.lines.append(f"{self._row(cell, items)}[i__] += {self._lane(value)}")
            case Zero(cell=cell):
                self.sweep.body.lines.append(f"{self._row(cell, ())}[i__] = zero__")

    def _vector(self, op: Op) -> str:
        """The name, within the sweep, of a coordinate of an operation's result."""
        match op:
            case Const(value=value):
                return self._cast(f"({number_text(value)})")
            case Load(cell=cell, items=items):
                return self._fetch(self._row(cell, items))
            case Elementwise(fn=fn, args=args, order=order):
                return self.sweep.body.emit(fn, [self._lane(a) for a in args], order)
            case _:
                raise AssertionError(f"{op} in a sweep")

    def _fetch(self, row: str) -> str:
        """A coordinate of a row now: a later store to the row does not change it."""
        # Not by `KernelBody.emit`, which takes equal texts for equal values: a row may have been stored to in between.
        body = self.sweep.body
        name = f"{body.prefix}{len(body.lines)}"
        body.lines.append(f"{name} = {row}[i__]")
        return name

    def _lane(self, var: Var) -> str:
        """A coordinate of a temporary, or a scalar in the type of vectors."""
        if not var.type.width:
            return self._cast(self.text[var])
        if var not in self.sweep.local:
            self.sweep.local[var] = self._again(var)
        return self.sweep.local[var]

    def _again(self, var: Var) -> str:
        """A vector of an earlier sweep, or of outside."""
        op = self.ops.get(var)
        if op is None:
            return self._fetch(self._alias(f"{python_name(var.name)}[low__:high__]"))
        # Loaded again, rather than kept.
        if isinstance(op, Const) or var in self.stable:
            return self._vector(op)
        return self._fetch(self._alias(f"scratch__[{self.slots[var]}, low__:high__]"))

    def _row(self, cell: Cell, items: tuple) -> str:
        index = ", ".join([*map(int_text, items), "low__:high__"])
        return self._alias(f"{python_name(cell.name)}[{index}]")

    def _alias(self, text: str) -> str:
        return self.sweep.rows.setdefault(text, f"row_{len(self.sweep.rows)}__")

    def _cast(self, text: str) -> str:
        return self.sweep.casts.setdefault(text, f"real_{len(self.sweep.casts)}__")

    def _flush(self) -> None:
        """Write the open sweep and begin a new one."""
        sweep = self.sweep
        if not sweep.statements:
            return
        self._keep_escaping()
        for text, name in sweep.rows.items():
            self.line(f"{name} = {text}")
        for text, name in sweep.casts.items():
            # Float32 vectors times float64 numbers would be float64.
            self.line(f"{name} = rt.cast({text}, zero__)")
        for k, _ in enumerate(sweep.sums):
            self.line(f"sum_{k}__ = zero__")
        if sweep.body.lines or sweep.sums:
            self.line("for i__ in range(high__ - low__):")
            for line in sweep.body.lines:
                self.line(f"    {line}")
            for k, (_, text) in enumerate(sweep.sums):
                self.line(f"    sum_{k}__ += {text}")
        for k, (var, _) in enumerate(sweep.sums):
            name = self.text[var] = python_name(var.name)
            # Threads meet here, and add in a fixed order: a sum does not depend on which of them was first.
            total = f"rt.team_sum(counter__, slots__, threads__, rank__, phase__, float(sum_{k}__))"
            self.line(f"{name} = {total} / samples__")
            self.line("phase__ += 1")
        self.sweep, self.pending = _Sweep(), set()

    def _keep_escaping(self) -> None:
        """Store the sweep's vectors that later statements read and cannot load again."""
        sweep = self.sweep
        for var in [v for v in sweep.local if v in self.ops and v not in self.slots]:
            # (What a sweep computes for itself stays in registers.)
            again = isinstance(self.ops[var], Const) or var in self.stable
            if not again and any(id(s) not in sweep.statements for s in self.users.get(var, [])):
                self.slots[var] = len(self.slots)
                row = self._alias(f"scratch__[{self.slots[var]}, low__:high__]")
                sweep.body.lines.append(f"{row}[i__] = {sweep.local[var]}")


def _loop_variables(loop: For) -> set[str]:
    """Variables of loops around a loop that its body names."""
    found: set[str] = set()
    own = {loop.var}
    for s in walk(loop.body):
        match s:
            case For(var=var, start=start, stop=stop):
                own.add(var)
                found |= loop_names(start) | loop_names(stop)
            case If(condition=condition):
                found |= loop_names(condition)
            case Let(op=FromInt(expr=expr)):
                found |= loop_names(expr)
            case Let(op=InputRef(items=items) | Load(items=items)) | Store(items=items) | Accum(items=items):
                found |= {name for item in single(items) for name in loop_names(item)}
    return found - own


def _place(cell: Cell, items: tuple) -> str:
    return f"{python_name(cell.name)}[{', '.join(map(int_text, items)) or '0'}]"


def _stable_loads(body: tuple[Statement, ...]) -> set[Var]:
    """Loaded vectors whose cell nothing writes before their last use, so that they can be loaded again."""
    found: set[Var] = set()
    for position, s in enumerate(body):
        if isinstance(s, Let) and isinstance(s.op, Load) and s.var.type.width:
            # A loop or branch that reads it and writes the cell may do the latter first.
            last = max((p for p, t in enumerate(body) if any(s.var in reads(n) for n in walk((t,)))), default=position)
            between = list(walk(body[position + 1:last])) + (list(walk((body[last],))) if blocks(body[last]) else [])
            if not any(written(n) is s.op.cell for n in between):
                found.add(s.var)
        for block in blocks(s):
            found |= _stable_loads(block)
    return found
