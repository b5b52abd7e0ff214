"""Names that a loop reads before the statement that assigns them, in later iterations: `if t > 0: z[t] += b[t-1]*z[t-1]`, where
b[t] is assigned farther down.

What such a name holds is found by checking the program without the statements that cannot be checked yet, as often as this
finds another one. Whether what is read has been assigned is audited before a run (`audit.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from tensorprog.check.context import Ahead, Context
from tensorprog.check.scope import CellName
from tensorprog.check.statements import assigned_places
from tensorprog.ir.integers import COMPARISONS
from tensorprog.syntax import tree


def names_ahead(module: tree.Module) -> dict[int, tuple[str, ...]]:
    """By the id of a loop, the names that it reads, under a condition or in an inner loop that may be empty, before it assigns
    them."""
    finder = _Finder()
    finder.block(module.statements)
    return {loop: tuple(names) for loop, names in finder.found.items()}


def kinds_ahead(check: Callable[[dict[str, Ahead]], Context], names: set[str]) -> dict[str, Ahead]:
    """What these names hold, as far as it can be told; `check` checks the program with what is known of them."""
    known: dict[str, Ahead] = {}
    while len(known) < len(names):
        ctx = check(known)
        found = {name: Ahead(b.cell.type, b.cell.rank, tuple(ctx.extents.get(b.cell, ()))) for name in names
                 if isinstance(b := ctx.globals.bindings.get(name), CellName)}
        if found.keys() <= known.keys():
            break
        known |= found
    return known


@dataclass
class _Finder:
    """Walks through statements in their order. `loops` are those around, each with whether what is read may be skipped in its
    first iteration."""

    found: dict[int, dict[str, None]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    loops: list[tuple[tree.ForStmt, bool]] = field(default_factory=list)

    def block(self, statements: tuple[tree.Statement, ...]) -> None:
        for statement in statements:
            match statement:
                case tree.Assign(target=target, op=op, value=value):
                    self._read(value)
                    self._read(target, op == "=")
                case tree.ForStmt():
                    self._loop(statement)
                    continue
                case tree.IfStmt(branches=branches, orelse=orelse):
                    for condition, body in branches:
                        self._read(condition)
                        self._skipped(partial(self.block, body), None if condition is not branches[0][0] else condition)
                    self._skipped(partial(self.block, orelse))
                    continue
            self.known |= {name for name, _ in assigned_places(statement)}

    def _loop(self, loop: tree.ForStmt) -> None:
        for bound in loop.range_args:
            self._read(bound)
        self.known.add(loop.var)

        def body() -> None:
            self.loops.append((loop, False))
            self.block(loop.body)
            self.loops.pop()

        if self._depends(loop.range_args):
            self._skipped(body)
        else:
            body()

    def _skipped(self, visit: Callable[[], None], condition: tree.Expr | None = None) -> None:
        """Visits what may be skipped, in the first iteration of loops in which no condition holds for sure."""
        before = self.loops
        self.loops = [(loop, skipped or not _holds_first(condition, loop)) for loop, skipped in before]
        visit()
        self.loops = before

    def _depends(self, bounds: tuple[tree.Expr, ...]) -> bool:
        """Whether bounds hold the variable of a loop around, so that there may be no iteration in its first one."""
        variables = {loop.var for loop, _ in self.loops}
        return any(name.id in variables for bound in bounds for name in _names(bound))

    def _read(self, node: object, target: bool = False) -> None:
        match node:
            case tree.Name(id=name):
                if not target:
                    self._note(name)
            case tree.IndexExpr(base=base, items=items):
                self._read(base, target)
                for item in items:
                    self._read(item)
            case tree.IfExp(condition=condition, then=then, orelse=orelse):
                self._read(condition)
                self._skipped(partial(self._each, (then, orelse)))
            case tree.Comprehension(element=element, clauses=clauses):
                self._comprehension(element, clauses)
            case tree.TreeNode():
                self._each(tuple(getattr(node, f) for f in node.__dataclass_fields__), target and isinstance(node, tree.TupleExpr))
            case tuple():
                self._each(node, target)

    def _each(self, nodes: tuple, target: bool = False) -> None:
        for node in nodes:
            self._read(node, target)

    def _comprehension(self, element: tree.Expr, clauses: tuple[tree.Clause, ...]) -> None:
        own = {clause.var for clause in clauses} - self.known
        self.known |= own
        self._each(tuple(clause.range_args for clause in clauses))
        parts = (element, *(clause.filters for clause in clauses))
        if any(clause.filters or self._depends(clause.range_args) for clause in clauses):
            self._skipped(partial(self._each, parts))
        else:
            self._each(parts)
        self.known -= own

    def _note(self, name: str) -> None:
        """Notes a name that is unknown as yet with the innermost loop that assigns it."""
        if name in self.known:
            return
        for loop, skipped in reversed(self.loops):
            if any(name == assigned for statement in loop.body for assigned, _ in assigned_places(statement)):
                if skipped:
                    self.found.setdefault(id(loop), {})[name] = None
                return


def _holds_first(condition: tree.Expr | None, loop: tree.ForStmt) -> bool:
    """Whether a comparison of a loop's variable with a number holds in its first iteration, which has a number as well."""
    match condition:
        case tree.Compare(operands=(tree.Name(id=loop.var), tree.NumberExpr(value=number)), ops=(op,)):
            start = loop.range_args[0] if len(loop.range_args) > 1 else tree.NumberExpr(0)
            return isinstance(start, tree.NumberExpr) and bool(COMPARISONS[op](start.value, number))
    return False


def _names(node: object) -> Iterator[tree.Name]:
    match node:
        case tree.Name():
            yield node
        case tree.TreeNode():
            for f in node.__dataclass_fields__:
                yield from _names(getattr(node, f))
        case tuple():
            for item in node:
                yield from _names(item)
