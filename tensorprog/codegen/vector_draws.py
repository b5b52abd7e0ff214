"""How the declared vectors of a program are drawn, where that is not the plain way: readouts so that outputs at
initialization are zero, blocks that meet inputs along the principal axes of these."""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.codegen.expressions import KernelPool
from tensorprog.codegen.initials import shape_text, vectors_line
from tensorprog.codegen.names import python_name
from tensorprog.codegen.readout_features import features_function, readout_lines, reserved_line
from tensorprog.ir.program import Cell, Program
from tensorprog.passes.initial_features import initial_features
from tensorprog.passes.input_axes import InputAxes, input_axes
from tensorprog.passes.powers import Powers
from tensorprog.passes.spaces import Spaces


class Sampling:
    """The draws of one program. `flips` are the numbers of mirrored spaces: those of readouts that are not drawn orthogonal
    to their initial features, because these are not known."""

    def __init__(self, program: Program, spaces: Spaces, readouts: frozenset[Cell]):
        self.program, self.spaces = program, spaces
        own = frozenset(i.cell for i in program.initials) & readouts
        # Orthogonal to their features, if the program of these is found; else mirrored, which costs half of the distinct particles.
        self.features = initial_features(program, own)
        self.orthogonal = [i for i in program.initials if i.cell in own] if self.features is not None else []
        self.mirrored = own if self.features is None else frozenset()
        self.flips = {spaces.of(c) for c in self.mirrored}
        self.axes = {cell: axes for cell, axes in input_axes(program).items() if cell not in own}

    def functions(self, pool: KernelPool, env: Mapping[str, object]) -> list[str]:
        """Functions of the module that drawing takes."""
        return [features_function(self.features, self.spaces, pool, env)] if self.features is not None else []

    def draws(self, powers: Powers, env: Mapping[str, object]) -> dict[Cell, str]:
        """The statements that draw, by object."""
        found = {i.cell: reserved_line(i, self.spaces) for i in self.orthogonal}
        for initial in self.program.initials:
            cell = initial.cell
            if cell in self.mirrored:
                found[cell] = vectors_line(initial, self.program, self.spaces, powers, env, more=", mirror=True")
            elif cell in self.axes:
                more = f", ({shape_text(initial)}), {_axes_text(self.axes[cell])}"
                found[cell] = vectors_line(initial, self.program, self.spaces, powers, env, "draw_along", more)
        return found

    def later_lines(self, powers: Powers, env: Mapping[str, object]) -> list[str]:
        """Statements that follow when everything is declared."""
        if self.features is None:
            return []
        return readout_lines(self.features, self.orthogonal, self.program, self.spaces, powers, env)


def _axes_text(axes: InputAxes) -> str:
    inputs = "".join(f"({python_name(name)}, {axis}), " for name, axis in axes.inputs)
    return f"{axes.axis}, ({inputs.rstrip()}), {axes.only}"
