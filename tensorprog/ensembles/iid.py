"""Independent entries with mean 0. All laws of the same variance have the same limit: universality (Golikov and Yang,
"Non-Gaussian Tensor Programs", 2022)."""

from __future__ import annotations

from tensorprog.ensembles.ensemble import Arguments, Ensemble, combined, number
from tensorprog.ir.program import ConstExpr, MatrixType


def _uniform(args: Arguments, type: MatrixType) -> ConstExpr:
    low, high = args
    return combined("/", combined("**", combined("-", high, low), number(2, args)), number(12, args))


def _rademacher(args: Arguments, type: MatrixType) -> ConstExpr:
    return number(1)


def _sparse_normal(args: Arguments, type: MatrixType) -> ConstExpr:
    # rho is the probability that an entry is not 0.
    return combined("*", *args)


NORMAL = Ensemble("normal", ("mean", "variance"))
UNIFORM = Ensemble("uniform", ("lo", "hi"), _uniform)
RADEMACHER = Ensemble("rademacher", (), _rademacher)
SPARSE_NORMAL = Ensemble("sparse_normal", ("rho", "variance"), _sparse_normal)
