"""Statements with what stands around them: loops, and branches that hold or do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tensorprog.ir.program import Assignment, BoolExpr, For, If, Let, Op, Statement, Var, blocks


@dataclass(frozen=True, slots=True)
class BranchSide:
    """One side of an `if`: its condition, and whether that holds here."""

    condition: BoolExpr
    holds: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A statement with the loops and branches around it, outermost first."""

    statement: Statement
    around: tuple[For | BranchSide, ...]

    @property
    def loops(self) -> tuple[For, ...]:
        """The loops around the statement, outermost first."""
        return tuple(a for a in self.around if isinstance(a, For))

    @property
    def guarded(self) -> bool:
        """Whether a condition stands around the statement."""
        return any(isinstance(a, BranchSide) for a in self.around)

    @property
    def var(self) -> Var:
        """The temporary that the statement defines."""
        assert isinstance(self.statement, Let)
        return self.statement.var

    @property
    def assignment(self) -> Assignment:
        """The statement, where it writes an element."""
        assert isinstance(self.statement, Assignment)
        return self.statement

    @property
    def op(self) -> Op:
        """What that is."""
        assert isinstance(self.statement, Let)
        return self.statement.op


def placed(body: tuple[Statement, ...], around: tuple[For | BranchSide, ...] = ()) -> Iterator[Placed]:
    """Every statement with what is around it, in program order, a loop before its body."""
    for statement in body:
        # The head of a loop or a branch is outside of it: its bounds and its condition are evaluated there.
        yield Placed(statement, around)
        match statement:
            case For(body=block):
                yield from placed(block, (*around, statement))
            case If(condition=condition, then=then, orelse=orelse):
                yield from placed(then, (*around, BranchSide(condition, True)))
                yield from placed(orelse, (*around, BranchSide(condition, False)))


def leaves(body: tuple[Statement, ...]) -> Iterator[Placed]:
    """The statements that hold no others, with what is around them."""
    return (p for p in placed(body) if not blocks(p.statement))
