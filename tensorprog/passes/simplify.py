"""Forward stores to loads, share common temporaries, and drop what nothing reads and stores of what is there already.

Values are unchanged. Names that a gradient is taken with respect to keep their loads, because `differentiate` reads
the gradient off them. Not done here: anything that needs powers of n or the meaning of moments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from fractions import Fraction

from tensorprog.ir.primitives import exact
from tensorprog.ir.program import (
    SCALAR,
    Cell,
    Const,
    Elementwise,
    For,
    GradAdd,
    GradDot,
    GradRecord,
    GradStmt,
    If,
    KernelStmt,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatStore,
    Program,
    Range,
    Statement,
    Store,
    Term,
    Var,
    blocks,
    cells_read,
    cells_written,
    defined,
    reads,
    touched,
    uses,
    walk,
    written,
)
from tensorprog.passes.rewrite import map_blocks, map_op_matrices, map_term_matrices, map_vars


def simplify(program: Program) -> Program:
    """One round of forwarding and sharing, then removal of dead code."""
    pinned = {s.wrt for s in walk(program.body) if isinstance(s, GradStmt | GradRecord)}
    body = _Forwarder(pinned).block(program.body, {})
    return remove_dead(program.with_body(body))


class _Forwarder:
    """Walks a block with a table of known values: (cell, items) -> temporary, operation -> temporary, and
    (matrix cell, items) -> the matrix that it is a copy of."""

    def __init__(self, pinned: set[Cell]):
        self.pinned = pinned
        self.same: dict[Var, Var] = {}
        self.numbers: dict[Var, Fraction | float] = {}

    def block(self, body: tuple[Statement, ...], known: dict) -> tuple[Statement, ...]:
        out: list[Statement] = []
        for statement in body:
            self._statement(statement, known, out)
        return tuple(out)

    def _statement(self, statement: Statement, known: dict, out: list[Statement]) -> None:
        statement = map_vars(statement, lambda v: self.same.get(v, v))
        statement = _map_matrices(statement, known)
        match statement:
            case Let():
                self._let(statement, known, out)
                return
            case Store(cell=cell, items=items, value=value):
                if cell not in self.pinned and known.get((cell, items)) is value:
                    return  # it holds that already
                _forget(known, {cell})
                # All elements are forgotten above: two indices may name the same one.
                if cell not in self.pinned and not _has_range(items):
                    known[cell, items] = value
            case MatStore(cell=cell, items=items, terms=terms):
                _forget(known, {cell})
                self._matrix_copy(cell, items, terms, known)
            case For() | If():
                statement = self._nested(statement, known)
            case _:
                _forget(known, {other} if (other := written(statement)) is not None else set())
        out.append(statement)

    def _matrix_copy(self, cell: Cell, items: tuple, terms: tuple[Term, ...], known: dict) -> None:
        if cell in self.pinned or len(terms) != 1:
            return
        term = terms[0]
        if isinstance(term, MatrixTerm) and term.coef is None and not term.transposed and term.cell is not cell:
            known[cell, items] = term

    def _nested(self, statement: For | If, known: dict) -> Statement:
        changed = cells_written(sum(blocks(statement), ()))
        if isinstance(statement, For):
            # Before the body: an iteration begins with what earlier ones have changed.
            _forget(known, changed)
        # What a block finds out holds inside of it alone: it may not run.
        statement = map_blocks(statement, lambda body: self.block(body, dict(known)))
        _forget(known, changed)
        return statement

    def _let(self, statement: Let, known: dict, out: list[Statement]) -> None:
        statement = self._fold(statement)
        op = statement.op
        if isinstance(op, Elementwise) and (same := self._identity(op, statement.var)) is not None:
            self.same[statement.var] = same
            return
        # Constants of one value differ by their types.
        key: object = (op, statement.var.type.shape, statement.var.type.width)
        if isinstance(op, Load):
            if op.cell in self.pinned:
                out.append(statement)
                return
            key = (op.cell, op.items)
        elif isinstance(op, MatMul):
            # The matrix comes first in the key, so that the product is forgotten when it changes.
            key = (op.matrix, op)
        # Of two matrices, the key could name one only.
        elif isinstance(op, MatDot):
            out.append(statement)
            return
        found = known.get(key)
        # Loads of one element whose lengths are written differently stay two.
        if found is not None and found.type == statement.var.type:
            self.same[statement.var] = found
            return
        known[key] = statement.var
        out.append(statement)

    def _fold(self, statement: Let) -> Let:
        """Arithmetic on known numbers, done now."""
        op = statement.op
        if isinstance(op, Const) and statement.var.type == SCALAR:
            self.numbers[statement.var] = op.value
        elif isinstance(op, Elementwise) and all(a in self.numbers for a in op.args):
            value = None if op.order else exact(op.fn, [self.numbers[a] for a in op.args])
            if value is not None:
                self.numbers[statement.var] = value
                return replace(statement, op=Const(value))
        return statement

    def _identity(self, op: Elementwise, var: Var) -> Var | None:
        """The operand that `x * 1`, `x / 1`, `x + 0` and `x - 0` equal."""
        neutral = {"mul": 1, "div": 1, "add": 0, "sub": 0}.get(op.fn)
        if neutral is None:
            return None
        left, right = op.args
        # A difference or quotient has its neutral element on the right only.
        for value, other in ((right, left), (left, right))[: 2 if op.fn in ("mul", "add") else 1]:
            if self.numbers.get(value) == neutral and other.type == var.type:
                return other
        return None


def _has_range(items: tuple) -> bool:
    return any(isinstance(i, Range) for i in items)


def _forget(known: dict, cells: set[Cell]) -> None:
    """Drop what is known of cells that change, copies of them included."""
    if not cells:
        return
    for key, value in list(known.items()):
        if (isinstance(key[0], Cell) and key[0] in cells) or (isinstance(value, MatrixTerm) and value.cell in cells):
            del known[key]


def _map_matrices(statement: Statement, known: dict) -> Statement:
    """Read the original where a matrix is an unchanged copy of another."""
    match statement:
        case Let(op=MatMul(matrix=cell, items=items) as op) if isinstance(known.get((cell, items)), MatrixTerm):
            source = known[cell, items]
            return replace(statement, op=replace(op, matrix=source.cell, items=source.items))
        case Let(op=MatDot() as op):
            return replace(statement, op=map_op_matrices(op, lambda m: _original(m, known)))
        case MatStore(terms=terms) | MatAccum(terms=terms):
            terms = tuple(map_term_matrices(t, lambda m: _original(m, known)) for t in terms)
            return replace(statement, terms=terms)
        case _:
            return statement


def _original(term: MatrixTerm, known: dict) -> MatrixTerm:
    source = known.get((term.cell, term.items))
    return replace(term, cell=source.cell, items=source.items) if isinstance(source, MatrixTerm) else term


def remove_dead(program: Program) -> Program:
    """Drop temporaries and stores that no result depends on."""
    body = program.body
    # What only dead statements read is dead in the next round.
    while True:
        live_vars, live_cells = _live(body, program.results)
        smaller = pruned(body, live_vars, live_cells)
        if smaller == body:
            return program.with_body(body)
        body = smaller


def _live(body: tuple[Statement, ...], results: Collection[Cell]) -> tuple[set[Var], set[Cell]]:
    """Temporaries and cells that are read by a statement which does not merely update the cell it reads."""
    live_vars: set[Var] = set()
    live_cells = set(results)
    for statement in walk(body):
        live_vars.update(reads(statement))
        # x += f keeps nothing alive by reading x.
        live_cells.update(c for c in cells_read(statement) if c is not written(statement))
    return live_vars, live_cells


def pruned(body: tuple[Statement, ...], live_vars: Collection[Var | Cell], live_cells: Collection[Var | Cell],
           gradients: Collection[Cell] = ()) -> tuple[Statement, ...]:
    """A block without what is not live, and without the gradients that are named."""
    out = []
    for statement in body:
        statement = map_blocks(statement, lambda b: pruned(b, live_vars, live_cells, gradients))
        match statement:
            case GradStmt(target=target) if target in gradients:
                continue
            case Let(var=var) if var not in live_vars:
                continue
            case For(body=()) | If(then=(), orelse=()):
                continue
            case GradStmt() | KernelStmt() | GradRecord() | GradAdd() | GradDot():
                pass
            case _ if (cell := written(statement)) is not None and cell not in live_cells:
                continue
        out.append(statement)
    return tuple(out)


def remove_unused(program: Program) -> Program:
    """Drop all that outputs do not depend on: also names that only each other's updates read, as a training loop is
    beside what initialization decides. There are no gradients any more."""
    live = reached(program.body, (o.cell for o in program.outputs))
    return program.with_body(pruned(program.body, live, live))


def without_unused_gradients(program: Program) -> Program:
    """If there are gradients that no result depends on, the program without all that none depends on: the reverse sweep
    of such a gradient may go back through a whole training."""
    kept = [c for s in walk(program.body) if isinstance(s, GradRecord | KernelStmt | GradAdd | GradDot) for c in touched(s)]
    live = reached(program.body, [*program.results, *kept])
    unused = {s.target for s in walk(program.body) if isinstance(s, GradStmt)} - live
    return program.with_body(pruned(program.body, live, live, unused)) if unused else program


def reached(body: tuple[Statement, ...], results: Iterable[Cell]) -> set[Var | Cell]:
    """The temporaries and cells that results depend on."""
    makers: dict[Var | Cell, list[Statement]] = {}
    for statement in walk(body):
        if (value := defined(statement)) is not None:
            makers.setdefault(value, []).append(statement)
    live: set[Var | Cell] = set()
    waiting: list[Var | Cell] = list(results)
    while waiting:
        value = waiting.pop()
        if value not in live:
            live.add(value)
            waiting += [v for s in makers.get(value, ()) for v in uses(s)]
    return live


def without_idle(program: Program) -> Program:
    """The program without declared objects that nothing touches."""
    used = {c for s in walk(program.body) for c in touched(s)} | {o.cell for o in program.outputs}
    return replace(program, initials=tuple(i for i in program.initials if i.cell in used))
