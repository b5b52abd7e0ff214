"""Loops with steps as loops with step 1: `for s in range(a, b, k)` counts its iterations, and s becomes a + k*s.

What reads the loops after this need not know of steps; indices such as `2*s` take their place.
"""

from __future__ import annotations

from dataclasses import replace

from tensorprog.ir.integers import IntExpr, IntLit, IntSym, int_bin
from tensorprog.ir.program import For, Program, Statement
from tensorprog.passes.rewrite import map_blocks, map_indices


def unit_steps(program: Program) -> Program:
    """The program with every loop in steps of 1 or -1."""
    return program.with_body(_block(program.body))


def _block(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    return tuple(_unit(map_blocks(s, _block)) for s in body)


def _unit(statement: Statement) -> Statement:
    if not isinstance(statement, For) or abs(statement.step) == 1:
        return statement
    step = statement.step
    value = int_bin("+", statement.start, int_bin("*", IntLit(step), IntSym(statement.var, "loop")))
    # Homes of cells keep the variable, which still counts the iterations.
    body = tuple(map_indices(s, {statement.var: value}) for s in statement.body)
    return replace(statement, start=IntLit(0), stop=_iterations(statement), step=1, body=body)


def _iterations(loop: For) -> IntExpr:
    """How many iterations a loop has (for a range that is not empty)."""
    ends = (loop.start, loop.stop) if loop.step > 0 else (loop.stop, loop.start)
    step = IntLit(abs(loop.step))
    # Rounded up: range(0, 5, 2) has three iterations.
    return int_bin("//", int_bin("+", int_bin("-", ends[1], ends[0]), IntLit(abs(loop.step) - 1)), step)
