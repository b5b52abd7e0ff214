"""Source text for tensors that stay a base plus outer products (`codegen.factored`, `runtime.factored`)."""

from __future__ import annotations

from tensorprog.codegen.cells import Cells
from tensorprog.codegen.emission import Emission
from tensorprog.codegen.fusion import Fusion
from tensorprog.codegen.layout import Layout, aligned
from tensorprog.codegen.names import int_text, python_name
from tensorprog.ir.program import Cell, Contract, Elementwise, Load, Op, Var

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


class FactoredTensors:
    """Definitions, stores and accumulations of factored tensors; everything else goes to `Cells`."""

    def __init__(self, state: Emission, fusion: Fusion, cells: Cells):
        self.state, self.fusion, self.cells = state, fusion, cells

    def let(self, var: Var, op: Op) -> bool:
        """Define a temporary that is factored, or that is made of one; whether it was such."""
        axes = self.state.factored.vars.get(var)
        if axes is not None:
            layout = Layout(axes, len(var.type.shape), True)
            match op:
                case Load(cell=cell):
                    self.cells.flush_zeros({cell})
                    self.state.assign(var, python_name(cell.name), layout)
                case Contract():
                    self.state.assign(var, self._outer_text(op, axes), layout)
                case Elementwise():
                    self.state.assign(var, self._combination(op, layout), layout)
            return True
        if isinstance(op, Contract) and (op.left in self.state.factored.vars or op.right in self.state.factored.vars):
            self._apply(var, op)
            return True
        return False

    def _outer_text(self, op: Contract, axes: tuple[str, ...]) -> str:
        vector, array = (op.left, op.right) if not op.left_axes else (op.right, op.left)
        left, _ = self.fusion.full(vector, axes=axes)
        right, _ = self.fusion.full(array, axes=axes)
        return f"rt.Factored.outer({self.state.lengths(axes)}, {left}, {right})"

    def _combination(self, op: Elementwise, layout: Layout) -> str:
        parts = []
        for arg in op.args:
            value = self.fusion.value(arg)
            plain = arg in self.state.factored.vars or arg.type.shape
            # A number that differs from iteration to iteration has their axes, and length-1 axes for the rest of the tensor's.
            parts.append(value.text if plain else aligned(value.text, value.layout, layout))
        return f"-{parts[0]}" if op.fn == "neg" else f"{parts[0]} {_SIGNS[op.fn]} ({parts[1]})"

    def _apply(self, var: Var, op: Contract) -> None:
        tensor, array = (op.left, op.right) if op.left in self.state.factored.vars else (op.right, op.left)
        axes = self.cells.in_order((*self.state.factored.vars[tensor], *self.fusion.value(array).layout.axes))
        text, layout = self.fusion.full(array, axes=axes)
        self.state.assign(var, f"{self.state.values[tensor].text}.apply({text})", Layout(layout.axes, 0, True))

    # --- cells ---

    def store(self, cell: Cell, items: tuple, value: Var) -> None:
        if cell not in self.state.factored.cells:
            self.cells.store(cell, items, value)
            return
        self.state.unzeroed.discard(cell)
        found = self.fusion.value(value)
        text = found.text if value in self.state.factored.vars else f"{self.cells.zeros(cell)} + {self._lifted(cell, value)}"
        self._define(cell, text)

    def _lifted(self, cell: Cell, value: Var) -> str:
        axes = self.state.values[value].layout.axes
        return self.fusion.full(value, axes=self.state.factored.cells[cell] if axes else ())[0]

    def _define(self, cell: Cell, text: str) -> None:
        self.state.line(f"{python_name(cell.name)} = {text}")
        self.state.layouts[cell] = Layout(self.state.factored.cells[cell], len(cell.tensor.shape), True)

    def accumulate(self, cell: Cell, items: tuple, value: Var) -> None:
        axes = self.state.factored.vars.get(value)
        if axes is None:
            self.cells.accumulate(cell, items, value)
            return
        if cell in self.state.factored.cells:
            folded = self._folded(value, self.state.factored.cells[cell])
            name = python_name(cell.name)
            self._define(cell, folded if cell in self.state.unzeroed else f"{name} + {folded}")
            self.state.unzeroed.discard(cell)
            return
        kept = self.cells.lead(self.state.storage[cell])
        dense = Var(f"{value.name}_sum", value.type)
        # What does not depend on a loop is added as often as it runs.
        repeats = [f" * float({int_text(a.length)})" for a in self.state.active if a.var not in (*axes, *kept)]
        text = f"{self._folded(value, kept)}.dense(){''.join(repeats)}"
        self.state.assign(dense, text, Layout(kept, len(cell.tensor.shape), True))
        self._add_dense(cell, dense)

    def _folded(self, value: Var, kept: tuple[str, ...]) -> str:
        """A factored temporary summed over the axes that are not kept."""
        count = len(self.state.factored.vars[value]) - len(kept)
        text = self.state.values[value].text
        return f"{text}.fold({count})" if count else text

    def _add_dense(self, cell: Cell, value: Var) -> None:
        """Add what has been summed over the parallel axes already."""
        found, name = self.state.values[value], python_name(cell.name)
        if cell in self.state.unzeroed:
            self.state.unzeroed.discard(cell)
            self.cells.first_accumulation(cell, found.text, found.layout)
        else:
            self.state.line(f"{name} = {name} + {found.text}")
