"""What `trace` records: equations, products with matrices, and matrices that loops carry."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Expr, S

from tensorprog.derive.arrays import Items
from tensorprog.derive.binders import Binder, IndexScope
from tensorprog.derive.matrices import MatrixSum
from tensorprog.derive.names import Labels


@dataclass(slots=True)
class LimitEquation:
    """`left = right` for all iterations of `loops` in which `condition` holds."""

    left: Expr
    right: Expr
    loops: tuple[Binder, ...]
    condition: sympy.Basic = S.true
    kind: str = "nonlin"


@dataclass(slots=True)
class TracedProduct:
    """A product `matrix @ arg`; `left` is its name, `ratio` the width that is summed over, over the base width."""

    left: Expr
    matrix: MatrixSum
    transposed: bool
    arg: Expr
    loops: tuple[Binder, ...]
    ratio: Expr
    condition: sympy.Basic = S.true


@dataclass(slots=True)
class MatrixState:
    """A matrix that a loop carries: `label[head]` at the head of an iteration, `step` at its end, `start` before the
    loop. `formal` are the symbols of the family's indices."""

    label: str
    loop: Binder
    forward: bool
    around: tuple[Expr, ...]
    formal: Items
    step: MatrixSum
    start: MatrixSum


@dataclass(slots=True)
class Trace:
    """`functions` define functions of matrices, by name. `placeholders` are values without a name, with the variables that
    hold them; `adjoints` tells of those that a cell of a gradient's sweep has collected what they are the adjoints of."""

    entries: list[LimitEquation | TracedProduct] = field(default_factory=list)
    states: dict[tuple[str, int], MatrixState] = field(default_factory=dict)
    functions: list[LimitEquation] = field(default_factory=list)
    scope: IndexScope = field(default_factory=IndexScope)
    first_times: dict[str, Expr] = field(default_factory=dict)
    placeholders: dict[str, str] = field(default_factory=dict)
    adjoints: dict[str, str] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
