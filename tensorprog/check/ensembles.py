"""Laws of width x width matrices besides the normal one (language reference, section 2).

* iid entries of another law with mean 0 and the same variance have the same limit (universality: Golikov and Yang,
  "Non-Gaussian Tensor Programs", 2022). Every stage but `finite/` sees the normal law; networks draw the declared one.
* `A ~ symmetric_normal(0, s)` (GOE: A = A.T, variance s, on the diagonal 2 s) is `A = G + G.T` with G of iid entries of
  variance s/2: a matrix state, made right after its declaration.
"""

from __future__ import annotations

from dataclasses import replace

from tensorprog.check.context import Context
from tensorprog.check.scope import CellName
from tensorprog.diagnostics import Span
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

IID = ("normal", "uniform", "rademacher", "sparse_normal")
SYMMETRIC = "symmetric_normal"


def require_ensemble(ctx: Context, node: tree.MatrixDecl, type: MatrixType) -> None:
    """Refuse laws of matrices with a mean, and symmetric matrices that are not square."""
    law = node.law
    if law is None or law.name not in (*IID, "bernoulli", "constant", SYMMETRIC):
        return
    if law.name in ("bernoulli", "constant"):
        ctx.fail("TP211", f"the entries of a width x width matrix have mean 0, and those of `{law.name}` have not",
                 law.span, help="by universality only the variance matters: write `normal(0, variance)`")
    if law.name == SYMMETRIC and type.rows != type.cols:
        ctx.fail("TP211", "a symmetric matrix is square", law.span, help=f"write `[{type.rows}, {type.rows}]`")
    zeros = (tree.Number(0), tree.Number(0.0))
    if law.name in ("normal", SYMMETRIC) and len(law.args) == 2 and law.args[0] not in zeros:
        ctx.fail("TP212", "the entries of a width x width matrix have mean 0", law.args[0].span,
                 help="a mean c is a rank-one term: add `c*outer(ones, ones)` with `vector ones : [n] ~ constant(1)`")


def normal_of_same_variance(initial: Initial) -> Initial:
    """A matrix of iid entries as the limit sees it; `drawn` keeps the law that networks draw."""
    law, span = initial.law, initial.law.args[0].span if initial.law.args else None
    variance = _variance(law, span)
    if variance is None:
        return initial
    return replace(initial, law=Law("normal", (_number(0, span), variance)), drawn=law)


def _variance(law: Law, span: Span | None) -> ConstExpr | None:
    """The variance of an entry; None for a law that is normal already, or zero."""
    match law:
        case Law("uniform", (low, high)):
            width = ConstExpr("-", (high, low), span=span)
            return ConstExpr("/", (ConstExpr("**", (width, _number(2, span)), span=span), _number(12, span)), span=span)
        case Law("rademacher", ()):
            return _number(1, span)
        case Law("sparse_normal", (share, variance)):
            return ConstExpr("*", (share, variance), span=span)
        case _:
            return None


def _number(value: float, span: Span | None) -> ConstExpr:
    return ConstExpr("num", leaf=float(value), span=span)


def declare_symmetric(ctx: Context, node: tree.MatrixDecl, type: MatrixType, law: Law,
                      extents: tuple[IntExpr, ...]) -> None:
    """`A = G + G.T` for every matrix of the family."""
    name, span = node.name.name, node.name.span
    half = ConstExpr("/", (law.args[1], _number(2, law.args[1].span)), span=law.args[1].span)
    half_name = ctx.builder.names.fresh(f"{name}_half")
    iid = Cell(half_name, type, len(extents), half_name, "initial", span)
    ctx.initials.append(Initial(iid, Law("normal", (law.args[0], half)), extents))
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
