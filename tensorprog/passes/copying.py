"""Copies of statements that stand beside the original: with temporaries, loops and cells of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from tensorprog.ir.build import Names
from tensorprog.ir.integers import IntExpr, IntSym, substitute, substitute_bool
from tensorprog.ir.program import Cell, For, If, Let, Statement, Var, walk
from tensorprog.passes.rewrite import map_cells, map_indices, map_vars


class Copy:
    """A copy of statements without gradients.

    Args:
        names: that new ones must not take.
        values: of loop variables from outside that the statements name.
        cells: what stands for other cells.
    """

    def __init__(self, names: Names, values: Mapping[str, IntExpr], cells: Mapping[Cell, Cell]):
        self.names = names
        self.cells = dict(cells)
        self._values = dict(values)
        self._vars: dict[Var, Var] = {}

    def of(self, body: tuple[Statement, ...], own: Collection[Cell] = ()) -> tuple[Statement, ...]:
        """The copy of a block, in which the cells `own` are new ones; `cells` has them afterwards."""
        # Before the body, because homes of cells name loops as well.
        for loop in (s for s in walk(body) if isinstance(s, For)):
            self._values[loop.var] = IntSym(self.names.fresh(loop.var), "loop")
        # By name, because the order of a set is another one in every process.
        for cell in sorted(own, key=lambda c: c.name):
            self.cells[cell] = replace(cell, name=self.names.fresh(cell.name), role="hidden" if cell.role == "hidden" else "user",
                                       home=tuple(self._home(name) for name in cell.home))
        return map_cells(self._block(body), {old: (new, lambda items: items) for old, new in self.cells.items()})

    def _home(self, loop: str) -> str:
        value = self._values.get(loop)
        return value.name if isinstance(value, IntSym) else loop

    def _block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        return tuple(self._statement(s) for s in body)

    def _statement(self, statement: Statement) -> Statement:
        statement = map_vars(statement, lambda v: self._vars.get(v, v))
        if isinstance(statement, For):
            new = self._values[statement.var]
            assert isinstance(new, IntSym)
            return replace(statement, var=new.name, start=substitute(statement.start, self._values),
                           stop=substitute(statement.stop, self._values), body=self._block(statement.body))
        if isinstance(statement, If):
            return replace(statement, condition=substitute_bool(statement.condition, self._values),
                           then=self._block(statement.then), orelse=self._block(statement.orelse))
        statement = map_indices(statement, self._values)
        if isinstance(statement, Let):
            var = self._vars[statement.var] = Var(self.names.fresh(statement.var.name), statement.var.type)
            return replace(statement, var=var)
        return statement
