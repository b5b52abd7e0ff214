"""Source text for tensors that stay a base plus outer products (`codegen.factored`, `runtime.factored`)."""

from __future__ import annotations

from tensorprog.codegen.cells import Cells
from tensorprog.codegen.layout import Layout, aligned, tuple_text
from tensorprog.codegen.names import int_text, python_name
from tensorprog.ir.program import Cell, Contract, Elementwise, Load, Op, Var

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


class FactoredTensors(Cells):
    """Definitions, stores and accumulations of factored tensors; everything else goes to `Cells`."""

    def _let_factored(self, var: Var, op: Op) -> bool:
        """Define a temporary that is factored, or that is made of one; whether it was such."""
        axes = self.factored.vars.get(var)
        if axes is not None:
            layout = Layout(axes, len(var.type.shape), True)
            match op:
                case Load(cell=cell):
                    self._flush_zeros({cell})
                    self.assign(var, python_name(cell.name), layout)
                case Contract():
                    self.assign(var, self._outer_text(op, axes), layout)
                case Elementwise():
                    self.assign(var, self._combination(op, layout), layout)
            return True
        if isinstance(op, Contract) and (op.left in self.factored.vars or op.right in self.factored.vars):
            self._apply(var, op)
            return True
        return False

    def _outer_text(self, op: Contract, axes: tuple[str, ...]) -> str:
        vector, array = (op.left, op.right) if not op.left_axes else (op.right, op.left)
        left, _ = self._full(vector, axes=axes)
        right, _ = self._full(array, axes=axes)
        return f"rt.Factored.outer({self._lengths(axes)}, {left}, {right})"

    def _combination(self, op: Elementwise, layout: Layout) -> str:
        parts = []
        for arg in op.args:
            value = self.value(arg)
            plain = arg in self.factored.vars or arg.type.shape
            parts.append(value.text if plain else aligned(value.text, value.layout, layout))
        return f"-{parts[0]}" if op.fn == "neg" else f"{parts[0]} {_SIGNS[op.fn]} ({parts[1]})"

    def _apply(self, var: Var, op: Contract) -> None:
        tensor, array = (op.left, op.right) if op.left in self.factored.vars else (op.right, op.left)
        axes = self._sorted((*self.factored.vars[tensor], *self.value(array).layout.axes))
        text, layout = self._full(array, axes=axes)
        self.assign(var, f"{self.values[tensor].text}.apply({text})", Layout(layout.axes, 0, True))

    def _lengths(self, axes: tuple[str, ...]) -> str:
        return tuple_text([int_text(self.every_axis[a].length) for a in axes])

    def _nothing(self, cell: Cell) -> str:
        """A factored tensor that is zero."""
        finite = tuple_text([int_text(s) for s in cell.type.shape])
        return f"rt.Factored({self._lengths(self.factored.cells[cell])}, {finite}, samples)"

    # --- cells ---

    def _store(self, cell: Cell, items: tuple, value: Var) -> None:
        if cell not in self.factored.cells:
            super()._store(cell, items, value)
            return
        self.unzeroed.discard(cell)
        found = self.value(value)
        text = found.text if value in self.factored.vars else f"{self._nothing(cell)} + {self._lifted(cell, value)}"
        self._define(cell, text)

    def _lifted(self, cell: Cell, value: Var) -> str:
        axes = self.values[value].layout.axes
        return self._full(value, axes=self.factored.cells[cell] if axes else ())[0]

    def _define(self, cell: Cell, text: str) -> None:
        self.line(f"{python_name(cell.name)} = {text}")
        self.layouts[cell] = Layout(self.factored.cells[cell], len(cell.type.shape), True)

    def _accumulate(self, cell: Cell, items: tuple, value: Var) -> None:
        axes = self.factored.vars.get(value)
        if axes is None:
            super()._accumulate(cell, items, value)
            return
        if cell in self.factored.cells:
            folded = self._folded(value, self.factored.cells[cell])
            name = python_name(cell.name)
            self._define(cell, folded if cell in self.unzeroed else f"{name} + {folded}")
            self.unzeroed.discard(cell)
            return
        kept = self._lead(self.storage[cell])
        dense = Var(f"{value.name}_sum", value.type)
        repeats = [f" * float({int_text(a.length)})" for a in self.active if a.var not in (*axes, *kept)]
        text = f"{self._folded(value, kept)}.dense(){''.join(repeats)}"
        self.assign(dense, text, Layout(kept, len(cell.type.shape), True))
        self._add_dense(cell, dense)

    def _folded(self, value: Var, kept: tuple[str, ...]) -> str:
        """A factored temporary summed over the axes that are not kept."""
        count = len(self.factored.vars[value]) - len(kept)
        text = self.values[value].text
        return f"{text}.fold({count})" if count else text

    def _add_dense(self, cell: Cell, value: Var) -> None:
        """Add what has been summed over the parallel axes already."""
        found, name = self.values[value], python_name(cell.name)
        if cell in self.unzeroed:
            self.unzeroed.discard(cell)
            self._first_accumulation(cell, found.text, found.layout)
        else:
            self.line(f"{name} = {name} + {found.text}")

    def _zeros(self, cell: Cell) -> str:
        return self._nothing(cell) if cell in self.factored.cells else super()._zeros(cell)
