"""Declarations of width x width matrices with another law than the normal one (language reference, section 2).

Every stage that looks at one product at a time sees a normal law of the same variance; what an `ensembles.Ensemble` says
of the declared law, which `Initial.drawn` keeps, is asked for by the operators and by networks.
"""

from __future__ import annotations

from dataclasses import replace

from tensorprog.check.context import Context
from tensorprog.check.scope import CellName
from tensorprog.ensembles import ENSEMBLES, ensemble_of
from tensorprog.ensembles.ensemble import number
from tensorprog.ensembles.symmetric import SYMMETRIC_NORMAL
from tensorprog.ir.integers import IntExpr, IntLit, IntSym
from tensorprog.ir.program import (
    Cell,
    ConstExpr,
    For,
    Initial,
    Law,
    MatrixTerm,
    MatrixType,
    MatStore,
    Statement,
)
from tensorprog.syntax import tree

SYMMETRIC = SYMMETRIC_NORMAL.name


def require_ensemble(ctx: Context, node: tree.MatrixDecl, type: MatrixType) -> None:
    """Refuse laws of matrices with a mean, and symmetric matrices that are not square."""
    law = node.law
    if law is None:
        return
    if law.name in ("bernoulli", "constant"):
        ctx.fail("TP211", f"the entries of a width x width matrix have mean 0, and those of `{law.name}` have not",
                 law.span, help="by universality only the variance matters: write `normal(0, variance)`")
    if law.name in ENSEMBLES and ENSEMBLES[law.name].square and type.rows != type.cols:
        ctx.fail("TP211", "a symmetric matrix is square", law.span, help=f"write `[{type.rows}, {type.rows}]`")
    # Written out: whether c/n vanishes in the limit is not asked, because the entries' mean 0 is a hypothesis (TP IV, Setup 7.2).
    zeros = (tree.NumberExpr(0), tree.NumberExpr(0.0))
    if law.name in ("normal", SYMMETRIC) and len(law.args) == 2 and law.args[0] not in zeros:
        ctx.fail("TP212", "the entries of a width x width matrix have mean 0", law.args[0].span,
                 help="a mean c is a rank-one term: add `c*outer(ones, ones)` with `vector ones : [n] ~ constant(1)`")


def normal_of_same_variance(initial: Initial) -> Initial:
    """A matrix as most of the limit sees it; `drawn` keeps the declared law."""
    if initial.law.name == "zero" or (variance := ensemble_of(initial).variance) is None:
        return initial
    args = initial.law.args
    return replace(initial, law=Law("normal", (number(0, args), variance(args, initial.cell.matrix))), drawn=initial.law)


def declare_symmetric(ctx: Context, node: tree.MatrixDecl, type: MatrixType, law: Law,
                      extents: tuple[IntExpr, ...]) -> None:
    """`A = G + G.T` for every matrix of the family."""
    name, span = node.name.name, node.name.span
    # Off the diagonal G + G.T has twice the variance of G, on it four times: the diagonal's is twice that of the others, as of
    # the GOE.
    half = ConstExpr("/", (law.args[1], number(2, law.args[1:])), span=law.args[1].span)
    half_name = ctx.builder.names.fresh(f"{name}_half")
    iid = Cell(half_name, type, len(extents), half_name, "initial", span)
    ctx.initials.append(Initial(iid, Law("normal", (law.args[0], half)), extents))
    # The name is assigned, and not declared: its law follows from that of G.
    cell = Cell(ctx.builder.names.fresh(name), type, len(extents), name, "user", span)
    ctx.scope.bind(name, CellName(cell), span)
    loops = [ctx.builder.names.fresh("i") for _ in extents]
    items = tuple(IntSym(loop, "loop") for loop in loops)
    terms = tuple(MatrixTerm(None, iid, items, transposed) for transposed in (False, True))
    statement: Statement = MatStore(cell, items, terms, span=node.span)
    for loop, extent in zip(reversed(loops), reversed(extents)):
        statement = For(loop, IntLit(0), extent, 1, (statement,), span=node.span)
    ctx.builder.append(statement)
    if extents:
        ctx.extents[cell] = list(extents)
