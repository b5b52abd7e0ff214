"""The limit program of a series: the same statements, with a temporary or cell for every part that outputs need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from tensorprog.ensembles import size_of
from tensorprog.ir.build import Builder
from tensorprog.ir.program import (
    Accum,
    Cell,
    ConstExpr,
    Initial,
    Law,
    Let,
    MatAccum,
    MatStore,
    Program,
    Statement,
    Store,
    Var,
    Zero,
)
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.rewrite import map_blocks
from tensorprog.series.orders import NeededParts, Orders, recipes_for
from tensorprog.series.parts import SeriesPart
from tensorprog.series.term_recipe import Writer


def write(orders: Orders, needed: NeededParts) -> Program:
    """The program of the parts that are needed, none of which may be refused. It may hold `Fluctuation`s."""
    writer = _Writer(orders, needed)
    body = writer.block(orders.program.body)
    return replace(orders.program, body=body, initials=tuple(writer.initials()))


class _Writer(Writer):
    def __init__(self, orders: Orders, needed: NeededParts):
        self.orders, self.needed = orders, needed
        self.builder = Builder(used_names(orders.program))
        self.made: dict[tuple[Var, SeriesPart], Var] = {}
        self.cells = {(cell, p): own for cell in needed.parts if isinstance(cell, Cell)
                      for p, own in self._own_cells(cell)}

    def _own_cells(self, cell: Cell) -> Iterator[tuple[SeriesPart, Cell]]:
        """A cell for each part of a cell; one keeps its name: a declared object's own, else the largest."""
        parts = sorted(self.needed.of(cell), key=lambda p: -p.power)
        # Outputs stay the cells that they are, with their largest parts.
        kept = self.orders.initial.get(cell, parts[0])
        number = 0
        for part in parts:
            if part == kept:
                yield part, cell
                continue
            number += 1
            name = self.builder.names.fresh(f"{cell.name}_order_{number}")
            yield part, replace(cell, name=name)

    def part(self, node: Var, part: SeriesPart) -> Var:
        return self.made[node, part]

    def cell(self, cell: Cell, part: SeriesPart) -> Cell:
        return self.cells[cell, part]

    def initials(self) -> Iterator[Initial]:
        """The declared objects, scaled to be of order one; the other parts of each begin as zero."""
        for initial in self.orders.program.initials:
            parts = self.needed.of(initial.cell)
            if self.orders.initial.get(initial.cell) in (None, *parts):
                yield self._of_order_one(initial)
            for part in parts:
                if part != self.orders.initial.get(initial.cell) and self.cells[initial.cell, part] is not initial.cell:
                    yield replace(initial, cell=self.cells[initial.cell, part], law=Law("zero"), drawn=None)

    def _of_order_one(self, initial: Initial) -> Initial:
        power = self.orders.initial[initial.cell].power if initial.cell in self.orders.initial else Fraction(0)
        if not power:
            return initial
        base = self.orders.program.widths[0].name

        def scaled(law: Law) -> Law:
            powers = size_of(law)
            # Lengths are divided by n**power, variances by its square.
            return replace(law, args=tuple(_scaled(a, -power * powers[k], base) if k in powers else a
                                           for k, a in enumerate(law.args)))

        return replace(initial, law=scaled(initial.law), drawn=initial.drawn and scaled(initial.drawn))

    def block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        with self.builder.nested() as out:
            for statement in body:
                self._statement(map_blocks(statement, self.block))
        return tuple(out)

    def _statement(self, statement: Statement) -> None:
        self.builder.span = statement.span
        match statement:
            case Let(var=var):
                # So that programs, when they are shown, have the user's names.
                self.builder.hint = var.name
                for part in self.needed.of(var):
                    self.made[var, part] = self._sum(statement, part) or self.builder.const(0, var.type)
            case Store(cell=cell):
                for part in self.needed.of(cell):
                    # A store without a term of this part leaves zero, where an addition leaves what there was.
                    stored = self._sum(statement, part) or self.builder.const(0, statement.value.type)
                    self.builder.append(replace(statement, cell=self.cells[cell, part], value=stored))
            case Accum(cell=cell):
                for part in self.needed.of(cell):
                    value = self._sum(statement, part)
                    if value is not None:
                        self.builder.append(replace(statement, cell=self.cells[cell, part], value=value))
            case MatStore(cell=cell) | MatAccum(cell=cell):
                for part in self.needed.of(cell):
                    terms = tuple(r.term(self) for r in recipes_for(self.orders, statement, part))
                    # As for vectors: a store overwrites.
                    if terms or isinstance(statement, MatStore):
                        self.builder.append(replace(statement, cell=self.cells[cell, part], terms=terms))
            case Zero(cell=cell):
                for part in self.needed.of(cell):
                    self.builder.append(replace(statement, cell=self.cells[cell, part]))
            case _:
                self.builder.append(statement)

    def _sum(self, statement: Statement, part: SeriesPart) -> Var | None:
        """The sum of the terms of a part; None if it has none here."""
        whole: Var | None = None
        for recipe in recipes_for(self.orders, statement, part):
            term = recipe.value(self)
            whole = term if whole is None else self.builder.add(whole, term)
        return whole


def _scaled(expr: ConstExpr, power: Fraction, base: str) -> ConstExpr:
    """A constant times n to a power."""
    exponent = ConstExpr("/", (ConstExpr("num", (), float(power.numerator)), ConstExpr("num", (), float(power.denominator))))
    return ConstExpr("*", (expr, ConstExpr("**", (ConstExpr("width", (), base), exponent))))
