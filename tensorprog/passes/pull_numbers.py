"""Take numbers out of linear operations: `W @ (c * x)` becomes `c * (W @ x)`.

In a loop where only the numbers change, what they multiply can then be computed once (`passes.hoist`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tensorprog.ir.build import Builder
from tensorprog.ir.program import (
    SCALAR,
    Contract,
    Elementwise,
    Expand,
    Fluctuation,
    Let,
    MatAccum,
    MatMul,
    MatStore,
    Moment,
    Op,
    OuterTerm,
    Pick,
    Place,
    Program,
    Statement,
    SumAxis,
    Term,
    Var,
)
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.rewrite import map_blocks, map_op_vars


def pull_numbers(program: Program) -> Program:
    """The program with every number as far outside as it goes. What is then not needed any more is still there."""
    puller = _Puller(Builder(used_names(program)))
    return program.with_body(puller.block(program.body))


class _Puller:
    def __init__(self, builder: Builder):
        self.builder = builder
        self.scaled: dict[Var, tuple[Var, Var]] = {}  # the number and what it multiplies

    def block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        with self.builder.nested() as out:
            for statement in body:
                self._statement(map_blocks(statement, self.block))
        return tuple(out)

    def _statement(self, statement: Statement) -> None:
        self.builder.span = getattr(statement, "span", None)
        match statement:
            case Let(var=var, op=op):
                self.builder.hint = var.name
                found = self._pulled(op, var)
                if found is not None:
                    number, rest = found
                    self.scaled[var] = found
                    statement = replace(statement, op=Elementwise("mul", (number, rest)))
            case MatStore(terms=terms) | MatAccum(terms=terms):
                statement = replace(statement, terms=tuple(self._term(t) for t in terms))
        self.builder.append(statement)

    def _pulled(self, op: Op, var: Var) -> tuple[Var, Var] | None:
        """The number and the rest of a result; None if there is no number."""
        match op:
            case Elementwise(fn="mul", order=0, args=(a, b)):
                return self._product(a, b, lambda x, y: self.builder.mul(x, y))
            case Elementwise(fn="div", order=0, args=(a, b)) if _is_number(b) and not _is_number(a):
                number, rest = self.scaled.get(a, (None, a))
                number = self.builder.const(1) if number is None else number
                return self.builder.div(number, b), rest
            case Elementwise(fn="neg", order=0, args=(a,)) if a in self.scaled:
                number, rest = self.scaled[a]
                return self.builder.neg(number), rest
            case Elementwise(fn="add" | "sub", order=0, args=(a, b)) if a in self.scaled and b in self.scaled:
                (number, x), (other, y) = self.scaled[a], self.scaled[b]
                # c x + c y = c (x + y) for the very same number only.
                return (number, self.builder.elementwise(op.fn, x, y)) if number is other else None
            case Contract(left=a, right=b):
                return self._product(a, b, lambda x, y: self.builder.let(replace(op, left=x, right=y), var.type))
            case MatMul(arg=a) | Moment(arg=a) | Fluctuation(arg=a) | SumAxis(arg=a) | Expand(arg=a) | Pick(arg=a) \
                    | Place(arg=a) if a in self.scaled:
                number, rest = self.scaled[a]
                return number, self.builder.let(map_op_vars(op, lambda _: rest), var.type)
            case _:
                return None

    def _product(self, a: Var, b: Var, multiply: Callable[[Var, Var], Var]) -> tuple[Var, Var] | None:
        if _is_number(a) and _is_number(b):
            return None
        for number, other in ((a, b), (b, a)):
            if _is_number(number):
                inner, rest = self.scaled.get(other, (None, other))
                return (number if inner is None else self.builder.mul(number, inner)), rest
        (one, x), (two, y) = (self.scaled.get(v, (None, v)) for v in (a, b))
        numbers = [n for n in (one, two) if n is not None]
        if not numbers:
            return None
        return numbers[0] if len(numbers) == 1 else self.builder.mul(*numbers), multiply(x, y)

    def _term(self, term: Term) -> Term:
        if not isinstance(term, OuterTerm):
            return term
        coef, left, right = term.coef, term.left, term.right
        for side in (left, right):
            if side in self.scaled:
                number = self.scaled[side][0]
                coef = number if coef is None else self.builder.mul(coef, number)
        return OuterTerm(coef, *(self.scaled.get(v, (None, v))[1] for v in (left, right)))


def _is_number(var: Var) -> bool:
    return var.type == SCALAR
