"""States of matrices: stores and updates."""

from __future__ import annotations

from typing import assert_never

from tensorprog.codegen.emission import Emission, Value
from tensorprog.codegen.expressions import numpy_derivative, numpy_text
from tensorprog.codegen.fusion import Fusion
from tensorprog.codegen.layout import Layout, aligned, tuple_text, union
from tensorprog.codegen.names import int_text, python_name
from tensorprog.ir.integers import IntExpr
from tensorprog.ir.program import (
    Cell,
    FunctionTerm,
    MatrixTerm,
    OuterTerm,
    Term,
    Var,
)


class MatrixStates:
    """Source text of linear combinations of matrices and outer products."""

    def __init__(self, state: Emission, fusion: Fusion):
        self.state, self.fusion = state, fusion

    def matrix_name(self, cell: Cell, items: tuple[IntExpr, ...]) -> str:
        name = python_name(cell.name)
        if not cell.rank:
            return name
        return f"{name}[{tuple_text([int_text(i) for i in items])}]"

    def matrix_family(self, cell: Cell) -> str:
        """A family of matrices by index; elements that are only added to start from zero."""
        return f"defaultdict(lambda: {self.zero_matrix(cell)})"

    def zero_matrix(self, cell: Cell) -> str:
        rows, cols = self.state.spaces.of((cell, "rows")), self.state.spaces.of((cell, "cols"))
        ratios = f"(ratios[{cell.matrix.rows!r}], ratios[{cell.matrix.cols!r}])"
        return f"rt.{self._zero_maker(cell)}(spaces[{rows}], spaces[{cols}], {ratios}, tolerance)"

    def _zero_maker(self, cell: Cell) -> str:
        return "update_matrix" if cell in self.state.kinds.functional else "zero_matrix"

    def matrix_value(self, cell: Cell, start: str, terms: tuple[Term, ...]) -> str:
        """What a matrix gets; one that functions are taken of, in the form that they want."""
        if len(terms) == 1 and isinstance(terms[0], FunctionTerm):
            return self._function_text(terms[0])
        text = self._matrix_text(start, terms)
        # (Those are made anew in every step, and cannot grow.)
        if cell not in self.state.kinds.functional or cell.role == "hidden":
            return text
        whole = cell in self.state.kinds.entries and not all(isinstance(t, OuterTerm) for t in terms)
        return f"{text}.settled({'entries=True' if whole else ''})"

    def _function_text(self, term: FunctionTerm) -> str:
        args = ", ".join(self.matrix_argument(a) if isinstance(a, MatrixTerm) else self._scalar(a) for a in term.args)
        if not term.entrywise:
            return f"rt.{term.fn}({args})"
        names = [f"x{k}" for k in range(len(term.args))]
        text = numpy_derivative(term.fn, term.order, "x0") if term.order else numpy_text(term.fn, names)
        return f"rt.entrywise(lambda {', '.join(names)}: {text}, {args})"

    def matrix_argument(self, term: MatrixTerm) -> str:
        name = self.matrix_name(term.cell, term.items)
        return f"{name}.turned()" if term.transposed else name

    def _matrix_text(self, start: str, terms: tuple[Term, ...]) -> str:
        text = start
        for term in terms:
            match term:
                case MatrixTerm():
                    text += self._matrix_term(term)
                case OuterTerm():
                    text += self._outer_term(term)
                case FunctionTerm():
                    raise AssertionError("functions of matrices are the only term of a matrix")
                case _:
                    assert_never(term)
        return text

    def _matrix_term(self, term: MatrixTerm) -> str:
        coef = self._scalar(term.coef)
        turned = ", transposed=True" if term.transposed else ""
        return f".add({coef}, {self.matrix_name(term.cell, term.items)}{turned})"

    def _scalar(self, coef: Var | None) -> str:
        """A factor summed over all parallel axes (the term is added once an iteration)."""
        value = Value("1.0", Layout()) if coef is None else self.fusion.value(coef)
        text, axes = value.text, value.layout.axes
        if axes:
            # A parallel loop has no iterations here: the sum over all is added.
            text = f"np.sum({text})"
        for axis in self.state.active:
            if axis.var not in axes:
                text = f"{text} * float({int_text(axis.length)})"
        return text

    def _outer_term(self, term: OuterTerm) -> str:
        coef = self.fusion.value(term.coef) if term.coef is not None else Value("1.0", Layout())
        left, right = self.fusion.value(term.left), self.fusion.value(term.right)
        axes = union([coef.layout, left.layout, right.layout], self.state.order).axes
        left_text, left_layout = self.fusion.full(term.left, axes=axes)
        right_text, _ = self.fusion.full(term.right, axes=axes)
        factor = coef.text
        # A factor that differs from one iteration to the next goes into the rows of `left`; a single number stays a factor.
        if coef.layout.dims:
            numbers = f"rt.narrow({coef.text}, dtype)" if not coef.layout.width else coef.text
            left_text = f"{aligned(numbers, coef.layout, left_layout)} * {left_text}"
            factor = "1.0"
        for axis in self.state.active:
            if axis.var not in axes:
                factor = f"{factor} * float({int_text(axis.length)})"
        return f".add_outer({factor}, {left_text}, {right_text})"
