"""What the compiler has to know of a law of width x width matrices.

Powers of n, and whatever looks at one product at a time, see a normal matrix with entries of the same variance. The
limit differs from that of the normal one by the operator, and by what its transpose knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tensorprog.ir.program import ConstExpr, MatrixType

if TYPE_CHECKING:
    import numpy as np

Arguments = tuple[ConstExpr, ...]
Draw = Callable[["np.random.Generator", list[float], tuple[int, int]], "np.ndarray"]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A law of matrices.

    Attributes:
        name, parameters: as in the language.
        variance: of an entry, as a constant of the program, from the arguments; None for a normal law, which has it as an
            argument.
        draw: a matrix of a finite network, [rows, columns], from the values of the arguments.
        square: whether rows and columns have the same width.
        operator: the function of `tensorprog.runtime` that makes the lazily sampled operator, from sample spaces, variance
            times n, ratios of widths and tolerance; or, from outside of the package, the function itself. The first stands for
            independent entries; of an operator from outside, formulas and equations know nothing.
        spread: the arguments that are multiplied by a power of c where the entries are (`ir.laws.EntryLaw.spread`).
        orthogonal: whether its singular values are all the same, so that a matrix applied after its transpose is a projection
            (`covariance.gaussian`).
    """

    name: str
    parameters: tuple[str, ...]
    variance: Callable[[Arguments, MatrixType], ConstExpr] | None = None
    draw: Draw | None = None
    square: bool = False
    operator: str | Callable[..., object] = "gaussian_matrix"
    orthogonal: bool = False
    spread: Mapping[int, int] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ValueError for a law that says nothing of its entries, or whose draws are no matrices."""
        if not self.name.isidentifier():
            raise ValueError(f"the name of a law is a word, not {self.name!r}")
        if self.variance is None or self.draw is None:
            raise ValueError(f"`{self.name}` needs the variance of an entry, and draws of matrices at a finite width")


def number(value: float, like: Arguments = ()) -> ConstExpr:
    """A number as a constant, at the place of the arguments."""
    return ConstExpr("num", leaf=float(value), span=like[0].span if like else None)


def combined(op: str, *args: ConstExpr) -> ConstExpr:
    """An operation on constants."""
    return ConstExpr(op, args, span=next((a.span for a in args if a.span), None))
