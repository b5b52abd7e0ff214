"""A derivation: equations between limit variables in program order, each with its indices and the simplifications that
led to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Expr, S

KINDS = {
    "initial": "the law of an initial vector",
    "drawn": "the law of the entries of a declared array without a width, of which the limit is a function",
    "nonlin": "a coordinatewise function (ZNonlin)",
    "moment": "the limit of a scalar (ZMoment)",
    "matmul": "a product with a matrix (ZMatMul) and the updates of the matrix",
    "dot": "the response part of a product (ZDot)",
    "rest": "what products with the transpose of an orthogonal matrix have not told of a vector",
    "covariance": "the covariance of a Gaussian family (ZHat)",
    "expectation": "a name for an expectation that occurs more than once",
    "start": "what a loop starts from",
    "matrix": "a matrix with its updates so far",
    "update": "what a loop makes of it in one iteration",
    "draws": "the covariance of Gaussian numbers that a random limit is a function of",
}

SECTIONS = {"drawn": "Numbers that every network draws", "initial": "Initial vectors", "covariance": "Gaussian families",
            "matrix": "Matrices", "draws": "Gaussian numbers"}
OTHER_SECTION = "Equations, in program order"


@dataclass(frozen=True, slots=True)
class Index:
    """`symbol` runs over the integers from `low` to `high`."""

    symbol: sympy.Symbol
    low: Expr
    high: Expr


@dataclass(frozen=True, slots=True)
class Step:
    """One named simplification, and what it did."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`left = right` (`left ~ right` for a law) for all `indices` with `condition`.

    Attributes:
        kind: a key of `KINDS`.
        note: a remark in words, such as which form of the derivative is meant.
        steps: the simplifications that were applied to this equation.
    """

    kind: str
    left: Expr
    right: Expr
    indices: tuple[Index, ...] = ()
    condition: sympy.Basic = S.true
    note: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def section(self) -> str:
        """The heading that the equation stands under."""
        return SECTIONS.get(self.kind, OTHER_SECTION)

    @property
    def is_law(self) -> bool:
        return self.kind in ("initial", "drawn")


@dataclass(frozen=True, slots=True)
class Derivation:
    """The whole limit.

    Attributes:
        families: the Gaussian families, each a matrix's name and whether it is transposed. They have mean zero and are
            independent of each other and of the initial vectors.
        steps: all simplifications in order.
    """

    name: str
    rules: tuple[Rule, ...]
    families: tuple[tuple[str, bool], ...] = ()
    steps: tuple[Step, ...] = field(default=())
