"""Minibatches as rows of the whole data: what a training step computes of the rows that it picks, it may as well compute of all
rows, and pick from that.

    for b in range(B):                             for p in range(P):
        g[b] = net(X[order[t, b]])        ->           g_of_row[p] = net(X[p])
                                                   for b in range(B):
                                                       g[b] = g_of_row[order[t, b]]

Then no vector of a network that training does not move depends on the step, as kernel gradient descent asks for (`superpose`).

Not done: steps that pick by two different indices together, and indices of inner loops, as those of words in a sequence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr, IntLit, IntSym, loop_names
from tensorprog.ir.program import (
    Cell,
    For,
    GradStmt,
    If,
    InputRef,
    KernelStmt,
    Let,
    MatAccum,
    MatStore,
    Program,
    Statement,
    Var,
    cells_read,
    cells_written,
    defined,
    reads,
    touched,
    walk,
)
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.hoist import hoisted, is_new, spread
from tensorprog.passes.rewrite import map_blocks, map_cells, map_indices

#: A place that picks a row: its index, and the number of rows.
Pick = tuple[IntExpr, IntExpr]


def by_rows(program: Program) -> Program:
    """The program, before its gradients are taken, with what depends on picked rows computed of all rows; the same program, if there
    is nothing of that kind."""
    return _ByRows(program).program()


class _ByRows:
    def __init__(self, program: Program):
        self.whole, self.builder = program, Builder(used_names(program))
        self.shapes = {i.name: i.shape for i in program.inputs if i.kind == "real"}
        # Touched as often inside of a loop as everywhere: touched nowhere else.
        self.everywhere = Counter(c for s in walk(program.body) for c in touched(s))
        self.fixed = {o.cell for o in program.outputs} | {i.cell for i in program.initials}

    def program(self) -> Program:
        body = self._block(self.whole.body, frozenset())
        return self.whole if body == self.whole.body else self.whole.with_body(body)

    def _block(self, body: tuple[Statement, ...], steps: frozenset[str]) -> tuple[Statement, ...]:
        """A block, with what depends on rows that the loops `steps` pick computed of all rows."""
        found: list[Statement] = []
        run: list[Statement] = []
        for k, statement in enumerate(body):
            if _trains(statement):
                found += self._of_run(run, body[k:], steps)
                run = []
                inner = steps | {statement.var} if isinstance(statement, For) else steps
                found.append(map_blocks(statement, partial(self._block, steps=inner)))
            elif (made := self._of_loop(statement, steps)) is not None:
                found += (*self._of_run(run, body[k:], steps), *made)
                run = []
            else:
                run.append(statement)
        return (*found, *self._of_run(run, (), steps))

    def _of_loop(self, loop: Statement, steps: frozenset[str]) -> tuple[Statement, ...] | None:
        """A loop over the rows of a step; None if it is none."""
        if not isinstance(loop, For):
            return None
        pick = self._pick((loop,), steps, {loop.var})
        return self._of_all(loop, pick) if pick is not None else None

    def _of_run(self, run: list[Statement], after: tuple[Statement, ...], steps: frozenset[str]) -> tuple[Statement, ...]:
        """Statements that are not in a loop over the rows of a step, with those of its one row, or of one of its new data."""
        pick = self._pick(tuple(run), steps, set())
        if pick is None:
            return tuple(run)
        # What comes before the first statement about the row, and after the last one, stays where it is.
        depend = [k for k, yes in enumerate(_depending(run, pick[0])) if yes]
        earlier, later = run[: depend[0]], (*run[depend[-1] + 1:],)
        run = run[depend[0]: depend[-1] + 1]
        loop = For(self.builder.names.fresh("once"), IntLit(0), IntLit(1), 1, tuple(run))
        made = self._of_all(loop, pick)
        if made is None:
            return (*earlier, *run, *later)
        *of_rows, rest = made
        inside = rest.body if isinstance(rest, For) and rest.var == loop.var else (rest,)
        needed = {v for s in walk((*later, *after)) for v in reads(s)}
        # A temporary of the loop over all rows cannot be read behind it.
        lost = {v for s in walk(tuple(of_rows)) if isinstance(v := defined(s), Var)} & needed
        return (*earlier, *run, *later) if lost else (*earlier, *of_rows, *inside, *later)

    def _pick(self, body: tuple[Statement, ...], steps: frozenset[str], own: set[str]) -> Pick | None:
        """The one index of rows that depends on a training step, if it needs no loop inside but `own`."""
        inner = {s.var for s in walk(body) if isinstance(s, For)} - own
        found = {(item, self.shapes[op.name][axis]) for op in _inputs(body) if op.name in self.shapes
                 for axis, item in enumerate(op.items)
                 if isinstance(item, IntExpr) and loop_names(item) & steps and not loop_names(item) & inner}
        # Two indices of rows in one step would ask for all pairs of rows.
        return found.pop() if len({item for item, _ in found}) == 1 else None

    def _of_all(self, loop: For, pick: Pick) -> tuple[Statement, ...] | None:
        """A loop with what depends on a row alone in front of it, for all rows; None if no vector is of that kind."""
        index, size = pick
        row = IntSym(self.builder.names.fresh("row"), "loop")
        inside = Counter(c for s in walk(loop.body) for c in touched(s))
        # A cell that is touched outside of the loop, too, is no value of a row alone.
        fixed = self.fixed | {c for c, count in inside.items() if count != self.everywhere[c]}
        loop = spread(replace(loop, body=_with_row(loop.body, index, row)), fixed, self.builder)
        before, rest = hoisted(loop, self.builder, lambda c, around: c not in fixed and is_new(c, around))
        of_row = [s for s, yes in zip(before, _depending(before, row)) if yes]
        # Numbers of rows alone are as cheap to compute again as to keep.
        if rest is None or not any(isinstance(s, Let) and s.var.type.width for s in walk(tuple(of_row))):
            return None
        of_rows = {c: (replace(c, rank=c.rank + 1), lambda items: (row, *items)) for c in cells_written(before)}
        (picked,) = map_cells((rest,), of_rows)
        return (For(row.name, IntLit(0), size, 1, map_cells(before, of_rows), span=loop.span),
                map_indices(picked, {row.name: index}))


def _trains(statement: Statement) -> bool:
    """Whether a statement takes gradients or changes matrices."""
    # A branch may hold either, and is not looked into.
    return any(isinstance(s, GradStmt | KernelStmt | MatStore | MatAccum) for s in walk((statement,))) or isinstance(statement, If)


def _depending(run: Sequence[Statement], index: IntExpr) -> Iterator[bool]:
    """For each of some statements, whether it depends on a row."""
    known: set[Var | Cell] = set()
    for statement in run:
        inside = tuple(walk((statement,)))
        yes = any(index in op.items for op in _inputs(inside)) or any(
            x in known for s in inside for x in (*reads(s), *cells_read(s)))
        if yes:
            known |= {v for s in inside if (v := defined(s)) is not None}
        yield yes


def _inputs(body: tuple[Statement, ...]) -> Iterator[InputRef]:
    yield from (s.op for s in walk(body) if isinstance(s, Let) and isinstance(s.op, InputRef))


def _with_row(body: tuple[Statement, ...], index: IntExpr, row: IntExpr) -> tuple[Statement, ...]:
    """Statements with `row` for an index of inputs."""
    found: list[Statement] = []
    for statement in body:
        match statement:
            case Let(op=InputRef(items=items) as op):
                found.append(replace(statement, op=replace(op, items=tuple(row if i == index else i for i in items))))
            case _:
                found.append(map_blocks(statement, lambda b: _with_row(b, index, row)))
    return tuple(found)
