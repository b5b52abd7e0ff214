"""What the parts of a window (`passes.windows`) share: families of numbers by averages, and loops over these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tensorprog.diagnostics import Span
from tensorprog.ir.build import Builder
from tensorprog.ir.integers import IntExpr
from tensorprog.ir.program import SCALAR, Accum, Cell, For, KernelStmt, Store, Var, Variable
from tensorprog.passes.rewrite import in_loops, with_own_variables
from tensorprog.passes.training import Average, Training

#: A family for each family of averages.
Families = Mapping[Cell, Cell]
#: A family of numbers for each pair of families of averages.
Kernel = Mapping[tuple[Cell, Cell], Cell]
Items = tuple[IntExpr, ...]


class WindowFrame:
    """Statements on the numbers of a window. `moved` are the averages in a step, `slopes` the derivatives of the loss by them."""

    def __init__(self, training: Training, builder: Builder):
        self.training, self.builder = training, builder
        self.moved = self.families("moved", training.averages)
        self.slopes = self.families("slope", training.driving)

    @property
    def span(self) -> Span | None:
        return self.training.loop.span

    def families(self, hint: str, averages: Sequence[Average]) -> dict[Cell, Cell]:
        return {a.cell: self.builder.cell(hint, SCALAR, len(a.loops)) for a in averages}

    def for_each(self, families: Sequence[tuple[For, ...]], element: Callable[..., None]) -> None:
        """`element`, called with indices of each of some families, in loops over them; `families` are these loops."""
        own, places = zip(*(with_own_variables(loops, self.builder.names) for loops in families))
        with self.builder.nested() as body:
            element(*(tuple(values.values()) for values in places))
        for statement in in_loops([loop for loops in own for loop in loops], tuple(body)):
            self.builder.append(statement)

    def kernel(self, left: Families, right: Families, rates: Mapping[Cell, Var | None]) -> dict[tuple[Cell, Cell], Cell]:
        """Tangent kernels of all averages with those that drive the states, as `left` and `right` hold them: sums over states,
        each times its rate, if it has one."""
        training = self.training
        return {(a.cell, b.cell): self._kernel(a, b, left[a.cell], right[b.cell], rates)
                for a in training.averages for b in training.driving}

    def _kernel(self, left: Average, right: Average, at: Cell, of: Cell, rates: Mapping[Cell, Var | None]) -> Cell:
        builder = self.builder
        kernel = builder.cell("kernel", SCALAR, len(left.loops) + len(right.loops))

        def element(first: Items, second: Items) -> None:
            total = builder.const(0)
            for state, rate in rates.items():
                part = builder.cell("tangent", SCALAR)
                builder.append(KernelStmt(part, "ntk", at, first, of, second, (Variable(state),), span=self.span))
                value = builder.load(part)
                total = builder.add(total, value if rate is None else builder.mul(rate, value))
            builder.append(Store(kernel, (*first, *second), total))

        self.for_each((left.loops, right.loops), element)
        return kernel

    def move(self, averages: Sequence[Average], kernel: Kernel, slopes: Families) -> None:
        """Add a kernel times slopes to averages."""
        for left in averages:
            for right in self.training.driving:
                self.for_each((left.loops, right.loops), partial(self._move, kernel, slopes, left.cell, right.cell))

    def _move(self, kernel: Kernel, slopes: Families, left: Cell, right: Cell, at: Items, of: Items) -> None:
        builder = self.builder
        step = builder.mul(builder.load(kernel[left, right], (*at, *of)), builder.load(slopes[right], of))
        builder.append(Accum(self.moved[left], at, step))
