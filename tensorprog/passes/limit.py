"""The limit program: leading terms only, powers of n divided out (TP IV, Definition 7.3; docs/language.md, 6 and 7).

In: a program without gradients and the powers of its values. Out: a program in which every width stands for its ratio
to the base width, every value is of order one, and a statement means its infinite-width limit: `Moment` an
expectation, `MatMul` the operator of variance c whose entries have variance c/n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from tensorprog.diagnostics import Reporter
from tensorprog.ir.build import Builder
from tensorprog.ir.program import (
    Accum,
    Cell,
    Const,
    Elementwise,
    FunctionTerm,
    Let,
    MatAccum,
    MatStore,
    Program,
    Statement,
    Store,
    TensorType,
    Term,
    Var,
    WidthConst,
)
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.powers import Power, Powers, power_text, term_power
from tensorprog.passes.rewrite import map_blocks


def leading_terms(program: Program, powers: Powers, reporter: Reporter) -> Program:
    """Divide out the powers of n and drop what is of lower order.

    Reports: leading terms that cancel identically (TP506), a name that holds values of different powers (TP510).
    """
    rewriter = _Leading(program, powers, reporter)
    return program.with_body(rewriter.block(program.body))


class _Leading:
    def __init__(self, program: Program, powers: Powers, reporter: Reporter):
        self.powers, self.reporter = powers, reporter
        self.builder = Builder(used_names(program))
        self.base = program.widths[0].name if program.widths else None
        self.forms: dict[Var, tuple[Mapping[Var, Fraction], bool]] = {}

    def block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        with self.builder.nested() as out:
            for statement in body:
                self._statement(map_blocks(statement, self.block))
        return tuple(out)

    def _statement(self, statement: Statement) -> None:
        match statement:
            # Other widths stay, and stand for their ratio to this one from here on.
            case Let(var=var, op=WidthConst(width=self.base)):
                self.builder.append(replace(statement, op=Const(Fraction(1))))
            case Let(var=var, op=Elementwise(fn="add" | "sub" | "max" | "min") as op):
                self.builder.append(replace(statement, op=self._sum(op, var, statement)))
            case Let(var=var, op=op):
                self._remember(var, op)
                self.builder.append(statement)
            case Store(cell=cell, value=value):
                self._store(statement, cell, self.powers[value])
            case Accum(cell=cell, value=value):
                if self._keeps(cell, self.powers[value], statement):
                    self.builder.append(statement)
            case MatStore(cell=cell, terms=terms):
                self.builder.append(replace(statement, terms=self._terms(cell, terms, statement)))
            case MatAccum(cell=cell, terms=terms):
                kept = self._terms(cell, terms, statement)
                if kept:
                    self.builder.append(replace(statement, terms=kept))
            case _:
                self.builder.append(statement)

    # --- sums ---

    def _sum(self, op: Elementwise, var: Var, statement: Let) -> Elementwise:
        """The operands of lower order become zero."""
        dropped = False
        args = []
        for arg in op.args:
            # An exact zero has no power, and stays as it is.
            lower = self.powers[arg] is not None and self.powers[arg] != self.powers[var]
            dropped |= lower
            args.append(self._zero(arg.type, statement) if lower else arg)
        if op.fn in ("add", "sub"):
            self._check_cancellation(op, args, var, dropped, statement)
        return replace(op, args=tuple(args))

    def _zero(self, type: TensorType, statement: Let) -> Var:
        self.builder.span = statement.span
        return self.builder.const(0, type)

    def _check_cancellation(self, op: Elementwise, args: list[Var], var: Var, dropped: bool, statement: Let) -> None:
        sign = 1 if op.fn == "add" else -1
        (left, a), (right, b) = (self._form(arg) for arg in args)
        form = dict(left)
        for base, c in right.items():
            form[base] = form.get(base, Fraction(0)) + sign * c
        form = {base: c for base, c in form.items() if c}
        self.forms[var] = (form, dropped or a or b)
        if not form and left and right:
            self._report_cancellation(statement, dropped or a or b)

    def _report_cancellation(self, statement: Let, lost: bool) -> None:
        if lost:
            self.reporter.error("TP506", "the leading terms cancel identically, and the limit does not see what is "
                                         "left", statement.span,
                                help="write the difference out, without the terms that cancel")
        else:
            # Nothing was dropped on the way: the value is zero at every width.
            self.reporter.warn("TP507", "this is identically zero", statement.span)

    def _form(self, var: Var) -> tuple[Mapping[Var, Fraction], bool]:
        """A temporary as a linear combination of others, and whether lower orders were dropped on the way."""
        if var in self.forms:
            return self.forms[var]
        return ({}, False) if self.powers[var] is None else ({var: Fraction(1)}, False)

    def _remember(self, var: Var, op: object) -> None:
        match op:
            case Elementwise(fn="neg", args=(a,)):
                form, lost = self._form(a)
                self.forms[var] = ({base: -c for base, c in form.items()}, lost)
            case Const(value=0):
                self.forms[var] = ({}, False)

    # --- writes ---

    def _store(self, statement: Store, cell: Cell, power: Power) -> None:
        own = self.powers[cell]
        if power is not None and own is not None and power != own:
            self.reporter.error(
                "TP510", f"`{cell.display}` holds values of order {power_text(own)} elsewhere, and of "
                         f"order {power_text(power)} here", statement.span, help="use two names")
        self.builder.append(statement)

    def _keeps(self, cell: Cell, power: Power, statement: Statement) -> bool:
        own = self.powers[cell]
        if power is None:
            return False
        if power == own:
            return True
        # Cells of the compiler's own collect gradients, where lower orders are lost by no mistake of the user's.
        if cell.role != "hidden" and own is not None:
            self.reporter.warn(
                "TP509", f"this update of `{cell.display}` is of order {power_text(power)}, and `{cell.display}` of "
                         f"order {power_text(own)}: it has no effect in the limit", statement.span,
                help=f"multiply it by {power_text(own - power)} if it should (maximal update "
                     "parametrization)")
        return False

    def _terms(self, cell: Cell, terms: tuple[Term, ...], statement: Statement) -> tuple[Term, ...]:
        if isinstance(statement, MatAccum):
            kept = []
            for term in terms:
                assert not isinstance(term, FunctionTerm), "functions are alone in their matrix: stored, never added"
                if self._keeps(cell, term_power(self.powers, term), statement):
                    kept.append(term)
            return tuple(kept)
        # An exact zero: all its terms are.
        if self.powers[cell] is None:
            return ()
        return tuple(t for t in terms if isinstance(t, FunctionTerm)  # alone in its matrix, and so of its power
                     or term_power(self.powers, t) == self.powers[cell])
