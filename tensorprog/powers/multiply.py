"""The typed program with multipliers in place: the result of an operation times a power of n, for all that read it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tensorprog.ir.build import Builder
from tensorprog.ir.program import SCALAR, Const, Elementwise, Let, Program, Statement, Var
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.rewrite import map_blocks, map_vars


def with_multipliers(program: Program, multipliers: Mapping[Var, Fraction]) -> Program:
    """The program in which the results of some operations are multiplied."""
    names = used_names(program)
    renamed: dict[Var, Var] = {}

    def block(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        done: list[Statement] = []
        for statement in body:
            done.append(map_blocks(map_vars(statement, lambda v: renamed.get(v, v)), block))
            if isinstance(statement, Let) and (power := multipliers.get(statement.var)):
                builder = Builder(names)
                builder.span = statement.span
                renamed[statement.var] = _times_power(builder, statement.var, program.widths[0].name, power)
                done += builder.block
        return tuple(done)

    return program.with_body(block(program.body))


def _times_power(builder: Builder, var: Var, width: str, power: Fraction) -> Var:
    exponent = builder.let(Const(power), SCALAR)
    factor = builder.let(Elementwise("pow", (builder.width(width), exponent)), SCALAR)
    return builder.let(Elementwise("mul", (factor, var)), var.type)
